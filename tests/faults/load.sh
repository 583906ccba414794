#!/usr/bin/env bash
# Three times as much as a server can do, from 64 clients with mixed requests: it refuses what is too much, in the
# documented way, and does the rest as if nothing were. docs/reliability.md has the figures of five minutes.
#
#   tests/faults/load.sh [SECONDS] [BINARY]      default: 20 target/release/ironrank
#
# All of it on loopback, with a tiny model. Needs python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
binary=${2:-target/release/ironrank}
for needed in python3 "$binary"; do
  command -v "$needed" >/dev/null || { echo "$needed is needed; apt-get install python3, cargo build --release" >&2; exit 1; }
done

WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT
tests/support/tiny-model.sh "$WORK/model"
python3 tests/faults/load.py "$binary" "$WORK/model" "$seconds"
