#!/usr/bin/env bash
# The Debian packages Cloze needs, in one list, and how they get here.
#
#   bash tools/packages.sh GROUP...    installs what is missing of build, corpus, tests or checks
#   bash tools/packages.sh --list      prints the list
#
# Says what it will install and how large that is. Without root and without sudo it prints the exact command instead; then
# it goes on if only optional packages are missing, and else exits with 69.
# Tested by tests/project/packages_test.sh.
set -euo pipefail

readonly EXIT_MISSING=69

# package | group | required or optional | present if dpkg has it, or if this command or <header> is found | why
packages() {
    cat <<'END'
g++                | build  | required | g++                    | compiles Cloze (C++20)
cmake              | build  | required | cmake                  | configures the build
ninja-build        | build  | required | ninja                  | runs the build
nlohmann-json3-dev | build  | required | <nlohmann/json.hpp>    | reads and writes config.json
libcli11-dev       | build  | required | <CLI/CLI.hpp>          | the command line
libxxhash-dev      | build  | required | <xxhash.h>             | checksums of shards and checkpoints
libdnnl-dev        | build  | optional | <oneapi/dnnl/dnnl.hpp> | oneDNN: host matrix products, about ten times faster
ccache             | build  | optional | ccache                 | makes building again quick
perl               | corpus | required | -                      | its documentation is the text, its Pod::Simple the reader
perl-doc           | corpus | optional | -                      | Perl's manual: most of the English of that text
catch2             | tests  | required | <catch2/catch.hpp>     | the test framework, version 2
libboost-context-dev | tests | optional | <boost/context/detail/fcontext.hpp> | runs the kernels on the host
python3            | tests  | required | python3                | checks the rooms, counts the results
perl               | tests  | required | -                      | for the test of the corpus script
unzip              | tests  | optional | unzip                  | unpacks external corpora, where CLOZE_TEST_DATA names any
xz-utils           | tests  | optional | xz                     | the same
git                | checks | required | git                    | lists the sources
python3-venv       | checks | required | -                      | a folder of its own for packages from PyPI
clang-format       | checks | required | clang-format           | format check (version 14)
clang-tidy         | checks | required | clang-tidy             | lint (version 14)
shellcheck         | checks | required | shellcheck             | lint of the scripts
END
}

say() { printf 'packages: %s\n' "$*"; }

# The list without the blanks around the bars.
rows() { packages | sed 's/ *| */|/g'; }

has_header() { printf '#include %s\n' "$1" | g++ -std=c++20 -x c++ -E - >/dev/null 2>&1; }

is_present() { # PACKAGE PROBE
    if [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; then
        return 0
    fi
    case $2 in
        -) return 1 ;;
        "<"*) has_header "$2" ;;
        *) command -v "$2" >/dev/null ;;
    esac
}

# missing NEED GROUP...: names of the missing packages that are required or optional.
missing() {
    local need=$1 groups package group need_of_row probe
    shift
    groups=" $* "
    while IFS='|' read -r package group need_of_row probe _; do
        if [[ $groups == *" $group "* && $need_of_row == "$need" ]] && ! is_present "$package" "$probe"; then
            echo "$package"
        fi
    done < <(rows) | sort -u
}

# Words that run a command as root, or a failure.
root_prefix() {
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo sudo -n env
    else
        return 1
    fi
}

# What apt would fetch and unpack; changes nothing and needs no rights.
announce() {
    local package sizes
    say "not here yet:"
    for package in "$@"; do
        rows | awk -F'|' -v name="$package" '$1 == name { printf "  %-20s %-9s %s\n", $1, $3, $5; exit }'
    done
    sizes=$(LC_ALL=C apt-get -o Debug::NoLocking=true --no-install-recommends --print-uris -y install "$@" 2>/dev/null |
        grep -E '^(Need to get|After this operation)' || true)
    say "size, with what they depend on: ${sizes:-unknown until apt-get update has run}"
}

main() {
    if [ "${1:-}" = --list ]; then
        packages
        return 0
    fi
    if [ $# = 0 ]; then
        say "name a group: build, corpus, tests or checks" >&2
        return 2
    fi
    local required optional prefix
    mapfile -t required < <(missing required "$@")
    mapfile -t optional < <(missing optional "$@")
    local wanted=("${required[@]}" "${optional[@]}")
    if [ ${#wanted[@]} = 0 ]; then
        return 0
    fi

    local install=(apt-get install --yes --no-install-recommends)
    if command -v apt-get >/dev/null && prefix=$(root_prefix); then
        # shellcheck disable=SC2086  # the prefix is several words
        $prefix apt-get update -qq || say "apt-get update failed; trying with the package lists that are here"
        announce "${wanted[@]}"
        # shellcheck disable=SC2086
        if $prefix DEBIAN_FRONTEND=noninteractive "${install[@]}" "${wanted[@]}"; then
            return 0
        fi
        say "apt-get failed; trying once more with what is required only"
        # shellcheck disable=SC2086
        if [ ${#required[@]} != 0 ] && $prefix DEBIAN_FRONTEND=noninteractive "${install[@]}" "${required[@]}"; then
            required=()
        fi
    else
        announce "${wanted[@]}"
    fi
    say "to install them: sudo ${install[*]} ${wanted[*]}"
    if [ ${#required[@]} != 0 ]; then
        say "cannot go on without: ${required[*]}" >&2
        return $EXIT_MISSING
    fi
    say "going on without: ${optional[*]}"
}

main "$@"
