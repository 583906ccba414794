"""Sixty-four clients with mixed requests at about three times what the server can do, with a limited queue.

A third of the clients ask about one short pair, a third rank 8 documents, some 90 documents, some long ones, each on a
connection of its own, kept or not. Refused requests are sent again after the server's Retry-After and up to as much
again; who has an answer asks for more at once. What must hold: no answer but 200 and that 503; the same scores for the
same request; small requests are not stuck behind large ones, and large ones not kept out by those who ask in the moment
of an answer; memory does not grow; every request is accounted for; in the end nothing is left.
"""

import http.client
import json
import random
import re
import threading
import time
from collections import Counter

from harness import COMPUTES, Server, check, eventually, note, tiny_model



def words(seed, count):
    return " ".join(f"word{(seed * 31 + i * 7) % 997}" for i in range(count))


# Name: documents, words of each, clients, different requests.
WORKLOADS = {
    "one short pair": (1, 20, 22, 40),
    "8 documents": (8, 60, 22, 20),
    "90 documents": (90, 80, 12, 6),
    "long documents": (3, 2000, 8, 4),
}


class Client(threading.Thread):
    def __init__(self, load, name, number):
        super().__init__()
        self.load, self.kind, self.number = load, name, number

    def run(self):
        documents, length, _, variants = WORKLOADS[self.kind]
        bodies = [json.dumps({"query": words(v, 8), "documents": [words(v + 100 * d, length) for d in range(documents)]})
                  for v in range(variants)]
        kept, sent, spread = None, self.number, random.Random(self.number)
        while time.monotonic() < self.load.until:
            variant = sent % variants
            connection = kept or http.client.HTTPConnection("127.0.0.1", self.load.port, timeout=120)
            start, problem, answer, text = time.monotonic(), None, None, b""
            try:
                connection.request("POST", "/v1/rerank", bodies[variant], {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            pause = self.load.count(self.kind, variant, time.monotonic() - start, answer, text, problem)
            kept = connection if self.number % 2 and answer is not None and not answer.will_close else None
            if kept is None:
                connection.close()
            sent += 1
            time.sleep(pause * spread.uniform(1, 2))


class Load:
    def __init__(self, port, seconds):
        self.port, self.until = port, time.monotonic() + seconds
        self.lock = threading.Lock()
        self.answered, self.refused, self.problems = Counter(), Counter(), []
        self.seconds = {name: [] for name in WORKLOADS}
        self.scores, self.pairs, self.tokens = {}, 0, 0
        self.clients = [Client(self, name, i) for name, spec in WORKLOADS.items() for i in range(spec[2])]
        for client in self.clients:
            client.start()

    def count(self, kind, variant, seconds, answer, text, problem):
        """Takes in what came of a request; the answer is how long its client waits before the next."""
        with self.lock:
            if problem is None and answer.status == 503:
                after, said = answer.headers["Retry-After"], json.loads(text)["message"]
                if after and ("--max-num-queued" in said):
                    self.refused[kind] += 1
                    return min(float(after), 1)
                problem = f"503 without its words: {after} {said}"
            if problem is None and answer.status != 200:
                problem = f"{answer.status}: {text[:200]!r}"
            if problem is None:
                body = json.loads(text)
                scores = [(r["index"], r["relevance_score"]) for r in body["results"]]
                if self.scores.setdefault((kind, variant), scores) != scores:
                    problem = f"other scores for {kind} {variant}"
                self.answered[kind] += 1
                self.seconds[kind].append(seconds)
                self.pairs += len(scores)
                self.tokens += body["usage"]["total_tokens"]
            if problem:
                self.problems.append(f"{kind}: {problem}")
        return 0


def answered_pairs(server):
    """Pairs that the metrics count as answered; those of refused requests have another reason."""
    text = server.ask("GET", "/metrics")[2].decode()
    return sum(map(float, re.findall(r'^vllm:request_success_total\{[^}]*finished_reason="stop"[^}]*\} (\S+)$', text, re.M)))


def part(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def run(binary, seconds=20.0):
    model = tiny_model()
    flags = ["--max-model-len", "8192", "--max-num-queued-reqs", "400", "--max-num-queued-tokens", "60000", *COMPUTES]
    with Server(binary, model, *flags) as server:
        # Warm: every buffer of this load has its size, and the prefix cache is full, before memory is looked at.
        alone = []
        for _ in range(30):
            start = time.monotonic()
            server.rerank(words(1, 8), [words(1, 20)])
            alone.append(time.monotonic() - start)
        before = answered_pairs(server)
        load = Load(server.port, seconds)
        rss = []
        time.sleep(min(10, seconds / 3))
        while time.monotonic() < load.until:
            rss.append(server.memory() / 2**20)
            time.sleep(max(0.2, seconds / 100))
        for client in load.clients:
            client.join()
        answered, refused = sum(load.answered.values()), sum(load.refused.values())
        note(f"{answered} answered, {refused} refused and sent again, {len(load.problems)} lost; "
              f"{load.pairs / seconds:.0f} pairs/s, {load.tokens / seconds:.0f} tokens/s")
        for name, times in load.seconds.items():
            note(f"{name:15} {load.answered[name]:6} answered {load.refused[name]:6} refused   "
                  f"p50 {1000 * part(times, 0.5):6.0f} ms   p99 {1000 * part(times, 0.99):6.0f} ms")
        third = max(1, len(rss) // 3)
        start, middle, end = (sum(rss[i * third : (i + 1) * third]) / third for i in range(3))
        note(f"memory {start:.0f} MB at the start, {middle:.0f} MB in the middle, {end:.0f} MB at the end; "
              f"a short pair alone {1000 * part(alone, 0.5):.1f} ms")
        check("no answer but 200 and the 503 with Retry-After", not load.problems, load.problems[:5])
        check("there was more work than the server can do", refused > answered / 10, (answered, refused))
        check("every kind of request was answered", all(load.answered[name] > 0 for name in WORKLOADS), load.answered)
        short, large = (part(load.seconds[name], 0.99) for name in ("one short pair", "90 documents"))
        check("the slowest short pairs are faster than the usual large request", short < part(load.seconds["90 documents"], 0.5), (short, large))
        check("and no slower than two seconds", short < 2, short)
        check("memory is flat", end < 1.05 * middle + 10, (start, middle, end))
        check("nothing is at work in the end", eventually(lambda: server.load() == 0, 10), server.load())
        gauges = ["vllm:num_requests_running", "vllm:num_requests_waiting", "ironrank_queue_age_seconds"]
        check("and the metrics say so", all(server.metric(name) == 0 for name in gauges), [server.metric(name) for name in gauges])
        succeeded = answered_pairs(server) - before
        check("as many pairs were accepted as were answered", succeeded == load.pairs, (succeeded, load.pairs))
        check("nothing panicked", "panicked" not in server.log(), server.log()[-2000:])
        check("the server stops in order", server.stop() == 0)
