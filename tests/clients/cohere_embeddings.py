"""The newest cohere: embeddings by both of its clients, whose input_type chooses the prompt."""

import cohere
from subject import *

library("cohere")


@check("its first client gives the vectors that plain HTTP gives")
def _():
    client = cohere.Client(base_url=EMBED_URL, api_key="x")
    found = client.embed(texts=DOCUMENTS, model=EMBED_MODEL, input_type="search_document")
    assert found.embeddings == vectors(DOCUMENTS)


@check("so does its second; a query has its prompt")
def _():
    client = cohere.ClientV2(base_url=EMBED_URL, api_key="x")

    def ask(kind):
        found = client.embed(texts=DOCUMENTS, model=EMBED_MODEL, input_type=kind, embedding_types=["float"])
        return found.embeddings.float_

    assert ask("search_document") == vectors(DOCUMENTS)
    assert ask("search_query") == vectors(DOCUMENTS, EMBED_MODEL + ":query")
