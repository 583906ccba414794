#!/usr/bin/env bash
# What HTTP, JSON and the tokenizer add to the model's own time: a tiny model, one pair a request, on loopback.
#
#   benches/serve/overhead.sh [BINARY]      default: target/release/ironrank
#
# The median of one connection's requests may be 1 ms above the engine's own time (queue and model, from /metrics), and
# 64 connections must get 1,000 requests a second. WORDS=60 sets the length of a document, SECONDS_EACH=10 that of a
# run. wrk shares the cores with the server. Needs wrk (apt-get install wrk), curl and awk.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
export WORDS=${WORDS:-60}
seconds=${SECONDS_EACH:-10}
for needed in wrk curl awk "$binary"; do
  command -v "$needed" >/dev/null || { echo "$needed is needed; apt-get install wrk curl, cargo build --release" >&2; exit 1; }
done

work=$(mktemp -d)
server=''
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

tests/support/tiny-model.sh "$work/tiny"
"$binary" serve "$work/tiny" --load-format dummy --weight-cache off --host 127.0.0.1 --port 0 2>"$work/log" &
server=$!
url=''
for _ in $(seq 100); do
  url=$(sed -n 's/.*ready: serving .* on \(http:.*\)/\1/p' "$work/log")
  [ -n "$url" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
[ -n "$url" ] || { echo "the server was not ready within 10 s" >&2; cat "$work/log" >&2; exit 1; }

# Seconds that pairs have spent in the queue and in the model, and how many there were.
engine() {
  curl -sf "$url/metrics" | awk '
    /^vllm:request_(queue|inference)_time_seconds_sum/ {sum += $2}
    /^vllm:request_inference_time_seconds_count/ {count = $2}
    END {printf "%.9f %d\n", sum, count}'
}
load() { # CONNECTIONS SECONDS: requests, microseconds, p50, p99, mean (microseconds), errors
  wrk -t1 -c"$1" -d"$2"s -s benches/serve/pairs.lua "$url" | tail -1
}
passed=0 failed=0
check() { # NAME CONDITION: one line, one count
  if awk "BEGIN {exit !($2)}"; then
    passed=$((passed + 1))
    echo "ok      $1"
  else
    failed=$((failed + 1))
    echo "FAILED  $1"
  fi
}

load 8 2 >/dev/null
errors=0
for connections in 1 64; do
  read -r sum_before count_before < <(engine)
  read -r requests micros p50 p99 mean bad < <(load "$connections" "$seconds")
  read -r sum count < <(engine)
  errors=$((errors + bad))
  rate=$(awk "BEGIN {printf \"%.0f\", $requests / $micros * 1e6}")
  own=$(awk "BEGIN {printf \"%.3f\", ($sum - $sum_before) / ($count - $count_before) * 1000}")
  awk "BEGIN {printf \"        %d connections, %d words: %d requests/s; p50 %.3f ms, p99 %.3f ms, mean %.3f ms, of which the engine %.3f ms\n\",
    $connections, $WORDS, $rate, $p50 / 1000, $p99 / 1000, $mean / 1000, $own}"
  case $connections in
    1)
      above=$(awk "BEGIN {printf \"%.3f\", $p50 / 1000 - $own}")
      check "the median is $above ms above the engine's own time, at most 1 ms" "$above <= 1"
      ;;
    64) check "64 connections get $rate requests a second, at least 1000" "$rate >= 1000" ;;
  esac
done
check "every request was answered with 200" "$errors == 0"
echo "$passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
