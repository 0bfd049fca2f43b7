#!/usr/bin/env bash
# Puts what device code is tested and measured with besides CUDA into .carry/ (ignored by git), so that a machine with a
# GPU and without packages can take this folder and run tests/gpu.sh and benchmarks/gpu.sh:
#
#   bash tests/carry.sh
#
# Headers and CMake files of the Debian packages below, libxxhash as it is linked into a program; .carry/python, the
# Python module of cuDNN's frontend (5 MB, from PyPI) for the Python of that machine, $CLOZE_CARRY_PYTHON or 3.12, without
# which benchmarks/peers.py leaves out cuDNN's own graphs; and .carry/commit, the commit that travels.
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

readonly FRONTEND=nvidia-cudnn-frontend==1.15.0
python=${CLOZE_CARRY_PYTHON:-3.12}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
graphs="without cuDNN's frontend"
# Its headers and notes stay behind.
if python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" \
    --platform manylinux_2_28_x86_64 --dest "$wheels" "$FRONTEND" >&2 &&
    python3 -m zipfile -e "$wheels"/*.whl "$wheels/unpacked" && mkdir -p "$CARRY/python" &&
    mv "$wheels/unpacked/cudnn" "$CARRY/python/"; then
    graphs="$FRONTEND for Python $python"
fi

commit=$(git rev-parse HEAD)
if [ -n "$(git status --porcelain)" ]; then
    commit="$commit with changes"
fi
echo "$commit" >"$CARRY/commit"
echo "carry: ${PACKAGES[*]}, $graphs and commit $commit in $CARRY/, $(du -sh "$CARRY" | cut -f1)"
