#!/usr/bin/env bash
# The programs under examples/, on a text made here: losses fall, a second call continues, bad input is one line.
set -euo pipefail

cloze=$1 own_loop=$2 train_until=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() { echo "$*" && exit 1; }

# 60 documents of sentences that say the same things in another order.
for document in $(seq 60); do
    for sentence in $(seq 8); do
        number=$(((document * 7 + sentence * 3) % 10))
        echo "The house with number $number has $((number + 1)) windows and $((number % 3 + 1)) doors of wood."
    done
    echo
done >"$folder/text.txt"
"$cloze" vocab --input "$folder/text.txt" --vocab-size 300 --output "$folder/vocab.txt" >"$folder/log" 2>&1
"$cloze" prepare --input "$folder/text.txt" --vocab "$folder/vocab.txt" --output "$folder/data" >>"$folder/log" 2>&1

"$own_loop" "$folder/data" 30 | tee "$folder/losses"
awk '/^step/ { loss[++n] = $5 } END { exit !(n == 3 && loss[3] < loss[1]) }' "$folder/losses" || fail "the loss did not fall"

"$train_until" "$folder/data" "$folder/run" 100 | tee "$folder/first"
grep -q 'low enough after 10 steps' "$folder/first" || fail "the caller did not end the run"
"$train_until" "$folder/data" "$folder/run" 100 | tee "$folder/second"
grep -q 'step 20/500' "$folder/second" || fail "the run was not continued"

code=0
"$own_loop" "$folder/nowhere" 5 2>"$folder/complaint" || code=$?
if [ $code != 1 ] || [ "$(wc -l <"$folder/complaint")" != 1 ]; then
    fail "a missing dataset: exit code $code, $(cat "$folder/complaint")"
fi
