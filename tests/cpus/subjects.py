"""What the suites of other CPUs share: test programs, and servers of the tiny model that are asked the same everywhere.

A claim that starts a server, asks it or stops it is checked here, in its words.
"""

import re

from harness import Server, check, output, precision, succeeds, tiny_model

# What is asked: three documents of mixed length and script.
QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Paris is the capital of France.",
    "Der Nil ist ein Fluß in Afrika, 6.650 Kilometer lang.",
    "東京は日本の首都です。 Tokyo is not in France, nor is it small: it is a city of many millions of people.",
]
# Seconds that an emulated answer may take.
EMULATED = 300


def executable(printed, test):
    """The file that `cargo test --no-run` says it made of a test."""
    found = re.search(rf"^ *Executable {re.escape(test)} \((.*)\)$", printed, re.M)
    assert found, f"no executable of {test} in: {printed}"
    return found[1]


def some_pass(*command):
    """A test program that succeeds, at least one of its tests having run."""
    printed = output(*command)
    assert re.search(r"^test result: ok\. [1-9]", printed, re.M), printed


def fails_with(code, text, *command):
    printed = output(*command, code=code)
    assert text in printed, f"'{text}' is not in:\n{printed}"


def same_scores(these, those):
    """To the bit, as they are with one instruction set."""
    assert these == those and len(these) == len(DOCUMENTS), f"scores {these} are not {those}"


def near(these, those):
    """Within what their precision errs on such a model, as scores of different instruction sets are."""
    worst = max(abs(a - b) for a, b in zip(these, those))
    assert len(these) == len(those) == len(DOCUMENTS) and worst <= precision().off_by, f"scores {these} and {those} differ by {worst:.1e}"


def start(claim, binary, *wrap, flags=()):
    """A server of the tiny model under a command, with as many threads as it takes by itself: a check."""
    server = Server(binary, tiny_model(), "--max-model-len", "2048", *flags, threads=None, wrap=wrap, ready=EMULATED)
    check(claim, server.url is not None, server.log())
    return server


def ask(claim, server):
    """Its scores: a check."""
    return succeeds(claim, lambda: server.rerank(QUERY, DOCUMENTS, timeout=EMULATED)) or []


def logged(claim, server, pattern):
    """A line of its log: a check."""
    check(claim, re.search(pattern, server.log(), re.M), server.log())


def chosen(claim, server, isa):
    """That it computes with an instruction set, in the precision of the run: a check."""
    logged(claim, server, f" threads? of {isa}, in {precision().described}$")


def stop(claim, server):
    """A check of its exit code."""
    code = server.stop()
    check(claim, code == 0, f"exit code {code}: {server.log()}")
