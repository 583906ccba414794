"""What stands in deploy/ is what its readers accept: Kubernetes' own schemas, kustomize, HAProxy, Prometheus, Compose, systemd."""

import os
import sys
from pathlib import Path

from harness import ROOT, environment, is_there, need, not_run, output, succeeds, work

REQUIREMENTS = "kubernetes-validate==1.37.0\npyyaml==6.0.3\n"


def prepare():
    """The environment of its packages."""
    return environment("deploy", REQUIREMENTS)


def compose():
    """The command of Docker's compose; None where there is none."""
    for command in ["docker", "compose"], ["docker-compose"]:
        if is_there(command[0]):
            try:
                output(*command, "version")
            except AssertionError:
                continue
            return command
    return None


def kustomized():
    """Every object of the files comes out of the kustomization."""
    said = output("kubectl", "kustomize", "deploy", cwd=ROOT)
    kinds = sum(line.startswith("kind: ") for line in said.splitlines())
    files = sum((ROOT / "deploy" / name).read_text().count("\nkind: ") for name in ("kubernetes.yaml", "monitoring.yaml"))
    assert kinds == files, f"{kinds} objects of {files}"


def unit():
    """systemd takes every line of the unit, on a machine that has its program. What it does not know it says, and ignores."""
    file = work() / "ironrank.service"
    program = str(Path(sys.executable).resolve())
    file.write_text((ROOT / "deploy/ironrank.service").read_text().replace("/usr/bin/ironrank", program))
    said = output("systemd-analyze", "verify", "--man=no", file)
    assert not said, said


def run():
    need("apt-get install haproxy prometheus systemd kubernetes-client", "haproxy", "promtool", "systemd-analyze", "kubectl")
    packages = prepare() / "bin"

    def accepts(claim, *command, **env):
        succeeds(claim, output, *command, cwd=ROOT, env={**os.environ, **env})

    for version in "1.30", "1.37":
        validate = [packages / "kubernetes-validate", "--strict", "-k", version, "deploy/kubernetes.yaml"]
        accepts(f"kubernetes.yaml is valid in Kubernetes {version}", *validate)
    succeeds("the kustomization has them and the monitoring", kustomized)
    # What it exposes at most, of 100.
    accepts("ironrank.service is hardened", "systemd-analyze", "security", "--offline=true", "--threshold=15", "deploy/ironrank.service")
    succeeds("ironrank.service is valid", unit)
    accepts("the deployments fit together", packages / "python", "tests/deploy/consistent.py")
    for at in "replica:8000", "ironrank-replicas:8000":
        accepts(f"haproxy.cfg is valid, replicas at {at}", "haproxy", "-q", "-c", "-f", "deploy/haproxy.cfg", REPLICAS_AT=at)
    accepts("the alerts are valid", "promtool", "check", "rules", "deploy/alert-rules.yaml")
    accepts("each is raised by what it names, and by nothing else", "promtool", "test", "rules", "tests/deploy/alerts.yaml")
    if command := compose():
        for profile, words in ("", ""), ("scale", " with the profile scale"):
            accepts(f"compose.yaml is valid{words}", *command, "config", "-q", COMPOSE_PROFILES=profile)
    else:
        not_run("compose.yaml", "no docker compose")
