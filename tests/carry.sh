#!/usr/bin/env bash
# Puts what the tests of device code need besides CUDA into .carry/ (ignored by git), so that a machine with a GPU and
# without packages can take this folder and run tests/gpu.sh:
#
#   bash tests/carry.sh
#
# Catch2 as headers and CMake files, of the Debian package catch2, and .carry/commit, the commit that travels.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly EXIT_MISSING=69
readonly CARRY=.carry

if ! dpkg -L catch2 >/dev/null 2>&1; then
    echo "carry: the Debian package catch2 is not installed: bash tools/packages.sh tests" >&2
    exit $EXIT_MISSING
fi

rm -rf "$CARRY"
# The compiled main() stays behind, with the file that names it: the headers hold for every processor.
while read -r file; do
    case $file in
        */Catch2Targets-*.cmake) ;;
        /usr/include/* | /usr/lib/cmake/*)
            [ -f "$file" ] && install -D --mode=644 "$file" "$CARRY${file#/usr}"
            ;;
    esac
done < <(dpkg -L catch2)

commit=$(git rev-parse HEAD)
if [ -n "$(git status --porcelain)" ]; then
    commit="$commit with changes"
fi
echo "$commit" >"$CARRY/commit"
echo "carry: Catch2 and commit $commit in $CARRY/, $(du -sh "$CARRY" | cut -f1)"
