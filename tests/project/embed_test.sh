#!/usr/bin/env bash
# Cloze as installed: a project of its own finds it, builds against it and trains; the folder may be moved.
#
#   embed_test.sh BUILD_FOLDER CXX_COMPILER
set -euo pipefail

build=$1 compiler=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() { echo "$*" && exit 1; }

quietly() { # COMMAND...: its output when it fails
    "$@" >"$folder/log" 2>&1 || { cat "$folder/log" && fail "failed: $*"; }
}

quietly cmake --install "$build" --prefix "$folder/first"
mv "$folder/first" "$folder/cloze"

# Nothing but what a program may include.
strays=$(find "$folder/cloze/include" -type f ! -name '*.h' -o -path '*/kernels/device/*' -o -path '*/tests/*')
[ -z "$strays" ] || fail "installed by mistake: $strays"
if grep -rnF "$root" "$folder/cloze"/lib*/cmake "$folder/cloze/include" | grep -v HINTS; then
    fail "the package names the folder it was built in"
fi

quietly cmake -S "$root/examples/embed" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/cloze" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$compiler" "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
quietly cmake --build "$folder/build"

export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
"$folder/build/embed" "$folder/output" 60 | tee "$folder/losses"
awk '/^step/ { loss[++n] = $5 } END { exit !(n == 6 && loss[n] < loss[1] - 0.3) }' "$folder/losses" ||
    fail "the loss did not fall"
"$folder/cloze/bin/cloze" fill-mask --checkpoint "$folder/output/checkpoint-00000060" "the small [MASK] sees the old dog." |
    tee "$folder/filled"
grep -qE 'cat|dog|bird' "$folder/filled" || fail "the checkpoint knows no animal"

code=0
"$folder/build/embed" /dev/null/nowhere 2 >"$folder/said" 2>&1 || code=$?
[ $code = 1 ] || fail "a folder that cannot be: exit code $code, $(cat "$folder/said")"

# Where there is a GPU it trains, elsewhere it says in one line that there is none.
code=0
"$folder/build/embed" "$folder/gpu" 60 gpu >"$folder/said" 2>&1 || code=$?
cat "$folder/said"
if [ $code != 0 ] && { [ $code != 1 ] || [ "$(wc -l <"$folder/said")" != 1 ]; }; then
    fail "on the GPU: exit code $code"
fi

# All headers together, without the flags of Cloze's build.
find "$folder/cloze/include/cloze" -name '*.h' -printf '#include "%P"\n' | sort >"$folder/headers.cpp"
quietly "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-unknown-pragmas \
    -I "$folder/cloze/include/cloze" "$folder/headers.cpp"

sed 's/find_package(Cloze 0.1/find_package(Cloze 0.2/' "$root/examples/embed/CMakeLists.txt" >"$folder/CMakeLists.txt"
cp "$root/examples/embed/main.cpp" "$folder"
if cmake -S "$folder" -B "$folder/newer" -DCMAKE_PREFIX_PATH="$folder/cloze" >/dev/null 2>&1; then
    fail "a version that is not there was found"
fi
