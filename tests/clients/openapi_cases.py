"""Property-based requests, made by Schemathesis from /openapi.json, against the program: no answer may be a 5xx, and none may differ
from its description (status, content type, headers, schema of the body). `cases` is the number of cases for each route: the default
makes more than the 2,000 in all that a run must have, 100 make some 5,000. Needs Python 3.10.
"""

import re

from harness import ROOT, Refused, Server, check, environment, note, output, tiny_embedder, tiny_model, work

AT_LEAST = 2000
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method",
]  # fmt: skip


def prepare():
    """The environment of its packages."""
    requirements = (ROOT / "tests/clients/requirements/schemathesis.txt").read_text()
    return environment("schemathesis", requirements, "--no-deps", "--no-compile")


def run(binary, cases=40):
    packages = prepare()
    for name, model in ("reranker", tiny_model()), ("embedding model", tiny_embedder()):
        with Server(binary, model, "--max-model-len", "512", threads=None) as server:
            ask(packages, server, name, cases)


def ask(packages, server, name, cases):
    """All of them of a server."""
    command = [packages / "bin/schemathesis", "run", f"{server.url}/openapi.json", "--checks", ",".join(CHECKS)]
    command += ["--mode", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", cases, "--seed", "1"]
    command += ["--request-timeout", "120", "--generation-database", "none", "--continue-on-failure"]
    # It keeps files where it runs.
    try:
        said, refused = output(*command, cwd=work()), None
    except Refused as error:
        said, refused = error.printed, error
    check(f"every answer of the {name} is as /openapi.json describes it, and none is a 5xx", refused is None, refused)
    for line in said[said.find("SUMMARY") :].splitlines()[1:]:
        note(line)
    generated = re.search(r"([\d,]+) generated", said)
    count = int(generated[1].replace(",", "")) if generated else 0
    check(f"{count} cases are at least {AT_LEAST}", count >= AT_LEAST)
    check(f"the server of the {name} is well", server.is_well())
    # That of a client that sends no HTTP is none of its own.
    faults = [line for line in server.log().splitlines() if re.search("ERROR 5|panicked", line)]
    check(f"the server of the {name} has logged no fault of its own", not faults, faults)
