"""What the suites `spark` and `ray` share: the recipes of docs/corpora.md, each run as it stands there but for the places, while one of
its two workers is killed; every row must be there once, with the bits of an undisturbed run.
"""

import contextlib
import json
import os
import re
import signal
import subprocess

from harness import COMPUTES, ROOT, Server, check, environment, eventually, output, start, tiny_model, work

ROWS = 4000
# What a recipe may take, in seconds: engines take long to start, and again to find out that a worker is gone.
LIMIT = 300
# The place of the program in a recipe, and that of a server.
PROGRAM, URL = "/usr/local/bin/ironrank", "http://localhost:8000"
# Of both models, whose weights are made up.
FLAGS = ["--load-format", "dummy", "--max-model-len", "512"]


def packages(name):
    """The environment of requirements/NAME.txt."""
    requirements = (ROOT / f"tests/corpora/requirements/{name}.txt").read_text()
    return environment(f"corpora-{name}", requirements, "--no-deps", "--no-compile")


def recipe(title):
    """The program below a heading of the page."""
    page = (ROOT / "docs/corpora.md").read_text()
    section = page.split(f"### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.search(r"```python\n(.*?)```", section, re.S)[1]


def below(pid):
    """Processes that a process has started, and those that these have: ids, and command lines."""
    parents = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            parent = int(open(f"/proc/{int(entry)}/stat").read().rsplit(")", 1)[1].split()[1])
            parents.setdefault(parent, []).append(int(entry))
    found, waiting = {}, [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            with contextlib.suppress(OSError):
                found[child] = open(f"/proc/{child}/cmdline").read().replace("\0", " ")
                waiting.append(child)
    return found


class Task:
    """`score` or `embed`: its rows, what answers them undisturbed, and a server that does the same."""

    def __init__(self, binary, name):
        self.name, self.directory = name, work() / name
        self.route = "/v1/score" if name == "score" else "/v1/embeddings"
        self.directory.mkdir()
        rows, answers = ("pairs", "scores") if name == "score" else ("texts", "vectors")
        self.input, self.answers = self.directory / f"{rows}.jsonl", answers
        with self.input.open("w") as file:
            for i in range(ROWS):
                words = " ".join(f"word{(i * 7 + j) % 97}" for j in range(20 + i % 50))
                row = {"query": f"question {i // 10}", "document": words} if name == "score" else {"text": words}
                file.write(json.dumps({"id": i, **row}) + "\n")
        # The program as an administrator has installed it, for this model and for a machine that others use too.
        self.program = self.directory / "ironrank"
        own = [*FLAGS, "--task", name, "--threads", "1", "--no-pin", "--weight-cache", work() / "cache"]
        words = " ".join(str(word) for word in [tiny_model(), *own])
        self.program.write_text(f'#!/bin/sh\ncommand=$1\nshift 2\nexec {binary} "$command" {words} "$@"\n')
        self.program.chmod(0o755)
        whole = self.directory / "whole.jsonl"
        output(self.program, name, "MODEL", "--input", self.input, "--output", whole)
        self.expected = dict(self.answer(json.loads(line)) for line in whole.open())

    def answer(self, row):
        return row["id"], row["score"] if self.name == "score" else row["embedding"]

    def code(self, title, url):
        """A recipe with the places of this task."""
        return recipe(title).replace(PROGRAM, str(self.program)).replace(URL, url or URL)


def run(engine, binary, python, env, worker):
    """Runs an engine's four recipes. `worker` matches the command line of one of its worker processes."""
    for name in "score", "embed":
        task = Task(binary, name)
        check(f"{name}: one process answers all rows", len(task.expected) == ROWS, len(task.expected))
        one(task, f"{engine}: {name} by the command", python, env, str(binary), None)
        flags = [*FLAGS[2:], "--task", name, *COMPUTES]
        with Server(binary, tiny_model(), *flags, threads=1) as server:
            one(task, f"{engine}: {name} by a server", python, env, worker, server)


def one(task, title, python, env, victims, server):
    """Runs a recipe and kills one of the processes that match, once: a command at work, or a worker whose requests are answered."""
    place = task.directory / title.rsplit(" ", 1)[1]
    place.mkdir()
    (place / task.input.name).symlink_to(task.input)
    program = place / "recipe.py"
    program.write_text(task.code(title, server and server.url))
    log = place / "log"
    process = start([python / "bin/python", program], log, cwd=place, env={**os.environ, **env})

    def at_work():
        if process.poll() is not None:
            return True
        found = [pid for pid, words in below(process.pid).items() if re.search(victims, words)]
        busy = server is None or server.metric("http_requests_total", 'status="2xx"', f'handler="{task.route}"') >= 2
        victim.extend(found[:1] if busy and len(found) >= 2 else [])
        return bool(victim)

    victim = []
    eventually(at_work, LIMIT)
    if victim:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim[0], signal.SIGKILL)
    check(f"{title}: two workers are at work, and one of them is killed", victim and process.poll() is None, log.read_text()[-2000:])
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        code = "none in time"
    if not check(f"{title}: it comes to its end", code == 0, log.read_text()[-4000:]):
        return
    reader = [python / "bin/python", ROOT / "tests/corpora/answers.py", place / task.answers]
    answers = [task.answer(json.loads(line)) for line in output(*reader, stderr=subprocess.DEVNULL).splitlines()]
    ids = sorted(id for id, _ in answers)
    check(f"{title}: {ROWS} rows, none lost and none doubled", ids == list(range(ROWS)), f"{len(ids)} rows, {len(set(ids))} of them different")
    wrong = [id for id, answer in answers if answer != task.expected.get(id)]
    check(f"{title}: with the bits of an undisturbed run", not wrong, wrong[:20])
