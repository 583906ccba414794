# Sourced by the scripts beside it: counts checks, starts servers of a small model under any command, and asks them.
#
# Invariant: what was started is stopped, and $work removed, when the script ends. Needs curl and python3.

work=$(mktemp -d)
passed=0 failed=0 not_run=0
declare -A server=() url=()

finish() {
  for pid in "${server[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

executable() { # PRINTED TEST: the file that `cargo test --no-run` says it made of a test
  sed -n "s|^ *Executable $2 (\(.*\))$|\1|p" <<<"$1" | grep . || { echo "no executable of $2 in: $1" >&2; return 1; }
}

check() { # NAME COMMAND...: one line, one count; what the command prints is shown if it fails
  local name=$1 started=$SECONDS
  shift
  if "$@" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $name ($((SECONDS - started)) s)"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    tail -n 30 "$work/said" | sed 's/^/        /'
  fi
}

not_run() { # NAME WHY
  not_run=$((not_run + 1))
  echo "not run $1: $2"
}

summary() { # The closing line; the status says whether all went well.
  echo "$passed passed, $failed failed, $not_run not run"
  [ "$failed" -eq 0 ]
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

serve() { # NAME COMMAND...: starts the command, a server's beginning, and waits for it to be ready; its log is $work/NAME.log
  local name=$1 tries=600
  shift
  "$@" serve "$work/model" --load-format dummy --served-model-name tiny --max-model-len 2048 --weight-cache off \
    --host 127.0.0.1 --port 0 >"$work/$name.log" 2>&1 &
  server[$name]=$!
  until url[$name]=$(sed -n 's/.*ready: serving .* on \(http:[^ ]*\).*/\1/p' "$work/$name.log") && [ -n "${url[$name]}" ]; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! kill -0 "${server[$name]}" 2>/dev/null; then
      cat "$work/$name.log"
      return 1
    fi
    sleep 0.2
  done
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

stop() { # NAME: it leaves in order
  local pid=${server[$1]}
  unset "server[$1]"
  kill -TERM "$pid"
  wait "$pid"
}
