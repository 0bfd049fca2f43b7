#!/usr/bin/env bash
# The long run of the kernels on the host emulator: every case of emulated_kernels_test under many schedules, a case a
# core, then every mutant (tests/mutants).
#
#   bash tests/long.sh [SCHEDULES]     of each case that runs under schedules; 200 if not given
#
# Builds what it needs in build/ and runs at low priority. What came out is written to tests/long_summary.txt, which is
# committed; what the cases said is in build/long. Exit code 0: no case failed and every mutant was caught.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOGS=build/long
readonly SUMMARY=tests/long_summary.txt
readonly CASES=build/bin/emulated_kernels_test
readonly MUTANTS=build/bin/mutants_test
schedules=${1:-200}
jobs=$(nproc)
version=$(git describe --always --dirty=', with changes' 2>/dev/null || echo unknown)

if [[ ! $schedules =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi

run_case() { # NUMBER NAME
    local began=$SECONDS outcome=passed
    CLOZE_TEST_SCHEDULES=$schedules "$CASES" "${2//,/\\,}" >"$LOGS/$1.log" 2>&1 || outcome=failed
    printf '%s %s (%s s)\n' "$outcome" "$2" $((SECONDS - began)) | tee -a "$LOGS/outcomes.txt"
}

run_cases() {
    local names number=0
    mapfile -t names < <("$CASES" --list-test-names-only || true) # the exit code is the number of cases
    for name in "${names[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
        number=$((number + 1))
        run_case "$number" "$name" &
    done
    wait
}

count() { # PATTERN: lines of outcomes.txt
    grep -c "$1" "$LOGS/outcomes.txt" || true
}

# A race that a case plants is in no message of it: only what nobody expected is printed.
cases_with_races() {
    { grep -l 'race on' "$LOGS"/*.log || true; } | wc -l
}

compiler() {
    "$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' build/CMakeCache.txt)" --version | head -n 1
}

write_summary() { # LAST LINE OF run.py
    {
        echo "The kernels on the host emulator, in the long run: written by tests/long.sh."
        echo
        echo "date       $(date --utc +%F)"
        echo "version    $version"
        echo "compiler   $(compiler)"
        echo "cases      $(count '^passed') passed, $(count '^failed') failed"
        echo "schedules  $schedules of each case that runs under schedules"
        echo "races      in $(cases_with_races) cases"
        echo "mutants    ${1/ mutants/}"
        echo "time       $((SECONDS / 60)) min $((SECONDS % 60)) s on $jobs cores"
        sed -n 's/^failed /failed     /p' "$LOGS/outcomes.txt"
    } >"$SUMMARY"
    cat "$SUMMARY"
}

renice -n 10 $$ >/dev/null
export OMP_NUM_THREADS=1
cmake --preset release -DCLOZE_TESTS=ON -DCLOZE_EMULATOR=ON >/dev/null
cmake --build build --target emulated_kernels_test mutants_test -j "$jobs"
rm -rf "$LOGS"
mkdir -p "$LOGS"
SECONDS=0
run_cases
mutants=0
python3 tests/mutants/run.py --jobs "$jobs" "$MUTANTS" tests/mutants/list/*.txt >"$LOGS/mutants.txt" || mutants=$?
grep -A 1 -E '^(SURVIVED|OTHERWISE|FAILS)' "$LOGS/mutants.txt" || true
write_summary "$(tail -n 1 "$LOGS/mutants.txt")"
[ "$(count '^failed')" = 0 ] && [ "$mutants" = 0 ]
