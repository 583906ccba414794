#!/usr/bin/env python3
"""Tests of the program from outside: what cargo's tests cannot reach.

    tests/run.py [--binary BINARY] [--precision PRECISION] [--at-a-time N] SUITE [OPTION=VALUE]... [SUITE [OPTION=VALUE]...]...
    tests/run.py --prepare SUITE...      what the suites install from PyPI and keep, so that they find it
    tests/run.py --list                  the suites, with their options

BINARY is target/release/ironrank unless it is given, and PRECISION, in which all models are computed, float32; the other is int8.
Several suites run in processes of their own, one after the other or N at a time; what they print comes in order. Each check is a claim
and a line: "ok", "FAILED" or "not run"; the last line has the counts, and the exit code is 1 where a check failed. A suite that misses a
command says what installs it. All of it is on loopback, with small models, and suites may run beside each other.
"""

import argparse
import importlib
import inspect
import os
import sys
import time
import traceback
from pathlib import Path

from harness import Program, check, need, together
from harness.checks import end, failures
from harness.precision import PRECISIONS, VARIABLE
from harness.processes import ROOT, end_when_told, show_logs

# A suite is a module with `run`, whose parameters are its options, and perhaps `prepare`.
SUITES = {
    "dependencies": "dependencies.crates",
    "deploy": "deploy.files",
    "scale": "scale.replicas",
    "proxies": "scale.proxies",
    "faults": "faults.all",
    "http_abuse": "faults.http_abuse",
    "hostile_bodies": "faults.hostile_bodies",
    "slow_clients": "faults.slow_clients",
    "keep_alive": "faults.keep_alive",
    "changing_files": "faults.changing_files",
    "stopping": "faults.stopping",
    "threads": "faults.threads",
    "load": "faults.load",
    "offline": "offline.workers",
    "containers": "containers.image",
    "packages": "packages.installed",
    "clients": "clients.libraries",
    "java": "clients.jdk",
    "schemathesis": "clients.openapi_cases",
    "ui": "ui.page",
    "spark": "corpora.spark",
    "ray": "corpora.ray_data",
    "odd": "cpus.odd",
    "x86": "cpus.x86",
    "aarch64": "cpus.aarch64",
}

def suite(name):
    return importlib.import_module(SUITES[name])


def options_of(name):
    """The options of a suite and their defaults."""
    parameters = inspect.signature(suite(name).run).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.name != "binary"}


def asked_for(words):
    """Names of suites with their options, as they are written."""
    asked = []
    for word in words:
        if "=" in word and asked:
            asked[-1][1].append(word)
        elif word in SUITES:
            asked.append((word, []))
        else:
            sys.exit(f"There is no suite '{word}'; there are: {', '.join(SUITES)}.")
    return asked


def run_here(name, words, binary):
    began = time.monotonic()
    end_when_told()
    known, options = options_of(name), {}
    for word in words:
        option, _, value = word.partition("=")
        if option not in known:
            sys.exit(f"'{name}' has no option '{option}'; it has: {', '.join(known) or 'none'}.")
        options[option] = type(known[option])(value)
    if "binary" in inspect.signature(suite(name).run).parameters:
        need("cargo build --release", binary)
        options["binary"] = binary
    try:
        suite(name).run(**options)
    except Exception:
        check(f"{name} comes to its end", False, traceback.format_exc())
    if failures():
        show_logs()
    end(time.monotonic() - began)


def run_apart(asked, at_a_time, binary):
    began = time.monotonic()
    end_when_told()
    together([Program(name, [sys.executable, __file__, "--binary", binary, name, *words]) for name, words in asked], at_a_time)
    end(time.monotonic() - began)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    arguments.add_argument("--binary", default=ROOT / "target/release/ironrank")
    arguments.add_argument("--precision", choices=PRECISIONS, default=os.environ.get(VARIABLE, "float32"))
    arguments.add_argument("--at-a-time", type=int, default=1)
    arguments.add_argument("--prepare", action="store_true")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("suites", nargs="*")
    given = arguments.parse_args()
    os.environ[VARIABLE] = given.precision
    asked = asked_for(given.suites)
    binary = Path(given.binary).resolve()
    if given.list:
        for name in SUITES:
            said = suite(name).__doc__.replace("\n", " ").split(": ")[0].split(". ")[0]
            print(f"{name:16}{' '.join(f'{option}={default}' for option, default in options_of(name).items()):16}{said}")
    elif not asked:
        arguments.error("no suite is named")
    elif given.prepare:
        for name, _ in asked:
            suite(name).prepare()
    else:
        if len(asked) == 1:
            run_here(*asked[0], binary)
        run_apart(asked, given.at_a_time, binary)


if __name__ == "__main__":
    main()
