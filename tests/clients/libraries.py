"""The client libraries of other rerankers and embedders, from PyPI and npm, against the program: each does what its users do, and
must give the scores, the vectors, the order and the errors that plain HTTP gives. Needs Python 3.10. A library that cannot be
installed has failed.
"""

import concurrent.futures
import os
import re

from harness import COMPUTES, ROOT, Program, Refused, Server, check, environment, tiny_model, together

MODEL, EMBED_MODEL, KEY = "qwen3-reranker-tiny", "qwen3-embedding-tiny", "second-key"
# Which scripts run in which environment: requirements/ENVIRONMENT.txt.
SCRIPTS = {
    "ragflow": ["cohere_5_6_2", "huggingface_inference_client"],
    "frameworks": ["langchain_rerankers", "llama_index_rerankers", "infinity_client_rerank", "huggingface_inference_client"],
    "newest": ["cohere_newest", "haystack_rankers", "litellm_rerank", "xinference_client_rerank", "openai_models",
               "huggingface_inference_client", "openai_embeddings", "litellm_embeddings", "cohere_embeddings", "ollama_embeddings",
               "haystack_embedders", "huggingface_embeddings", "langchain_embeddings", "llama_index_embeddings"],
    "node": ["openai_node.js"],
    "generated": ["generated_client"],
}  # fmt: skip
# What a script may take, in seconds, and how many run at a time.
LIMIT, AT_A_TIME = 300, 2


def packages(name):
    """The environment NAME of requirements/NAME.txt, with the npm packages of requirements/NAME; or why it cannot be had."""
    listed = ROOT / f"tests/clients/requirements/{name}.txt"
    npm = listed.with_suffix("")
    try:
        return environment(f"clients-{name}", listed.read_text(), "--no-deps", "--no-compile", npm=npm if npm.is_dir() else None)
    except Refused as refused:
        return refused


def prepare():
    """The environments, by name."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(SCRIPTS, pool.map(packages, SCRIPTS)))


def command(environment, script):
    """What runs a script: Python, or Node where it is JavaScript."""
    if script.endswith(".js"):
        return ["env", f"NODE_PATH={environment}/node_modules", environment / "bin/node", ROOT / f"tests/clients/{script}"]
    return [environment / "bin/python", ROOT / f"tests/clients/{script}.py"]


def run(binary):
    def subject(*flags, name=MODEL):
        return Server(binary, tiny_model(), "--max-model-len", "8192", *flags, name=name)

    environments = prepare()
    with subject() as open_, subject("--api-key", "first-key", KEY) as keyed, subject("--overflow", "truncate", "--max-num-queued-reqs", "1", *COMPUTES) as small, subject("--task", "embed", name=EMBED_MODEL) as embedder:
        # No keys or addresses of the caller's.
        env = {"SUBJECT_MODEL": MODEL, "SUBJECT_KEY": KEY, "SUBJECT_URL": open_.url, "SUBJECT_KEYED_URL": keyed.url,
               "SUBJECT_SMALL_URL": small.url, "SUBJECT_EMBED_URL": embedder.url, "SUBJECT_EMBED_MODEL": EMBED_MODEL,
               "PYTHONWARNINGS": "ignore"}
        for name in "CO_API_KEY", "CO_API_URL", "HF_TOKEN":
            os.environ.pop(name, None)
        programs = []
        for name, scripts in SCRIPTS.items():
            for script in scripts:
                if isinstance(environments[name], Refused):
                    check(f"{script}: requirements/{name}.txt cannot be installed", False, environments[name])
                else:
                    programs.append(Program(f"{script}, {name}", command(environments[name], script), env, LIMIT))
        together(programs, AT_A_TIME)
        warned = len(re.findall("WARN.*token ids", embedder.log()))
        check("token ids of another tokenizer, as LangChain sends them, are warned of once", warned == 1, embedder.log()[-2000:])
        for name, server in {"open": open_, "keyed": keyed, "small": small, "embedder": embedder}.items():
            faults = [line for line in server.log().splitlines() if re.search("panicked|ERROR 500", line)]
            check(f"the server '{name}' is well and has logged no fault of its own", server.is_well() and not faults, faults)
