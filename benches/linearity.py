#!/usr/bin/env python3
"""What a request costs by its documents, and a document by its tokens: the plot of docs/performance.md.

    benches/linearity.py [--binary target/release/ironrank] [--model DIR] [--svg docs/linearity.svg]

Starts the server (without DIR on weights of the 0.6B shape that it makes up) and times requests of 8 to 1,024 documents
of 24 tokens, and of one document of 512 to 8,192 tokens in all, every query a new one. Small requests are repeated and
the median counts. What they should cost is the count of operations of the 0.6B shape: 0.8808 GFLOP a token, and
229,376 FLOP for each earlier token that a token attends to. Prints a line for each, and exits with 1 when one is
further than 10 % from the common rate. Takes some 15 minutes on two old cores. Standard library only.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from harness import COMPUTES, Server
from harness.processes import end_when_told

DOCUMENTS = [8, 16, 32, 64, 128, 256, 512, 1024]
DOCUMENT_TOKENS = 24
LENGTHS = [512, 1024, 2048, 4096, 8192]
# Seconds that repeating a small request may take, and how often it is sent at most.
PATIENCE, REPEATS = 20, 7
WORDS = "the of and water energy theory history city river school research paper light number system market".split()


def flop(tokens, before):
    """GFLOP of `tokens` tokens after `before` others."""
    return (tokens * 0.8808e9 + 229_376 * tokens * (before + (tokens + 1) / 2)) / 1e9


class Subject:
    """Requests to a server, every query a new one."""

    def __init__(self, server):
        self.server, self.queries = server, 0

    def rerank(self, documents, tokens):
        """Seconds and prompt tokens of a request whose documents are cut to `tokens` tokens each."""
        self.queries += 1
        words = [WORDS[(i * i + 7 * self.queries + i) % len(WORDS)] for i in range(tokens + 1)]
        body = {"query": f"query number {self.queries:04}", "max_tokens_per_doc": tokens,
                "documents": [" ".join([str(1000 + d), *words]) for d in range(documents)]}
        text = json.dumps(body)
        start = time.monotonic()
        status, _, answer = self.server.ask("POST", "/v1/rerank", text, timeout=3600)
        seconds = time.monotonic() - start
        assert status == 200, f"{status}: {answer[:300]}"
        return json.loads(answer)["usage"]["total_tokens"], seconds

    def median(self, documents, tokens):
        """The median of the seconds, and the prompt tokens."""
        used, seconds = self.rerank(documents, tokens)
        times = [seconds]
        while len(times) < REPEATS and sum(times) + seconds < PATIENCE:
            times.append(self.rerank(documents, tokens)[1])
        return used, statistics.median(times)


def measure(subject):
    """Both series: (size, GFLOP, seconds)."""
    subject.rerank(1, 1)  # now the system prompt is in the prefix cache
    around = subject.rerank(1, 1)[0] - 1  # tokens of a prompt around its document
    tail = 9  # what follows the document
    query = 12  # the query and what introduces it and the document: shared by a request's documents
    documents = []
    for count in DOCUMENTS:
        used, seconds = subject.median(count, DOCUMENT_TOKENS)
        own = used // count - around + tail
        work = flop(query, around - tail - query) + count * flop(own, around - tail)
        documents.append((count, work, seconds))
        print(f"{count:5} documents of {DOCUMENT_TOKENS} tokens: {seconds:8.2f} s, {work / seconds:6.1f} GFLOP/s", flush=True)
    lengths = []
    for length in LENGTHS:
        used, seconds = subject.median(1, length - around)
        cached = around - tail - query
        work = flop(used - cached, cached)
        lengths.append((used, work, seconds))
        print(f"1 document, {used:5} tokens in all: {seconds:8.2f} s, {work / seconds:6.1f} GFLOP/s", flush=True)
    return documents, lengths


def rate(series):
    """GFLOP/s that the series have in common: the geometric mean."""
    return math.exp(statistics.mean(math.log(work / seconds) for _, work, seconds in series))


def plot(left, title, unit, series):
    """One half of the picture: points measured, the dashed line the count of operations; both axes logarithmic."""
    common = rate(series)
    xs = [x for x, _, _ in series]
    expected = [work / common for _, work, _ in series]
    ys = expected + [seconds for _, _, seconds in series]
    low, high = 2.0 ** math.floor(math.log2(min(ys))), 2.0 ** math.ceil(math.log2(max(ys)))
    place = lambda value, start, end, at, length: at + length * math.log2(value / start) / math.log2(end / start)
    x = lambda value: place(value, xs[0], xs[-1], left, 300)
    y = lambda value: place(value, low, high, 260, -220)
    middle = left + 150
    lines = [
        f'<text x="{middle}" y="24" text-anchor="middle" font-weight="bold">{title}</text>',
        f'<rect x="{left}" y="40" width="300" height="220" fill="none" stroke="#999"/>',
        f'<text x="{middle}" y="298" text-anchor="middle">{unit}</text>',
    ]
    lines += [f'<text x="{x(v):.1f}" y="278" text-anchor="middle">{v}</text>' for v in xs]
    tick = low
    while tick <= high:
        lines.append(f'<text x="{left - 6}" y="{y(tick) + 4:.0f}" text-anchor="end">{tick:g} s</text>')
        lines.append(f'<line x1="{left}" x2="{left + 300}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#eee"/>')
        tick *= 2
    points = " ".join(f"{x(v):.1f},{y(e):.1f}" for v, e in zip(xs, expected))
    lines.append(f'<polyline fill="none" stroke="#888" stroke-dasharray="5 4" points="{points}"/>')
    lines += [f'<circle cx="{x(v):.1f}" cy="{y(s):.1f}" r="4" fill="#1f6feb"/>' for v, _, s in series]
    return lines


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", default="target/release/ironrank")
    arguments.add_argument("--model")
    arguments.add_argument("--svg")
    options = arguments.parse_args()
    end_when_told()
    flags = ["--max-model-len", "8192", *COMPUTES]
    with Server(options.binary, options.model, *flags, name=None, threads=None, cache=None, dummy=False, ready=600) as server:
        documents, lengths = measure(Subject(server))
        server.stop()
    furthest = 0
    for name, series in ("documents", documents), ("one document", lengths):
        common = rate(series)
        away = max(abs(work / seconds / common - 1) for _, work, seconds in series)
        furthest = max(furthest, away)
        print(f"{name}: {common:.1f} GFLOP/s, at most {100 * away:.0f} % from it")
    if options.svg:
        lines = ['<svg xmlns="http://www.w3.org/2000/svg" width="780" height="310" font-family="sans-serif" font-size="12">'
                 '<rect width="780" height="310" fill="white"/>']
        lines += plot(60, f"Documents of {DOCUMENT_TOKENS} tokens", "documents of a request", documents)
        lines += plot(450, "One document", "tokens of the prompt", lengths)
        with open(options.svg, "w") as out:
            out.write("\n".join([*lines, "</svg>"]) + "\n")
    sys.exit(furthest > 0.1)


if __name__ == "__main__":
    main()
