"""The image and compose.yaml with a real container engine: built, run as a drop-in without rights to write, healthy, asked, limited,
stopped, moved by a file.

`image` is tested and not built where it is given; `build` are arguments of docker build, such as "--network=host --build-arg
BUILD_IMAGE=..."; `balancer` stands before several replicas: where it can't be pulled, that part is not run. Takes the engine that
`docker info` finds; where none runs, nothing is run and the last line says so. With an engine that has no bridge network, ports of the
host take the place of published ones.
"""

import atexit
import concurrent.futures
import gzip
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from harness import ROOT, Refused, check, eventually, free_port, is_there, not_run, note, output, succeeds, tiny_model, work
from harness.server import ask

from deploy.files import compose as compose_command

PROJECT = f"ironrank-test-{os.getpid()}"
MODEL = "/models/qwen3-reranker-0.6b"
OVERRIDES = {
    "architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True,
}  # fmt: skip
COMPOSE = f"""
services:
  ironrank: &dummy
    command: {MODEL} --load-format dummy --port 8000 --overflow truncate --drain-delay 5
    healthcheck: {{ interval: 1s }}
  replica: *dummy
"""


def docker(*words, **options):
    return output("docker", *words, cwd=ROOT, **options)


def inspect(what, form):
    return docker("inspect", "--format", form, what).strip()


def done(*command):
    """Whether a command succeeds."""
    try:
        output(*command, cwd=ROOT)
    except Refused:
        return False
    return True


def equal(claim, found, expected):
    check(claim, found == expected, f"found '{found}', expected '{expected}'")


def has(claim, said, words):
    check(claim, words in said, f"'{words}' is not in: {said}")


def become_healthy(claim, container):
    check(claim, eventually(lambda: inspect(container, "{{.State.Health.Status}}") == "healthy", 60), container)


def note_line(said, pattern):
    if found := re.search(pattern, said):
        note(found[0])


class Engine:
    """Containers of the image under test: how they are started, and where they are asked."""

    def __init__(self, image):
        self.image, self.models = image, work() / "models"
        tiny_model(self.models / "qwen3-reranker-0.6b")
        self.models.chmod(0o755)
        self.bridge = done("docker", "network", "inspect", "bridge")
        self.port = free_port()
        self.inner = 8000 if self.bridge else self.port
        self.url = f"http://127.0.0.1:{self.port}"
        # As vLLM's was started.
        self.dropin = [MODEL, "--task", "score", "--dtype", "float32", "--port", self.inner, "--trust-remote-code", "--max-model-len", "8192"]

    def run(self, name, arguments, flags):
        """Starts a container; its name. Models of this suite have no weights."""
        network = ["-p", f"127.0.0.1:{self.port}:{self.inner}"] if self.bridge else ["--network=host"]
        command = ["run", "-d", "--name", f"{PROJECT}-{name}", *network, "-v", f"{self.models}:/models:ro"]
        command += ["-e", f"VLLM_HF_OVERRIDES={json.dumps(OVERRIDES)}", "--health-interval", "1s", "--health-start-period", "60s"]
        docker(*command, *arguments, self.image, *flags, "--load-format", "dummy")
        return f"{PROJECT}-{name}"

    def get(self, path, **options):
        """What it answers."""
        status, _, body = ask(self.url, options.pop("method", "GET"), path, **options)
        assert status == 200, f"{status}: {body[:300]}"
        return body.decode()


def said_by(function, *arguments, **options):
    """What a call answers, or the words of its failure, for a check of them."""
    try:
        return function(*arguments, **options)
    except (AssertionError, OSError, http.client.HTTPException) as error:
        return str(error)


def built(image, build):
    if image:
        return image
    image = "ironrank:test"
    build = build.split()
    succeeds("the image is built", docker, "build", *build, "--build-arg", "REVISION=0123456789ab", "-t", image, ".")
    has("it knows its revision", said_by(docker, "run", "--rm", image, "--version"), "(0123456789ab)")
    return image


def what_it_is(image):
    size = int(inspect(image, "{{.Size}}"))
    note(f"{image}: {size // 1000000} MB, {inspect(image, '{{.Os}}/{{.Architecture}}')}")
    check("it is small", size < 60000000, size)
    equal("it runs as nobody in particular", inspect(image, "{{.Config.User}}"), "65532:65532")
    equal("the binary itself is asked for its health", inspect(image, "{{.Config.Healthcheck.Test}}"), "[CMD /ironrank health]")
    has("it has labels", inspect(image, "{{json .Config.Labels}}"), '"org.opencontainers.image.licenses":"Apache-2.0"')
    docker("create", "--name", f"{PROJECT}-files", image)
    docker("export", "-o", work() / "files.tar", f"{PROJECT}-files")
    files = output("tar", "-tf", work() / "files.tar").splitlines()
    unwanted = [file for file in files if re.search(r"(^|/)(sh|bash|busybox|ld-linux[^/]*|libc\.so[^/]*)$", file)]
    check("there is no shell and no library in it", not unwanted, unwanted)
    docker("rm", f"{PROJECT}-files")


def a_container(engine):
    """As vLLM's was started, and with no right that it does not need."""
    rights = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "4g", "--cpus", "1", "--memory", "2g"]
    main = engine.run("main", [*rights, "-v", f"{PROJECT}-weights:/var/cache/ironrank"], engine.dropin)
    become_healthy("the container becomes healthy", main)
    succeeds("/health", engine.get, "/health")
    has("/v1/models names the model", said_by(engine.get, "/v1/models"), f'"id":"{MODEL}"')
    pair = json.dumps({"query": "q", "documents": ["a", "b"]})
    has("/v1/rerank ranks", said_by(engine.get, "/v1/rerank", method="POST", body=pair), '"relevance_score":')
    log = docker("logs", main)
    note_line(log, "this process may use.*")
    has("the CPU quota is seen", log, "a quota of 1.00 CPUs")
    has("and followed", log, "on 1 threads")
    has("the memory limit is seen", log, "a limit of 2.15 GB of memory")
    has("the weights are in the volume", log, "packing the weights into /var/cache/ironrank/")
    has("the cache command tells that they are in use", said_by(docker, "exec", main, "/ironrank", "cache"), ", in use")
    status = dict(line.split(":", 1) for line in Path("/proc", inspect(main, "{{.State.Pid}}"), "status").read_text().splitlines())
    equal("its user is 65532", status["Uid"].split(), ["65532"] * 4)
    equal("it has no capabilities", status["CapEff"].strip(), "0000000000000000")
    equal("its root file system is read-only", inspect(main, "{{.HostConfig.ReadonlyRootfs}}"), "true")
    written = work() / "written"
    written.write_text("written\n")
    check("nothing can be written into it", not done("docker", "cp", written, f"{main}:/written"))
    for claim, socket in ("nor by the server itself", "/x.sock"), ("the models are read-only", "/models/x.sock"):
        has(claim, docker("exec", main, "/ironrank", "serve", "--uds", socket, code=None), "Read-only file system")
    has("the health command says so in a sentence", said_by(docker, "exec", main, "/ironrank", "health"), "is well.")
    began = time.monotonic()
    docker("stop", "-t", "30", main)
    check("SIGTERM stops it at once", time.monotonic() - began < 10, time.monotonic() - began)
    equal("with exit code 0", inspect(main, "{{.State.ExitCode}}"), "0")
    docker("start", main)
    become_healthy("it comes back healthy", main)
    equal("with the weights that are in the volume", docker("logs", main).count("packing the weights"), 1)
    docker("rm", "-f", main)


def other_ways(engine):
    """To start it, and to fail."""
    other = engine.run("port", ["--read-only"], [MODEL, "--host", "localhost", "--port", free_port()])
    become_healthy("HEALTHCHECK finds another port by itself", other)
    has("without a volume the weights stay in memory", docker("logs", other), "packed into memory at every start")
    docker("rm", "-f", other)
    other = engine.run("init", ["--init", "--read-only", "--tmpfs", "/run:mode=1777"], [MODEL, "--uds", "/run/ironrank.sock"])
    become_healthy("and a Unix socket, below an init", other)
    docker("rm", "-f", other)
    small = engine.run("small", ["--read-only", "--memory", "64m", "--memory-swap", "64m"], engine.dropin)
    equal("too little memory ends it", exit_code(small), "1")
    has("with a sentence", docker("logs", small), "the memory limit of this process is 0.07 GB")
    equal("and not by a kill", inspect(small, "{{.State.OOMKilled}}"), "false")
    note_line(docker("logs", small), "The model needs.*")
    few = engine.run("pids", ["--read-only", "--pids-limit", "5"], engine.dropin)
    equal("too few threads end it", exit_code(few), "1")
    has("with a sentence", docker("logs", few), "refuses a thread (")
    equal("no server is no health", docker_code("run", "--rm", engine.image, "health", "--port", "1"), 1)


def exit_code(container):
    return said_by(output, "timeout", "60", "docker", "wait", container).strip()


def docker_code(*words):
    return subprocess.run(["docker", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def moved(image):
    """Without a registry."""
    saved, packed = work() / "image.tar", work() / "image.tar.gz"
    docker("save", "-o", saved, image)
    with saved.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
        shutil.copyfileobj(plain, out)
    saved.unlink()
    note(f"docker save | gzip: {packed.stat().st_size // 1000000} MB")
    was = inspect(image, "{{.Id}}")
    docker("tag", image, f"{PROJECT}:kept")
    docker("rmi", image)
    docker("load", "-i", packed)
    equal("docker save and docker load give back the same image", said_by(inspect, image, "{{.Id}}"), was)
    docker("rmi", f"{PROJECT}:kept")


class Compose:
    """compose.yaml with the model of this suite."""

    def __init__(self, engine, command, balancer):
        override = work() / "override.yaml"
        override.write_text(COMPOSE)
        self.words = [*command, "-p", PROJECT, "-f", "compose.yaml", "-f", override]
        settings = {"CPUS": "1", "MEMORY": "1G", "REPLICAS": "3", "HAPROXY_IMAGE": balancer}
        self.env = {**os.environ, **settings, "IRONRANK_IMAGE": engine.image, "MODELS": str(engine.models), "PORT": str(engine.port)}

    def __call__(self, *words, env=None, **options):
        return output(*self.words, *words, cwd=ROOT, env=env or self.env, **options)

    def take_down(self):
        self("down", "-v", "-t", "5", code=None)


def composed(engine, compose, balancer):
    succeeds("compose.yaml is valid", compose, "config", "-q")
    without = {name: value for name, value in compose.env.items() if name != "CPUS"}
    limits = re.findall("cpus: .*[1-9]", said_by(compose, "config", env=without))
    check("and sets no limit of CPUs by itself", not limits, limits)
    if not engine.bridge:
        not_run("compose.yaml up", "the engine has no bridge network")
        return
    succeeds("compose starts the service", compose, "up", "-d", "--no-build", "ironrank")
    service = compose("ps", "-q", "ironrank").strip()
    become_healthy("the service becomes healthy", service)
    has("it answers on its port", said_by(engine.get, "/v1/models"), "qwen3-reranker-0.6b")
    form = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}"
    equal("its limits are those of the file", inspect(service, form), "1000000000 1073741824 true")
    began = time.monotonic()
    succeeds("compose stops it", compose, "stop", "ironrank")
    check("within its grace period", time.monotonic() - began < 45, time.monotonic() - began)
    equal("in order", inspect(service, "{{.State.ExitCode}}"), "0")
    if done("docker", "image", "inspect", balancer) or done("docker", "pull", "-q", balancer):
        scaled(engine, compose)
    else:
        not_run("compose.yaml up with replicas", f"no image {balancer}")
    succeeds("compose takes it down", compose, "--profile", "scale", "down", "-v")


def scaled(engine, compose):
    """The profile of several replicas: one is killed and one stopped while clients ask."""
    succeeds("compose starts HAProxy and three replicas", compose, "--profile", "scale", "up", "-d", "--no-build", "balancer")
    replicas = compose("--profile", "scale", "ps", "-q", "replica").split()
    for replica in replicas:
        become_healthy("a replica becomes healthy", replica)

    def answers():
        try:
            return "data" in engine.get("/v1/models")
        except (AssertionError, OSError, http.client.HTTPException):
            return False

    check("they answer on the same port", eventually(answers, 30))

    def client(number):
        time.sleep(number / 5)
        try:
            return ask(engine.url, "POST", "/v1/rerank", json.dumps({"query": str(number), "documents": ["a", "b"]}))[0]
        except (OSError, http.client.HTTPException) as error:
            return repr(error)

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        statuses = [pool.submit(client, number) for number in range(40)]
        time.sleep(2)
        docker("kill", "-s", "KILL", replicas[1])
        time.sleep(2)
        docker("stop", "-t", "40", replicas[2])
    statuses = [status.result() for status in statuses]
    check("40 requests are answered while one is killed and one is stopped", statuses == [200] * 40, statuses)


def take_down():
    for container in docker("ps", "-aq", "--filter", f"name=^{PROJECT}", code=None).split():
        docker("rm", "-f", container, code=None)
    for volume in docker("volume", "ls", "-q", "--filter", f"name=^{PROJECT}", code=None).split():
        docker("volume", "rm", "-f", volume, code=None)


def run(image="", build="", balancer="haproxy:3.2-alpine"):
    if not is_there("docker") or not done("docker", "info"):
        not_run("the image and compose.yaml", "no engine")
        return
    atexit.register(take_down)
    image = built(image, build)
    what_it_is(image)
    engine = Engine(image)
    a_container(engine)
    other_ways(engine)
    moved(image)
    if command := compose_command():
        compose = Compose(engine, command, balancer)
        atexit.register(compose.take_down)
        composed(engine, compose, balancer)
    else:
        not_run("compose.yaml", "no docker compose")
