#!/usr/bin/env bash
# Measures Cloze on the GPU of this machine: copies, kernels, matrix products, one of them for a minute with clocks and
# power, whole training steps, and PyTorch beside them.
#
#   bash benchmarks/gpu.sh            everything, in less than ten minutes
#   bash benchmarks/gpu.sh --quick    BERT-large at one size, the minute cut to ten seconds
#
# Builds what it needs in build-gpu-benchmarks/ (nvcc, cmake and a C++ compiler; Ninja where it is there; for the steps the
# libraries of the engine, which may lie in .carry/, see tests/carry.sh). Results go to the folder $OUT, or results/:
# copy.json, kernels.json, gemm.json, sustained.json, peers.json, steps.json, roofline.svg and benchmarks.log. $COMMIT is noted where git is not at hand. A stage that
# fails or takes too long is reported and costs no other. Exit code 1: some stage failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

readonly BUILD=build-gpu-benchmarks
CORES=$(nproc)
readonly CORES
readonly SLOWNESS=$((CORES < 16 ? (16 + CORES - 1) / CORES : 1))  # limits are for 16 cores
deadline=$((560 * SLOWNESS))                                      # seconds since the start
results=${OUT:-results}
log=$results/benchmarks.log
commit=${COMMIT:-$(cat .carry/commit 2>/dev/null || git describe --always --dirty 2>/dev/null || echo unknown)}
failed=0
summary=()
quick=()
sustained=60 # seconds

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

# stage NAME SECONDS COMMAND...: output to the log; never ends the script.
stage() {
    local name=$1 limit=$(($2 * SLOWNESS)) left=$((deadline - SECONDS)) start=$SECONDS status=0
    shift 2
    if [ "$left" -lt "$limit" ]; then limit=$left; fi
    if [ "$limit" -lt 1 ]; then
        summary+=("$name: not run, no time left")
        failed=1
        return 1
    fi
    printf '\n== %s\n' "$name" >>"$log"
    timeout --kill-after=5 "$limit" "$@" >>"$log" 2>&1 || status=$?
    case $status in
        0) summary+=("$name: done in $((SECONDS - start)) s") ;;
        124 | 137) summary+=("$name: stopped after $limit s") ;;
        *) summary+=("$name: failed with $status after $((SECONDS - start)) s") ;;
    esac
    printf '%s\n' "${summary[-1]}"
    if [ $status != 0 ]; then
        failed=1
        return 1
    fi
}

# What nvcc compiles for: this card alone, which is quicker.
architecture() {
    case $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1) in
        8.*) echo 80-real ;;
        9.0 | "") echo 90a-real ;;
        *) echo 80-virtual ;;
    esac
}

# Where Python's packages hold cuBLASLt, for a CUDA toolkit without it. Empty where they do not.
cublas_of_python() {
    python3 - 2>/dev/null <<'PYTHON'
import glob, os, site, sys
for folder in [*site.getsitepackages(), *sys.path]:
    for header in sorted(glob.glob(os.path.join(folder, "nvidia", "*", "include", "cublasLt.h"))):
        print(os.path.dirname(os.path.dirname(header)))
        sys.exit()
PYTHON
}

build() {
    local generator=()
    if command -v ninja >/dev/null; then generator=(-G Ninja); fi
    cmake -S . -B "$BUILD" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release "-DCLOZE_ENGINE=$1" -DCLOZE_TESTS=OFF \
        -DCLOZE_CUDA=ON "-DCLOZE_CUDA_ARCHITECTURES=$(architecture)" "-DCLOZE_CUBLAS_ROOT=$(cublas_of_python)" \
        "-DCMAKE_PREFIX_PATH=$PWD/.carry" &&
        cmake --build "$BUILD" --target "$2" -j "$CORES"
}

bench() { "$BUILD/bin/cloze-bench" "$@" --commit "$commit"; }

# The short tables, with what was measured.
tables() {
    local file
    for file in copy kernels gemm sustained; do
        if [ -s "$results/$file.json" ]; then
            printf '\n'
            bench report --short --from "$results/$file.json"
        fi
    done
}

main() {
    case ${1:-} in
        "") ;;
        --quick) quick=(--quick) sustained=10 ;;
        --help | -h) usage && return 0 ;;
        *) usage >&2 && return 2 ;;
    esac
    export PATH=$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin
    mkdir -p "$results" || return 1
    rm -f "$results"/{copy,kernels,gemm,sustained,peers,steps}.json "$results"/roofline.svg
    : >"$log" || return 1
    nvidia-smi >>"$log" 2>&1 || echo "nvidia-smi does not answer" >>"$log"

    # timeout runs programs, not functions; these are the script's own, in a shell of their own.
    export BUILD CORES commit
    export -f build bench architecture cublas_of_python
    if stage build 160 bash -c 'build "$@"' - OFF cloze-bench; then
        local report=("$results/kernels.json" --json "$results/kernels.json" --svg "$results/roofline.svg")
        stage copy 20 bash -c 'bench "$@"' - copy --json "$results/copy.json" "${quick[@]}"
        stage kernels 70 bash -c 'bench "$@"' - kernels --json "$results/kernels.json" "${quick[@]}"
        stage products 60 bash -c 'bench "$@"' - gemm --json "$results/gemm.json" "${quick[@]}"
        # No product has this name: the sustained one alone. Its limit covers the ceilings before it.
        stage sustained $((sustained + 20)) bash -c 'bench "$@"' - gemm --quick --filter none --sustained "$sustained" \
            --json "$results/sustained.json"
        stage peers 120 python3 benchmarks/peers.py --cases "$results/kernels.json" --json "$results/peers.json" \
            "${quick[@]}"
        if stage "build of steps" 90 bash -c 'build "$@"' - ON device_step; then
            stage steps 300 python3 benchmarks/device_steps.py --device-step "$BUILD/bin/device_step" \
                --json "$results/steps.json" --commit "$commit" "${quick[@]}"
        fi
        local peers=()
        if [ -s "$results/peers.json" ]; then peers=(--peers "$results/peers.json"); fi
        deadline=$((deadline + 15 * SLOWNESS)) # kept back for what was measured to be seen
        stage report 10 bash -c 'bench "$@"' - report --from "${report[@]}" "${peers[@]}"
        tables 2>&1 | tee -a "$log"
    else
        tail -n 30 "$log"
    fi
    printf '\n'
    printf '%s\n' "${summary[@]}" | tee -a "$log"
    return $failed
}

main "$@"
