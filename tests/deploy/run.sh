#!/usr/bin/env bash
# What stands in deploy/ is what its readers accept: Kubernetes' own schemas, HAProxy, Compose's merge rules.
#
#   tests/deploy/run.sh      Needs haproxy, and python3 with venv and PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/checks.sh

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
summary
