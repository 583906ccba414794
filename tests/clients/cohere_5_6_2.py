"""cohere 5.6.2, as RAGFlow uses it for its providers VLLM and Cohere: rank[d.index] = d.relevance_score."""

import threading

import cohere
from cohere.core.api_error import ApiError
from cohere.errors import BadRequestError, NotFoundError
from subject import *

library("cohere")


def similarity(base_url, documents=DOCUMENTS, query=QUERY, model=MODEL, key="x", **more):
    client = cohere.Client(api_key=key, base_url=base_url)
    found = client.rerank(
        model=model, query=query, documents=documents, top_n=len(documents), return_documents=False, **more
    )
    rank = [None] * len(documents)
    for result in found.results:
        rank[result.index] = result.relevance_score
    return rank


def expected():
    return [score for _, score in sorted(ranking())]


@check("scores on every path that its users' base URLs lead to")
def _():
    for path in ["", "/v1", "/v1/", "/rerank", "/v1/rerank", "/v1/rerank/", "/v2/rerank", "/rerank/v1", "/v1/rerank/v1"]:
        same(enumerate(similarity(URL + path)), list(enumerate(expected())))


@check("the pairs with which RAGFlow checks a new model")
def _():
    for query, documents in [
        ("What's the weather?", ["Is it sunny today?"]),
        ("Hello~ RAGFlower!", ["Hi, there!", "Ohh, my friend!"]),
        ("test", ["test"]),
    ]:
        assert all(0 <= score <= 1 for score in similarity(URL + "/v1", documents, query))


@check("a model name with ___VLLM behind it")
def _():
    same(enumerate(similarity(URL + "/v1", model=MODEL + "___VLLM")), list(enumerate(expected())))


@check("126 documents, the most that RAGFlow sends at once")
def _():
    documents = [f"chunk {number}: {DOCUMENTS[number % 5]}" for number in range(126)]
    rank = similarity(URL + "/v1", documents)
    assert None not in rank and len(set(rank)) > 100


@check("documents that come back are mappings, and in order")
def _():
    client = cohere.Client(api_key="x", base_url=URL + "/v1")
    found = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    same([(r.index, r.relevance_score) for r in found.results], ranking(2))
    assert [r.document.text for r in found.results] == [DOCUMENTS[index] for index, _ in ranking(2)]


@check("documents that are objects")
def _():
    client = cohere.Client(api_key="x", base_url=URL + "/v1")
    found = client.rerank(model=MODEL, query=QUERY, documents=[{"text": text} for text in DOCUMENTS])
    same([(r.index, r.relevance_score) for r in found.results], ranking())


@check("the right key opens, a wrong one is its ApiError with status 401")
def _():
    same(enumerate(similarity(KEYED_URL + "/v1", key=KEY)), list(enumerate(expected())))
    error = raises(ApiError, lambda: similarity(KEYED_URL + "/v1", key=WRONG_KEY), BAD_KEY)
    assert error.status_code == 401


@check("a pair of 20,000 tokens is its BadRequestError, which says what to do")
def _():
    raises(BadRequestError, lambda: similarity(URL + "/v1", [*DOCUMENTS, LONG]), TOO_LONG, "8192")


@check("the same pair gets a score under --overflow truncate")
def _():
    rank = similarity(SMALL_URL + "/v1", [*DOCUMENTS, LONG])
    same(enumerate(rank[:-1]), list(enumerate(expected())))
    assert 0 < rank[-1] < 1


@check("another model is its NotFoundError, no documents its BadRequestError")
def _():
    raises(NotFoundError, lambda: similarity(URL + "/v1", model="bge-m3"), "does not exist")
    raises(BadRequestError, lambda: similarity(URL + "/v1", []), "must be given")


@check("a full queue is its ApiError with status 503, in JSON")
def _():
    documents = [f"{number} {DOCUMENTS[number % 5]} " * 40 for number in range(60)]
    errors = []

    def send():
        try:
            similarity(SMALL_URL + "/v1", documents)
        except ApiError as error:
            errors.append(error)

    # The queue has one place: of two at once, one is refused.
    for _ in range(10):
        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            break
    assert errors and errors[0].status_code == 503 and "message" in errors[0].body, errors
