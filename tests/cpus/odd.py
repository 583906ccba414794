"""The server on machines that are smaller or barer than this one: it starts with the right number of threads and answers with the same
scores.

Made of affinity masks, control groups, mount namespaces with another /sys and /proc, and system calls that the kernel refuses. What
takes root, or a kernel that has it, counts as not run where it is not to be had.
"""

import atexit
import contextlib
import os
import re
import sys
from pathlib import Path

from harness import ROOT, Refused, need, not_run, output, succeeds
from harness.processes import end_all

from .subjects import ask, fails_with, logged, same_scores, start, stop

CPUS = sorted(os.sched_getaffinity(0))
FIRST, LAST = CPUS[0], CPUS[-1]
MEMORY = 512 << 20


class Machine:
    """This one as it is: what the others are compared with."""

    def __init__(self, binary):
        self.binary = binary
        server = start("this machine: the server starts", binary)
        self.scores = ask("this machine: the server answers", server)
        stop("this machine: the server leaves in order", server)
        threads = re.search(r" on (\d+) threads? of ", server.log())
        self.threads = int(threads[1]) if threads else 0

    def odd(self, name, threads, pattern, *wrap):
        """The server under that command has so many threads, and logs the pattern."""
        server = start(f"{name}: the server starts", self.binary, *wrap)
        logged(f"{name}: threads: {threads}", server, f" on {threads} threads? of ")
        logged(f"{name}: the log says '{pattern}'", server, pattern)
        scores = ask(f"{name}: the server answers", server)
        succeeds(f"{name}: scores are the same", same_scores, scores, self.scores)
        succeeds(f"{name}: metrics are served", lambda: server.ask("GET", "/metrics")[0] == 200)
        stop(f"{name}: the server leaves in order", server)


def cpus(machine):
    machine.odd("one CPU", 1, "may use 1 CPUs on 1 core,", "taskset", "-c", FIRST)
    if FIRST != LAST:
        machine.odd("only the last CPU", 1, "may use 1 CPUs on 1 core,", "taskset", "-c", LAST)
    else:
        not_run("only the last CPU", "this machine has one")


def control_group(controller, **settings):
    """Words before a command that put it into a new control group, of version 1 or 2: of the settings, those that the version knows are
    made. None where none can be made."""
    root = Path("/sys/fs/cgroup")
    try:
        if (root / "cgroup.controllers").exists():
            (root / "cgroup.subtree_control").write_text(f"+{controller}\n")
        else:
            root = root / controller
        group = root / f"ironrank-test-{os.getpid()}"
        group.mkdir()
        atexit.register(leave, group)
        known = [(group / file, value) for file, value in settings.items() if (group / file).exists()]
        for file, value in known:
            file.write_text(f"{value}\n")
    except OSError:
        return None
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', group] if known else None


def leave(group):
    """Removes a control group that has no process any more."""
    end_all()
    with contextlib.suppress(OSError):
        group.rmdir()


def control_groups(machine):
    if within := control_group("cpu", **{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpu.max": "50000 100000"}):
        machine.odd("half a CPU", 1, "a quota of 0.50 CPUs,", *within)
    else:
        not_run("half a CPU", "no control group for CPUs can be made here")
    if within := control_group("memory", **{"memory.limit_in_bytes": MEMORY, "memory.max": MEMORY}):
        machine.odd("512 MB", machine.threads, "a limit of 0.54 GB of memory", *within)
        large = [*within, machine.binary, "serve", "--weight-cache", "off", "--port", "0"]
        succeeds("512 MB: a model that needs more is refused with a sentence", fails_with, 1, "The model needs ", *large)
    else:
        not_run("512 MB", "no control group for memory can be made here")
    if FIRST == LAST:
        not_run("a set of CPUs with a hole", "this machine has one CPU")
    elif within := control_group("cpuset", **{"cpuset.mems": "0", "cpuset.cpus": LAST}):
        machine.odd("a set of CPUs with a hole", 1, "may use 1 CPUs on 1 core,", *within)
    else:
        not_run("a set of CPUs with a hole", "no control group for sets of CPUs can be made here")


def mounted(paths, *then):
    """Words before a command that finds nothing in some directories but what `then`, shell commands, have put there."""
    lines = [f"mount -t tmpfs none {path}" for path in paths] + list(then) + ['exec "$@"']
    return ["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", " && ".join(lines), "sh"]


def can(words):
    with contextlib.suppress(Refused):
        output(*words, "true")
        return True
    return False


def file_systems(machine):
    """Another /sys, none, and no /proc."""
    count = len(CPUS)
    if can(mounted(["/sys"])):
        machine.odd("no sysfs", count, f"may use {count} CPUs on {count} cores?,", *mounted(["/sys"]))
        # Every CPU a sibling of every other.
        topology = []
        for cpu in CPUS:
            directory = f"/sys/devices/system/cpu/cpu{cpu}/topology"
            topology += [f"mkdir -p {directory}", f"echo {','.join(map(str, CPUS))} >{directory}/thread_siblings_list"]
        machine.odd("hyper-threads of one core", 1, f"may use {count} CPUs on 1 core,", *mounted(["/sys"], *topology))
        limits = ["mkdir -p /sys/fs/cgroup", "echo 150000 100000 >/sys/fs/cgroup/cpu.max", f"echo {MEMORY} >/sys/fs/cgroup/memory.max"]
        both = "a quota of 1.50 CPUs, a limit of 0.54 GB of memory"
        machine.odd("one and a half CPUs of a container, 512 MB", 1, both, *mounted(["/sys"], *limits))
    else:
        not_run("no sysfs, hyper-threads of one core, one and a half CPUs of a container", "nothing can be mounted here")
    if can(mounted(["/proc", "/sys"])):
        machine.odd("neither procfs nor sysfs", count, "no CPU quota, memory of unknown size", *mounted(["/proc", "/sys"]))
    else:
        not_run("neither procfs nor sysfs", "nothing can be mounted here")


def system_calls(machine):
    """What kernels lack and containers forbid."""
    refuse = [sys.executable, ROOT / "tests/cpus/refuse.py"]
    if can([*refuse, "huge_pages", "--"]):
        for name, calls in {
            "no huge pages": ["huge_pages:EINVAL"],
            "no say in where threads and memory are": ["sched_setaffinity", "set_mempolicy"],
            "not even the CPUs are known": ["sched_getaffinity:ENOSYS"],
        }.items():
            machine.odd(name, machine.threads, "ready: serving", *refuse, *calls, "--")
    else:
        not_run("no huge pages, no affinity, no memory policy", "this kernel filters no system calls")


def run(binary):
    need("apt-get install util-linux", "taskset", "unshare")
    machine = Machine(binary)
    cpus(machine)
    control_groups(machine)
    file_systems(machine)
    system_calls(machine)
    # A limit on addresses, as batch systems set.
    machine.odd("1 GB of addresses", machine.threads, "ready: serving", "sh", "-c", 'ulimit -v 1048576 && exec "$@"', "sh")
