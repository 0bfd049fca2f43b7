#!/usr/bin/env bash
# One build folder serves the quickstart (without tests) and the tests, in any order: each configuration is what a fresh
# folder would have.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

configure() { # FOLDER ON|OFF: what the build says of the kernels in its tests
    cmake -S "$root" -B "$folder/$1" -DCLOZE_CUDA=OFF "-DCLOZE_TESTS=$2" >"$folder/log" 2>&1 || {
        cat "$folder/log"
        exit 1
    }
    grep 'kernels in the tests' "$folder/log" || true
}

with_tests=$(configure fresh ON)
for tests in OFF ON OFF; do
    expected=
    [ $tests = OFF ] || expected=$with_tests
    said=$(configure shared $tests)
    if [ "$said" != "$expected" ]; then
        printf 'CLOZE_TESTS=%s: expected "%s", got "%s"\n' $tests "$expected" "$said"
        exit 1
    fi
done
echo "configurations: every one as in a fresh folder"
