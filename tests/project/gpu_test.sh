#!/usr/bin/env bash
# tests/gpu.sh on machines that this one is not: stand-ins for nvidia-smi, cmake, ctest and compute-sanitizer play them.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/checkout/tests/project" "$folder/checkout/.carry"
cp "$here/../gpu.sh" "$folder/checkout/tests/"
cp "$here/gpu_summary.py" "$here/summary.py" "$folder/checkout/tests/project/"
echo "0123abc with changes" >"$folder/checkout/.carry/commit"

stand_in() { # NAME, body on standard input
    { echo '#!/usr/bin/env bash' && cat; } >"$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}

stand_in nvidia-smi <<'END'
[ "${GPU:-yes}" = yes ] || exit 9
case $* in *compute_cap*) echo 9.0 ;; *driver_version*) echo 580.1 ;; *) echo "NVIDIA H100" ;; esac
END
stand_in cmake <<'END'
echo "cmake $*"
[[ $* == *--build* ]] || exit 0
[ "${BUILDS:-yes}" = yes ] || exit 2
mkdir -p build-gpu/bin
printf '#!/bin/sh\necho recorded >"$1"\n' >build-gpu/bin/record_instructions
chmod +x build-gpu/bin/record_instructions
END
stand_in ctest <<'END'
while [ "$1" != --output-junit ]; do shift; done
echo "<s><testcase name=\"device_kernels_test: one\" status=\"${CASE:-run}\"><system-out/></testcase></s>" >"$2"
[ "${CASE:-run}" = run ]
END
stand_in compute-sanitizer <<'END'
echo "sanitizer ${CLOZE_TEST_SANITIZER:-not told} $*"
echo "========= ERROR SUMMARY: ${HAZARDS:-0} errors"
[[ -z ${HAZARDS:-} || $2 != racecheck ]]
END

failures=0
# expect EXIT_CODE PATTERN...: runs gpu.sh with $FLAG on the machine that the variables describe. Each pattern stands on
# the screen, in the log or in the summary.
expect() {
    local code=0 output wanted=$1 pattern
    shift
    rm -rf "$folder/checkout/build-gpu" "$folder/out"
    output=$(PATH="$folder/bin:$PATH" GIT_DIR=none OUT="$folder/out" \
        bash "$folder/checkout/tests/gpu.sh" ${FLAG:+"$FLAG"} 2>&1) || code=$?
    output+=$(cat "$folder"/out/* 2>/dev/null || true)
    for pattern in "$@"; do
        if [ "$code" != "$wanted" ] || ! grep -q -- "$pattern" <<<"$output"; then
            printf 'gpu.sh %s: expected exit code %s and "%s", got %s and:\n%s\n' \
                "${FLAG:-}" "$wanted" "$pattern" "$code" "$output"
            failures=$((failures + 1))
        fi
    done
}

GPU=no expect 6 '^gpu: no NVIDIA GPU on this machine'
FLAG=--no-such-flag expect 2 'bash tests/gpu.sh --quick'
expect 0 '^1 passed, 0 failed, 0 skipped' '"commit": "0123abc with changes"' 'CLOZE_CUDA_ARCHITECTURES=90a-real' \
    'sanitizer 1 --tool initcheck' '"detail": "ERROR SUMMARY: 0 errors"' '^recorded'
CASE=fail expect 1 '^failed: device_kernels_test: one' 'sanitizer 1 --tool memcheck'
HAZARDS=3 expect 1 '^failed: racecheck: ERROR SUMMARY: 3 errors' 'sanitizer 1 --tool initcheck'
BUILDS=no expect 1 '^failed: build: exit code 2' '^failed: record: exit code 127'
FLAG=--quick HAZARDS=3 expect 0 '^1 passed'

[ $failures = 0 ] && echo "gpu.sh: every case as expected"
