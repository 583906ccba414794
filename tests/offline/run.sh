#!/usr/bin/env bash
# GNU parallel with two workers over one file of pairs: shards of the file, and blocks of it through a pipe. Both must give
# what one process gives; a worker that is killed must go on where it was.
#
#   tests/offline/run.sh [BINARY]      default: target/release/ironrank
#
# With a small model. Needs parallel and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/release/ironrank}")
. tests/support/checks.sh
need "apt-get install parallel python3, cargo build --release" parallel python3 "$binary"

tests/support/tiny-model.sh "$work/model"
python3 - >"$work/pairs.jsonl" <<'PY'
import json
for i in range(400):
    if i % 100 == 99:
        print('{"query": "a row without an end')
    else:
        words = " ".join(f"word{(i * 7 + j) % 97}" for j in range(20 + i % 50))
        print(json.dumps({"id": i, "query": f"question {i // 10}", "document": words}))
PY
# Workers share the cores: each has one thread, which the system places.
score=("$binary" score "$work/model" --load-format dummy --max-model-len 512 --threads 1 --no-pin --weight-cache "$work/cache")
export HOME="$work" # for parallel's own files
: | parallel --will-cite true 2>/dev/null || true

code=0
"${score[@]}" --input "$work/pairs.jsonl" --output "$work/whole.jsonl" 2>"$work/whole.log" || code=$?
check "one process scores the file, but for 4 rows" test "$code" -eq 3
check "it writes a line for every good row" test "$(wc -l <"$work/whole.jsonl")" -eq 396
tail -n 1 "$work/whole.log"

# 1. Shards: every process reads the file and takes every second line. parallel counts those that rejected rows.
code=0
parallel -j 2 "${score[@]}" --input "$work/pairs.jsonl" --output "$work/part{}.jsonl" --shard '{}/2' ::: 1 2 2>"$work/shards.log" ||
  code=$?
check "two shards end, the one with the bad rows with its code" test "$code" -eq 1
lines() { python3 -c 'import json, sys
for row in sorted((json.loads(line) for name in sys.argv[1:] for line in open(name)), key=lambda row: row["line"]): print(row)' "$@"; }
check "together they are the whole" cmp <(lines "$work"/part?.jsonl) <(lines "$work/whole.jsonl")
check "so are the rows they rejected" cmp <(lines "$work"/part?.jsonl.rejected.jsonl) <(lines "$work/whole.jsonl.rejected.jsonl")

# 2. A worker dies in the middle of its work; the same command again does the rest of it.
mkdir "$work/again"
again() { parallel -j 2 "${score[@]}" --input "$work/pairs.jsonl" --output "$work/again/part{}.jsonl" --shard '{}/2' ::: 1 2 2>"$work/$1.log" || true; }
again first &
first=$!
until [ -s "$work/again/part2.jsonl" ]; do sleep 0.02; done
victim=$(pgrep -f -- "--output $work/again/part2.jsonl --shard 2/2" | tail -n 1)
kill -9 "$victim" 2>/dev/null || true
wait "$first"
cp "$work/again/part2.jsonl" "$work/again/killed"
again second
check "what the killed worker wrote is the beginning of its part" \
  cmp <(head -c "$(stat -c %s "$work/again/killed")" "$work/part2.jsonl") "$work/again/killed"
check "the second run makes the first part what it was" cmp "$work/again/part1.jsonl" "$work/part1.jsonl"
check "the second run makes the second part what it was" cmp "$work/again/part2.jsonl" "$work/part2.jsonl"
grep -h "going on after line" "$work/second.log" || true

# 3. A pipe: blocks of whole lines through two processes, their answers in order. Rows are told by their ids.
code=0
parallel -j 2 --pipe --block 8k -k "${score[@]}" --input - --output - <"$work/pairs.jsonl" >"$work/piped.jsonl" 2>"$work/piped.log" || code=$?
answers() { python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(row["id"], row["score"])'; }
check "blocks through two processes give the same scores in the same order" \
  cmp <(answers <"$work/piped.jsonl") <(answers <"$work/whole.jsonl")
check "the 4 bad rows are in the log" test "$(grep -c "is rejected" "$work/piped.log")" -eq 4

if [ "$failed" -gt 0 ]; then tail -n 20 "$work"/*.log >&2; fi
summary
