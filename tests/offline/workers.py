"""GNU parallel with two workers over one file of pairs: shards of the file, and blocks of it through a pipe. Both must give what
one process gives; a worker that is killed must go on where it was.
"""

import contextlib
import json
import os
import signal
import subprocess
import time

from harness import check, need, note, output, precision, start, tiny_model, work


def pairs():
    """The lines of 400 rows, four of them no JSON."""
    for i in range(400):
        if i % 100 == 99:
            yield '{"query": "a row without an end'
        else:
            words = " ".join(f"word{(i * 7 + j) % 97}" for j in range(20 + i % 50))
            yield json.dumps({"id": i, "query": f"question {i // 10}", "document": words})


def lines(*files):
    """The rows of some files in the order of their lines."""
    return sorted((json.loads(line) for file in files for line in file.open()), key=lambda row: row["line"])


def answers(text):
    return [(row["id"], row["score"]) for row in map(json.loads, text.splitlines())]


class Scores:
    """Ways to score one file. A worker has one thread, which the system places: workers share the cores."""

    def __init__(self, binary):
        self.input = work() / "pairs.jsonl"
        self.input.write_text("".join(line + "\n" for line in pairs()))
        self.command = [binary, "score", tiny_model(), "--load-format", "dummy", "--max-model-len", "512", "--threads", "1", "--no-pin"]
        self.command += ["--weight-cache", work() / "cache", *precision().flags]
        # For parallel's own files.
        self.env = {**os.environ, "HOME": str(work())}

    def ends(self, log, *command, **options):
        """The exit code of a command, and what it printed; its log is a file."""
        with open(work() / log, "w") as errors:
            ended = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, env=self.env, text=True, **options)
        return ended.returncode, ended.stdout

    def whole(self, file):
        return self.ends("whole.log", *self.command, "--input", self.input, "--output", file)[0]

    def shards(self, directory):
        """The command of parallel for which every process reads the file and takes every second line."""
        job = [*self.command, "--input", self.input, "--output", directory / "part{}.jsonl", "--shard", "{}/2"]
        return ["parallel", "-j", "2", *job, ":::", "1", "2"]


def run(binary):
    need("apt-get install parallel", "parallel")
    score = Scores(binary)
    subprocess.run(["parallel", "--will-cite", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=score.env)
    whole = work() / "whole.jsonl"
    code = score.whole(whole)
    check("one process scores the file, but for 4 rows", code == 3, code)
    check("it writes a line for every good row", len(lines(whole)) == 396, len(lines(whole)))
    note((work() / "whole.log").read_text().splitlines()[-1])
    # parallel counts the processes that rejected rows.
    code, _ = score.ends("shards.log", *score.shards(work()))
    check("two shards end, the one with the bad rows with its code", code == 1, code)
    parts = [work() / f"part{shard}.jsonl" for shard in (1, 2)]
    check("together they are the whole", lines(*parts) == lines(whole))
    rejected = [rejected_of(part) for part in parts if rejected_of(part).exists()]
    check("so are the rows they rejected", lines(*rejected) == lines(rejected_of(whole)))
    killed(score, parts)
    piped(score, whole)


def rejected_of(file):
    return file.with_name(file.name + ".rejected.jsonl")


def killed(score, parts):
    """A worker dies in the middle of its work; the same command again does the rest of it."""
    again = work() / "again"
    again.mkdir()
    first = start(score.shards(again), work() / "first.log", env=score.env)
    while not ((again / "part2.jsonl").exists() and (again / "part2.jsonl").stat().st_size) and first.poll() is None:
        time.sleep(0.005)
    victim = output("pgrep", "-f", "--", f"--output {again}/part2.jsonl --shard 2/2", code=None).split()
    with contextlib.suppress(IndexError, ProcessLookupError):
        os.kill(int(victim[-1]), signal.SIGKILL)
    first.wait()
    had = (again / "part2.jsonl").read_bytes()
    score.ends("second.log", *score.shards(again))
    check("what the killed worker wrote is the beginning of its part", parts[1].read_bytes().startswith(had))
    for part, name in zip(parts, ("first", "second")):
        check(f"the second run makes the {name} part what it was", (again / part.name).read_bytes() == part.read_bytes())
    for line in (work() / "second.log").read_text().splitlines():
        if "going on after line" in line:
            note(line)


def piped(score, whole):
    """Blocks of whole lines through two processes, their answers in order. Rows are told by their ids."""
    blocks = ["parallel", "-j", "2", "--pipe", "--block", "8k", "-k", *score.command, "--input", "-", "--output", "-"]
    with score.input.open() as rows:
        _, said = score.ends("piped.log", *blocks, stdin=rows)
    check("blocks through two processes give the same scores in the same order", answers(said) == answers(whole.read_text()))
    bad = (work() / "piped.log").read_text().count("is rejected")
    check("the 4 bad rows are in the log", bad == 4, bad)
