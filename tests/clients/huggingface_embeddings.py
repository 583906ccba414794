"""huggingface_hub's InferenceClient, which asks a TEI endpoint for vectors at the address itself or at /embed."""

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from subject import *

library("huggingface-hub")


def ask(texts, path="", **options):
    return huggingface_hub.InferenceClient(EMBED_URL + path).feature_extraction(texts, **options).tolist()


@check("feature_extraction gives the vectors that plain HTTP gives, one text is a list of one")
def _():
    for path in "", "/embed":
        assert ask(DOCUMENTS, path) == vectors(DOCUMENTS), path
    assert ask(QUERY) == vectors([QUERY])


@check("normalize, dimensions and prompt_name are heard")
def _():
    assert ask(DOCUMENTS, normalize=False) == vectors(DOCUMENTS, use_activation=False)
    assert ask(DOCUMENTS, dimensions=8) == vectors(DOCUMENTS, dimensions=8)
    assert ask([QUERY], prompt_name="query") == vectors([QUERY], EMBED_MODEL + ":query") != vectors([QUERY])


@check("a text that is too long is cut if it asks for that; otherwise it is an error, as an unknown prompt is")
def _():
    assert len(ask([LONG], truncate=True, truncation_direction="left")) == 1
    for error, says in [
        (raises(HfHubHTTPError, lambda: ask([LONG])), TOO_LONG),
        (raises(HfHubHTTPError, lambda: ask([QUERY], prompt_name="nonsense")), "nonsense"),
    ]:
        assert says in error.response.json()["error"], error.response.text


@check("the endpoint says that it embeds")
def _():
    info = huggingface_hub.InferenceClient(provider="hf-inference", model=EMBED_URL).get_endpoint_info()
    assert (info["model_id"], info["model_type"]) == (EMBED_MODEL, {"embedding": {"pooling": "last_token"}})
