#!/usr/bin/env bash
# tools/quickstart.sh with a stand-in for the program: the order of the commands, running twice, other text, bad input.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Writes down how it was called and leaves what the real one leaves; FAIL names a command that ends with FAIL_CODE. A
# text of ONE_DOCUMENT has nothing held out.
cat >"$folder/cloze" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$CALLS"
echo "output of $1"
[ "$1" != "${FAIL:-}" ] || exit "$FAIL_CODE"
command=$1
while [ $# -gt 1 ]; do
    if [ "$1" = --output ] && [ "$command" = prepare ]; then
        mkdir -p "$2"
        [ -n "${ONE_DOCUMENT:-}" ] || touch "$2/heldout-00000.shard"
    elif [ "$1" = --output ]; then
        echo result >"$2"
    fi
    shift
done
END
chmod +x "$folder/cloze"
mkdir "$folder/texts"
echo "Some text." >"$folder/one.txt"
echo "Other text." >"$folder/texts/two.txt"

export CLOZE_QUICKSTART_PROGRAM=$folder/cloze CLOZE_QUICKSTART_DIR=$folder/runs CALLS=$folder/calls

expect_calls() { # COMMAND...: the subcommands since the last time
    local actual
    actual=$(cut -d' ' -f1 "$CALLS" 2>/dev/null | tr '\n' ' ')
    [ "$actual" = "$* " ] || { echo "expected the commands: $*; got: $actual" && exit 1; }
    rm -f "$CALLS"
}

# quickstart EXIT_CODE PATTERN TEXT...
quickstart() {
    local code=0 wanted=$1 pattern=$2
    shift 2
    bash "$here/../../tools/quickstart.sh" "$@" >"$folder/output" 2>&1 || code=$?
    if [ "$code" != "$wanted" ] || ! grep -q -- "$pattern" "$folder/output"; then
        echo "quickstart.sh $*: expected exit code $wanted and \"$pattern\", got $code and:"
        cat "$folder/output"
        exit 1
    fi
}

quickstart 0 'output of fill-mask' "$folder/one.txt"
expect_calls vocab prepare pretrain evaluate fill-mask
quickstart 0 'done before, kept' "$folder/one.txt"
expect_calls pretrain evaluate fill-mask
quickstart 0 'Try next' "$folder/one.txt" "$folder/texts"
expect_calls vocab prepare pretrain evaluate fill-mask
echo "More text." >>"$folder/one.txt"
FAIL=pretrain FAIL_CODE=75 quickstart 75 'the same command goes on' "$folder/one.txt"
expect_calls vocab prepare pretrain
FAIL=pretrain FAIL_CODE=5 quickstart 5 'ended with exit code 5' "$folder/one.txt"
expect_calls pretrain
echo "Third text." >>"$folder/one.txt"
FAIL=prepare FAIL_CODE=4 quickstart 4 'output of prepare' "$folder/one.txt"
expect_calls vocab prepare
quickstart 0 'Try next' "$folder/one.txt"
expect_calls prepare pretrain evaluate fill-mask
echo "Fourth text." >>"$folder/one.txt"
ONE_DOCUMENT=yes quickstart 0 'nothing of it could be held out' "$folder/one.txt"
expect_calls vocab prepare pretrain fill-mask
quickstart 3 'cannot read .*/missing.txt: does it exist' "$folder/missing.txt"
quickstart 2 'bash tools/quickstart.sh \[TEXT...\]' --unknown
quickstart 0 'bash tools/quickstart.sh \[TEXT...\]' --help
[ "$(find "$folder/runs" -mindepth 1 -maxdepth 1 -type d | wc -l)" = 5 ]
echo "quickstart.sh: every case as expected"
