"""The newest openai: what is served, and what becomes of those who want chats or embeddings from it."""

import openai
from subject import *

library("openai")


@check("lists the model, which tells that it reranks and how long prompts may be")
def _():
    models = openai.OpenAI(base_url=URL + "/v1", api_key="x").models.list().data
    assert [model.id for model in models] == [MODEL]
    assert (models[0].model_type, models[0].max_model_len) == ("rerank", 8192)


@check("retrieves the model; another one is its NotFoundError")
def _():
    client = openai.OpenAI(base_url=URL + "/v1", api_key="x")
    assert client.models.retrieve(MODEL).object == "model"
    raises(openai.NotFoundError, lambda: client.models.retrieve("gpt-4"), "does not exist")


@check("the right key opens, a wrong one is its AuthenticationError")
def _():
    assert openai.OpenAI(base_url=KEYED_URL + "/v1", api_key=KEY).models.list().data[0].id == MODEL
    client = openai.OpenAI(base_url=KEYED_URL + "/v1", api_key=WRONG_KEY)
    error = raises(openai.AuthenticationError, lambda: client.models.list().data)
    assert BAD_KEY in error.response.json()["message"]


@check("chats and embeddings are its NotFoundError, which says what this server does")
def _():
    client = openai.OpenAI(base_url=URL + "/v1", api_key="x")
    raises(openai.NotFoundError, lambda: client.embeddings.create(model=MODEL, input="a"), "no embedding model")
    messages = [{"role": "user", "content": "Hi"}]
    raises(openai.NotFoundError, lambda: client.chat.completions.create(model=MODEL, messages=messages), "only ranks and embeds")


@check("its client for any route reaches /rerank")
def _():
    client = openai.OpenAI(base_url=URL + "/v1", api_key="x")
    found = client.post("/rerank", cast_to=dict[str, object], body={"query": QUERY, "documents": DOCUMENTS})
    same([(result["index"], result["relevance_score"]) for result in found["results"]], ranking())
