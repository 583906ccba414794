"""LangChain's document compressors: CohereRerank of langchain-cohere, InfinityRerank and JinaRerank of
langchain-community."""

import cohere
from infinity_client import Client
from langchain_cohere import CohereRerank
from langchain_community.document_compressors import infinity_rerank, jina_rerank
from langchain_core.documents import Document
from subject import *

documents = [Document(page_content=text, metadata={"page": page}) for page, text in enumerate(DOCUMENTS)]


def pairs(compressed):
    for document in compressed:
        assert document.page_content == DOCUMENTS[document.metadata["page"]]
    return [(document.metadata["page"], document.metadata["relevance_score"]) for document in compressed]


library("langchain-cohere")


@check("CohereRerank compresses documents")
def _():
    reranker = CohereRerank(base_url=URL, cohere_api_key="x", model=MODEL)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking(3))
    reranker = CohereRerank(base_url=URL, cohere_api_key="x", model=MODEL, top_n=None)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking())


@check("CohereRerank ranks texts")
def _():
    found = CohereRerank(base_url=URL, cohere_api_key="x", model=MODEL, top_n=2).rerank(DOCUMENTS, QUERY)
    same([(result["index"], result["relevance_score"]) for result in found], ranking(2))


@check("CohereRerank with the right key, with a wrong one, and with a pair that is too long")
def _():
    reranker = CohereRerank(base_url=KEYED_URL, cohere_api_key=KEY, model=MODEL)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking(3))
    reranker = CohereRerank(base_url=KEYED_URL, cohere_api_key=WRONG_KEY, model=MODEL)
    raises(cohere.UnauthorizedError, lambda: reranker.rerank(DOCUMENTS, QUERY), BAD_KEY)
    reranker = CohereRerank(base_url=URL, cohere_api_key="x", model=MODEL)
    raises(cohere.BadRequestError, lambda: reranker.rerank([LONG], QUERY), TOO_LONG)


library("langchain-community")


@check("InfinityRerank compresses documents")
def _():
    for path in ["", "/v1"]:
        reranker = infinity_rerank.InfinityRerank(client=Client(base_url=URL + path), model=MODEL)
        same(pairs(reranker.compress_documents(documents, QUERY)), ranking(3))
    client = Client(base_url=KEYED_URL, headers={"Authorization": f"Bearer {KEY}"})
    reranker = infinity_rerank.InfinityRerank(client=client, model=MODEL, top_n=5)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking())
    # It looks at no status, and has nothing to go through.
    for client, texts in [(Client(base_url=KEYED_URL), DOCUMENTS), (Client(base_url=URL), [LONG])]:
        reranker = infinity_rerank.InfinityRerank(client=client, model=MODEL)
        raises(TypeError, lambda: reranker.rerank(texts, QUERY), "NoneType")


@check("JinaRerank compresses documents, where its constant names this server")
def _():
    jina_rerank.JINA_API_URL = URL + "/v1/rerank"
    reranker = jina_rerank.JinaRerank(jina_api_key="x", model=MODEL)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking(3))
    raises(RuntimeError, lambda: reranker.rerank([LONG], QUERY), TOO_LONG)
    jina_rerank.JINA_API_URL = KEYED_URL + "/v1/rerank"
    reranker = jina_rerank.JinaRerank(jina_api_key=KEY, model=MODEL, top_n=2)
    same(pairs(reranker.compress_documents(documents, QUERY)), ranking(2))
    reranker = jina_rerank.JinaRerank(jina_api_key=WRONG_KEY, model=MODEL)
    raises(RuntimeError, lambda: reranker.compress_documents(documents, QUERY), BAD_KEY)
