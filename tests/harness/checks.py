"""One way to count. A check is a claim, one line and one count; what cannot be run here is told and counted as well.

Invariant: a process that counts, and came to its end, has left its counts in the file that $CHECKS names; whoever started it adds
them to its own. One that left none has failed. Called by every suite, and by programs that `together` starts, which may be of
another Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("passed", "failed", "not run")
# What takes as many seconds says how long it took.
LONG = 10
_counts = dict.fromkeys(KINDS, 0)
_lock = threading.Lock()


def _count(kind, line):
    with _lock:
        _counts[kind] += 1
        print(line, flush=True)


def _indented(text):
    return "".join(f"\n        {line}" for line in str(text).rstrip().splitlines())


def check(claim, true, saw=""):
    """Counts a claim that is true or not; what was seen is shown where it is not. The answer is `true`."""
    if true:
        _count("passed", f"ok      {claim}")
    else:
        _count("failed", f"FAILED  {claim}{_indented(str(saw)[:4000])}")
    return true


def succeeds(claim, function, *arguments, **named):
    """Counts a call: what it raises, or False for its answer, fails the claim. The answer is the call's, or None."""
    began, saw = time.monotonic(), ""
    try:
        answer = function(*arguments, **named)
    except AssertionError as error:
        answer, saw = False, error
    except Exception:
        answer, saw = False, traceback.format_exc()
    seconds = time.monotonic() - began
    check(claim + (f" ({seconds:.0f} s)" if seconds >= LONG else ""), answer is not False, saw)
    return None if answer is False else answer


def not_run(claim, why):
    """Counts a claim that cannot be looked at here."""
    _count("not run", f"not run {claim}: {why}")


def note(text):
    """A line that is no check: figures beside them."""
    print(f"        {text}", flush=True)


def failures():
    """How many checks have failed until now."""
    return _counts["failed"]


def told(counts):
    """The line that closes a count."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)


def leave_counts():
    """Tells whoever started this process what it has counted: it came to its end."""
    if path := os.environ.get("CHECKS"):
        Path(path).write_text(json.dumps(_counts))


def end(seconds):
    """The closing line, unless whoever started this process has one; the exit code says whether all went well."""
    leave_counts()
    if "CHECKS" not in os.environ:
        print(f"{told(_counts)}, {seconds:.0f} s", flush=True)
    sys.exit(1 if _counts["failed"] else 0)


@dataclass
class Program:
    """A command that counts with this module; `limit` are the seconds that it may take."""

    name: str
    command: list
    env: dict = field(default_factory=dict)
    limit: float = 3600


class _Running:
    """A program at work. What it prints goes to files: a pipe would hold it up while another's lines are shown."""

    def __init__(self, program, directory):
        self.program, self.began = program, time.monotonic()
        self.out, self.errors, self.counts = (Path(directory, name) for name in ("out", "errors", "counts"))
        env = {**os.environ, **program.env, "CHECKS": str(self.counts)}
        with open(self.out, "wb") as out, open(self.errors, "wb") as errors:
            command = [str(word) for word in program.command]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env)
        self.seconds, self.shown = None, 0

    def ended(self):
        if self.seconds is None and self.process.poll() is not None:
            self.seconds = time.monotonic() - self.began
        elif self.seconds is None and time.monotonic() - self.began > self.program.limit:
            self.process.terminate()
        return self.seconds is not None

    def show(self):
        """Shows what it has printed since it was last shown, in whole lines while it goes on."""
        with open(self.out, "rb") as out:
            out.seek(self.shown)
            new = out.read()
        if self.seconds is None:
            new = new[: new.rfind(b"\n") + 1]
        self.shown += len(new)
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()

    def take_counts(self):
        """Adds what it has counted; the line that closes its part."""
        try:
            counts = json.loads(self.counts.read_text())
        except (OSError, ValueError):
            counts = None
        if counts is None or counts["failed"]:
            sys.stdout.write(self.errors.read_text(errors="replace"))
        if counts is None:
            check(f"{self.program.name} comes to its end", False, f"exit code {self.process.returncode} after {self.seconds:.0f} s")
            return f"-- {self.program.name}: {self.seconds:.0f} s"
        for kind in KINDS:
            _counts[kind] += counts[kind]
        return f"-- {self.program.name}: {told(counts)}, {self.seconds:.0f} s"


def together(programs, at_a_time=None):
    """Runs programs beside each other, so many at a time, shows what they print one after the other in the order given, and adds
    their counts."""
    at_a_time = at_a_time or len(programs)
    waiting, running, shown = list(programs), [], 0
    with tempfile.TemporaryDirectory() as directory:
        try:
            while shown < len(programs):
                at_work = sum(not one.ended() for one in running)
                while waiting and at_work < at_a_time:
                    at_work += 1
                    own = Path(directory, str(len(running)))
                    own.mkdir()
                    running.append(_Running(waiting.pop(0), own))
                first = running[shown]
                ended = first.ended()
                first.show()
                if ended:
                    print(first.take_counts(), flush=True)
                    shown += 1
                else:
                    time.sleep(0.05)
        finally:
            # Told to stop, they end what they have started themselves.
            for one in running:
                if not one.ended():
                    one.process.terminate()
            for one in running:
                one.process.wait()
