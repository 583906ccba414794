"""A client that openapi-python-client makes of /openapi.json, without a warning: typed requests in, typed answers out."""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from subject import *

library("openapi-python-client")
MADE = Path(tempfile.mkdtemp())
sys.path.append(str(MADE))


def made(url, name):
    """The package `name`, made of the description of the server at `url`."""
    (MADE / "config.yaml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{url}/openapi.json", "--meta", "none",
               "--output-path", MADE / name, "--config", MADE / "config.yaml", "--fail-on-warning"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return importlib.import_module(name)


def of(package, path):
    return importlib.import_module(f"{package.__name__}.{path}")


@check("a client of a reranker ranks, in the words of vLLM and of TEI")
def _():
    package = made(URL, "reranker_client")
    models, rerank = of(package, "models"), of(package, "api.scores.v1_rerank")
    client = package.Client(URL)
    found = rerank.sync(client=client, body=models.RerankRequest(query=QUERY, documents=DOCUMENTS))
    assert type(found) is models.RerankResponse and found.usage.total_tokens > 0, found
    same([(result.index, result.relevance_score) for result in found.results], ranking())
    assert found.results[0].document.text == DOCUMENTS[ranking()[0][0]]
    body = models.RerankRequest(query=QUERY, documents=DOCUMENTS, top_n=2, truncation_side=models.CommonFieldsTruncationSide.LEFT)
    found = rerank.sync(client=client, body=body, x_request_id="mine")
    same([(result.index, result.relevance_score) for result in found.results], ranking(2))
    assert found.id == "score-mine", found.id
    found = rerank.sync(client=client, body=models.TextsRerankRequest(query=QUERY, texts=DOCUMENTS))
    same([(text.index, text.score) for text in found], ranking())


@check("it scores, lists the models, and reads an error as one")
def _():
    package = importlib.import_module("reranker_client")
    models = of(package, "models")
    client = package.Client(URL)
    # The generator knows no choice of fields: those that a body must have are set by their names.
    body = models.ScoreRequest()
    body["queries"], body["documents"] = QUERY, DOCUMENTS
    found = of(package, "api.scores.v1_score").sync(client=client, body=body)
    same(sorted(((datum.index, datum.score) for datum in found.data), key=lambda pair: -pair[1]), ranking())
    assert [card.id for card in of(package, "api.server.v1_models").sync(client=client).data] == [MODEL]
    body = models.RerankRequest(query=QUERY, documents=[LONG])
    answer = of(package, "api.scores.v1_rerank").sync_detailed(client=client, body=body)
    assert answer.status_code == 400 and TOO_LONG in answer.parsed.error.message, answer


@check("with a key it is let in, without one it is told so")
def _():
    package = made(KEYED_URL, "keyed_client")
    models, rerank = of(package, "models"), of(package, "api.scores.v1_rerank")
    body = models.RerankRequest(query=QUERY, documents=DOCUMENTS)
    found = rerank.sync(client=package.AuthenticatedClient(KEYED_URL, token=KEY), body=body)
    same([(result.index, result.relevance_score) for result in found.results], ranking())
    answer = rerank.sync_detailed(client=package.AuthenticatedClient(KEYED_URL, token=WRONG_KEY), body=body)
    assert answer.status_code == 401 and BAD_KEY in answer.parsed.message, answer


@check("a client of an embedding model gives the vectors of plain HTTP")
def _():
    package = made(EMBED_URL, "embedder_client")
    models = of(package, "models")
    body = models.EmbeddingRequest()
    body["input"] = DOCUMENTS
    found = of(package, "api.vectors.v1_embeddings").sync(client=package.Client(EMBED_URL), body=body)
    assert [datum.embedding for datum in found.data] == vectors(DOCUMENTS)
