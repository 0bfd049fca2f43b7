#!/bin/sh
# Compiles an instrumented object and renames the copies of inline functions in it, which are weak:
#
#   own_copies.sh NM OBJCOPY COMPILER ARGUMENTS...
#
# Else the linker would take one copy of each for the whole program. Either the host's code, the emulator's own and that
# of other threads, would run with a call before each load and store, and what it does would pass for a kernel's; or the
# kernels would run without. Variables that are one for the whole program (u) stay so.
set -eu

nm=$1
objcopy=$2
shift 2
"$@"

object=
previous=
for argument; do
    if [ "$previous" = -o ]; then object=$argument; fi
    previous=$argument
done
case $object in
    *.o) ;;
    *) exit 0 ;; # asked for something else, such as preprocessed text
esac

names=$object.own_copies.$$
"$nm" "$object" | awk '$2 ~ /^[WVn]$/ && $3 !~ /^DW\.ref\./ { print $3, "instrumented." $3 }' >"$names"
"$objcopy" --redefine-syms="$names" "$object"
rm "$names"
