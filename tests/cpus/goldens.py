"""Asks a server of tests/support/tiny-model.sh, whose made-up weights are those of the goldens called `tiny`, for every one
of them, and compares with what Hugging Face transformers computed in float64.

    goldens.py URL
"""

import gzip
import json
import pathlib
import sys
import urllib.request

FLOOR = 2e-6  # as tests/it/golden.rs: what float32 may err at least

path = pathlib.Path(__file__).parent.parent / "fixtures" / "goldens-tiny.json.gz"
cases = json.loads(gzip.decompress(path.read_bytes()))
worst = 0.0
for case in cases:
    body = {"query": case["query"], "documents": [case["document"]]}
    if case.get("instruction") is not None:
        body["instruction"] = case["instruction"]
    request = urllib.request.Request(
        sys.argv[1] + "/v1/rerank", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        answer = json.load(response)
    if answer["usage"]["total_tokens"] != len(case["token_ids"]):
        sys.exit(f"'{case['query']}' is {len(case['token_ids'])} tokens, not {answer['usage']['total_tokens']}")
    score = answer["results"][0]["relevance_score"]
    error = abs(score - case["score"])
    if not error <= max(FLOOR, 2 * case["float32_score_error"]):
        sys.exit(f"'{case['query']}' scores {score}, in float64 {case['score']}: off by {error:.1e}")
    worst = max(worst, error)
print(f"{len(cases)} goldens, at most {worst:.1e} from float64")
sys.exit(0 if cases else "there are no goldens")
