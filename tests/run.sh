#!/usr/bin/env bash
# Builds Cloze and runs its tests.
#
#   bash tests/run.sh          everything that needs no PyPI, no sanitizer and no patience
#   bash tests/run.sh --all    adds comparisons with other implementations (PyPI, in build/venv), sanitizers, long loops,
#                              format, lint, and the kernels through nvcc where it exists
#
# Installs the Debian packages it needs (tools/packages.sh). Ends with passed, failed and skipped, with the reasons.
# Exit code 0: nothing failed; 1: something did; 69: a package is missing and cannot be installed from here.
# External corpora are found through CLOZE_TEST_DATA.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly RESULTS=build/test-results
readonly THREAD_TESTS=(data_test)  # executables with threads of our own, for the thread sanitizer
jobs=$(nproc)
targets=()
selection=()

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

say() { printf '\n== %s\n' "$*"; }

record() { # passed|failed|skipped NAME [REASON]
    printf '%s %s: %s\n' "$1" "$2" "${3:-}" >>"$RESULTS/checks.txt"
}

# check NAME COMMAND...: one line in the summary; the run goes on, so that all failures show at once.
check() {
    local name=$1
    shift
    say "$name"
    if "$@"; then
        record passed "$name"
    else
        record failed "$name"
    fi
}

# build PRESET [CMAKE OPTION...]
build() {
    local log="$RESULTS/$1-configure.log"
    if ! cmake --preset "$@" >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    grep -A 10 'Cloze [0-9]' "$log" | grep -v -e Configuring -e Generating -e 'Build files'
    without_address_randomisation cmake --build --preset "$1" -j "$jobs" -- "${targets[@]}"
}

# build_and_test PRESET [CMAKE OPTION...]: takes the array `targets` (none = all) and `selection` (options of ctest).
# Test cases run side by side, so waiting OpenMP threads sleep. The summary counts what failed.
build_and_test() {
    say "build: $1"
    if ! build "$@"; then
        record failed "build $1"
        return
    fi
    record passed "build $1"
    say "tests: $1"
    OMP_WAIT_POLICY=passive without_address_randomisation ctest --preset "$1" -j "$jobs" "${selection[@]}" \
        --test-output-size-passed 65536 --output-junit "$PWD/$RESULTS/$1.xml" || true
    grep -q '<testcase' "$RESULTS/$1.xml" 2>/dev/null || record failed "tests $1" "ctest left no results"
}

# GCC 12's thread sanitizer does not start under the address randomisation of newer kernels.
without_address_randomisation() {
    if setarch -R true 2>/dev/null; then
        setarch -R "$@"
    else
        "$@"
    fi
}

peer_python() {
    say "packages from PyPI, about 5.6 GB in build/venv (torch, transformers, tokenizers)"
    [ -x build/venv/bin/python ] || python3 -m venv build/venv
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement tests/requirements.txt
}

cpp_sources() { git ls-files '*.h' '*.cpp' '*.cu' '*.cuh'; }

format() { cpp_sources | xargs -r clang-format --dry-run -Werror; }

lint_scripts() {
    git ls-files '*.sh' .ci/run | xargs -r shellcheck
    git ls-files '*.py' | xargs -r python3 -c \
        'import ast, sys; [ast.parse(open(file).read(), file) for file in sys.argv[1:]]'
}

# Headers are linted with the sources that include them; tests are left to the compiler.
lint() {
    git ls-files 'kernels/*.cpp' 'engine/*.cpp' 'tools/*.cpp' ':!kernels/core/device_calls_*' |
        xargs -r -P "$jobs" -n 1 clang-tidy -p build --quiet 2>"$RESULTS/lint.log" || { tail "$RESULTS/lint.log"; return 1; }
}

nvcc_on_path() {
    PATH=$PATH:/usr/local/cuda/bin
    command -v nvcc >/dev/null
}

main() {
    local all=no
    case ${1:-} in
        "") ;;
        --all) all=yes ;;
        --help | -h) usage && return 0 ;;
        *) usage >&2 && return 2 ;;
    esac

    if [ $all = yes ]; then
        bash tools/packages.sh build tests checks
    else
        bash tools/packages.sh build tests
    fi
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"

    local options=(-DCLOZE_TESTS=ON -DCLOZE_WERROR=OFF -DCLOZE_PEER_PYTHON=)
    if [ $all = yes ]; then
        export CLOZE_TEST_LONG=1
        check "format" format
        check "lint of scripts" lint_scripts
        check "PyPI packages" peer_python
        options+=(-DCLOZE_WERROR=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "-DCLOZE_PEER_PYTHON=$PWD/build/venv/bin/python")
    fi
    build_and_test release "${options[@]}"
    if [ $all = yes ]; then
        unset CLOZE_TEST_LONG
        selection=(--label-exclude peer)
        build_and_test asan
        targets=("${THREAD_TESTS[@]}")
        selection=(--tests-regex "^($(IFS='|' && echo "${THREAD_TESTS[*]}")):")
        build_and_test tsan
        if [ -e build/compile_commands.json ]; then
            check "lint" lint
        else
            record skipped "lint" "the release build could not be configured"
        fi
        if [ -z "$(git ls-files 'kernels/*.cu')" ]; then
            record skipped "kernels through nvcc" "there are no device kernels yet"
        elif nvcc_on_path; then
            check "kernels through nvcc" python3 tests/project/kernel_resources.py --jobs "$jobs"
        else
            record skipped "kernels through nvcc" "nvcc is not installed"
        fi
    fi

    say "summary"
    python3 tests/project/summary.py "$RESULTS"
}

main "$@"
