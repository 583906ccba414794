"""Sees to it that the Rust compiler has a standard library for aarch64.

The toolchain's own, installed by rustup if need be; where that cannot be had, one built from Debian's rust-src of exactly the
compiler's version (root on Debian; a minute and a half), kept with what suites keep.
"""

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from harness import Refused, is_there, output
from harness.environments import kept


def has_std(sysroot, target):
    return any(Path(sysroot, "lib/rustlib", target, "lib").glob("libstd-*.rlib"))


def flags(target):
    """The flags that the compiler needs to find it."""
    sysroot = output("rustc", "--print", "sysroot").strip()
    if has_std(sysroot, target):
        return ""
    if is_there("rustup"):
        try:
            output("rustup", "target", "add", target)
        except Refused:
            pass
        if has_std(sysroot, target):
            return ""
    version = output("rustc", "--version").split()[1]
    built = kept() / f"{target}-{version}"
    kept().mkdir(parents=True, exist_ok=True)
    with open(f"{built}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not has_std(built, target):
            with tempfile.TemporaryDirectory() as work:
                build(Path(work), source(Path(work), version), target, built)
    return f"--sysroot={built}"


def source(work, version):
    """The library's source of a version, from Debian."""
    # Package lists of its own: the machine's stay as they are. Backports keep several versions of the compiler's source.
    for directory in "lists/partial", "cache/archives/partial":
        (work / directory).mkdir(parents=True)
    mirror = re.search(r"^URIs: *(\S+)", Path("/etc/apt/sources.list.d/debian.sources").read_text(), re.M)[1]
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (work / "sources.list").write_text(f"deb [signed-by={key} arch=amd64] {mirror} trixie-backports main\n")
    settings = [
        f"Dir::Etc::sourcelist={work}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::lists={work}/lists",
        f"Dir::Cache={work}/cache", "APT::Sandbox::User=root",
    ]  # fmt: skip
    options = ["-q", *(word for setting in settings for word in ("-o", setting))]
    output("apt-get", *options, "update")
    versions = [line.split("|")[1].strip() for line in output("apt-cache", *options, "madison", "rust-src").splitlines() if "|" in line]
    package = next((one for one in versions if one.startswith(version)), None)
    assert package, f"There is no standard library for the target: rustup cannot install it, and Debian has no rust-src {version}."
    output("apt-get", *options, "download", f"rust-src={package}", cwd=work)
    [file] = work.glob("rust-src_*.deb")
    output("sh", "-c", "dpkg-deb --fsys-tarfile \"$0\" | tar -x --wildcards '*/library/*'", file, cwd=work)
    [library] = (work / "usr/src").glob("rustc-*/library")
    return library


def build(work, library, target, built):
    # An empty crate, for whose sake cargo builds the libraries.
    empty = work / "empty"
    (empty / "src").mkdir(parents=True)
    (empty / "src/lib.rs").touch()
    (empty / "Cargo.toml").write_text('[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n')
    env = {**os.environ, "__CARGO_TESTS_ONLY_SRC_ROOT": str(library), "RUSTC_BOOTSTRAP": "1", "CARGO_TARGET_DIR": str(work / "built")}
    libraries = "build-std=std,panic_abort,panic_unwind,proc_macro,test"
    output("cargo", "-Z", libraries, "build", "-q", "--release", "--target", target, cwd=empty, env=env)
    place = built / "lib/rustlib" / target / "lib"
    place.mkdir(parents=True, exist_ok=True)
    for file in (work / "built" / target / "release/deps").glob("*.rlib"):
        if not file.name.startswith("libempty-"):
            shutil.copy(file, place)
    assert has_std(built, target), f"cargo has built no standard library for {target}"
