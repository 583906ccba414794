"""A server that is told to stop under load answers every request that it has taken.
"""

import http.client
import json
import os
import signal
import threading
import time

from harness import COMPUTES, Server, check, eventually, note, tiny_model

CLIENTS = 16


def request(client):
    """Some hundredths of a second of work."""
    documents = [" ".join(f"word{(client + i * 7 + j) % 97}" for j in range(120)) for i in range(12)]
    return json.dumps({"query": f"question {client}", "documents": documents}).encode()


class Clients:
    """Every other one keeps its connection; each stops when a request is refused after the stop."""

    def __init__(self, port):
        self.port, self.stopped = port, None
        self.answered, self.late, self.refused, self.lost = 0, 0, 0, []
        self.lock = threading.Lock()
        self.gate = threading.Lock()  # held by who sends, and by who stops the server: a request is sent before that or after
        self.threads = [threading.Thread(target=self.run, args=(client,)) for client in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        kept, body = None, request(client)
        while True:
            connection = kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            reused, answer, problem = kept is not None, None, None
            try:
                with self.gate:
                    start = time.monotonic()
                    connection.request("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200 or len(json.loads(text)["results"]) != 12:
                    problem = f"{answer.status}: {text[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            with self.lock:
                if problem is None:
                    self.answered += 1
                    self.late += self.stopped is not None and time.monotonic() > self.stopped
                elif self.stopped is not None and start > self.stopped:
                    # Sent when the server had been told.
                    self.refused += 1
                    return
                else:
                    self.lost.append(f"after {time.monotonic() - start:.3f} s, reused: {reused}: {problem}")
                    return
            kept = connection if client % 2 and not answer.will_close else None
            if kept is None:
                connection.close()

    def join(self):
        for thread in self.threads:
            thread.join()


def stop(binary, model, delay):
    with Server(binary, model, "--drain-delay", str(delay), "--shutdown-timeout", "30", *COMPUTES) as server:
        clients = Clients(server.port)
        time.sleep(2)
        with clients.gate:
            time.sleep(0.05)  # until the server has taken what was sent, and far less than it needs for that
            at_work = server.load()
            os.kill(server.pid, signal.SIGTERM)
            clients.stopped = time.monotonic()
        clients.join()
        code = server.ends()
        seconds = time.monotonic() - clients.stopped
        with_delay = f"with a delay of {delay} s" if delay else "without a delay"
        check(f"a server with {at_work} requests at work ends in order, {with_delay}", code == 0 and at_work > 5, (code, at_work))
        check("every request that it had taken was answered", not clients.lost, clients.lost)
        check("some of them after the signal", clients.late >= at_work // 2, (clients.late, at_work))
        check("within its time", seconds < delay + 30, seconds)
        note(f"{clients.answered} answered, {clients.late} of them after the signal, {clients.refused} refused, "
              f"{len(clients.lost)} lost, {seconds:.1f} s")


def impatient(binary, model):
    with Server(binary, model, "--shutdown-timeout", "1", "--max-model-len", "8192") as server:
        long = json.dumps({"query": "q", "documents": [f"{i} " + "word " * 4000 for i in range(200)]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/rerank", long, {"Content-Type": "application/json"})
        time.sleep(1)
        start = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        code = server.ends()
        check("what is not done when the time is over is given up", code == 0 and time.monotonic() - start < 5, (code, time.monotonic() - start))
        connection.close()
    with Server(binary, model) as server:
        os.kill(server.pid, signal.SIGINT)
        check("SIGINT stops as SIGTERM does", server.ends() == 0)
    with Server(binary, model, "--shutdown-timeout", "600", "--max-model-len", "8192") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/rerank", long, {"Content-Type": "application/json"})
        time.sleep(1)
        os.kill(server.pid, signal.SIGINT)
        check("it says that it stops", eventually(lambda: "stopping: " in server.log(), 60))
        start = time.monotonic()
        os.kill(server.pid, signal.SIGINT)
        code = server.ends()
        check("a second SIGINT ends it at once", code == 130 and time.monotonic() - start < 5, (code, time.monotonic() - start))
        connection.close()


def run(binary):
    model = tiny_model()
    stop(binary, model, 0)
    stop(binary, model, 1)
    impatient(binary, model)
