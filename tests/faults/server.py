"""What the fault tests share: named checks, a server of the binary under test, and HTTP as raw bytes."""

import http.client
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

HEAD = "POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# Longer than anything takes on a busy machine; only a failing check waits for it.
PATIENCE = 60

# A test that is told to stop takes its servers with it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


class Checks:
    """Counts what is checked; every check is a claim and one line."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def __call__(self, claim, true, saw=""):
        self.passed, self.failed = self.passed + bool(true), self.failed + (not true)
        print(f"ok      {claim}" if true else f"FAILED  {claim}: {str(saw)[:400]}", flush=True)
        return true

    def not_run(self, claim, why):
        self.skipped += 1
        print(f"not run {claim}: {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} not run", flush=True)
        sys.exit(1 if self.failed else 0)


class Server:
    """A running server on a free port of loopback; `wrap` are words before its command."""

    def __init__(self, binary, model, *flags, env=None, wrap=(), dummy=True, ready=PATIENCE):
        self.log_path = os.path.join(os.environ["WORK"], f"log-{random.getrandbits(32):08x}")
        command = [*wrap, binary, "serve", model, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", "0"]
        command += ["--threads", "1", *(["--load-format", "dummy"] if dummy else []), *flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, **(env or {})})
        self.pid, self.port = self.process.pid, None
        deadline = time.monotonic() + ready
        while self.port is None and self.process.poll() is None and time.monotonic() < deadline:
            found = re.search(r"ready: serving .* on https?://127\.0\.0\.1:(\d+)", self.log())
            self.port = int(found[1]) if found else None
            time.sleep(0.02)

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def rss_mb(self):
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024

    def connect(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, data, timeout=PATIENCE):
        """Sends bytes and reads to the end of the connection, or of patience."""
        with self.connect(timeout) as stream:
            try:
                stream.sendall(data)
            except OSError:
                pass  # Refused before it was all sent; the answer is what counts.
            return read_all(stream)

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE):
        """Status, headers and body of a well-formed request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def rerank(self, query="what", documents=("one", "two"), **more):
        status, _, body = self.ask("POST", "/v1/rerank", json.dumps({"query": query, "documents": documents, **more}))
        if status != 200:
            raise AssertionError(f"{status}: {body[:300]}")
        ranked = json.loads(body)["results"]
        return [score for _, score in sorted((r["index"], r["relevance_score"]) for r in ranked)]

    def metric(self, name):
        """The sum of a metric's series."""
        text = self.ask("GET", "/metrics")[2].decode()
        series = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
        return sum(map(float, series))

    def server_errors(self):
        text = self.ask("GET", "/metrics")[2].decode()
        return sum(float(n) for n in re.findall(r'^http_requests_total\{[^}]*status="5xx"[^}]*\} (\S+)$', text, re.M))

    def load(self):
        return json.loads(self.ask("GET", "/load")[2])["server_load"]

    def ends(self, seconds=PATIENCE):
        """The exit code; None if it goes on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if self.ends(PATIENCE) is None:
                self.process.kill()
        return self.process.wait()

    def __enter__(self):
        if self.port is None:
            raise AssertionError(f"no server: {self.log()[-2000:]}")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Bystander:
    """A client with a small request every 50 ms, on a connection of its own each time."""

    def __init__(self, server):
        self.server, self.times, self.problems, self.stopping = server, [], [], False

    def run(self):
        while not self.stopping:
            start = time.monotonic()
            try:
                self.server.rerank("who", ["me", "you"])
            except (OSError, AssertionError, http.client.HTTPException) as error:
                self.problems.append(repr(error))
            self.times.append(time.monotonic() - start)
            time.sleep(0.05)

    def __enter__(self):
        self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        while len(self.times) < 5:
            time.sleep(0.05)
        self.stopping = True
        self.thread.join()

    def median(self):
        return statistics.median(self.times)


def read_all(stream):
    data = b""
    try:
        while chunk := stream.recv(65536):
            data += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    return data


def status(answer):
    """The status of raw bytes; 0 where there is none."""
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(found[1]) if found else 0


def says(answer):
    """The sentence in the JSON of raw bytes; empty where there is no JSON."""
    body = answer.partition(b"\r\n\r\n")[2]
    try:
        return json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""


def eventually(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
