"""The steps of `.ci/run`, which installs what they need, and the order they run in.

Lanes run side by side, each one step after the other: two cores are kept busy while one lane compiles the last crate, and
another waits for the network or for a client that is slow on purpose. What a step says is shown when it has ended. At the
first that fails the others are stopped, and what the failed one said stands last. At the end: the seconds of each, as the
clock and as the cores had them.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMAT = "cargo fmt --all --check" + "".join(
    f" && cargo fmt --manifest-path {member}/Cargo.toml --check" for member in ("fuzz", "benches/kernels")
)
LIMIT = 3600  # seconds, after which a step hangs: twice what the longest, fuzz, takes on two slow cores beside others
TEST = "cargo test --workspace --release --locked"  # the README's test command


# Whether the compiler is the pinned one: others' new lints are shown and fail nothing.
RUSTC = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
PINNED = RUSTC == os.environ["PINNED_RUST"]


class Step:
    """A command that must succeed, begun when the steps that it names have."""

    def __init__(self, name, command, after=()):
        self.name, self.command, self.after = name, command, after
        self.ended = threading.Event()
        self.seconds = self.cpu = None


class Run:
    def __init__(self, lanes):
        self.lanes = lanes
        self.steps = {step.name: step for lane in lanes for step in lane}
        self.lock = threading.Lock()
        self.running = {}
        self.failed = None
        self.began = time.monotonic()

    def all(self):
        """True if every step has succeeded."""
        threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in self.lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._table()
        if self.failed:
            step, said = self.failed
            print(f"\n== {step.name} FAILED: {step.command}\n{said}", end="", flush=True)
        return self.failed is None

    def _lane(self, lane):
        for step in lane:
            for name in step.after:
                self.steps[name].ended.wait()
            if self.failed is None:
                self._run(step)
            step.ended.set()  # after a failure too: those that wait find it

    def _run(self, step):
        began = time.monotonic()
        with tempfile.TemporaryFile("w+", errors="replace") as out:
            with self.lock:
                if self.failed is not None:
                    return
                # A group of its own, so that all that it starts can be stopped with it.
                process = subprocess.Popen(
                    step.command, shell=True, executable="/bin/bash", cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )
                self.running[step.name] = process
            hangs = threading.Timer(LIMIT, os.killpg, [process.pid, signal.SIGKILL])
            hangs.start()
            _, status, usage = os.wait4(process.pid, 0)
            hangs.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            step.seconds, step.cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
            out.seek(0)
            said = out.read() + (f"killed: it took longer than {LIMIT} s\n" if step.seconds >= LIMIT else "")
        with self.lock:
            del self.running[step.name]
            if process.returncode == 0:
                print(f"\n== {step.name}: {step.command}\n{said}-- {step.seconds:.0f} s", flush=True)
            elif self.failed is None:
                self.failed = step, said
                for other in self.running.values():
                    os.killpg(other.pid, signal.SIGTERM)
            else:
                print(f"\n== {step.name}: stopped after {step.seconds:.0f} s", flush=True)

    def _table(self):
        print(f"\n{'step':24}{'seconds':>9}{'of CPU':>9}")
        for step in self.steps.values():
            if step.seconds is not None:
                print(f"{step.name:24}{step.seconds:9.0f}{step.cpu:9.0f}")
        cpu = sum(step.cpu or 0 for step in self.steps.values())
        print(f"{'all of it':24}{time.monotonic() - self.began:9.0f}{cpu:9.0f}", flush=True)

    def stop(self, *_):
        for process in self.running.values():
            os.killpg(process.pid, signal.SIGTERM)
        sys.exit("stopped")


def lints(of="--workspace --all-targets"):
    # With the profile of the tests, whose procedural macros are there; that of development optimises them, for minutes.
    return f"cargo clippy {of} --release --locked" + (" -- -D warnings" if PINNED else "")


def quick():
    return [
        [
            Step("format", FORMAT),
            Step("lints", lints()),
        ],
        [Step("tests", TEST, after=["format"])],
    ]


def everything():
    suites = "tests/run.py"
    return [
        [
            Step("format", FORMAT),
            Step("build", f"{TEST} --no-run"),
            Step("tests", TEST),
            Step("fuzz", "fuzz/run.sh 30", after=["faults"]),
        ],
        [
            # Faults hold what clients wait for against what they usually wait: nothing is compiled beside them.
            Step("x86", f"{suites} x86", after=["faults"]),
            Step("aarch64", f"{suites} aarch64"),
            Step("Miri", ".ci/miri"),
        ],
        [
            Step("environments", f"{suites} --prepare clients schemathesis ui deploy dependencies"),
            Step("dependencies", f"{suites} dependencies"),
            Step("deploy", f"{suites} deploy"),
            Step("faults", f"{suites} faults", after=["build"]),
            *(Step(name, f"{suites} {name}") for name in ("offline", "proxies", "odd", "java", "clients", "schemathesis", "ui")),
            Step("containers", f"{suites} containers"),
            Step("lints", lints()),
            Step("documentation", "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --release --locked"),
            Step("oldest Rust", ".ci/oldest"),
            Step("benchmark", lints("--manifest-path benches/kernels/Cargo.toml --all-targets")),
            # What a server does under more work than it can do is told of a server that has the cores for itself.
            Step("load", f"{suites} load", after=["Miri", "fuzz"]),
            Step("scale", f"{suites} scale pause=2.5"),
        ],
    ]


def main():
    if sys.argv[1:] not in ([], ["quick"]):
        sys.exit(f".ci/run takes nothing, or the word quick; not {' '.join(sys.argv[1:])}")
    if not PINNED:
        print(f"rustc {RUSTC} is not {os.environ['PINNED_RUST']}, which lints are judged by: here they fail nothing")
    run = Run(quick() if sys.argv[1:] else everything())
    signal.signal(signal.SIGTERM, run.stop)
    signal.signal(signal.SIGINT, run.stop)
    sys.exit(not run.all())


if __name__ == "__main__":
    main()
