"""litellm: embeddings of a server that it takes for vLLM, or for OpenAI."""

import litellm
from subject import *

library("litellm")


def ask(provider, **options):
    answer = litellm.embedding(
        model=f"{provider}/{EMBED_MODEL}", input=DOCUMENTS, api_base=EMBED_URL + "/v1", api_key="x", **options
    )
    return [item["embedding"] for item in answer.data]


@check("hosted_vllm and openai give the vectors that plain HTTP gives")
def _():
    for provider in "hosted_vllm", "openai":
        assert ask(provider) == vectors(DOCUMENTS), provider
