#!/usr/bin/env bash
# What a server must survive: requests that nobody should send, clients that are slow or gone, files that change or cannot
# be written, a stop under load, and a system that refuses threads. Each check is a claim; docs/reliability.md says what is promised.
#
#   tests/faults/run.sh [BINARY]      default: target/release/ironrank
#
# All of it on loopback, with a tiny model; some three minutes. Needs python3 and openssl; as root it also mounts small file systems
# in a namespace of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
. tests/support/checks.sh
need "apt-get install openssl python3, cargo build --release" openssl python3 "$binary"

export WORK=$work # for the logs of server.py
tests/support/tiny-model.sh "$work/model"
for name in http_abuse hostile_bodies slow_clients keep_alive changing_files stopping threads; do
  echo "-- $name"
  python3 "tests/faults/$name.py" "$binary" "$work/model" >"$work/$name.out" 2>&1 &
  part=$!
  status=0
  tail -n +1 -f --pid="$part" "$work/$name.out" | grep -v '^[0-9]* passed, ' || true
  wait "$part" || status=$?
  counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ not run$' "$work/$name.out" | tail -n 1 || true)
  read -r ok _ bad _ not _ <<<"${counts:-0 passed, 1 failed, 0 not run}"
  [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
  passed=$((passed + ok)) failed=$((failed + bad)) not_run=$((not_run + not))
done
summary
