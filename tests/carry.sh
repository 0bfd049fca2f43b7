#!/usr/bin/env bash
# Puts what the tests of device code need besides CUDA into .carry/ (ignored by git), so that a machine with a GPU and
# without packages can take this folder and run tests/gpu.sh:
#
#   bash tests/carry.sh
#
# Headers and CMake files of the Debian packages below, libxxhash as it is linked into a program, and .carry/commit, the
# commit that travels.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly EXIT_MISSING=69
readonly CARRY=.carry

readonly PACKAGES=(catch2 nlohmann-json3-dev libcli11-dev libxxhash-dev)

if ! dpkg -L "${PACKAGES[@]}" >/dev/null 2>&1; then
    echo "carry: one of ${PACKAGES[*]} is not installed: bash tools/packages.sh tests" >&2
    exit $EXIT_MISSING
fi

rm -rf "$CARRY"
# Catch2's compiled main() stays behind, with the file that names it: the headers hold for every processor.
while read -r file; do
    case $file in
        */Catch2Targets-*.cmake) ;;
        /usr/include/* | /usr/lib/cmake/* | /usr/share/cmake/*)
            [ -f "$file" ] && install -D --mode=644 "$file" "$CARRY${file#/usr}"
            ;;
        */libxxhash.a) install -D --mode=644 "$file" "$CARRY/lib/libxxhash.a" ;;
    esac
done < <(dpkg -L "${PACKAGES[@]}")

commit=$(git rev-parse HEAD)
if [ -n "$(git status --porcelain)" ]; then
    commit="$commit with changes"
fi
echo "$commit" >"$CARRY/commit"
echo "carry: ${PACKAGES[*]} and commit $commit in $CARRY/, $(du -sh "$CARRY" | cut -f1)"
