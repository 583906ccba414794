#!/usr/bin/env bash
# What stands in deploy/ is what its readers accept: Kubernetes' own schemas, HAProxy, Prometheus, Compose.
#
#   tests/deploy/run.sh      Needs haproxy, promtool (Debian's prometheus), and python3 with venv and PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/checks.sh
need "apt-get install haproxy prometheus" haproxy promtool

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet kubernetes-validate==1.37.0 pyyaml==6.0.3
for version in 1.30 1.37; do
  check "kubernetes.yaml is valid in Kubernetes $version" \
    "$work/venv/bin/kubernetes-validate" --strict -k "$version" deploy/kubernetes.yaml
done
check "the deployments fit together" "$work/venv/bin/python" tests/deploy/consistent.py
for at in replica:8000 ironrank-replicas:8000; do
  check "haproxy.cfg is valid, replicas at $at" env "REPLICAS_AT=$at" haproxy -q -c -f deploy/haproxy.cfg
done
check "the alerts are valid" promtool check rules deploy/alert-rules.yaml
check "each is raised by what it names, and by nothing else" promtool test rules tests/deploy/alerts.yaml
compose=(docker compose)
docker compose version >/dev/null 2>&1 || compose=(docker-compose)
if command -v "${compose[0]}" >/dev/null && "${compose[@]}" version >/dev/null 2>&1; then
  for profile in '' scale; do
    check "compose.yaml is valid${profile:+ with the profile $profile}" env COMPOSE_PROFILES="$profile" "${compose[@]}" config -q
  done
else
  not_run "compose.yaml" "no docker compose"
fi
summary
