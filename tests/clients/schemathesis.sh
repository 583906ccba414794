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
. tests/support/checks.sh
need "apt-get install python3 python3-venv, cargo build --release" python3 "$binary"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
  -r tests/clients/requirements/schemathesis.txt

tests/support/tiny-model.sh "$work/model"
serve server "$binary" serve "$work/model" --served-model-name tiny --max-model-len 512

# Schemathesis keeps files where it runs.
run() {
  (cd "$work" && venv/bin/schemathesis run "${url[server]}/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
    --mode all --phases examples,coverage,fuzzing --max-examples "$cases" --seed 1 \
    --request-timeout 120 --generation-database none --continue-on-failure)
}
check "every answer is as /openapi.json describes it, and none is a 5xx" run
sed -n '/SUMMARY/,$p' "$work/said"
generated=$(sed -n 's/.*[^0-9,]\([0-9,]\+\) generated.*/\1/p' "$work/said" | head -n 1 | tr -d ,)
check "${generated:-no} cases are at least $at_least" test "${generated:-0}" -ge "$at_least"
check "the server is well" "$binary" health --url "${url[server]}/health"
# That of a client that sends no HTTP is none of its own.
check "the server has logged no fault of its own" bash -c "! grep -E 'ERROR 5|panicked' '$work/server.log'"
summary
