#!/usr/bin/env bash
# The whole workspace compiled for aarch64 from here, lints included; its kernels, whole models and the server run on
# emulated CPUs.
#
#   tests/cpus/aarch64.sh
#
# cortex-a53 has NEON and nothing besides, max has all that qemu knows: atomics of their own, dot products, SVE. What is
# left out, since emulation takes 20 times as long as a CPU: goldens of the 0.6B shape, and tests that start the binary
# themselves, which would run outside the emulator (the server is started here instead).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu
for needed in qemu-aarch64-static aarch64-linux-gnu-gcc curl python3 cargo; do
  command -v "$needed" >/dev/null ||
    { echo "$needed is needed; apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross curl python3" >&2; exit 1; }
done
# shellcheck source=tests/cpus/checks.sh
. tests/cpus/checks.sh

unset RUSTFLAGS # it would take the place of the target's own
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$(tests/cpus/aarch64-std.sh)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc

check "lints of the whole workspace" cargo clippy --workspace --all-targets --locked --target $target -- -D warnings
built=$(cargo test --workspace --release --locked --target $target --no-run --lib --bins --test kernels --test golden 2>&1) ||
  { echo "$built"; exit 1; }
kernels=$(executable "$built" tests/kernels.rs)
golden=$(executable "$built" tests/golden.rs)
units=$(executable "$built" 'unittests src/lib.rs' | grep ironrank_kernels)
binary=target/$target/release/ironrank

tests/support/tiny-model.sh "$work/model"
for model in cortex-a53 max; do
  on=(qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu "$model")
  check "$model: the kernels" env REQUIRE_ISA=neon "${on[@]}" "$kernels"
  check "$model: threads, memory and machine" "${on[@]}" "$units"
  check "$model: scores of tiny models, float64's" "${on[@]}" "$golden" --exact tiny_models_score_as_in_float64_on_every_isa
  check "$model: hidden states of tiny models" "${on[@]}" "$golden" --exact hidden_states_follow_float64_layer_by_layer
  check "$model: the server starts" serve "$model" "${on[@]}" "$binary"
  check "$model: neon is chosen" logged "$model" 'threads of neon$'
  check "$model: the server answers" ask "$model"
  check "$model: the server leaves in order" stop "$model"
done
check "scores do not depend on the CPU" cmp "$work/cortex-a53.scores" "$work/max.scores"
check "REQUIRE_ISA fails where the instruction set is missing" fails_with 101 "REQUIRE_ISA names avx2, this CPU has [neon, portable]" \
  env REQUIRE_ISA=avx2 "${on[@]}" "$kernels" --exact matmul_of_nothing_is_nothing
# What an x86-64 machine answers to the same request.
if [ "$(uname -m)" = x86_64 ] && [ -x target/release/ironrank ]; then
  check "the server starts on this CPU" serve native target/release/ironrank
  check "the server answers on this CPU" ask native
  check "scores are those of this CPU" same_scores cortex-a53 native
else
  not_run "scores are those of this CPU" "target/release/ironrank is not there, or this is an aarch64 machine"
fi
summary
