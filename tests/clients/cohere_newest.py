"""The newest cohere: Client (v1), ClientV2 and its asynchronous twin."""

import asyncio

import cohere
from cohere.core.api_error import ApiError
from subject import *

library("cohere")


def pairs(found):
    return [(result.index, result.relevance_score) for result in found.results]


@check("Client, with the root and with /v1 as the base URL")
def _():
    for path in ["", "/", "/v1"]:
        client = cohere.Client(api_key="x", base_url=URL + path)
        same(pairs(client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)), ranking())
        found = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
        same(pairs(found), ranking(2))
        assert [r.document.text for r in found.results] == [DOCUMENTS[index] for index, _ in ranking(2)]


@check("Client, with objects of which rank_fields says what counts")
def _():
    client = cohere.Client(api_key="x", base_url=URL)
    documents = [{"text": text, "title": "none"} for text in DOCUMENTS]
    same(pairs(client.rerank(model=MODEL, query=QUERY, documents=documents, rank_fields=["text"])), ranking())


@check("ClientV2, with the root and with /v1 as the base URL")
def _():
    for path in ["", "/v1"]:
        client = cohere.ClientV2(api_key="x", base_url=URL + path)
        found = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, max_tokens_per_doc=4096)
        same(pairs(found), ranking())
        assert found.id.startswith("score-")
        same(pairs(client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=3, priority=1)), ranking(3))


@check("AsyncClientV2, eight requests at once")
def _():
    async def run():
        async with cohere.AsyncClientV2(api_key="x", base_url=URL) as client:
            calls = [client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=n) for n in range(1, 9)]
            return await asyncio.gather(*calls)

    for n, found in enumerate(asyncio.run(run()), 1):
        same(pairs(found), ranking(n))


@check("the right key opens, a wrong one is its error with status 401")
def _():
    for kind in [cohere.Client, cohere.ClientV2]:
        found = kind(api_key=KEY, base_url=KEYED_URL).rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
        same(pairs(found), ranking())
        client = kind(api_key=WRONG_KEY, base_url=KEYED_URL)
        error = raises(ApiError, lambda: client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS), BAD_KEY)
        assert error.status_code == 401


@check("a pair that is too long is its BadRequestError")
def _():
    for kind in [cohere.Client, cohere.ClientV2]:
        client = kind(api_key="x", base_url=URL)
        raises(cohere.BadRequestError, lambda: client.rerank(model=MODEL, query=QUERY, documents=[LONG]), TOO_LONG)
