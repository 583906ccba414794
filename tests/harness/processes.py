"""Processes of a suite, and the directory of what they write.

Invariant: when the suite ends, or is told to, what it has started is ended, in order or else by force, and `work()` is removed.
Called by suites and by `server`.
"""

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Every how many seconds it is looked whether what is waited for has come, and how long a process may take to leave.
STEP, LEAVING = 0.05, 15
_started = []
_logs = []


class Refused(AssertionError):
    """A command ended otherwise than it should; `printed` is what it said."""

    def __init__(self, command, code, wanted, printed):
        super().__init__(f"{command}: exit code {code}, not {wanted}:\n{printed}")
        self.printed = printed


@functools.lru_cache(None)
def work():
    """A directory of this suite alone, readable for servers of any user."""
    directory = Path(tempfile.mkdtemp(prefix="ironrank-test-"))
    directory.chmod(0o755)
    return directory


def is_there(command):
    """Whether a command can be run; as a user that is not root, those of administrators too."""
    return shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def need(how, *commands):
    """Ends the suite where a command is missing, with `how`, which says what installs them."""
    for command in commands:
        if not is_there(str(command)):
            sys.exit(f"{command} is needed; {how}")


def start(command, log, **options):
    """Starts a process that ends with the suite at the latest; what it prints is added to the file `log`."""
    if log not in _logs:
        _logs.append(log)
    with open(log, "ab") as out:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
    _started.append(process)
    return process


def output(*command, code=0, **options):
    """What a command prints; it must end with `code`, of which None is any."""
    words = [str(word) for word in command]
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, **options}
    ended = subprocess.run(words, stdout=subprocess.PIPE, universal_newlines=True, errors="replace", **options)
    if code is not None and ended.returncode != code:
        raise Refused(" ".join(words), ended.returncode, code, ended.stdout)
    return ended.stdout


def eventually(condition, seconds):
    """Asks until the answer is yes, and whether it was. Tries are counted, since a suite may itself be held up."""
    for _ in range(int(seconds / STEP)):
        if condition():
            return True
        time.sleep(STEP)
    return bool(condition())


def free_port():
    """A port of loopback that nobody has, for programs that cannot be told to take any."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def show_logs(lines=10):
    """The ends of the logs of all that was started, for who looks for a failure."""
    for log in _logs:
        said = Path(log).read_text(errors="replace").splitlines()[-lines:]
        if said:
            print(f"==> {log} <==", *said, sep="\n", file=sys.stderr)


def end_all():
    """Ends what was started: in order, so that it can do the same with what it has started, or else by force."""
    left = [process for process in _started if process.poll() is None]
    for process in left:
        process.terminate()
    eventually(lambda: all(process.poll() is not None for process in left), LEAVING)
    for process in left:
        if process.poll() is None:
            process.kill()
        process.wait()


@atexit.register
def _end():
    end_all()
    if work.cache_info().currsize:
        shutil.rmtree(work(), ignore_errors=True)


def end_when_told():
    """From now on a signal ends this process in order."""
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda *_: sys.exit(1))
    # Commands that administrators use are at hand for everybody.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
