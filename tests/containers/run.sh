#!/usr/bin/env bash
# The image and compose.yaml with a real container engine: built, run as a drop-in without rights to write, healthy,
# asked, limited, stopped, moved by a file.
#
#   tests/containers/run.sh
#
#   IMAGE=NAME           tests this image and does not build one
#   BUILD_ARGS=...       arguments of docker build, such as --network=host --build-arg BUILD_IMAGE=...
#   HAPROXY_IMAGE=NAME   the balancer before several replicas; where it can't be pulled, that part is not run
#
# Takes the engine that `docker info` finds; where none runs, nothing is run and the last line says so. Needs curl and
# python3. With an engine that has no bridge network, ports of the host take the place of published ones.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/checks.sh
docker info >/dev/null 2>&1 || { not_run "no engine"; summary; exit; }
need "apt-get install curl python3" curl python3

project=ironrank-test-$$
compose=()
take_down() {
  [ ${#compose[@]} -eq 0 ] || "${compose[@]}" down -v -t 5 >/dev/null 2>&1 || true
  docker ps -aq --filter "name=^$project" | xargs -r docker rm -f >/dev/null
  docker volume ls -q --filter "name=^$project" | xargs -r docker volume rm -f >/dev/null
}
trap 'take_down || true; finish' EXIT

inspect() { docker inspect --format "$2" "$1"; }
is() { [ "$1" = "$2" ] || { echo "found '$1', expected '$2'"; false; }; }
has() { [[ "$1" == *"$2"* ]] || { echo "'$2' is not in: $1"; false; }; }
lacks() { [[ "$1" != *"$2"* ]] || { echo "'$2' is in: $1"; false; }; }
health() { inspect "$1" '{{.State.Health.Status}}'; }
healthy() { [ "$(health "$1")" = healthy ]; }
fails() { ! "$@" >/dev/null 2>&1; }
logs() { docker logs "$1" 2>&1; }

# --- the image
image=${IMAGE:-ironrank:test}
if [ -z "${IMAGE:-}" ]; then
  # shellcheck disable=SC2086 # several arguments
  check "the image is built" docker build ${BUILD_ARGS:-} --build-arg REVISION=0123456789ab -t "$image" .
  check "it knows its revision" has "$(docker run --rm "$image" --version)" "(0123456789ab)"
fi
bytes=$(inspect "$image" '{{.Size}}')
echo "        $image: $((bytes / 1000000)) MB, $(inspect "$image" '{{.Os}}/{{.Architecture}}')"
check "it is small" test "$bytes" -lt 60000000
check "it runs as nobody in particular" is "$(inspect "$image" '{{.Config.User}}')" 65532:65532
check "the binary itself is asked for its health" is "$(inspect "$image" '{{.Config.Healthcheck.Test}}')" "[CMD /ironrank health]"
check "it has labels" has "$(inspect "$image" '{{json .Config.Labels}}')" '"org.opencontainers.image.licenses":"Apache-2.0"'
docker create --name "$project-files" "$image" >/dev/null
docker export "$project-files" | tar -t >"$work/files"
check "there is no shell and no library in it" fails grep -E '(^|/)(sh|bash|busybox|ld-linux[^/]*|libc\.so[^/]*)$' "$work/files"
docker rm "$project-files" >/dev/null

# --- a container, as vLLM's was started, and with no right that it does not need
tests/support/tiny-model.sh "$work/models/qwen3-reranker-0.6b"
chmod 755 "$work" "$work/models"
overrides='{"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true}'
bridge=yes
docker network inspect bridge >/dev/null 2>&1 || bridge=
port=$(free_port)
inner=8000
[ -n "$bridge" ] || inner=$port
run() { # NAME DOCKER-ARGUMENTS... -- SERVER-ARGUMENTS...
  local name=$1 network=(--network=host)
  shift
  [ -z "$bridge" ] || network=(-p "127.0.0.1:$port:$inner")
  local arguments=()
  while [ "$1" != -- ]; do
    arguments+=("$1")
    shift
  done
  shift
  # Models of this test have no weights.
  docker run -d --name "$project-$name" "${network[@]}" -v "$work/models:/models:ro" -e "VLLM_HF_OVERRIDES=$overrides" \
    --health-interval 1s --health-start-period 60s "${arguments[@]}" "$image" "$@" --load-format dummy >/dev/null
}
dropin=(/models/qwen3-reranker-0.6b --task score --dtype float32 --port "$inner" --trust-remote-code --max-model-len 8192)
run main --read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 4g --cpus 1 --memory 2g \
  -v "$project-weights:/var/cache/ironrank" -- "${dropin[@]}"
main=$project-main
check "the container becomes healthy" eventually 60 healthy "$main"
url=http://127.0.0.1:$port
check "/health" curl -fsS -o /dev/null "$url/health"
check "/v1/models names the model" has "$(curl -fsS "$url/v1/models")" '"id":"/models/qwen3-reranker-0.6b"'
answer=$(curl -fsS "$url/v1/rerank" -H 'Content-Type: application/json' -d '{"query": "q", "documents": ["a", "b"]}')
check "/v1/rerank ranks" has "$answer" '"relevance_score":'
grep -o 'this process may use.*' <<<"$(logs "$main")" | sed 's/^/        /'
check "the CPU quota is seen" has "$(logs "$main")" "a quota of 1.00 CPUs"
check "and followed" has "$(logs "$main")" "on 1 threads"
check "the memory limit is seen" has "$(logs "$main")" "a limit of 2.15 GB of memory"
check "the weights are in the volume" has "$(logs "$main")" "packing the weights into /var/cache/ironrank/"
pid=$(inspect "$main" '{{.State.Pid}}')
check "the cache command tells that they are in use" has "$(docker exec "$main" /ironrank cache)" ", in use"
check "its user is 65532" is "$(awk '/^Uid:/ {print $2, $3, $4, $5}' "/proc/$pid/status")" "65532 65532 65532 65532"
check "it has no capabilities" is "$(awk '/^CapEff:/ {print $2}' "/proc/$pid/status")" 0000000000000000
check "its root file system is read-only" is "$(inspect "$main" '{{.HostConfig.ReadonlyRootfs}}')" true
echo written >"$work/written"
check "nothing can be written into it" fails docker cp "$work/written" "$main:/written"
check "nor by the server itself" has "$(docker exec "$main" /ironrank serve --uds /x.sock 2>&1 || true)" "Read-only file system"
check "the models are read-only" has "$(docker exec "$main" /ironrank serve --uds /models/x.sock 2>&1 || true)" "Read-only file system"
check "the health command says so in a sentence" has "$(docker exec "$main" /ironrank health)" "is well."
started=$(date +%s)
docker stop -t 30 "$main" >/dev/null
check "SIGTERM stops it at once" test $(($(date +%s) - started)) -lt 10
check "with exit code 0" is "$(inspect "$main" '{{.State.ExitCode}}')" 0
docker start "$main" >/dev/null
check "it comes back healthy" eventually 60 healthy "$main"
check "with the weights that are in the volume" is "$(logs "$main" | grep -c 'packing the weights')" 1
docker rm -f "$main" >/dev/null

# --- other ways to start it
other=$(free_port)
run port --read-only -- /models/qwen3-reranker-0.6b --host localhost --port "$other"
check "HEALTHCHECK finds another port by itself" eventually 60 healthy "$project-port"
check "without a volume the weights stay in memory" has "$(logs "$project-port")" "packed into memory at every start"
docker rm -f "$project-port" >/dev/null
run init --init --read-only --tmpfs /run:mode=1777 -- /models/qwen3-reranker-0.6b --uds /run/ironrank.sock
check "and a Unix socket, below an init" eventually 60 healthy "$project-init"
docker rm -f "$project-init" >/dev/null
run small --read-only --memory 64m --memory-swap 64m -- "${dropin[@]}"
check "too little memory ends it" is "$(timeout 60 docker wait "$project-small")" 1
check "with a sentence" has "$(logs "$project-small")" "the memory limit of this process is 0.07 GB"
check "and not by a kill" is "$(inspect "$project-small" '{{.State.OOMKilled}}')" false
grep -o 'The model needs.*' <<<"$(logs "$project-small")" | sed 's/^/        /'
run pids --read-only --pids-limit 5 -- "${dropin[@]}"
check "too few threads end it" is "$(timeout 60 docker wait "$project-pids")" 1
check "with a sentence" has "$(logs "$project-pids")" "refuses a thread ("
check "no server is no health" is "$(docker run --rm "$image" health --port 1 >/dev/null 2>&1; echo $?)" 1

# --- moved without a registry
docker save "$image" | gzip -1 >"$work/image.tar.gz"
echo "        docker save | gzip: $(($(stat -c %s "$work/image.tar.gz") / 1000000)) MB"
id=$(inspect "$image" '{{.Id}}')
docker tag "$image" "$project:kept"
docker rmi "$image" >/dev/null
gzip -dc "$work/image.tar.gz" | docker load >/dev/null
check "docker save and docker load give back the same image" is "$(inspect "$image" '{{.Id}}')" "$id"
docker rmi "$project:kept" >/dev/null

# --- compose.yaml
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose=(docker-compose)
else
  not_run "compose.yaml" "no docker compose"
fi
if [ ${#compose[@]} -gt 0 ]; then
  export IRONRANK_IMAGE=$image MODELS=$work/models CPUS=1 MEMORY=1G PORT=$port REPLICAS=3
  cat >"$work/override.yaml" <<'YAML'
services:
  ironrank: &dummy
    command: /models/qwen3-reranker-0.6b --load-format dummy --port 8000 --overflow truncate --drain-delay 5
    healthcheck: { interval: 1s }
  replica: *dummy
YAML
  compose+=(-p "$project" -f compose.yaml -f "$work/override.yaml")
  check "compose.yaml is valid" "${compose[@]}" config -q
  check "and sets no limit of CPUs by itself" is "$(env -u CPUS "${compose[@]}" config | grep -cE 'cpus: .*[1-9]')" 0
  if [ -n "$bridge" ]; then
    check "compose starts the service" "${compose[@]}" up -d --no-build ironrank
    service=$("${compose[@]}" ps -q ironrank)
    check "the service becomes healthy" eventually 60 healthy "$service"
    check "it answers on its port" has "$(curl -fsS "$url/v1/models")" qwen3-reranker-0.6b
    limits=$(inspect "$service" '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}')
    check "its limits are those of the file" is "$limits" "1000000000 1073741824 true"
    started=$(date +%s)
    check "compose stops it" "${compose[@]}" stop ironrank
    check "within its grace period" test $(($(date +%s) - started)) -lt 45
    check "in order" is "$(inspect "$service" '{{.State.ExitCode}}')" 0

    # The profile of several replicas: one is killed and one stopped while clients ask.
    balancer=${HAPROXY_IMAGE:-haproxy:3.2-alpine}
    if docker image inspect "$balancer" >/dev/null 2>&1 || docker pull -q "$balancer" >/dev/null 2>&1; then
      check "compose starts HAProxy and three replicas" "${compose[@]}" --profile scale up -d --no-build balancer
      mapfile -t replicas < <("${compose[@]}" --profile scale ps -q replica)
      for replica in "${replicas[@]}"; do check "a replica becomes healthy" eventually 60 healthy "$replica"; done
      check "they answer on the same port" eventually 30 curl -fsS -o "$work/models.json" "$url/v1/models"
      ask() {
        for i in $(seq 40); do
          curl -s -o /dev/null -w '%{http_code}\n' -m 60 "$url/v1/rerank" -H 'content-type: application/json' \
            -d '{"query": "'"$i"'", "documents": ["a", "b"]}' >"$work/code.$i" &
          sleep 0.2
        done
        wait
      }
      ask &
      sleep 2
      docker kill -s KILL "${replicas[1]}" >/dev/null
      sleep 2
      docker stop -t 40 "${replicas[2]}" >/dev/null
      wait $!
      check "40 requests are answered while one is killed and one is stopped" \
        is "$(cat "$work"/code.* | sort | uniq -c | xargs)" "40 200"
    else
      not_run "compose.yaml up with replicas" "no image $balancer"
    fi
    check "compose takes it down" "${compose[@]}" --profile scale down -v
  else
    not_run "compose.yaml up" "the engine has no bridge network"
  fi
fi

summary
