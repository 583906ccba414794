#!/usr/bin/env bash
# Runs the fuzz targets one after the other, from the inputs in corpus/ and those that earlier runs found.
#
#   fuzz/run.sh [SECONDS [TARGET...]]      default: 30 seconds for every target; fuzz/run.sh 7200 runs for hours
#
# Needs cargo and a C++ compiler. What a target crashes on is kept in artifacts/TARGET: the program of the target, given that
# file and `-minimize_crash=1 -max_total_time=60`, makes it smaller, and then it belongs into corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(request checkpoint packed prompt kernels)
command -v c++ >/dev/null || { echo "a C++ compiler is needed to build libFuzzer; apt-get install g++" >&2; exit 1; }

# What libFuzzer wants of the compiler: counters of edges and what is compared, as cargo-fuzz asks for them.
flags=(
  --cfg fuzzing
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  -Cllvm-args=-sanitizer-coverage-stack-depth
  -Cllvm-args=-simplifycfg-branch-fold-threshold=0
)
if compgen -G "$(rustc --print target-libdir)/librustc*rt.asan.a" >/dev/null; then
  flags+=(-Zsanitizer=address)
else
  echo "this compiler comes without AddressSanitizer: only panics, failed assertions and traps are found"
fi
host=$(rustc -vV | sed -n 's/^host: //p')
built=fuzz/target/$host/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

started=$SECONDS
# Sanitizers, and functions that are compiled where they are used, are unstable options: the stable compiler takes them when
# asked in this way. With a target named, build scripts and macros are compiled without them.
RUSTC_BOOTSTRAP=1 RUSTFLAGS=${flags[*]} \
  cargo -Zprofile-hint-mostly-unused build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" \
  --target-dir fuzz/target
echo "built in $((SECONDS - started)) s"

passed=0 failed=0
for target in "${targets[@]}"; do
  found=fuzz/target/found/$target
  mkdir -p "$found" "fuzz/artifacts/$target"
  # Leaks are no matter of safety, and threads that go on working look like some.
  if "$built/$target" "$found" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target/" -max_total_time="$seconds" \
    -max_len=8192 -timeout=20 -rss_limit_mb=4096 -detect_leaks=0 -print_final_stats=1 >"$work/log" 2>&1; then
    passed=$((passed + 1))
    runs=$(awk '/^stat::number_of_executed_units:/ {print $2}' "$work/log")
    covered=$(grep -oE ' cov: [0-9]+' "$work/log" | tail -1 | grep -oE '[0-9]+')
    echo "ok      $target: $runs executions, $covered edges covered, $(find "$found" -type f | wc -l) inputs found so far"
  else
    failed=$((failed + 1))
    echo "FAILED  $target"
    tail -60 "$work/log"
  fi
done
echo "$passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
