"""The newest openai: the embeddings that it asks for as base64 unless it is told otherwise."""

import openai
from subject import *

library("openai")
client = openai.OpenAI(base_url=EMBED_URL + "/v1", api_key="x")


def ask(texts=DOCUMENTS, **options):
    options = {"model": EMBED_MODEL, "input": texts, **options}
    return [item.embedding for item in client.embeddings.create(**options).data]


@check("the default call and floats give the vectors that plain HTTP gives")
def _():
    assert ask() == ask(encoding_format="float") == vectors(DOCUMENTS)


@check("one text is one vector; usage counts its tokens")
def _():
    answer = client.embeddings.create(model=EMBED_MODEL, input=QUERY)
    assert [item.embedding for item in answer.data] == vectors([QUERY]) and answer.usage.total_tokens > 0


@check("fewer dimensions are those of plain HTTP")
def _():
    found = ask(dimensions=8)
    assert {len(vector) for vector in found} == {8} and found == vectors(DOCUMENTS, dimensions=8)


@check("MODEL:query puts the query's prompt before a text")
def _():
    found = ask([QUERY], model=EMBED_MODEL + ":query")
    assert found == vectors([QUERY], EMBED_MODEL + ":query") != vectors([QUERY])


@check("a text that is too long, no texts and another model are its errors")
def _():
    raises(openai.BadRequestError, lambda: ask([LONG]), TOO_LONG)
    raises(openai.BadRequestError, lambda: ask([]))
    raises(openai.NotFoundError, lambda: ask(model="text-embedding-3-small"), "does not exist")
