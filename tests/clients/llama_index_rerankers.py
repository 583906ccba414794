"""LlamaIndex' rerank postprocessors: Cohere, TEI, Xinference, SiliconFlow and Jina."""

import cohere
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from llama_index.postprocessor.xinference_rerank import XinferenceRerank
from subject import *


def nodes(texts=DOCUMENTS):
    return [NodeWithScore(node=TextNode(text=text, id_=str(index)), score=0.1) for index, text in enumerate(texts)]


def rank(reranker, texts=DOCUMENTS):
    found = reranker.postprocess_nodes(nodes(texts), query_str=QUERY)
    return [(int(node.node.node_id), node.score) for node in found]


library("llama-index-postprocessor-cohere-rerank")


@check("scores, a key right and wrong, a pair that is too long")
def _():
    same(rank(CohereRerank(base_url=URL, api_key="x", model=MODEL)), ranking(2))
    same(rank(CohereRerank(base_url=KEYED_URL, api_key=KEY, model=MODEL, top_n=5)), ranking())
    wrong = CohereRerank(base_url=KEYED_URL, api_key=WRONG_KEY, model=MODEL)
    raises(cohere.UnauthorizedError, lambda: rank(wrong), BAD_KEY)
    raises(cohere.BadRequestError, lambda: rank(CohereRerank(base_url=URL, api_key="x", model=MODEL), [LONG]), TOO_LONG)


library("llama-index-postprocessor-tei-rerank")


@check("scores, a key right and wrong, a pair that is too long")
def _():
    for path in ["", "/v1"]:
        same(rank(TextEmbeddingInference(base_url=URL + path)), ranking())
    same(rank(TextEmbeddingInference(base_url=URL, top_n=2)), ranking(2))
    for token in [KEY, f"Bearer {KEY}", lambda url: KEY]:
        same(rank(TextEmbeddingInference(base_url=KEYED_URL, auth_token=token)), ranking())
    # It looks at no status: what is no list of scores fails its own assertion.
    raises(AssertionError, lambda: rank(TextEmbeddingInference(base_url=KEYED_URL, auth_token=WRONG_KEY)))
    raises(AssertionError, lambda: rank(TextEmbeddingInference(base_url=URL), [LONG]))


library("llama-index-postprocessor-xinference-rerank")


@check("scores, no key where one is asked for, a pair that is too long")
def _():
    same(rank(XinferenceRerank(base_url=URL, model=MODEL)), ranking())
    same(rank(XinferenceRerank(base_url=URL, model=MODEL, top_n=2)), ranking(2))
    raises(Exception, lambda: rank(XinferenceRerank(base_url=KEYED_URL, model=MODEL)), "401", "asks for an API key")
    raises(Exception, lambda: rank(XinferenceRerank(base_url=URL, model=MODEL), [LONG]), "400", TOO_LONG)


library("llama-index-postprocessor-siliconflow-rerank")


@check("scores, a key right and wrong, a pair that is too long")
def _():
    same(rank(SiliconFlowRerank(base_url=URL + "/v1/rerank", api_key="x", model=MODEL)), ranking(4))
    same(rank(SiliconFlowRerank(base_url=KEYED_URL + "/v1/rerank", api_key=KEY, model=MODEL, top_n=5)), ranking())
    wrong = SiliconFlowRerank(base_url=KEYED_URL + "/v1/rerank", api_key=WRONG_KEY, model=MODEL)
    raises(RuntimeError, lambda: rank(wrong), BAD_KEY)
    long = SiliconFlowRerank(base_url=URL + "/v1/rerank", api_key="x", model=MODEL)
    raises(RuntimeError, lambda: rank(long, [LONG]), TOO_LONG)


library("llama-index-postprocessor-jinaai-rerank")


@check("scores, a key right and wrong, a pair that is too long")
def _():
    same(rank(JinaRerank(base_url=URL + "/v1", api_key="x", model=MODEL)), ranking(2))
    same(rank(JinaRerank(base_url=KEYED_URL, api_key=KEY, model=MODEL, top_n=5)), ranking())
    raises(RuntimeError, lambda: rank(JinaRerank(base_url=KEYED_URL, api_key=WRONG_KEY, model=MODEL)), BAD_KEY)
    raises(RuntimeError, lambda: rank(JinaRerank(base_url=URL, api_key="x", model=MODEL), [LONG]), TOO_LONG)
