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
. tests/support/checks.sh
need "apt-get install wrk curl, cargo build --release" wrk curl awk "$binary"

tests/support/tiny-model.sh "$work/model"
serve server "$binary" serve "$work/model"

# Seconds that pairs have spent in the queue and in the model, and how many there were.
engine() {
  curl -sf "${url[server]}/metrics" | awk '
    /^vllm:request_(queue|inference)_time_seconds_sum/ {sum += $2}
    /^vllm:request_inference_time_seconds_count/ {count = $2}
    END {printf "%.9f %d\n", sum, count}'
}
load() { # CONNECTIONS SECONDS: requests, microseconds, p50, p99, mean (microseconds), errors
  wrk -t1 -c"$1" -d"$2"s -s benches/serve/pairs.lua "${url[server]}" | tail -1
}
holds() { awk "BEGIN {exit !($1)}"; } # CONDITION

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
      check "the median is $above ms above the engine's own time, at most 1 ms" holds "$above <= 1"
      ;;
    64) check "64 connections get $rate requests a second, at least 1000" holds "$rate >= 1000" ;;
  esac
done
check "every request was answered with 200" holds "$errors == 0"
summary
