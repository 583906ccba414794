"""Environments of packages from PyPI, and from npm if need be, kept between runs, so that one can be prepared before its suite needs it.

Invariant: an environment that has its mark holds all of its requirements; whoever finds none makes it anew, one at a time. Called by
suites, in `run` and in `prepare`.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path

from .processes import output


def kept():
    """The directory of what suites keep between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "ironrank-tests")


def environment(name, requirements, *options, npm=None):
    """The directory of an environment with what `requirements` say, in the form of a requirements file; `options` are pip's. `npm` is
    a directory with a package.json and its lock, whose packages the environment's own npm installs into node_modules. Raises
    `Refused`, with what pip or npm said, where it cannot be had."""
    packages = {file: (npm / file).read_text() for file in ("package.json", "package-lock.json")} if npm else {}
    wanted = hashlib.sha256("\0".join([sys.version, requirements, *options, *packages.values()]).encode()).hexdigest()
    directory = kept() / f"{name}-{wanted[:16]}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{directory}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "installed").exists():
            shutil.rmtree(directory, ignore_errors=True)
            output(sys.executable, "-m", "venv", directory)
            listed = directory / "requirements.txt"
            listed.write_text(requirements)
            # What a suite imports is compiled when it does, which is a small part of what these packages bring.
            ours = "--quiet", "--disable-pip-version-check", "--no-compile"
            output(directory / "bin/pip", "install", *ours, *options, "-r", listed)
            for file, text in packages.items():
                (directory / file).write_text(text)
            if packages:
                output(directory / "bin/npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=directory)
            (directory / "installed").touch()
    return directory
