"""LangChain's embeddings: OpenAIEmbeddings of langchain-openai, which sends token ids of another tokenizer unless it is told otherwise,
and HuggingFaceEndpointEmbeddings of langchain-huggingface."""

import importlib.util
import os
from pathlib import Path

# The tokenizer that LangChain takes would come from the network; LlamaIndex brings it along.
spec = importlib.util.find_spec("llama_index")
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(spec.submodule_search_locations[0]) / "core/_static/tiktoken_cache")

import openai
import tiktoken
from huggingface_hub.errors import HfHubHTTPError
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings
from subject import *


def openai_embeddings(model=EMBED_MODEL, **options):
    return OpenAIEmbeddings(model=model, base_url=EMBED_URL + "/v1", api_key="x", max_retries=0, **options)


library("langchain-openai")


@check("OpenAIEmbeddings with check_embedding_ctx_length=False gives the vectors that plain HTTP gives")
def _():
    embeddings = openai_embeddings(check_embedding_ctx_length=False)
    assert embeddings.embed_documents(DOCUMENTS) == vectors(DOCUMENTS)
    assert [embeddings.embed_query(QUERY)] == vectors([QUERY])
    query = openai_embeddings(EMBED_MODEL + ":query", check_embedding_ctx_length=False)
    assert [query.embed_query(QUERY)] == vectors([QUERY], EMBED_MODEL + ":query") != vectors([QUERY])
    raises(openai.BadRequestError, lambda: embeddings.embed_query(LONG), TOO_LONG)


@check("OpenAIEmbeddings as it is sends ids of another tokenizer, whose vectors are others: the log has a warning")
def _():
    ids = tiktoken.get_encoding("cl100k_base").encode_batch(DOCUMENTS)
    assert openai_embeddings().embed_documents(DOCUMENTS) == vectors(ids) != vectors(DOCUMENTS)


library("langchain-huggingface")


@check("HuggingFaceEndpointEmbeddings: documents, a query, other fields, a text that is too long")
def _():
    embeddings = HuggingFaceEndpointEmbeddings(model=EMBED_URL)
    assert embeddings.embed_documents(DOCUMENTS) == vectors(DOCUMENTS)
    assert [embeddings.embed_query(QUERY)] == vectors([QUERY])
    query = HuggingFaceEndpointEmbeddings(model=EMBED_URL, model_kwargs={"prompt_name": "query"})
    assert [query.embed_query(QUERY)] == vectors([QUERY], EMBED_MODEL + ":query")
    error = raises(HfHubHTTPError, lambda: embeddings.embed_query(LONG))
    assert TOO_LONG in error.response.text, error.response.text
