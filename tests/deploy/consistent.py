"""What the schemas cannot see: selectors that meet, grace periods that suffice, names and files that are there."""

import pathlib
import re
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
TIMEOUT = 30  # --shutdown-timeout's default
problems = []


def expect(condition, what):
    if not condition:
        problems.append(what)


def seconds(args, flag, default):
    found = re.search(rf"--{flag}[= ](\d+)", " ".join(args))
    return int(found[1]) if found else default


def grace(what, given, args):
    needed = seconds(args, "drain-delay", 0) + seconds(args, "shutdown-timeout", TIMEOUT)
    expect(given > needed, f"{what}: {given} s to stop, but {needed} s may be needed")
    expect(seconds(args, "drain-delay", 0) >= 4, f"{what}: the balancer needs some seconds to turn away")


objects = {o["kind"] + " " + o["metadata"]["name"]: o for o in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())}
pod = objects["Deployment ironrank"]["spec"]["template"]
container = pod["spec"]["containers"][0]
labels = pod["metadata"]["labels"].items()
for name, selector in {
    "Deployment ironrank": objects["Deployment ironrank"]["spec"]["selector"]["matchLabels"],
    "Service ironrank": objects["Service ironrank"]["spec"]["selector"],
    "Service ironrank-replicas": objects["Service ironrank-replicas"]["spec"]["selector"],
    "PodDisruptionBudget ironrank": objects["PodDisruptionBudget ironrank"]["spec"]["selector"]["matchLabels"],
    "NetworkPolicy ironrank": objects["NetworkPolicy ironrank"]["spec"]["podSelector"]["matchLabels"],
}.items():
    expect(selector.items() <= labels, f"{name} selects no pod")
grace("kubernetes.yaml", pod["spec"]["terminationGracePeriodSeconds"], container["args"])
expect(container["image"] == f"ironrank:{VERSION}", f"kubernetes.yaml: the image is not {VERSION}")
volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
expect({mount["name"] for mount in container["volumeMounts"]} == volumes, "kubernetes.yaml: volumes and mounts differ")
user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.M)[1]
expect(str(pod["spec"]["securityContext"]["runAsUser"]) == user, "kubernetes.yaml: another user than the image's")
metric = objects["HorizontalPodAutoscaler ironrank"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
expect(any(metric in path.read_text() for path in (ROOT / "src/server/metrics").glob("*.rs")), f"there is no metric {metric}")
# Room for the packed weights of the model that is served, and for those that take their place.
said = (ROOT / "deploy/kubernetes.yaml").read_text()
packed = float(re.search(r"packed weights of the model above, ([\d.]+) GB", said)[1])
room = next(volume["emptyDir"]["sizeLimit"] for volume in pod["spec"]["volumes"] if volume["name"] == "weights")
room = int(room.removesuffix("Gi")) * 2**30 / 1e9
expect(2 * packed <= room <= 3 * packed, f"kubernetes.yaml: room for {room:.1f} GB of weights, of which the model has {packed}")
expect(f"{packed} GB for the 0.6B model" in (ROOT / "docs/scaling.md").read_text(), f"docs/scaling.md knows no {packed} GB")

listed = yaml.safe_load((ROOT / "deploy/kustomization.yaml").read_text())["resources"]
expect(listed == ["kubernetes.yaml", "monitoring.yaml"], f"kustomization.yaml has {listed}")
monitoring = {o["kind"]: o for o in yaml.safe_load_all((ROOT / "deploy/monitoring.yaml").read_text())}
monitor = monitoring["ServiceMonitor"]["spec"]
wanted = monitor["selector"]["matchLabels"].items()
found = [o for o in objects.values() if o["kind"] == "Service" and wanted <= o["metadata"]["labels"].items()]
expect([o["metadata"]["name"] for o in found] == ["ironrank-replicas"], "monitoring.yaml: a replica is scraped by other than its one service")
for service in found:
    ports = {port["name"] for port in service["spec"]["ports"]}
    expect({endpoint["port"] for endpoint in monitor["endpoints"]} <= ports, "monitoring.yaml: a port that the service has not")
    expect(service["metadata"]["labels"][monitor["jobLabel"]] == "ironrank", "monitoring.yaml: the alerts select the job ironrank")

for file in ["compose.yaml", "deploy/stack.yaml"]:
    services = yaml.safe_load((ROOT / file).read_text())["services"]
    for name, service in services.items():
        if name == "balancer":
            host, _ = service["environment"]["REPLICAS_AT"].split(":")
            expect(host in services, f"{file}: the balancer looks for {host}, which is no service")
        else:
            command = service["command"]
            args = command.split() if isinstance(command, str) else command
            limits = service["deploy"]["resources"]["limits"]
            expect(limits["cpus"] == "${CPUS:-0}", f"{file}, {name}: a machine with fewer CPUs than a fixed limit refuses it")
            grace(f"{file}, {name}", int(service["stop_grace_period"].rstrip("s")), args)
# What docs/coming-from-vllm.md says to do nothing here has no place in a file of ours.
for file in ["compose.yaml", "deploy/stack.yaml", "deploy/kubernetes.yaml"]:
    text = (ROOT / file).read_text()
    for noise in ["--task", "--dtype", "--trust-remote-code", "HF_OVERRIDES", "shm_size", "SYS_NICE", "seccomp=unconfined"]:
        expect(noise not in text, f"{file}: {noise} has no effect")

alerts = yaml.safe_load((ROOT / "deploy/alert-rules.yaml").read_text())
expect(monitoring["PrometheusRule"]["spec"] == alerts, "monitoring.yaml: its rules are not those of alert-rules.yaml")
rules = alerts["groups"][0]["rules"]
tested = (ROOT / "tests/deploy/alerts.yaml").read_text()
for rule in rules:
    name = rule["alert"]
    expect(rule["labels"]["severity"] in ["critical", "warning"], f"{name}: no severity")
    expect(f'alertname="{name}"' in tested, f"{name}: alerts.yaml does not raise it")
    for page in re.findall(r"docs/[\w-]+\.md", str(rule["annotations"])):
        expect((ROOT / page).is_file(), f"{name}: there is no {page}")
expect(f"ARG VERSION={VERSION}" in (ROOT / "Dockerfile").read_text(), f"Dockerfile: VERSION is not {VERSION}")

# The unit stops as the server does, and keeps what the server writes.
unit = (ROOT / "deploy/ironrank.service").read_text()
config = yaml.safe_load((ROOT / "deploy/config.yaml").read_text())
args = [f"--{key}={value}" for key, value in config.items()]
expect(int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) > seconds(args, "drain-delay", 0) + TIMEOUT, "ironrank.service: TimeoutStopSec")
expect(config["host"] == "127.0.0.1", "config.yaml: open to all without a key")

# A new machine gets what the suites need that are run on it. Debian always has util-linux.
installs, steps = ((ROOT / ".ci" / name).read_text() for name in ("run", "steps.py"))
for suite, module in re.findall(r'^    "(\w+)": "([\w.]+)",$', (ROOT / "tests/run.py").read_text(), re.M):
    needs = re.findall(r'need\("apt-get install ([^"]+)"', (ROOT / "tests" / f"{module.replace('.', '/')}.py").read_text())
    for package in " ".join(needs).split():
        found = re.search(rf"\b{re.escape(package)}\b", installs) or package == "util-linux"
        expect(found or not re.search(rf"\b{suite}\b", steps), f".ci/run: the suite {suite} needs {package}")

print("\n".join(problems))
sys.exit(bool(problems))
