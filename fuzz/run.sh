#!/usr/bin/env bash
# Runs the fuzz targets one after the other, from the inputs in corpus/ and those that earlier runs found.
#
#   fuzz/run.sh [SECONDS [TARGET...]]      default: 30 seconds for every target; fuzz/run.sh 7200 runs for hours
#
# Needs cargo and a C++ compiler; cargo-fuzz is installed if it is missing. What a target crashes on is kept in
# artifacts/TARGET: `cargo fuzz tmin TARGET FILE` makes it smaller, and then it belongs into corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(request checkpoint packed prompt kernels)
command -v c++ >/dev/null || { echo "a C++ compiler is needed to build libFuzzer; apt-get install g++" >&2; exit 1; }
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

# Sanitizers are an unstable option of the compiler; the stable one takes it when asked in this way.
export RUSTC_BOOTSTRAP=1
sanitizer=address
if ! compgen -G "$(rustc --print target-libdir)/librustc*rt.asan.a" >/dev/null; then
  sanitizer=none
  echo "this compiler comes without AddressSanitizer: only panics, failed assertions and traps are found"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

started=$SECONDS
# All of them in one go: their crates are compiled beside each other.
cargo fuzz build --sanitizer "$sanitizer"
echo "built in $((SECONDS - started)) s"

passed=0 failed=0
for target in "${targets[@]}"; do
  found=fuzz/target/found/$target
  mkdir -p "$found"
  # Leaks are no matter of safety, and threads that go on working look like some.
  if cargo fuzz run --sanitizer "$sanitizer" "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" \
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
