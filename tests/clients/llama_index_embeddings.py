"""LlamaIndex' embeddings: OpenAI-like and TEI."""

import openai
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from subject import *


def openai_like(model=EMBED_MODEL, **options):
    return OpenAILikeEmbedding(model_name=model, api_base=EMBED_URL + "/v1", api_key="x", max_retries=0, **options)


library("llama-index-embeddings-openai-like")


@check("texts in batches, a query, fewer dimensions, MODEL:query, a text that is too long")
def _():
    assert openai_like(embed_batch_size=2).get_text_embedding_batch(DOCUMENTS) == vectors(DOCUMENTS)
    assert [openai_like().get_query_embedding(QUERY)] == vectors([QUERY])
    assert openai_like(dimensions=8).get_text_embedding_batch(DOCUMENTS) == vectors(DOCUMENTS, dimensions=8)
    query = EMBED_MODEL + ":query"
    assert [openai_like(query).get_query_embedding(QUERY)] == vectors([QUERY], query) != vectors([QUERY])
    raises(openai.BadRequestError, lambda: openai_like().get_text_embedding(LONG), TOO_LONG)


library("llama-index-embeddings-text-embeddings-inference")


@check("texts in batches, a query, a text that is too long and is cut")
def _():
    embedding = TextEmbeddingsInference(model_name=EMBED_MODEL, base_url=EMBED_URL, embed_batch_size=2)
    assert embedding.get_text_embedding_batch(DOCUMENTS) == vectors(DOCUMENTS)
    assert [embedding.get_query_embedding(QUERY)] == vectors([QUERY])
    assert len(embedding.get_text_embedding(LONG)) == len(vectors([QUERY])[0])
