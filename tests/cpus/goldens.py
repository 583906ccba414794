"""The goldens called `tiny`, asked of a server: its made-up weights are theirs."""

import gzip
import json

from harness import ROOT, precision

from .subjects import EMULATED


def hold(server):
    """Asks for every one of them, and compares with what Hugging Face transformers computed in float64."""
    cases = json.loads(gzip.decompress((ROOT / "tests/fixtures/goldens-tiny.json.gz").read_bytes()))
    assert cases, "there are no goldens"
    for case in cases:
        body = {"query": case["query"], "documents": [case["document"]]}
        if case.get("instruction") is not None:
            body["instruction"] = case["instruction"]
        status, _, answer = server.ask("POST", "/v1/rerank", json.dumps(body), timeout=EMULATED)
        assert status == 200, f"{status}: {answer[:300]}"
        answer = json.loads(answer)
        tokens, score = answer["usage"]["total_tokens"], answer["results"][0]["relevance_score"]
        assert tokens == len(case["token_ids"]), f"'{case['query']}' is {len(case['token_ids'])} tokens, not {tokens}"
        error = abs(score - case["score"])
        said = f"'{case['query']}' scores {score}, in float64 {case['score']}: off by {error:.1e}"
        assert error <= max(precision().off_by, 2 * case["float32_score_error"]), said
