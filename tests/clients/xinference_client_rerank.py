"""xinference-client: it asks /v1/cluster/auth, then for the model, then ranks."""

import asyncio

from subject import *
from xinference_client import AsyncRESTfulClient, RESTfulClient

library("xinference-client")


def pairs(found):
    return [(result["index"], result["relevance_score"]) for result in found["results"]]


@check("scores, top_n and documents")
def _():
    client = RESTfulClient(URL)
    model = client.get_model(MODEL)
    same(pairs(model.rerank(DOCUMENTS, QUERY)), ranking())
    found = model.rerank(DOCUMENTS, QUERY, top_n=2, return_documents=True, return_len=True)
    same(pairs(found), ranking(2))
    assert [r["document"]["text"] for r in found["results"]] == [DOCUMENTS[index] for index, _ in ranking(2)]


@check("keyword arguments of the model reach it: an instruction changes scores")
def _():
    found = RESTfulClient(URL).get_model(MODEL).rerank(DOCUMENTS, QUERY, instruction="Find documents about bread.")
    assert sorted(pairs(found)) != sorted(ranking())


@check("the models that run")
def _():
    models = RESTfulClient(URL).list_models()
    assert list(models) == [MODEL] and models[MODEL]["model_type"] == "rerank", models


@check("asynchronously")
def _():
    async def run():
        client = AsyncRESTfulClient(URL)
        model = await client.get_model(MODEL)
        found = await model.rerank(DOCUMENTS, QUERY)
        await model.close()
        await client.close()
        return found

    same(pairs(asyncio.run(run())), ranking())


@check("the right key opens, a wrong one and none are its RuntimeError")
def _():
    same(pairs(RESTfulClient(KEYED_URL, api_key=KEY).get_model(MODEL).rerank(DOCUMENTS, QUERY)), ranking())
    for key in [WRONG_KEY, None]:
        raises(RuntimeError, lambda: RESTfulClient(KEYED_URL, api_key=key).get_model(MODEL), "API key")


@check("a pair that is too long, and a model that is not there, are its RuntimeError")
def _():
    client = RESTfulClient(URL)
    raises(RuntimeError, lambda: client.get_model(MODEL).rerank([LONG], QUERY), TOO_LONG)
    raises(RuntimeError, lambda: client.get_model("bge-m3"), "does not exist")
