"""The whole workspace compiled for aarch64 from here, and the lints of the kernels, which alone depend on the CPU; kernels, whole models
and the server run on emulated CPUs.

cortex-a53 has NEON and nothing besides, max has all that qemu knows: atomics of its own, dot products, SVE. Of our kernels the products
of bytes alone differ between them, by SDOT, so that the second runs the tests of integers, one of floats, and the server. What is left
out, since emulation takes 10 to 20 times as long as a CPU: goldens of the 0.6B shape, and those of tests/it/golden.rs on tiny models but
for the ones that are asked of the server here.
"""

import os

from harness import ROOT, need, not_run, note, output, succeeds

from . import aarch64_std, goldens, tile
from .subjects import ask, chosen, executable, fails_with, near, same_scores, some_pass, start, stop

TARGET = "aarch64-unknown-linux-gnu"
# What is not the kernels' runs for seconds, and takes minutes to optimise.
PROFILE = ["--config", "profile.release.opt-level=0", "--config", "profile.release.package.ironrank-kernels.opt-level=3"]


def prepare():
    """Flags of the compiler with which it finds a standard library for the target."""
    return aarch64_std.flags(TARGET)


def on(model, *env):
    """Words before a command that runs on a CPU."""
    # What this machine must have says nothing of another CPU.
    return ["env", "-u", "REQUIRE_ISA", "-u", "ONLY_ISA", *env, "qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-cpu", model]


def serves(model, isa, binary):
    """Its scores."""
    server = start(f"{model}: the server starts", binary, *on(model))
    chosen(f"{model}: {isa} is chosen", server, isa)
    scores = ask(f"{model}: the server answers", server)
    succeeds(f"{model}: goldens of a tiny model hold", goldens.hold, server)
    stop(f"{model}: the server leaves in order", server)
    return scores


def cargo(*words):
    variables = TARGET.upper().replace("-", "_")
    env = {
        **os.environ,
        f"CARGO_TARGET_{variables}_RUSTFLAGS": prepare(),
        f"CARGO_TARGET_{variables}_LINKER": "aarch64-linux-gnu-gcc",
        f"CC_{TARGET.replace('-', '_')}": "aarch64-linux-gnu-gcc",
    }
    env.pop("RUSTFLAGS", None)  # it would take the place of the target's own
    return output("cargo", *words, cwd=ROOT, env=env)


def run(binary):
    if os.uname().machine == "aarch64":
        not_run("emulated aarch64 CPUs", "this is an aarch64 machine, where `cargo test` covers it")
        return
    need("apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "qemu-aarch64-static", "aarch64-linux-gnu-gcc", "cargo")
    for_target = ["--release", "--locked", "--target", TARGET, *PROFILE]
    lints = ["clippy", "-p", "ironrank-kernels", "--all-targets", *for_target, "--", "-D", "warnings"]
    succeeds("lints of the kernels", cargo, *lints)
    succeeds("the program", cargo, "build", "--workspace", *for_target)
    built = cargo("test", "--workspace", *for_target, "--no-run", "--test", "kernels")
    emulated(binary, ROOT / f"target/{TARGET}/release/ironrank", ROOT / executable(built, "tests/kernels.rs"))


def emulated(native_binary, binary, kernels):
    """What runs: `binary` and `kernels`, the tests, are of the target, `native_binary` is of this machine."""
    for line in succeeds("the register tile stays in registers", tile.in_registers, kernels) or []:
        note(line)
    succeeds("cortex-a53: the kernels", some_pass, *on("cortex-a53", "ONLY_ISA=neon,portable"), kernels, "--skip", "exhaustive")
    old = serves("cortex-a53", "neon", binary)
    # The integers of both have the bits of one exact twin.
    products = [*on("max", "ONLY_ISA=neon-dotprod"), kernels, "integers::", "matmul_agrees_with_f64_at_any_size"]
    succeeds("max: the kernels of integers, products of every size", some_pass, *products)
    new = serves("max", "neon-dotprod", binary)
    succeeds("scores are the same bits on both", same_scores, old, new)
    missing = [*on("cortex-a53", "REQUIRE_ISA=avx2"), kernels, "--exact", "matmul_of_nothing_is_nothing"]
    said = "REQUIRE_ISA names avx2, this CPU has [neon, portable]"
    succeeds("REQUIRE_ISA fails where the instruction set is missing", fails_with, 101, said, *missing)
    server = start("this CPU: the server starts", native_binary)
    native = ask("this CPU: the server answers", server)
    server.stop()
    succeeds("cortex-a53: scores are near those of this CPU", near, old, native)
