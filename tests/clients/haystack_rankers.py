"""Haystack's rankers: Jina, Cohere, Hugging Face TEI and vLLM."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import cohere
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker, TruncationDirection
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.vllm import VLLMRanker
from subject import *

NO_KEY, GOOD_KEY, BAD = (Secret.from_token(key) for key in ["x", KEY, WRONG_KEY])


def run(ranker, texts=DOCUMENTS, **more):
    documents = [Document(id=str(index), content=text) for index, text in enumerate(texts)]
    return ranker.run(query=QUERY, documents=documents, **more)


def rank(ranker, texts=DOCUMENTS, **more):
    return [(int(document.id), document.score) for document in run(ranker, texts, **more)["documents"]]


library("jina-haystack")


@check("JinaRanker: scores, usage, top_k, a key right and wrong, a pair that is too long")
def _():
    ranker = JinaRanker(model=MODEL, api_key=NO_KEY, base_url=URL + "/v1/rerank")
    same(rank(ranker), ranking())
    assert run(ranker)["meta"] == {"model": MODEL, "usage": answer()["usage"]}
    same(rank(ranker, top_k=2), ranking(2))
    same(rank(JinaRanker(model=MODEL, api_key=GOOD_KEY, base_url=KEYED_URL + "/v1/rerank")), ranking())
    wrong = JinaRanker(model=MODEL, api_key=BAD, base_url=KEYED_URL + "/v1/rerank")
    raises(RuntimeError, lambda: rank(wrong), BAD_KEY)
    raises(RuntimeError, lambda: rank(ranker, [LONG]), TOO_LONG)


library("cohere-haystack")


@check("CohereRanker: scores, top_k, a key right and wrong, a pair that is too long")
def _():
    same(rank(CohereRanker(model=MODEL, api_key=NO_KEY, api_base_url=URL)), ranking())
    same(rank(CohereRanker(model=MODEL, api_key=GOOD_KEY, api_base_url=KEYED_URL, top_k=2)), ranking(2))
    wrong = CohereRanker(model=MODEL, api_key=BAD, api_base_url=KEYED_URL)
    raises(cohere.UnauthorizedError, lambda: rank(wrong), BAD_KEY)
    # It asks for documents to be cut at 4,096 tokens, so that nothing is too long unless it says so.
    assert len(rank(CohereRanker(model=MODEL, api_key=NO_KEY, api_base_url=URL), [LONG, "short"])) == 2
    long = CohereRanker(model=MODEL, api_key=NO_KEY, api_base_url=URL, max_tokens_per_doc=8191)
    raises(cohere.BadRequestError, lambda: rank(long, [LONG]), TOO_LONG)


library("huggingface-api-haystack")


@check("HuggingFaceTEIRanker: scores, top_k, truncation, a key right and wrong, a pair that is too long")
def _():
    ranker = HuggingFaceTEIRanker(url=URL, token=None)
    same(rank(ranker), ranking())
    same(rank(ranker, top_k=2), ranking(2))
    assert len(rank(ranker, [LONG, "short"], truncation_direction=TruncationDirection.RIGHT)) == 2
    same(rank(HuggingFaceTEIRanker(url=KEYED_URL, token=GOOD_KEY)), ranking())
    wrong = HuggingFaceTEIRanker(url=KEYED_URL, token=BAD, max_retries=1)
    raises(RuntimeError, lambda: rank(wrong), "401", BAD_KEY)
    raises(RuntimeError, lambda: rank(HuggingFaceTEIRanker(url=URL, token=None, max_retries=1), [LONG]), TOO_LONG)


@check("HuggingFaceTEIRanker: raw scores are other numbers in the same order")
def _():
    found = rank(HuggingFaceTEIRanker(url=URL, token=None, raw_scores=True))
    assert [index for index, _ in found] == [index for index, _ in ranking()]
    assert any(not 0 <= score <= 1 for _, score in found), found


library("vllm-haystack")


@check("VLLMRanker: scores, usage, top_k, truncation, a key right and wrong, a pair that is too long")
def _():
    ranker = VLLMRanker(model=MODEL, api_key=None, api_base_url=URL + "/v1")
    same(rank(ranker), ranking())
    assert run(ranker)["meta"] == {"model": MODEL, "usage": answer()["usage"]}
    same(rank(ranker, top_k=2), ranking(2))
    cut = VLLMRanker(
        model=MODEL, api_key=None, api_base_url=URL + "/v1", extra_parameters={"truncate_prompt_tokens": 256}
    )
    assert len(rank(cut, [LONG, "short"])) == 2
    same(rank(VLLMRanker(model=MODEL, api_key=GOOD_KEY, api_base_url=KEYED_URL + "/v1")), ranking())
    wrong = VLLMRanker(model=MODEL, api_key=BAD, api_base_url=KEYED_URL + "/v1")
    raises(RuntimeError, lambda: rank(wrong), BAD_KEY)
    raises(RuntimeError, lambda: rank(ranker, [LONG]), TOO_LONG)
