"""The release binary and its tests on x86-64 CPUs that this machine is not, by qemu's user-mode emulation: nothing may run into an
instruction that the CPU lacks, the right instruction set is chosen, and the numbers hold.

Emulation takes 15 times as long as the CPU for scalar code and 45 times for AVX. What is left out for that reason:
- goldens of the 0.6B shape: hours; those of tests/it/golden.rs on tiny models but for the ones below, which are asked of the server:
  two minutes and more for each CPU, most of them for reading the tokenizer once for every model;
- of the kernels' tests on a CPU, the instruction sets that an earlier one has: an instruction does the same on both; and those that
  are called exhaustive;
- on CPUs that differ from an earlier one in features that no kernel uses: the kernels' tests, but for one; the server is started on
  all of them, so that detection, tokenizer, HTTP and every kernel's usual path do run;
AVX-512 is not emulated by any qemu: `cargo test` covers it on CPUs that have it.
"""

import os
from pathlib import Path

from harness import ROOT, need, not_run, output, succeeds, tiny_model

from . import goldens
from .subjects import ask, chosen, executable, fails_with, same_scores, some_pass, start, stop

# Every kernel, of floats and of integers, with every instruction set that is new on the CPU; the first is the one that is chosen. The
# longest test of integers takes ten seconds.
KERNELS = {"Nehalem": ["sse2", "portable"], "SandyBridge": ["avx"], "Haswell": ["avx2"]}
# CPUs that add what other code than the kernels looks for (float16 conversion, BMI), or that take away what it might take for granted
# (SSE3, AVX2 beside FMA).
OTHERS = {"Opteron_G1": "sse2", "IvyBridge": "avx", "Opteron_G5": "avx", "Skylake-Client": "avx2", "EPYC": "avx2"}


def on(model, *env):
    """Words before a command that runs on a CPU."""
    # What this machine must have says nothing of another CPU.
    return ["env", "-u", "REQUIRE_ISA", "-u", "ONLY_ISA", *env, "qemu-x86_64-static", "-cpu", model]


def on_this_cpu(binary):
    """Scores with each of the instruction sets that this CPU has too."""
    scores, has = {}, Path("/proc/cpuinfo").read_text().split()
    for isa in ("sse2", "avx", "avx2"):
        if isa in has:
            server = start(f"this CPU: the server starts with {isa}", binary, flags=["--isa", isa])
            scores[isa] = ask(f"this CPU: the server answers with {isa}", server)
            server.stop()
    return scores


def serves(model, isa, binary, native):
    """Chooses the instruction set, and scores as this CPU does with the same."""
    server = start(f"{model}: the server starts", binary, *on(model))
    chosen(f"{model}: {isa} is chosen", server, isa)
    scores = ask(f"{model}: the server answers", server)
    claim = f"{model}: scores are those of this CPU with {isa}"
    if isa in native:
        succeeds(claim, same_scores, scores, native[isa])
    else:
        not_run(claim, "it has none")
    succeeds(f"{model}: goldens of a tiny model hold", goldens.hold, server)
    stop(f"{model}: the server leaves in order", server)


def run(binary):
    if os.uname().machine != "x86_64":
        not_run("emulated x86-64 CPUs", "the tests of this machine are not made of x86-64 instructions")
        return
    need("apt-get install qemu-user-static", "qemu-x86_64-static", "cargo")
    # The executables of the very tests that `cargo test --workspace --release` runs.
    built = output("cargo", "test", "--workspace", "--release", "--locked", "--no-run", cwd=ROOT)
    kernels = ROOT / executable(built, "tests/kernels.rs")
    native = on_this_cpu(binary)
    for model, isas in KERNELS.items():
        only = ",".join(isas)
        succeeds(f"{model}: the kernels of {only}", some_pass, *on(model, f"ONLY_ISA={only}"), kernels, "--skip", "exhaustive")
        serves(model, isas[0], binary, native)
    for model, isa in OTHERS.items():
        command = [*on(model, f"ONLY_ISA={isa}"), kernels, "--exact", "matmul_agrees_with_f64_at_any_size"]
        succeeds(f"{model}: products of every size", some_pass, *command)
        serves(model, isa, binary, native)
    # What is asked for and is not there is said, not skipped.
    for variable in "REQUIRE_ISA", "ONLY_ISA":
        missing = [*on("SandyBridge", f"{variable}=avx2"), kernels, "--exact", "matmul_of_nothing_is_nothing"]
        said = f"{variable} names avx2, this CPU has [avx, sse2, portable]"
        succeeds(f"{variable} fails where the instruction set is missing", fails_with, 101, said, *missing)
    refused = [*on("Nehalem"), binary, "serve", tiny_model(), "--load-format", "dummy", "--isa", "avx", "--port", "0"]
    said = "The instruction set 'avx' is not available on this CPU; available: sse2, portable."
    succeeds("--isa avx is refused where it is missing", fails_with, 2, said, *refused)
