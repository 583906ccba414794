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
. tests/support/checks.sh
need "apt-get install python3, cargo build --release" python3 "$binary"

export WORK=$work # for the logs of server.py
tests/support/tiny-model.sh "$work/model"
python3 tests/faults/load.py "$binary" "$work/model" "$seconds"
