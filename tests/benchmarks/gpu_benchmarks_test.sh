#!/usr/bin/env bash
# benchmarks/gpu.sh where this machine has no GPU: stand-ins for cmake, Python and cloze-bench note what they are asked.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/checkout/benchmarks"
cp "$here/../../benchmarks/gpu.sh" "$folder/checkout/benchmarks/"

stand_in() { # NAME, body on standard input
    { echo '#!/usr/bin/env bash' && cat; } >"$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}

stand_in nvidia-smi <<'END'
case $* in *compute_cap*) echo 9.0 ;; *) echo "NVIDIA H100" ;; esac
END
stand_in python3 <<'END'
while [ $# -gt 0 ] && [ "$1" != --json ]; do shift; done
[ $# = 0 ] || echo '{"rows": []}' >"$2"
END
stand_in cmake <<'END'
[[ $* == *--build* ]] || exit 0
mkdir -p build-gpu-benchmarks/bin
cp "$(dirname "$0")/cloze-bench" build-gpu-benchmarks/bin/
END
stand_in cloze-bench <<'END'
echo "bench $*"
[[ $* != *--sustained* || -z ${FAILS:-} ]] || exit 1
while [ $# -gt 0 ] && [ "$1" != --json ]; do shift; done
[ $# = 0 ] || echo '{}' >"$2"
END

failures=0
# expect EXIT_CODE PATTERN...: runs gpu.sh with $FLAG. Each pattern stands on the screen or in the log.
expect() {
    local code=0 output wanted=$1 pattern
    shift
    rm -rf "$folder/out"
    output=$(PATH="$folder/bin:$PATH" COMMIT=0123abc OUT="$folder/out" \
        bash "$folder/checkout/benchmarks/gpu.sh" ${FLAG:+"$FLAG"} 2>&1) || code=$?
    output+=$(cat "$folder"/out/benchmarks.log 2>/dev/null || true)
    for pattern in "$@"; do
        if [ "$code" != "$wanted" ] || ! grep -q -- "$pattern" <<<"$output"; then
            printf 'gpu.sh %s: expected exit code %s and "%s", got %s and:\n%s\n' \
                "${FLAG:-}" "$wanted" "$pattern" "$code" "$output"
            failures=$((failures + 1))
        fi
    done
}

expect 0 'gemm --quick --filter none --sustained 60 --json .*sustained.json --commit 0123abc' '^sustained: done' \
    '^bench report --short --from .*sustained.json' '--peers .*peers.json' '^peers: done' '^build of steps: done' '^steps: done'
FLAG=--quick expect 0 'kernels --json .* --quick' '--sustained 10 '
FAILS=yes expect 1 '^sustained: failed with 1' '^peers: done' '^report: done'
FLAG=--no-such-flag expect 2 'bash benchmarks/gpu.sh --quick'

[ $failures = 0 ] && echo "gpu.sh: every case as expected"
