"""huggingface_hub's InferenceClient for a TEI endpoint: post (until 0.30), the endpoint's card and health."""

import json

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from subject import *

library("huggingface-hub")


def client(model, **more):
    return huggingface_hub.InferenceClient(provider="hf-inference", model=model, **more)


def rank(client, documents=DOCUMENTS):
    found = json.loads(client.post(json={"query": QUERY, "texts": documents}))
    return [(result["index"], result["score"]) for result in found]


if hasattr(huggingface_hub.InferenceClient, "post"):

    @check("ranks texts, at the root as on an Inference Endpoint and at /rerank")
    def _():
        for path in ["", "/rerank"]:
            same(rank(client(URL + path)), ranking())
        found = json.loads(client(URL).post(json={"query": QUERY, "texts": DOCUMENTS, "return_text": True}))
        assert [result["text"] for result in found] == [DOCUMENTS[index] for index, _ in ranking()]

    @check("the right key opens; a wrong one and a pair that is too long are its HfHubHTTPError")
    def _():
        same(rank(client(KEYED_URL, token=KEY)), ranking())
        error = raises(HfHubHTTPError, lambda: rank(client(KEYED_URL, token=WRONG_KEY)))
        assert error.response.status_code == 401 and BAD_KEY in error.response.text
        error = raises(HfHubHTTPError, lambda: rank(client(URL), [LONG]))
        assert error.response.status_code == 400 and TOO_LONG in error.response.text


@check("the endpoint says that it reranks, and is well")
def _():
    info = client(URL).get_endpoint_info()
    assert (info["model_id"], list(info["model_type"])[0], info["max_input_length"]) == (MODEL, "reranker", 8192)
    assert client(URL).health_check()


@check("the card needs the key, health does not")
def _():
    assert client(KEYED_URL, token=KEY).get_endpoint_info()["model_id"] == MODEL
    error = raises(HfHubHTTPError, lambda: client(KEYED_URL, token=WRONG_KEY).get_endpoint_info())
    assert error.response.status_code == 401
    assert client(KEYED_URL, token=WRONG_KEY).health_check()
