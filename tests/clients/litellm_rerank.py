"""litellm.rerank with the providers that can name this server: hosted_vllm, cohere, huggingface, infinity, jina_ai."""

import asyncio
import os

# Nothing is fetched from elsewhere.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", HF_HUB_OFFLINE="1")

import litellm
from subject import *

litellm.suppress_debug_info = True
# What users type as api_base. Infinity's documents are strings, so it needs the path on which none come back.
PROVIDERS = {"hosted_vllm": "/v1", "cohere": "", "huggingface": "", "infinity": "/api", "jina_ai": ""}
RETURNS_DOCUMENTS = {"hosted_vllm", "cohere", "huggingface", "jina_ai"}

library("litellm")


def rerank(provider, url=URL, key="x", documents=DOCUMENTS, **more):
    base = url + PROVIDERS[provider]
    return litellm.rerank(
        model=f"{provider}/{MODEL}", query=QUERY, documents=documents, api_base=base, api_key=key, **more
    )


def pairs(found):
    return [(result["index"], result["relevance_score"]) for result in found.results]


for provider in PROVIDERS:

    @check(f"{provider}/: scores, top_n and documents")
    def _():
        found = rerank(provider)
        same(pairs(found), ranking())
        if provider in RETURNS_DOCUMENTS:
            assert [r["document"]["text"] for r in found.results] == [DOCUMENTS[index] for index, _ in ranking()]
        same(pairs(rerank(provider, top_n=2)), ranking(2))

    @check(f"{provider}/: the right key opens, a wrong one is litellm's error with status 401")
    def _():
        same(pairs(rerank(provider, KEYED_URL, KEY)), ranking())
        error = raises(Exception, lambda: rerank(provider, KEYED_URL, WRONG_KEY), BAD_KEY)
        assert type(error).__module__.startswith("litellm") and error.status_code == 401, type(error)

    @check(f"{provider}/: a pair that is too long is litellm's error")
    def _():
        error = raises(Exception, lambda: rerank(provider, documents=[LONG]), TOO_LONG)
        assert type(error).__module__.startswith("litellm") and error.status_code == 400, type(error)


@check("hosted_vllm/: the root, /v1/rerank and /rerank as api_base, tokens in meta, arerank")
def _():
    for PROVIDERS["hosted_vllm"] in ["", "/", "/v1/", "/v1/rerank", "/rerank"]:
        found = rerank("hosted_vllm")
        same(pairs(found), ranking())
        assert found.meta["billed_units"]["total_tokens"] == answer()["usage"]["total_tokens"]
    call = litellm.arerank(model=f"hosted_vllm/{MODEL}", query=QUERY, documents=DOCUMENTS, api_base=URL, api_key="x")
    same(pairs(asyncio.run(call)), ranking())


@check("hosted_vllm/: an instruction changes scores, truncation is passed on")
def _():
    found = rerank("hosted_vllm", instruction="Find documents about bread.")
    assert sorted(pairs(found)) != sorted(ranking())
    found = rerank("hosted_vllm", documents=[LONG, "short"], truncate_prompt_tokens=256)
    assert len(found.results) == 2
