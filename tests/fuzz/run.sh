#!/usr/bin/env bash
# Fuzzes every target (or those named), each for so many seconds, under the address and undefined-behaviour sanitizers.
#
#   bash tests/fuzz/run.sh SECONDS [TARGET...]
#
# Needs clang-14 and libclang-rt-14-dev; builds in build-fuzz/. What the fuzzer learns stays in build-fuzz/corpus/. A crash
# prints its stack, keeps its input in build-fuzz/findings/ and ends with exit code 1; once fixed, the input belongs into
# tests/fuzz/seeds/.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
seconds=$1
shift
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(sed -n 's/^cloze_fuzz(\([a-z_]*\) .*/\1/p' tests/fuzz/CMakeLists.txt)
fi

cmake -S . -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-clang++-14}" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCLOZE_FUZZ=ON >build-fuzz.log 2>&1 || { cat build-fuzz.log; exit 1; }
rm build-fuzz.log
cmake --build build-fuzz --target "${targets[@]/%/_fuzz}"

# No stacks of allocations and no leak search per input: about twice as many inputs a second.
export ASAN_OPTIONS=malloc_context_size=1
failed=0
for target in "${targets[@]}"; do
    corpus=build-fuzz/corpus/$target findings=build-fuzz/findings
    mkdir -p "$corpus" "$findings"
    options=(-max_total_time="$seconds" -max_len=1024 -timeout=10 -detect_leaks=0 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
             -artifact_prefix="$findings/$target-")
    [ ! -e "tests/fuzz/$target.dict" ] || options+=(-dict="tests/fuzz/$target.dict")
    echo "== $target, $seconds s"
    "build-fuzz/bin/${target}_fuzz" "${options[@]}" "$corpus" "tests/fuzz/seeds/$target" || failed=1
done
exit $failed
