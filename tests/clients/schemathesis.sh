#!/usr/bin/env bash
# Property-based requests, made by Schemathesis from /openapi.json, against the program: no answer may be a 5xx, and none
# may differ from its description (status, content type, headers, schema of the body).
#
#   tests/clients/schemathesis.sh [BINARY]      default: target/release/ironrank
#
# On loopback, with a small model. CASES is the number of cases for each route: the default makes more than the 2,000 in
# all that a run must have, 100 make some 5,000. Needs python3 (3.10 or later) with venv, and PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
cases=${CASES:-40}
at_least=2000
for needed in python3 "$binary"; do
  command -v "$needed" >/dev/null || { echo "$needed is needed; apt-get install python3 python3-venv, cargo build --release" >&2; exit 1; }
done

work=$(mktemp -d)
passed=0 failed=0 server=''
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

check() { # NAME COMMAND...: one line, one count
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
  fi
}

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
  -r tests/clients/requirements/schemathesis.txt

tests/support/tiny-model.sh "$work/model"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" serve "$work/model" --load-format dummy --served-model-name tiny --max-model-len 512 \
  --weight-cache off --host 127.0.0.1 --port "$port" 2>"$work/log" &
server=$!
well() { "$binary" health --port "$port" >/dev/null 2>&1; }
tries=0
until well; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || { cat "$work/log" >&2; exit 1; }
  sleep 0.2
done

# Schemathesis keeps files where it runs.
run() {
  (cd "$work" && venv/bin/schemathesis run "http://127.0.0.1:$port/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
    --mode all --phases examples,coverage,fuzzing --max-examples "$cases" --seed 1 \
    --request-timeout 120 --generation-database none --continue-on-failure) >"$work/report" 2>&1 || { cat "$work/report" >&2; return 1; }
}
check "every answer is as /openapi.json describes it, and none is a 5xx" run
sed -n '/SUMMARY/,$p' "$work/report"
generated=$(sed -n 's/.*[^0-9,]\([0-9,]\+\) generated.*/\1/p' "$work/report" | head -n 1 | tr -d ,)
check "${generated:-no} cases are at least $at_least" test "${generated:-0}" -ge "$at_least"
check "the server is well" well
# That of a client that sends no HTTP is none of its own.
check "the server has logged no fault of its own" bash -c "! grep -E 'ERROR 5|panicked' '$work/log' >&2"
echo "$passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
