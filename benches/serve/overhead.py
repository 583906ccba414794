#!/usr/bin/env python3
"""What HTTP, JSON and the tokenizer add to the model's own time: a tiny model, one pair a request, on loopback.

    benches/serve/overhead.py [--binary target/release/ironrank] [--words 60] [--seconds 10]

The median of one connection's requests may be 1 ms above the engine's own time (queue and model, from /metrics), and 64 connections
must get 1,000 requests a second. --words sets the length of a document, --seconds that of a run. wrk shares the cores with the
server. Needs wrk (apt-get install wrk).
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
from harness import COMPUTES, Server, check, need, note, output, tiny_model
from harness.checks import end
from harness.processes import end_when_told


def engine(server):
    """Seconds that pairs have spent in the queue and in the model, and how many there were."""
    parts = (f"vllm:request_{part}_time_seconds" for part in ("queue", "inference"))
    return sum(server.metric(f"{part}_sum") for part in parts), server.metric("vllm:request_inference_time_seconds_count")


def load(server, words, connections, seconds):
    """Requests; microseconds in all, p50, p99 and mean; errors."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", ROOT / "benches/serve/pairs.lua", server.url]
    printed = output(*command, env={**os.environ, "WORDS": str(words)})
    return [int(number) for number in printed.splitlines()[-1].split()]


def measure(server, words, connections, seconds):
    """Requests a second, and by how many milliseconds their median is above the engine's own time; errors."""
    sum_before, count_before = engine(server)
    requests, micros, p50, p99, mean, bad = load(server, words, connections, seconds)
    spent, count = engine(server)
    rate, own = requests / micros * 1e6, (spent - sum_before) / (count - count_before) * 1000
    note(f"{connections} connections, {words} words: {rate:.0f} requests/s; p50 {p50 / 1000:.3f} ms, p99 {p99 / 1000:.3f} ms, "
         f"mean {mean / 1000:.3f} ms, of which the engine {own:.3f} ms")
    return rate, p50 / 1000 - own, bad


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", default=ROOT / "target/release/ironrank")
    arguments.add_argument("--words", type=int, default=60)
    arguments.add_argument("--seconds", type=int, default=10)
    options = arguments.parse_args()
    began = time.monotonic()
    end_when_told()
    need("apt-get install wrk, cargo build --release", "wrk", options.binary)
    with Server(options.binary, tiny_model(), *COMPUTES, name=None, threads=None) as server:
        load(server, options.words, 8, 2)
        _, above, bad = measure(server, options.words, 1, options.seconds)
        check(f"the median is {above:.3f} ms above the engine's own time, at most 1 ms", above <= 1)
        rate, _, worse = measure(server, options.words, 64, options.seconds)
        check(f"64 connections get {rate:.0f} requests a second, at least 1000", rate >= 1000)
        check("every request was answered with 200", bad + worse == 0, bad + worse)
    end(time.monotonic() - began)


if __name__ == "__main__":
    main()
