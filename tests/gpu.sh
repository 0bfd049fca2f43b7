#!/usr/bin/env bash
# Runs every test of device code on this machine's GPU.
#
#   bash tests/gpu.sh            builds, runs the cases, records what each instruction computes, then runs the small
#                                cases under compute-sanitizer
#   bash tests/gpu.sh --quick    without compute-sanitizer
#
# Needs nvcc, CMake, Ninja, a C++20 compiler, Python, and the packages that tests/carry.sh puts into .carry/.
# Takes less than four minutes on 16 cores: what does not fit any more is reported as failed. A stage that fails does
# not stop the next. Leaves in "${OUT:-results}": gpu.json (device, driver, stages, counts, failing cases), gpu.log,
# cases.xml, and the record of the instructions under the device's name, such as h100.bin: it belongs into
# tests/instructions/, where the emulator is held to it.
# Exit code 0: nothing failed; 1: something did; 6: there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly EXIT_NO_GPU=6
readonly BUILD=build-gpu
readonly STATE=$BUILD/stages
CORES=$(nproc)
readonly CORES
readonly SLOWNESS=$((CORES < 16 ? (16 + CORES - 1) / CORES : 1))  # limits are for 16 cores
readonly TIME_LIMIT=$((230 * SLOWNESS))  # seconds, of the whole
readonly SMALL='~[large]'  # cases for compute-sanitizer, which is 10 to 100 times slower
# racecheck takes reads before bar.arrive and writes after the bar.sync that it releases for a race.
readonly WITHOUT_ARRIVE='~[large]~[arrive]'
readonly TEST=$BUILD/bin/device_kernels_test
out=${OUT:-results}

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

gpu_says() { nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0 2>/dev/null; }

# architecture COMPUTE_CAPABILITY: the part of the product that this GPU runs; one is built faster than all.
architecture() {
    case $1 in
        8.*) echo 80-real ;;
        9.0) echo 90a-real ;;
        *) echo 80-virtual ;;
    esac
}

commit() { # what tests/carry.sh noted knows better than a history that may not have travelled along
    cat .carry/commit 2>/dev/null || git rev-parse HEAD 2>/dev/null || echo unknown
}

# facts: what the figures of this run stand on.
facts() {
    printf 'device\t%s\n' "$(gpu_says name)"
    printf 'compute_capability\t%s\n' "$(gpu_says compute_cap)"
    printf 'driver\t%s\n' "$(gpu_says driver_version)"
    printf 'nvcc\t%s\n' "$(nvcc --version 2>/dev/null | sed -n 's/.*release \(.*\)$/\1/p')"
    printf 'date\t%s\n' "$(date --utc +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit\t%s\n' "$(commit)"
}

record() { # NAME passed|failed|skipped SECONDS DETAIL
    printf '%s\t%s\t%s\t%s\n' "$@" >>"$STATE/stages"
    printf '%-18s %-8s %5.1f s  %s\n' "$@"
}

summarise() {
    python3 tests/project/gpu_summary.py "$STATE/facts" "$STATE/stages" "$out/cases.xml" "$out/gpu.json"
}

# stage NAME SECONDS COMMAND...: one program, at most so long. What it says is logged, its end shown if it fails.
stage() {
    local name=$1 limit=$(($2 * SLOWNESS)) left=$((TIME_LIMIT - SECONDS)) log=$STATE/$1.log
    local code=0 began=$EPOCHREALTIME detail
    shift 2
    if [ $left -lt 5 ]; then
        record "$name" failed 0 "no time left"
        return
    fi
    limit=$((limit < left ? limit : left))
    printf '\n== %s: %s\n' "$name" "$*" >>"$out/gpu.log"
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee "$log" >>"$out/gpu.log" || code=${PIPESTATUS[0]}
    detail=$(grep -o '[A-Z]* SUMMARY: .*' "$log" | tail -1 || true)
    if [ "$code" = 0 ]; then
        record "$name" passed "$(seconds_since "$began")" "$detail"
    else
        [ "$code" = 124 ] && detail="not done after $limit s"
        record "$name" failed "$(seconds_since "$began")" "${detail:-exit code $code}"
        tail -25 "$log" | cut -c 1-240
    fi
    summarise >/dev/null || true  # so that a run that is cut off leaves what it had
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

build() {
    local options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DCLOZE_TESTS=ON -DCLOZE_CUDA=ON
        -DCLOZE_EMULATOR=OFF -DCLOZE_CUDA_SPILLS=ON
        "-DCLOZE_CUDA_ARCHITECTURES=$(architecture "$(gpu_says compute_cap)")")
    if [ -d .carry/include/catch2 ]; then
        options+=("-DCMAKE_PREFIX_PATH=$PWD/.carry")
    fi
    stage configure 40 cmake -S . -B $BUILD "${options[@]}"
    stage build 150 cmake --build $BUILD -j "$CORES" \
        --target device_kernels_test device_instructions_test record_instructions device_engine_test -- -k 0
}

# Each case is a process of its own: one that breaks the device does not take the others along.
run_cases() {
    stage cases 60 ctest --test-dir $BUILD --tests-regex '^device_[a-z]*_test' -j $((CORES < 8 ? CORES : 8)) \
        --timeout 30 --no-tests=error --output-on-failure --test-output-size-passed 65536 \
        --output-junit "$(realpath "$out")/cases.xml"
}

# h100 of "NVIDIA H100 80GB HBM3"
short_name() { gpu_says name | sed 's/^NVIDIA //; s/[^A-Za-z0-9].*//' | tr '[:upper:]' '[:lower:]'; }

# CLOZE_TEST_SANITIZER: buffers without canaries and NaN, each case once. Calls of CUDA that fail are our own cases.
sanitize() {
    local tool=$1 cases=$2
    shift 2
    if ! command -v compute-sanitizer >/dev/null; then
        record "$tool" skipped 0 "compute-sanitizer is not installed"
        return
    fi
    CLOZE_TEST_SANITIZER=1 stage "$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 "$@" \
        $TEST "$cases" --durations yes
}

main() {
    local quick=no
    case ${1:-} in
        "") ;;
        --quick) quick=yes ;;
        --help | -h) usage && return 0 ;;
        *) usage >&2 && return 2 ;;
    esac
    PATH=$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin
    if [ -z "$(gpu_says name)" ]; then
        echo "gpu: no NVIDIA GPU on this machine (nvidia-smi names none)" >&2
        return $EXIT_NO_GPU
    fi

    rm -rf "$STATE"
    mkdir -p "$STATE" "$out"
    rm -f "$out"/{gpu.json,gpu.log,cases.xml}
    facts | tee "$STATE/facts"
    build
    run_cases
    stage record 20 $BUILD/bin/record_instructions "$out/$(short_name).bin"
    if [ $quick = no ]; then
        sanitize memcheck "$SMALL" --leak-check full --report-api-errors no
        sanitize racecheck "$WITHOUT_ARRIVE"
        sanitize initcheck "$SMALL"
    fi
    summarise
}

main "$@"
