"""Clients that rerank through a balancer until a file appears, and count what became of every request.

    load.py URL CLIENTS STOP_FILE

Every client sends one request after the other; half of them keep their connection, half connect anew each time. Every
third request is large (100 kB). A request is lost if it gets no answer, another status than 200, or other scores than
the first answer to the same request had. Prints one JSON object; exit code 1 if a request was lost.
"""

import http.client
import json
import os
import sys
import threading
import time
from urllib.parse import urlsplit


def request(kind):
    """Request number `kind` of six, the same bytes each time."""
    words = 900 if kind % 3 == 2 else 12
    documents = [" ".join(f"word{(kind + i * 7 + j) % 97}" for j in range(words)) for i in range(16)]
    return json.dumps({"query": f"question {kind}", "documents": documents}).encode()


class Clients:
    def __init__(self, url, stop_file):
        self.address, self.stop_file = urlsplit(url).netloc, stop_file
        self.requests = [request(kind) for kind in range(6)]
        self.scores = {}
        self.lock = threading.Lock()
        self.answered, self.lost, self.seconds = 0, [], []

    def run(self, client):
        kept, sent = None, client
        while not os.path.exists(self.stop_file):
            connection = kept or http.client.HTTPConnection(self.address, timeout=60)
            started, kind = time.monotonic(), sent % len(self.requests)
            try:
                connection.request("POST", "/v1/rerank", self.requests[kind], {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                problem = None if answer.status == 200 else f"status {answer.status}: {body[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                answer, problem = None, repr(error)
            with self.lock:
                if problem is None:
                    scores = [(r["index"], r["relevance_score"]) for r in json.loads(body)["results"]]
                    if self.scores.setdefault(kind, scores) != scores:
                        problem = f"other scores for request {kind}"
                self.answered += problem is None
                self.seconds.append(time.monotonic() - started)
                if problem:
                    self.lost.append(problem)
            kept = connection if client % 2 and answer is not None and not answer.will_close else None
            if kept is None:
                connection.close()
            sent += 1


def main():
    url, clients, stop_file = sys.argv[1:]
    load = Clients(url, stop_file)
    threads = [threading.Thread(target=load.run, args=(client,)) for client in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = sorted(load.seconds)
    print(json.dumps({
        "answered": load.answered,
        "lost": len(load.lost),
        "median_ms": round(1000 * seconds[len(seconds) // 2]),
        "longest_ms": round(1000 * seconds[-1]),
        "examples": load.lost[:3],
    }))
    sys.exit(1 if load.lost or not load.answered else 0)


if __name__ == "__main__":
    main()
