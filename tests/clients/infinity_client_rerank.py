"""infinity-client, generated from Infinity's OpenAPI document."""

import asyncio

from infinity_client import AuthenticatedClient, Client
from infinity_client.api.default import rerank
from infinity_client.errors import UnexpectedStatus
from infinity_client.models import RerankInput
from subject import *

library("infinity-client")


def pairs(found):
    return [(result.index, result.relevance_score) for result in found.results]


def body(documents=DOCUMENTS, **more):
    return RerankInput(query=QUERY, documents=documents, model=MODEL, **more)


@check("scores, usage, top_n and documents")
def _():
    for path in ["", "/v1"]:
        with Client(base_url=URL + path) as client:
            found = rerank.sync(client=client, body=body())
            same(pairs(found), ranking())
            usage = answer()["usage"]
            assert (found.usage.prompt_tokens, found.usage.total_tokens) == (usage["prompt_tokens"], usage["total_tokens"])
            same(pairs(rerank.sync(client=client, body=body(top_n=2, return_documents=True))), ranking(2))


@check("asynchronously, four requests at once")
def _():
    async def run():
        async with Client(base_url=URL) as client:
            calls = [rerank.asyncio(client=client, body=body()) for _ in range(4)]
            return await asyncio.gather(*calls)

    for found in asyncio.run(run()):
        same(pairs(found), ranking())


@check("the right key opens; a wrong one and a pair that is too long are its UnexpectedStatus")
def _():
    keyed = AuthenticatedClient(base_url=KEYED_URL, token=KEY)
    same(pairs(rerank.sync(client=keyed, body=body())), ranking())
    wrong = AuthenticatedClient(base_url=KEYED_URL, token=WRONG_KEY, raise_on_unexpected_status=True)
    raises(UnexpectedStatus, lambda: rerank.sync(client=wrong, body=body()), "401", BAD_KEY)
    client = Client(base_url=URL, raise_on_unexpected_status=True)
    raises(UnexpectedStatus, lambda: rerank.sync(client=client, body=body([LONG])), "400", TOO_LONG)
