"""The one way to start a server of the program under test, to wait for it, and to ask it.

Invariant: a server that is `ready` has said so in its log, the one place that tells where it listens; it ends with its `with` block
or with the suite. Called by every suite that has servers, and by benches/.
"""

import functools
import gzip
import http.client
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.parse
from pathlib import Path

from .precision import precision
from .processes import ROOT, Refused, eventually, output, start, work

# Seconds: longer than anything takes on a busy machine; only a failing check waits for it.
PATIENCE = 60
# Flags of a server that is asked the same again and must compute it again.
COMPUTES = ("--answer-cache-mib", "0")
READY = re.compile(r"ready: serving .* on (https?)://(\S+):(\d+)")
_numbers = itertools.count(1)

# What Qwen's embedding models end every text in.
END = "<|endoftext|>"
TINY = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "head_dim": 32, "hidden_act": "silu", "hidden_size": 64,
    "intermediate_size": 160, "max_position_embeddings": 40960, "model_type": "qwen3", "num_attention_heads": 4,
    "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "vocab_size": 151669,
}  # fmt: skip


@functools.lru_cache(None)
def tiny_model(directory=None):
    """A model directory of a small shape without weights, readable for a server of any user: its path."""
    directory = Path(directory or work() / "model")
    directory.mkdir(parents=True)
    (directory / "tokenizer.json").write_bytes(gzip.decompress((ROOT / "assets/tokenizer.json.gz").read_bytes()))
    (directory / "config.json").write_text(json.dumps(TINY))
    directory.chmod(0o755)
    for file in directory.iterdir():
        file.chmod(0o644)
    return directory


def tiny_embedder(width=TINY["hidden_size"]):
    """The same as an embedding model, whose vectors have `width` numbers and whose tokenizer ends every text in a token of its own."""
    directory = tiny_model(work() / f"embedder-{width}")
    (directory / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]))  # fmt: skip
    (directory / "1_Pooling").mkdir()
    (directory / "config.json").write_text(json.dumps({**TINY, "hidden_size": width}))
    pooling = {"word_embedding_dimension": width, "pooling_mode_lasttoken": True, "include_prompt": True}
    (directory / "1_Pooling/config.json").write_text(json.dumps(pooling))
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    end, text = {"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    appended = {"id": END, "ids": [151643], "tokens": [END]}
    template = {"type": "TemplateProcessing", "single": [text, end], "pair": [text, end], "special_tokens": {END: appended}}
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [tokenizer["post_processor"], template]}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    return directory


class Server:
    """`BINARY serve MODEL FLAGS` on a port of loopback, in the precision of the run, with made-up weights unless not
    `dummy`; `wrap` are words before the command.

    Waits `ready` seconds for it; a `with` block fails, with the log, if it is not ready then."""

    def __init__(self, binary, model, *flags, name="tiny", threads=1, cache="off", dummy=True, port=0, wrap=(), env=None,
                 ready=2 * PATIENCE):
        self.binary, self.log_path = binary, work() / f"server-{next(_numbers)}.log"
        command = [*wrap, binary, "serve", *([model] if model else []), "--host", "127.0.0.1", "--port", port]
        command += precision().flags
        command += [*(["--weight-cache", cache] if cache else []), *(["--load-format", "dummy"] if dummy else [])]
        command += [*(["--served-model-name", name] if name else []), *(["--threads", threads] if threads else []), *flags]
        self.process = start(command, self.log_path, env={**os.environ, **(env or {})})
        self.pid, self.url, self.port = self.process.pid, None, port
        eventually(lambda: self.is_ready() or self.process.poll() is not None, ready)

    def is_ready(self):
        """Whether it has said that it is; from then on it has a `url` and a `port`."""
        if self.url is None and (said := READY.search(self.log())):
            self.url, self.port = f"{said[1]}://{said[2]}:{said[3]}", int(said[3])
        return self.url is not None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def memory(self, line="VmRSS"):
        """Bytes that a line of the process's status says."""
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(rf"{line}:\s+(\d+)", status.read())[1]) * 1024

    def connect(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE):
        """Status, headers and body of the answer to a well-formed request."""
        return ask(self.url, method, path, body, headers, timeout)

    def rerank(self, query="what", documents=("one", "two"), timeout=PATIENCE, **more):
        """Scores of documents, in their order."""
        request = json.dumps({"query": query, "documents": documents, **more})
        status, _, body = self.ask("POST", "/v1/rerank", request, timeout=timeout)
        assert status == 200, f"{status}: {body[:300]}"
        ranked = json.loads(body)["results"]
        return [score for _, score in sorted((r["index"], r["relevance_score"]) for r in ranked)]

    def metric(self, name, *labels):
        """The sum of a metric's series that have all of these labels, each as it is written: `status="2xx"`."""
        text = self.ask("GET", "/metrics")[2].decode()
        series = re.findall(rf"^{re.escape(name)}(?:\{{([^}}]*)\}})? (\S+)$", text, re.M)
        return sum(float(value) for has, value in series if all(label in has for label in labels))

    def server_errors(self):
        return self.metric("http_requests_total", 'status="5xx"')

    def load(self):
        """How many requests are at work."""
        return json.loads(self.ask("GET", "/load")[2])["server_load"]

    def is_well(self):
        """Whether the health command finds it so."""
        try:
            return output(self.binary, "health", "--port", self.port) != ""
        except Refused:
            return False

    def ends(self, seconds=PATIENCE):
        """The exit code; None if it goes on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        """Tells it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if self.ends() is None:
                self.process.kill()
        return self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        assert self.url is not None, f"no server: {self.log()[-2000:]}"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def certificate(subject):
    """Flags of a server that speaks TLS, and the file of its new certificate, for a `subject` such as "DNS:localhost"."""
    key, file = (work() / name for name in ("key.pem", "certificate.pem"))
    output(
        *["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
        *["-subj", "/CN=localhost", "-addext", f"subjectAltName={subject}", "-keyout", key, "-out", file],
    )
    return ["--ssl-certfile", file, "--ssl-keyfile", key], file


def ask(url, method, path, body=None, headers=None, timeout=PATIENCE):
    """Status, headers and body of the answer to a well-formed request to whoever is at `url`; certificates are not looked at."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()
