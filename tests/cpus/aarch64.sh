#!/usr/bin/env bash
# The whole workspace compiled for aarch64 from here, and the lints of the kernels, which alone depend on the CPU; kernels,
# whole models and the server run on emulated CPUs.
#
#   tests/cpus/aarch64.sh
#
# cortex-a53 has NEON and nothing besides, max has all that qemu knows: atomics of its own, dot products, SVE. None of our
# kernels differs between them, so that the second runs one of the kernels' tests and the server. What is left out, since
# emulation takes 10 to 20 times as long as a CPU: goldens of the 0.6B shape, and those of tests/it/golden.rs on tiny
# models but for the ones that are asked of the server here.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu
. tests/cpus/checks.sh
if [ "$(uname -m)" = aarch64 ]; then
  not_run "this is an aarch64 machine, where \`cargo test\` covers it"
  summary
  exit
fi
need "apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross curl python3" \
  qemu-aarch64-static aarch64-linux-gnu-gcc curl python3 cargo

unset RUSTFLAGS # it would take the place of the target's own
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$(tests/cpus/aarch64-std.sh)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc

check "lints of the kernels" cargo clippy -p ironrank-kernels --all-targets --locked --target $target -- -D warnings
check "the program" cargo build --workspace --release --locked --target $target
built=$(cargo test --workspace --release --locked --target $target --no-run --test kernels 2>&1) || { echo "$built"; exit 1; }
kernels=$(executable "$built" tests/kernels.rs)
binary=target/$target/release/ironrank

tests/support/tiny-model.sh "$work/model"
tile() { aarch64-linux-gnu-objdump -d --no-show-raw-insn "$kernels" | python3 tests/cpus/tile.py; }
check "the register tile stays in registers" tile
cat "$work/said"
serves() { # MODEL: scores that are the other CPU's
  check "$1: the server starts" start "$1" "${on[@]}" -cpu "$1" "$binary"
  check "$1: neon is chosen" logged "$1" 'threads of neon$'
  check "$1: the server answers" ask "$1"
  check "$1: goldens of a tiny model hold" python3 tests/cpus/goldens.py "${url[$1]:-}"
  check "$1: the server leaves in order" stop "$1"
}
on=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)
old=("${on[@]}" -cpu cortex-a53)
check "cortex-a53: the kernels" some_pass env ONLY_ISA=neon,portable "${old[@]}" "$kernels"
serves cortex-a53
check "max: products of every size" \
  some_pass env ONLY_ISA=neon "${on[@]}" -cpu max "$kernels" --exact matmul_agrees_with_f64_at_any_size
serves max
check "scores are the same bits on both" cmp "$work/cortex-a53.scores" "$work/max.scores"
check "REQUIRE_ISA fails where the instruction set is missing" \
  fails_with 101 "REQUIRE_ISA names avx2, this CPU has [neon, portable]" \
  env REQUIRE_ISA=avx2 "${old[@]}" "$kernels" --exact matmul_of_nothing_is_nothing
if [ -x target/release/ironrank ]; then
  check "this CPU: the server starts" start native target/release/ironrank
  check "this CPU: the server answers" ask native
  check "cortex-a53: scores are those of this CPU" same_scores cortex-a53 native
else
  not_run "cortex-a53: scores are those of this CPU" "cargo build --release has not made target/release/ironrank"
fi
summary
