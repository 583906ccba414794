# shellcheck shell=bash
# Sourced by the scripts beside it, which get with it what every test script has: runs test programs, starts servers of a
# small model under any command, and asks them. Needs curl and python3.

. tests/support/checks.sh

executable() { # PRINTED TEST: the file that `cargo test --no-run` says it made of a test
  sed -n "s|^ *Executable $2 (\(.*\))$|\1|p" <<<"$1" | grep . || { echo "no executable of $2 in: $1" >&2; return 1; }
}

fails_with() { # CODE TEXT COMMAND...
  local wanted=$1 text=$2 code=0
  shift 2
  "$@" >"$work/printed" 2>&1 || code=$?
  if [ "$code" -ne "$wanted" ] || ! grep -qF -- "$text" "$work/printed"; then
    echo "exit code $code, not $wanted with '$text':"
    cat "$work/printed"
    return 1
  fi
}

some_pass() { # COMMAND...: a test program that succeeds, at least one of its tests having run
  "$@" | tee "$work/results" && grep -q '^test result: ok\. [1-9]' "$work/results"
}

start() { # NAME COMMAND...: starts the command, the program at its end, as the server NAME of the small model
  serve "$@" serve "$work/model" --served-model-name tiny --max-model-len 2048
}

ask() { # NAME: three documents of mixed length and script; their scores go to $work/NAME.scores
  curl -sSf --max-time 300 "${url[$1]}/v1/rerank" -H 'Content-Type: application/json' -d '{"query": "What is the capital of France?",
    "documents": ["Paris is the capital of France.", "Der Nil ist ein Fluß in Afrika, 6.650 Kilometer lang.", "東京は日本の首都です。 Tokyo is not in France, nor is it small: it is a city of many millions of people."]}' |
    python3 -c 'import json, sys
for result in sorted(json.load(sys.stdin)["results"], key=lambda result: result["index"]): print(result["relevance_score"])' >"$work/$1.scores"
  [ "$(wc -l <"$work/$1.scores")" -eq 3 ]
}

same_scores() { # NAME OTHER: within what float32 errs on such a model
  python3 - "$work/$1.scores" "$work/$2.scores" <<'PY'
import sys
a, b = ([float(line) for line in open(path)] for path in sys.argv[1:])
worst = max(abs(x - y) for x, y in zip(a, b, strict=True))
print(f"scores {a} and {b} differ by {worst:.1e}")
sys.exit(worst > 2e-6)
PY
}

logged() { # NAME PATTERN: a line of its log
  grep -E -- "$2" "$work/$1.log" || { cat "$work/$1.log"; return 1; }
}
