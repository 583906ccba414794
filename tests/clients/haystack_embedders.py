"""Haystack's embedders: OpenAI, vLLM and Hugging Face TEI."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import openai
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.embedders.vllm import VLLMDocumentEmbedder, VLLMTextEmbedder
from huggingface_hub.errors import HfHubHTTPError
from subject import *

OPENAI = {"model": EMBED_MODEL, "api_key": Secret.from_token("x"), "api_base_url": EMBED_URL + "/v1"}
TEI = {"api_type": "text_embeddings_inference", "api_params": {"url": EMBED_URL}, "token": None}


def documents(embedder, texts=DOCUMENTS):
    found = embedder.run(documents=[Document(content=text) for text in texts])["documents"]
    assert [document.content for document in found] == list(texts)
    return [document.embedding for document in found]


library("haystack-ai")


@check("OpenAI's: texts, documents, fewer dimensions, MODEL:query, a text that is too long")
def _():
    found = OpenAITextEmbedder(**OPENAI).run(QUERY)
    assert [found["embedding"]] == vectors([QUERY]) and found["meta"]["usage"]["total_tokens"] > 0
    assert documents(OpenAIDocumentEmbedder(**OPENAI)) == vectors(DOCUMENTS)
    assert documents(OpenAIDocumentEmbedder(**OPENAI, dimensions=8)) == vectors(DOCUMENTS, dimensions=8)
    query = EMBED_MODEL + ":query"
    assert [OpenAITextEmbedder(**{**OPENAI, "model": query}).run(QUERY)["embedding"]] == vectors([QUERY], query)
    raises(openai.BadRequestError, lambda: OpenAITextEmbedder(**OPENAI).run(LONG), TOO_LONG)


library("vllm-haystack")


@check("vLLM's: texts, documents, what is vLLM's own")
def _():
    assert [VLLMTextEmbedder(**OPENAI).run(QUERY)["embedding"]] == vectors([QUERY])
    assert documents(VLLMDocumentEmbedder(**OPENAI)) == vectors(DOCUMENTS)
    raw = VLLMTextEmbedder(**OPENAI, extra_parameters={"use_activation": False}).run(QUERY)["embedding"]
    assert [raw] == vectors([QUERY], use_activation=False) != vectors([QUERY])


library("huggingface-api-haystack")


@check("TEI's: texts, documents, truncation")
def _():
    # Vectors have any length unless it asks for 1.
    raw = HuggingFaceAPITextEmbedder(**TEI).run(QUERY)["embedding"]
    assert [raw] == vectors([QUERY], use_activation=False) != vectors([QUERY])
    unit = {**TEI, "normalize": True}
    assert [HuggingFaceAPITextEmbedder(**unit).run(QUERY)["embedding"]] == vectors([QUERY])
    assert documents(HuggingFaceAPIDocumentEmbedder(**unit)) == vectors(DOCUMENTS)
    assert len(documents(HuggingFaceAPIDocumentEmbedder(**unit), [LONG, "short"])) == 2
    whole = HuggingFaceAPITextEmbedder(**unit, truncate=False)
    error = raises(HfHubHTTPError, lambda: whole.run(LONG))
    assert TOO_LONG in error.response.text, error.response.text
