#!/usr/bin/env bash
# From a fresh Debian machine to a trained BERT in one command.
#
#   bash tools/quickstart.sh [TEXT...]
#
# TEXT: files or folders of .txt (a blank line between documents). Without TEXT: the documentation of this machine's Perl.
# Installs what is missing (tools/packages.sh), builds into build/, learns a vocabulary, prepares the data, pretrains a
# small model (under five minutes on 2 cores), and shows what it learned.
#
# Everything lies under quickstart-run/, or under $CLOZE_QUICKSTART_DIR, in a folder named after the text and the
# settings: run again, it goes on where it stopped or shows the result again; other text gets another folder.
# $CLOZE_QUICKSTART_STEPS trains longer or shorter.
# Exit codes: those of cloze (docs/command_line.md); 69: a package is missing and cannot be installed from here.
# Tested by tests/project/quickstart_test.sh.
set -euo pipefail

readonly MODEL=tiny
readonly VOCAB_SIZE=8192
readonly SEQUENCE_LENGTH=128
readonly BATCH_SIZE=64
# Without dropout: a model this small, on new masks in every epoch, does not overfit in so few steps.
readonly DROPOUT=0
readonly LEARNING_RATE=3e-3
readonly BETA2=0.98
readonly SCHEDULE=poly
readonly STEPS=${CLOZE_QUICKSTART_STEPS:-2000}

root=$(cd "$(dirname "$0")/.." && pwd)
readonly root
readonly runs=${CLOZE_QUICKSTART_DIR:-$root/quickstart-run}
# The test puts a stand-in here, which is not built.
readonly cloze=${CLOZE_QUICKSTART_PROGRAM:-$root/build/bin/cloze}

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }

step() { printf '\n== %s\n' "$*"; }

fail() { # EXIT_CODE MESSAGE
    printf 'quickstart: %s\n' "$2" >&2
    exit "$1"
}

build() {
    step "1/6  build into build/ (a few minutes the first time)"
    cd "$root"
    if ! cmake --preset release -DCLOZE_TESTS=OFF >quickstart-build.log 2>&1; then
        cat quickstart-build.log >&2
        fail 1 "the build could not be configured, see above"
    fi
    grep -A 4 'Cloze [0-9]' quickstart-build.log
    rm quickstart-build.log
    cmake --build --preset release --target cloze
    cd "$OLDPWD"
}

# Sets `texts` to what is to be read, and prints where it comes from.
collect_text() {
    step "2/6  text"
    local path
    mkdir -p "$runs" || fail 4 "cannot make the folder $runs"
    if [ $# = 0 ]; then
        texts=("$runs/perl-documentation.txt")
        perl "$root/tools/pod_corpus.pl" >"${texts[0]}"
        return
    fi
    for path in "$@"; do
        [ -r "$path" ] || fail 3 "cannot read $path: does it exist?"
        texts+=("$(realpath "$path")")
    done
    printf '%s\n' "${texts[@]}"
}

# A name for this text under these settings.
name_of_run() {
    local files
    files=$(find "${texts[@]}" -type f -print0 | sort -z | xargs -0 sha256sum | cut -d' ' -f1)
    printf '%s\n' "$files" "$MODEL $VOCAB_SIZE $SEQUENCE_LENGTH $BATCH_SIZE $LEARNING_RATE $BETA2 $SCHEDULE $DROPOUT $STEPS" |
        sha256sum | cut -c1-12
}

# once NAME COMMAND...: runs it unless an earlier run of this script finished it.
once() {
    local mark=$run/$1.done
    shift
    if [ -e "$mark" ]; then
        echo "done before, kept"
    else
        "$@"
        touch "$mark"
    fi
}

train() {
    local code=0
    "$cloze" pretrain --data "$run/data" --model "$MODEL" --output "$run/model" --max-seq-length "$SEQUENCE_LENGTH" \
        --global-batch-size "$BATCH_SIZE" --max-steps "$STEPS" --learning-rate "$LEARNING_RATE" \
        --beta2 "$BETA2" --schedule "$SCHEDULE" --hidden-dropout-prob "$DROPOUT" --attention-dropout-prob "$DROPOUT" --seed 1 --device cpu || code=$?
    case $code in
        0) return ;;
        75) fail 75 "stopped and saved; the same command goes on" ;;
        *) fail "$code" "pretraining ended with exit code $code, see above" ;;
    esac
}

show() {
    step "6/6  what it learned"
    if compgen -G "$run/data/heldout-*.shard" >/dev/null; then
        "$cloze" evaluate --checkpoint "$run/model" --data "$run/data"
    else
        echo "The text is one document, so nothing of it could be held out to measure on: separate documents by blank"
        echo "lines, or give several files."
    fi
    echo
    "$cloze" fill-mask --checkpoint "$run/model" --top-k 3 "${examples[@]}"
    cat <<END

The checkpoints lie in $run/model; each is a folder that HuggingFace transformers loads.
Try next:
  ${cloze#"$PWD"/} fill-mask --checkpoint $run/model "Your own sentence with a [MASK] in it."
  bash tools/quickstart.sh your-text.txt
END
}

main() {
    case ${1:-} in
        --help | -h) usage && return 0 ;;
        -*) usage >&2 && return 2 ;;
    esac
    local texts=() examples groups=(build)
    if [ $# = 0 ]; then
        groups+=(corpus)
        examples=(
            "It returns the number [MASK] elements in the array."
            "If you do [MASK] want this, use another module."
            "This module is free software; you can redistribute [MASK] under the same terms as Perl itself."
        )
    else
        examples=("It was the [MASK] day of the year." "He went to the [MASK]." "This is the [MASK] of all.")
    fi

    echo "Cloze quickstart: installs what is missing, builds, and pretrains a small BERT on real text."
    bash "$root/tools/packages.sh" "${groups[@]}"
    [ -n "${CLOZE_QUICKSTART_PROGRAM:-}" ] || build
    collect_text "$@"
    run=$runs/$(name_of_run)
    mkdir -p "$run"
    step "3/6  vocabulary of $VOCAB_SIZE pieces"
    once vocab "$cloze" vocab --input "${texts[@]}" --vocab-size "$VOCAB_SIZE" --output "$run/vocab.txt" --overwrite
    step "4/6  token shards"
    once data "$cloze" prepare --input "${texts[@]}" --vocab "$run/vocab.txt" --output "$run/data" --overwrite
    step "5/6  pretraining: BERT-$MODEL, $STEPS steps of $BATCH_SIZE sequences"
    train
    show
}

main "$@"
