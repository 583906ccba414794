#!/bin/sh
# Property-based requests, made by Schemathesis from /openapi.json, against a running program: no answer may be a 5xx,
# and none may differ from its description (status, content type, schema of the body).
#
#   tests/clients/schemathesis.sh [BINARY]      default: target/release/ironrank
#
# MODEL is a model directory for --load-format dummy; without it the built-in shape is served, which takes 2 GB.
# CASES is the number of cases for each route; 100 make some 5,000 in all. Needs python3 with venv and PyPI.
set -eu
cd "$(dirname "$0")/../.."
VERSION=4.32.5
BINARY=${1:-target/release/ironrank}
CASES=${CASES:-100}
PORT=${PORT:-8199}
WORK=$(mktemp -d)
SERVER=
trap 'test -z "$SERVER" || kill "$SERVER"; rm -rf "$WORK"' EXIT INT TERM

python3 -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet "schemathesis==$VERSION"

"$BINARY" serve ${MODEL:+"$MODEL"} --load-format dummy --served-model-name tiny --max-model-len 512 \
    --weight-cache off --host 127.0.0.1 --port "$PORT" 2>"$WORK/log" &
SERVER=$!
URL=http://127.0.0.1:$PORT
tries=0
until "$WORK/venv/bin/python" -c "import urllib.request as u; u.urlopen('$URL/health')" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -gt 240 ] || ! kill -0 "$SERVER" 2>/dev/null; then
        echo "The server does not start:" >&2
        cat "$WORK/log" >&2
        exit 1
    fi
    sleep 0.5
done

# Schemathesis keeps files where it runs.
(cd "$WORK" && venv/bin/schemathesis run "$URL/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
    --mode all --phases examples,coverage,fuzzing --max-examples "$CASES" --seed 1 \
    --request-timeout 30 --generation-database none --continue-on-failure) || result=$?

# It still answers, and has logged no fault of its own; that of a client that sends no HTTP is none.
"$WORK/venv/bin/python" -c "import urllib.request as u; u.urlopen('$URL/health')"
if grep -E "ERROR 5|panicked" "$WORK/log"; then
    exit 1
fi
exit "${result:-0}"
