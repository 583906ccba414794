#!/usr/bin/env bash
# The client libraries of other rerankers, from PyPI, against the program: each does what its users do, and must give
# the scores, the order and the errors that plain HTTP gives.
#
#   tests/clients/run.sh [BINARY]      default: target/release/ironrank
#
# All of it on loopback, with a small model. Needs python3 (3.10 or later) with venv, and PyPI. A library that cannot be
# installed has failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
for needed in python3 "$binary"; do
  command -v "$needed" >/dev/null || { echo "$needed is needed; apt-get install python3 python3-venv, cargo build --release" >&2; exit 1; }
done

# Which scripts run in which environment: requirements/ENVIRONMENT.txt.
declare -A scripts=(
  [ragflow]="cohere_5_6_2 huggingface_inference_client"
  [frameworks]="langchain_rerankers llama_index_rerankers infinity_client_rerank huggingface_inference_client"
  [newest]="cohere_newest haystack_rankers litellm_rerank xinference_client_rerank openai_models huggingface_inference_client"
)

work=$(mktemp -d)
passed=0 failed=0
servers=() installers=()
finish() {
  for pid in "${servers[@]}" "${installers[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

count() { # FILE: adds the lines of a script, and fails one that did not come to its end
  passed=$((passed + $(grep -c '^ok ' "$1" || true)))
  failed=$((failed + $(grep -c '^FAILED ' "$1" || true)))
  grep -E '^(ok|FAILED) ' "$1" || true
}
fail() { # SENTENCE LOG
  failed=$((failed + 1))
  echo "FAILED  $1"
  tail -n 40 "$2" >&2
}

install() { # ENVIRONMENT
  python3 -m venv "$work/$1" &&
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
      -r "tests/clients/requirements/$1.txt"
}
for environment in "${!scripts[@]}"; do
  { install "$environment" && touch "$work/$environment.installed"; } >"$work/$environment.pip" 2>&1 &
  installers+=($!)
done

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
serve() { # NAME OPTION...: a server whose port is in port[NAME]
  local name=$1
  shift
  port[$name]=$(free_port)
  "$binary" serve "$work/model" --load-format dummy --served-model-name "$SUBJECT_MODEL" --max-model-len 8192 \
    --threads 1 --weight-cache off --host 127.0.0.1 --port "${port[$name]}" "$@" 2>"$work/$name.log" &
  servers+=($!)
}
declare -A port=()
export SUBJECT_MODEL=qwen3-reranker-tiny SUBJECT_KEY=second-key
tests/support/tiny-model.sh "$work/model"
serve open
serve keyed --api-key first-key "$SUBJECT_KEY"
serve small --overflow truncate --max-num-queued-reqs 1
export SUBJECT_URL=http://127.0.0.1:${port[open]} SUBJECT_KEYED_URL=http://127.0.0.1:${port[keyed]} \
  SUBJECT_SMALL_URL=http://127.0.0.1:${port[small]}
well() { "$binary" health --port "${port[$1]}" >/dev/null 2>&1; }
for name in open keyed small; do
  tries=0
  until well "$name"; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || { cat "$work/$name.log" >&2; exit 1; }
    sleep 0.2
  done
done

for pid in "${installers[@]}"; do wait "$pid" || true; done
installers=()
echo "installed after $SECONDS s"
for environment in ragflow frameworks newest; do
  for script in ${scripts[$environment]}; do
    if [ ! -e "$work/$environment.installed" ]; then
      fail "$script: requirements/$environment.txt cannot be installed" "$work/$environment.pip"
      continue
    fi
    out=$work/$environment.$script
    # No keys or addresses of the caller's.
    env -u CO_API_KEY -u CO_API_URL -u HF_TOKEN PYTHONWARNINGS=ignore \
      timeout 300 "$work/$environment/bin/python" "tests/clients/$script.py" >"$out.out" 2>"$out.err" || true
    count "$out.out"
    if ! grep -q '^END$' "$out.out"; then
      fail "$script: it did not come to its end" "$out.err"
    elif grep -q '^FAILED ' "$out.out"; then
      cat "$out.err" >&2
    fi
  done
done

for name in open keyed small; do
  if ! well "$name" || grep -E 'panicked|ERROR 500' "$work/$name.log" >&2; then
    fail "the server of $name is well and has logged no fault of its own" "$work/$name.log"
  else
    passed=$((passed + 1))
    echo "ok      the server '$name' is well and has logged no fault of its own"
  fi
done
echo "$passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
