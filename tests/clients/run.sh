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
. tests/support/checks.sh
need "apt-get install python3 python3-venv, cargo build --release" python3 "$binary"

# Which scripts run in which environment: requirements/ENVIRONMENT.txt.
declare -A scripts=(
  [ragflow]="cohere_5_6_2 huggingface_inference_client"
  [frameworks]="langchain_rerankers llama_index_rerankers infinity_client_rerank huggingface_inference_client"
  [newest]="cohere_newest haystack_rankers litellm_rerank xinference_client_rerank openai_models huggingface_inference_client"
)

count() { # FILE: adds the lines of a script, and fails one that did not come to its end
  passed=$((passed + $(grep -c '^ok ' "$1" || true)))
  failed=$((failed + $(grep -c '^FAILED ' "$1" || true)))
  grep -E '^(ok|FAILED) ' "$1" || true
}
lost() { # LOG: fails with the end of it
  tail -n 40 "$1"
  return 1
}

install() { # ENVIRONMENT
  python3 -m venv "$work/$1" &&
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
      -r "tests/clients/requirements/$1.txt"
}
installers=()
for environment in "${!scripts[@]}"; do
  { install "$environment" && touch "$work/$environment.installed"; } >"$work/$environment.pip" 2>&1 &
  installers+=($!)
done

subject() { # NAME OPTION...: a server that the scripts ask
  serve "$1" "$binary" serve "$work/model" --served-model-name "$SUBJECT_MODEL" --max-model-len 8192 --threads 1 "${@:2}"
}
export SUBJECT_MODEL=qwen3-reranker-tiny SUBJECT_KEY=second-key
tests/support/tiny-model.sh "$work/model"
subject open
subject keyed --api-key first-key "$SUBJECT_KEY"
subject small --overflow truncate --max-num-queued-reqs 1
export SUBJECT_URL=${url[open]} SUBJECT_KEYED_URL=${url[keyed]} SUBJECT_SMALL_URL=${url[small]}

for pid in "${installers[@]}"; do wait "$pid" || true; done
echo "installed after $SECONDS s"
for environment in ragflow frameworks newest; do
  for script in ${scripts[$environment]}; do
    if [ ! -e "$work/$environment.installed" ]; then
      check "$script: requirements/$environment.txt cannot be installed" lost "$work/$environment.pip"
      continue
    fi
    out=$work/$environment.$script
    # No keys or addresses of the caller's.
    env -u CO_API_KEY -u CO_API_URL -u HF_TOKEN PYTHONWARNINGS=ignore \
      timeout 300 "$work/$environment/bin/python" "tests/clients/$script.py" >"$out.out" 2>"$out.err" || true
    count "$out.out"
    if ! grep -q '^END$' "$out.out"; then
      check "$script: it did not come to its end" lost "$out.err"
    elif grep -q '^FAILED ' "$out.out"; then
      cat "$out.err" >&2
    fi
  done
done

unharmed() { # NAME
  if ! "$binary" health --url "${url[$1]}/health" || grep -E 'panicked|ERROR 500' "$work/$1.log"; then lost "$work/$1.log"; fi
}
for name in open keyed small; do
  check "the server '$name' is well and has logged no fault of its own" unharmed "$name"
done
summary
