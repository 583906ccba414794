"""What the checks of a client library share: the server under test, texts, and what it says about them over plain HTTP.

A script imports this module and its library, and registers a claim with @check(...), which runs at once. The suite `clients` starts
it, in an environment that has the library; what it counts, and that it came to its end, it tells as every suite does.
"""

import atexit
import functools
import importlib.metadata
import json
import os
import sys
import time
import traceback
import urllib.request

# Behind the environment's own: it alone has what is tested here.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import checks

# The server of most checks; the same behind KEY; and one that shortens documents and takes one request at a time.
URL = os.environ["SUBJECT_URL"]
KEYED_URL = os.environ["SUBJECT_KEYED_URL"]
SMALL_URL = os.environ["SUBJECT_SMALL_URL"]
KEY = os.environ["SUBJECT_KEY"]
WRONG_KEY = KEY + "x"
MODEL = os.environ["SUBJECT_MODEL"]
# A server of an embedding model.
EMBED_URL = os.environ["SUBJECT_EMBED_URL"]
EMBED_MODEL = os.environ["SUBJECT_EMBED_MODEL"]

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Berlin is the capital of Germany.",
    "Paris is the capital of France, on the Seine.",
    "The Nile is a river in Africa.",
    "France borders Spain, Italy and Germany.",
    "Bread is baked from flour, water and salt. 面包 🥖",
]
# Some 20,000 tokens, as a RAG application sends that keeps a document in one chunk; the limit is 8,192.
LONG = " ".join(f"sentence {number} of a long report," for number in range(2500))
# What the error of such a pair must say, wherever the library keeps it.
TOO_LONG = "Please reduce the length of the input"
# What the error of a key must say that is none.
BAD_KEY = "not one of this server's"

_library = "?"


def library(package):
    """Names the distribution under test."""
    global _library
    _library = f"{package} {importlib.metadata.version(package)}"


def check(claim):
    """Runs a function now; what it raises fails the claim."""

    def run(test):
        began = time.monotonic()
        said = ""
        try:
            test()
        except Exception:
            said = traceback.format_exc()
        checks.check(f"{_library}: {claim} ({time.monotonic() - began:.1f} s)", not said, said)

    return run


def raises(kind, call, *says):
    """The error of a call, which must be of a kind and say some things."""
    try:
        got = call()
    except kind as error:
        told = f"{error} {getattr(error, 'body', '')}"
        missing = [text for text in says if text not in told]
        assert not missing, f"{type(error).__name__} does not say {missing}: {told[:500]}"
        return error
    raise AssertionError(f"no error but {str(got)[:500]}")


def post(path, body, url=URL, headers=()):
    """The answer to plain JSON over plain HTTP."""
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **dict(headers)}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@functools.cache
def answer():
    """The answer of /v1/rerank for the texts above."""
    return post("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS})


def ranking(top_n=None):
    """Pairs of index and score that a client must give for the texts above, best first."""
    pairs = [(result["index"], result["relevance_score"]) for result in answer()["results"]]
    scores = [score for _, score in pairs]
    assert len(set(scores)) == len(DOCUMENTS) and scores == sorted(scores, reverse=True), pairs
    assert [index for index, _ in pairs] != list(range(len(DOCUMENTS))), "the texts are no test of order"
    return pairs[:top_n]


def same(found, expected):
    """Fails unless two rankings are the same, to the last bit of the scores."""
    found = [(index, score) for index, score in found]
    assert found == expected, f"{found} is not {expected}"


def vectors(texts, model=EMBED_MODEL, **fields):
    """What /v1/embeddings gives for some texts, each number a float32."""
    answer = post("/v1/embeddings", {"model": model, "input": texts, **fields}, EMBED_URL)
    found = [item["embedding"] for item in answer["data"]]
    assert len(found) == len(texts) and len({str(vector) for vector in found}) == len(texts), "texts are told apart"
    return found


@atexit.register
def _end():
    # After an exception that nobody caught, a script has not come to its end.
    if not hasattr(sys, "last_type"):
        checks.leave_counts()
