"""Every package that packaging/build.sh makes: installed as its users do, and asked once.

`made` is a directory of packages; without it they are made first, which compiles the program. The .deb is installed into a bare root of
each of `roots`, Debian's releases by name, which takes root, debootstrap and their archive at `mirror`. `cargo` no leaves out `cargo
install`, which compiles the program another way. What cannot be run here is counted as not run.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tarfile

from harness import (
    PATIENCE, ROOT, Refused, Server, check, eventually, free_port, is_there, need, not_run, note, output, start, succeeds, tiny_model, work,
)  # fmt: skip
from harness.server import ask

LARGEST = 25_000_000  # bytes of the binary
GLIBC_LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def asked(claim, binary, *flags, model=None, **how):
    """A server of this binary starts, ranks and stops in order."""

    def whole():
        with Server(binary, model or tiny_model(), *flags, **how) as server:
            scores = server.rerank()
            assert len(scores) == 2, scores
            assert server.stop() == 0, "it did not stop in order"

    succeeds(claim, whole)


def one(directory, pattern):
    found = list(directory.glob(pattern))
    assert len(found) == 1, f"{len(found)} files are called {pattern}"
    return found[0]


def checksums(directory):
    lines = (directory / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir() if file.name != "SHA256SUMS"}
    assert sums == files, f"{sums} and {files}"


def commands(binary, *words):
    """The commands that a help names, each as its words."""
    listed = re.search(r"^Commands:\n(.*?)(?:\n\n|\Z)", output(binary, *words, "--help"), re.M | re.S)
    names = [line.split()[0] for line in listed[1].splitlines() if re.match(r"  [a-z]", line)] if listed else []
    return [(*words, name) for name in names if name != "help"]


def beside(tree):
    """What is installed beside the program."""
    binary = tree / "bin/ironrank"
    words = [(), *commands(binary), *commands(binary, "cache")]
    pages = {"-".join(("ironrank", *command)) + ".1.gz" for command in words}
    found = {page.name for page in (tree / "share/man/man1").iterdir()}
    check(f"there is a manual page for the program and each of its {len(pages) - 1} commands", found == pages and len(pages) > 12, found ^ pages)
    if is_there("man"):
        for page in sorted(found):
            said = output("man", "--warnings", "-l", tree / "share/man/man1" / page, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
            check(f"{page} is read by man", "SYNOPSIS" in said and not re.search(r"^\S*(roff|man)\S*: ", said, re.M), said)
    succeeds("bash takes its completions", output, "bash", "-n", tree / "share/bash-completion/completions/ironrank")
    complete = f". {tree}/share/bash-completion/completions/ironrank; COMP_WORDS=(ironrank serve --max-model); COMP_CWORD=2; "
    complete += '_ironrank ironrank --max-model serve; echo "${COMPREPLY[@]}"'
    check("and completes a flag", output("bash", "-c", complete).split() == ["--max-model-len"], output("bash", "-c", complete))


def runs_anywhere(binary):
    size = binary.stat().st_size
    note(f"{output(binary, '--version').strip()}: {size / 1e6:.1f} MB")
    check("the binary is small", size < LARGEST, size)
    libraries = set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-dW", binary)))
    check("it needs no library but glibc's", libraries <= GLIBC_LIBRARIES, libraries)
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", output("readelf", "-VW", binary))}
    check("and nothing that glibc 2.17 has not", versions and max(versions) <= (2, 17), versions)
    check("its functions have names", " FUNC " in output("readelf", "--symbols", "-W", binary), "no symbols")


def archive(directory):
    with tarfile.open(one(directory, "*-linux.tar.gz")) as packed:
        # Without a filter Python 3.12 warns, and 3.9 knows none.
        packed.extractall(work() / "archive", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    tree = one(work() / "archive", "ironrank-*")
    runs_anywhere(tree / "bin/ironrank")
    beside(tree)
    asked("the binary of the archive serves", tree / "bin/ironrank")
    if is_there("qemu-x86_64-static"):
        nehalem = ["qemu-x86_64-static", "-cpu", "Nehalem"]
        asked("it serves on an emulated Nehalem", tree / "bin/ironrank", wrap=nehalem)
    else:
        not_run("it serves on an emulated Nehalem", "no qemu-x86_64-static")


def wheel(directory):
    name = one(directory, "*.whl").name
    check("the wheel is for any Python and glibc 2.17", re.search(r"-py3-none-manylinux_2_17_\w+\.manylinux2014_\w+\.whl$", name), name)
    output(sys.executable, "-m", "venv", work() / "venv")
    install = [work() / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", directory, "ironrank"]
    succeeds("pip installs it from a directory", output, *install)
    asked("the program of the wheel serves", work() / "venv/bin/ironrank")
    output(work() / "venv/bin/pip", "uninstall", "--quiet", "--yes", "ironrank")
    check("pip removes it", not (work() / "venv/bin/ironrank").exists())


def bare_root(release, mirror, name=None, packages=""):
    """A root of a release of Debian with nothing but what every one has, and `packages`."""
    root = work() / (name or release)
    include = [f"--include={packages}"] if packages else []
    output("debootstrap", "--variant=minbase", *include, release, root, *([mirror] if mirror else []))
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return root


def debian(directory, release, mirror):
    """Installed, asked and removed, without systemd."""
    root, package = bare_root(release, mirror), one(directory, "*.deb")
    shutil.copy(package, root / "tmp")
    glibc = output("chroot", root, "ldd", "--version").splitlines()[0].split()[-1]
    succeeds(f"{release}: dpkg installs it, glibc being {glibc}", output, "chroot", root, "dpkg", "-i", f"/tmp/{package.name}")
    check(f"{release}: its version is told", output("chroot", root, "ironrank", "--version").startswith("ironrank "))
    models = root / "srv/models"
    models.mkdir()
    shutil.copytree(tiny_model(), models / "tiny")
    here = ["--config", "/etc/ironrank/config.yaml"]
    asked(f"{release}: it serves what the configuration says", "/usr/bin/ironrank", *here, model="/srv/models/tiny", wrap=["chroot", root])
    # A name is looked up by what the root has for it.
    name = output("chroot", root, "ironrank", "health", "--url", "http://localhost:1/health", code=None)
    check(f"{release}: it looks up a name", "refused" in name.lower(), name)
    left = output("chroot", root, "ironrank", "serve", "--config", "/etc/ironrank/config.yaml", code=None)
    check(f"{release}: without its model it says so", "/srv/models/qwen3-reranker-0.6b" in left, left)
    with (root / "etc/ironrank/config.yaml").open("a") as config:
        config.write("# changed\n")
    output("chroot", root, "dpkg", "-r", "ironrank")
    check(f"{release}: removed, it leaves its configuration", (root / "etc/ironrank/config.yaml").exists())
    output("chroot", root, "dpkg", "-P", "ironrank")
    check(f"{release}: purged, it leaves nothing", not output("find", root, "-xdev", "-name", "*ironrank*", "-not", "-path", "*/tmp/*").strip())


# Run by systemd in the container when all else is up, with the program installed, and its end the container's.
BOOTED = """set -x
systemctl enable --now ironrank
echo "is $(systemctl is-active ironrank)"
systemctl show ironrank -p StatusText
touch /started
while [ ! -e /stop ]; do sleep 0.2; done
ls -l /var/cache/ironrank/
systemctl stop ironrank
echo "stopped: $(systemctl show ironrank --value -p Result) $(systemctl show ironrank --value -p ExecMainStatus)"
echo 'max-model-len: much' >>/etc/ironrank/config.yaml
systemctl start ironrank
echo "mistaken: $(systemctl show ironrank --value -p ExecMainStatus) $(systemctl show ironrank --value -p NRestarts)"
journalctl -u ironrank
dpkg -P ironrank
systemctl is-enabled ironrank
ls -d /var/cache/ironrank /var/cache/private/ironrank
systemctl poweroff
"""


def as_a_service(directory, mirror):
    """systemd itself starts it, in a container that systemd-nspawn boots."""
    root, port, key = bare_root("bookworm", mirror, "service", "systemd,systemd-sysv"), free_port(), "of-a-credential"
    shutil.copy(one(directory, "*.deb"), root / "ironrank.deb")
    output("chroot", root, "dpkg", "-i", "/ironrank.deb")
    shutil.copytree(tiny_model(), root / "srv/models/tiny")
    configuration = f"model: /srv/models/tiny\nload-format: dummy\nhost: 127.0.0.1\nport: {port}\nserved-model-name: tiny\n"
    (root / "etc/ironrank/config.yaml").write_text(configuration)
    (root / "etc/credstore").mkdir(mode=0o700, exist_ok=True)
    (root / "etc/credstore/ironrank.api-key").write_text(f"{key}\n")
    (root / "booted").write_text(BOOTED)
    unit = "[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/bin/sh /booted\nStandardOutput=file:/said\nStandardError=file:/said\n"
    (root / "etc/systemd/system/booted.service").write_text(unit)
    output("systemctl", "--root", root, "add-wants", "graphical.target", "booted.service")
    container = start(["systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "-b"], work() / "container.log")
    said = root / "said"
    check("systemd finds the service ready", eventually((root / "started").exists, 2 * PATIENCE), said.exists() and said.read_text())
    pair = json.dumps({"query": "q", "documents": ["a", "b"]})
    for sent, status in (key, 200), ("another", 401):
        answer = ask(f"http://127.0.0.1:{port}", "POST", "/v1/rerank", pair, {"Authorization": f"Bearer {sent}"})
        check(f"it answers {status} to a key that is {'the credential' if status == 200 else 'none'}", answer[0] == status, answer)
    (root / "stop").touch()
    check("the container ends", eventually(lambda: container.poll() is not None, 2 * PATIENCE))
    text = said.read_text()
    for claim, words in {
        "it is active": "\nis active\n",
        "its status says what it serves": f"StatusText=serving tiny (made-up weights: scores carry no meaning) on http://127.0.0.1:{port}",
        "its packed weights are in its cache": ".weights",
        "it stops in order": "\nstopped: success 0\n",
        "a mistake in its configuration is not tried again": "\nmistaken: 2 0\n",
        "and has a sentence in the journal": "much",
    }.items():
        check(claim, words in text, text)
    after = text.rpartition("dpkg -P ironrank")[2]
    gone = ["file state for ironrank.service: No such", "'/var/cache/ironrank': No such", "'/var/cache/private/ironrank': No such"]
    check("purged, it leaves neither unit nor cache", all(words in after for words in gone), after)


def debian_policy(directory):
    if not is_there("lintian"):
        not_run("lintian", "it is not installed")
        return
    said = output("lintian", "--allow-root", "--fail-on", "error,warning", one(directory, "*.deb"), code=None)
    check("lintian finds no fault in the .deb", not said.strip(), said)


def image(directory):
    try:
        output("docker", "info")
    except (OSError, Refused):
        not_run("the image", "no container engine")
        return
    said = output("docker", "load", "-i", one(directory, "*.image.tar.gz"))
    name = said.split()[-1]
    succeeds("the image says its version", output, "docker", "run", "--rm", "--network=none", name, "--version")
    note(f"tests/run.py containers image={name} asks it all the rest")


def installed_by_cargo():
    output("cargo", "install", "--path", ".", "--locked", "--root", work() / "cargo", cwd=ROOT)
    asked("the program of `cargo install` serves", work() / "cargo/bin/ironrank")


def run(made="", roots="bookworm", mirror="", cargo="yes"):
    need("apt-get install binutils", "readelf")
    directory = ROOT / (made or "target/packages")
    if not made:
        succeeds("all packages are made", output, ROOT / "packaging/build.sh", directory, cwd=ROOT)
    succeeds("the checksums are those of the files", checksums, directory)
    archive(directory)
    wheel(directory)
    debian_policy(directory)
    for release in roots.split(","):
        if os.geteuid() == 0 and is_there("debootstrap"):
            succeeds(f"{release}: the .deb comes, serves and goes", debian, directory, release, mirror)
        else:
            not_run(f"{release}: the .deb", "it takes root and debootstrap")
    if os.geteuid() == 0 and is_there("debootstrap") and is_there("systemd-nspawn"):
        succeeds("the service runs in a container of its own", as_a_service, directory, mirror)
    else:
        not_run("the service", "it takes root, debootstrap and systemd-nspawn")
    image(directory)
    if cargo == "yes":
        succeeds("`cargo install` makes the program", installed_by_cargo)
    else:
        not_run("`cargo install`", "not asked for")
