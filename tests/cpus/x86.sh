#!/usr/bin/env bash
# The release binary and its tests on x86-64 CPUs that this machine is not, by qemu's user-mode emulation: nothing may
# run into an instruction that the CPU lacks, the right instruction set is chosen, and the numbers hold.
#
#   tests/cpus/x86.sh [BINARY]      default: target/release/ironrank, and the tests built beside it
#
# Emulation takes 15 times as long as the CPU for scalar code and 45 times for AVX. What is left out for that reason:
# - goldens of the 0.6B shape: hours; those of tests/it/golden.rs on tiny models but for the ones below, which are asked of
#   the server: two minutes and more for each CPU, most of them for reading the tokenizer once for every model;
# - of the kernels' tests on a CPU, the instruction sets that an earlier one has: an instruction does the same on both;
# - on CPUs that differ from an earlier one in features that no kernel uses: the kernels' tests, but for one; the
#   server is started on all of them, so that detection, tokenizer, HTTP and every kernel's usual path do run;
# AVX-512 is not emulated by any qemu: `cargo test` covers it on CPUs that have it.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/ironrank}
. tests/cpus/checks.sh
if [ "$(uname -m)" != x86_64 ]; then
  not_run "the tests of this machine are not made of x86-64 instructions"
  summary
  exit
fi
need "apt-get install qemu-user-static curl python3" qemu-x86_64-static curl python3 cargo

# The executables of the very tests that `cargo test --workspace --release` runs.
built=$(cargo test --workspace --release --locked --no-run 2>&1) || { echo "$built"; exit 1; }
kernels=$(executable "$built" tests/kernels.rs)

tests/support/tiny-model.sh "$work/model"
check "the server starts on this CPU" start native "$binary"
check "the server answers on this CPU" ask native

serves() { # MODEL ISA: chooses it, and scores as this CPU does
  check "$1: the server starts" start "$1" qemu-x86_64-static -cpu "$1" "$binary"
  check "$1: $2 is chosen" logged "$1" "threads of $2\$"
  check "$1: the server answers" ask "$1"
  check "$1: scores are those of this CPU" same_scores "$1" native
  check "$1: goldens of a tiny model hold" python3 tests/cpus/goldens.py "${url[$1]:-}"
  check "$1: the server leaves in order" stop "$1"
}

# Every kernel with every instruction set that is new on the CPU.
for line in "Nehalem sse2,portable" "SandyBridge avx" "Haswell avx2"; do
  read -r model isas <<<"$line"
  check "$model: the kernels of $isas" some_pass env ONLY_ISA="$isas" qemu-x86_64-static -cpu "$model" "$kernels"
  serves "$model" "${isas%,*}"
done
# CPUs that add what other code than the kernels looks for (float16 conversion, BMI), or that take away what it might
# take for granted (SSE3, AVX2 beside FMA).
for line in "Opteron_G1 sse2" "IvyBridge avx" "Opteron_G5 avx" "Skylake-Client avx2" "EPYC avx2"; do
  read -r model isa <<<"$line"
  check "$model: products of every size" \
    some_pass env ONLY_ISA="$isa" qemu-x86_64-static -cpu "$model" "$kernels" --exact matmul_agrees_with_f64_at_any_size
  serves "$model" "$isa"
done

# What is asked for and is not there is said, not skipped.
for variable in REQUIRE_ISA ONLY_ISA; do
  check "$variable fails where the instruction set is missing" \
    fails_with 101 "$variable names avx2, this CPU has [avx, sse2, portable]" \
    env $variable=avx2 qemu-x86_64-static -cpu SandyBridge "$kernels" --exact matmul_of_nothing_is_nothing
done
check "--isa avx is refused where it is missing" \
  fails_with 2 "The instruction set 'avx' is not available on this CPU; available: sse2, portable." \
  qemu-x86_64-static -cpu Nehalem "$binary" serve "$work/model" --load-format dummy --isa avx --port 0
summary
