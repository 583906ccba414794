"""ollama: embeddings by its own client."""

import ollama
from subject import *

library("ollama")
client = ollama.Client(EMBED_URL)


@check("embed gives the vectors that plain HTTP gives, and counts tokens")
def _():
    answer = client.embed(EMBED_MODEL, DOCUMENTS)
    assert [list(vector) for vector in answer.embeddings] == vectors(DOCUMENTS) and answer.prompt_eval_count > 0


@check("embeddings gives one vector in that direction, of another length")
def _():
    found, one = client.embeddings(EMBED_MODEL, QUERY).embedding, vectors([QUERY])[0]
    dot = sum(a * b for a, b in zip(found, one))
    assert abs(dot * dot / sum(a * a for a in found) - 1) < 1e-5


@check("another model is its ResponseError")
def _():
    error = raises(ollama.ResponseError, lambda: client.embed("nomic-embed-text", QUERY), "does not exist")
    assert error.status_code == 404
