"""Three replicas behind HAProxy, with deploy/haproxy.cfg: none of the requests may be lost when a replica dies, is told to stop, or is
taken out and put back by the balancer. `pause` are the seconds between these blows.
"""

import http.client
import json
import re
import signal
import threading
import time

from harness import COMPUTES, Server, check, eventually, free_port, need, note, output, succeeds, tiny_model, work

from .haproxy import HAProxy

CLIENTS = 12
DRAIN = 8  # seconds; the balancer needs two to see that a replica is unwell


def request(kind):
    """Request number `kind` of six, the same bytes each time; every third is large (100 kB)."""
    words = 900 if kind % 3 == 2 else 12
    documents = [" ".join(f"word{(kind + i * 7 + j) % 97}" for j in range(words)) for i in range(16)]
    return json.dumps({"query": f"question {kind}", "documents": documents}).encode()


class Clients:
    """Clients that rerank through a balancer until they are told to stop, and count what became of every request.

    Each sends one request after the other; half of them keep their connection, half connect anew each time. A request is lost if it
    gets no answer, another status than 200, or other scores than the first answer to the same request had."""

    def __init__(self, port):
        self.port, self.stopping = port, False
        self.requests = [request(kind) for kind in range(6)]
        self.scores = {}
        self.lock = threading.Lock()
        self.answered, self.lost, self.seconds = 0, [], []
        self.threads = [threading.Thread(target=self.run, args=(client,), daemon=True) for client in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        kept, sent = None, client
        while not self.stopping:
            connection = kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
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

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


class Replicas:
    """Servers on ports of their own, each of which can be started again, and the balancer before them."""

    def __init__(self, binary):
        self.binary, self.servers, self.all = binary, {}, []
        self.ports = {number: free_port() for number in (1, 2, 3)}
        self.balancer = HAProxy("haproxy", {f"replica{number}": f"127.0.0.1:{port}" for number, port in self.ports.items()})

    def start(self, number):
        flags = ["--max-model-len", "8192", "--drain-delay", str(DRAIN), "--shutdown-timeout", "20", *COMPUTES]
        server = Server(self.binary, tiny_model(), *flags, cache=work() / "cache", port=self.ports[number], ready=0)
        self.servers[number] = server
        self.all.append(server)

    def stat(self, number, field):
        return self.balancer.stat(f"replica{number}", field)

    def state_is(self, number, state):
        return self.stat(number, "status").startswith(state)

    def had(self, number):
        """Requests until now."""
        return int(self.stat(number, "stot"))

    def at_work(self, number):
        return int(self.stat(number, "scur")) > 0

    def is_up(self, number):
        return self.servers[number].is_well() and self.state_is(number, "UP")


def run(binary, pause=6.0):
    need("apt-get install haproxy", "haproxy")
    replicas = Replicas(binary)
    succeeds("the configuration is valid", output, "haproxy", "-q", "-c", "-f", replicas.balancer.config)
    for number in 1, 2, 3:
        replicas.start(number)
    replicas.balancer.start()
    assert eventually(replicas.balancer.socket.exists, 20), "HAProxy does not start"
    for number in 1, 2, 3:
        check(f"replica {number} is up", eventually(lambda: replicas.is_up(number), 30))
    clients = Clients(replicas.balancer.port)
    time.sleep(pause)
    for number in 1, 2, 3:
        check(f"replica {number} has its share", eventually(lambda: replicas.had(number) > 5, 20), replicas.had(number))
    one_dies(replicas, pause)
    one_is_stopped(replicas)
    one_is_drained(replicas, pause)
    time.sleep(pause)
    clients.stop()
    check("no request was lost", clients.answered and not clients.lost, (len(clients.lost), clients.lost[:3]))
    seconds = sorted(clients.seconds)
    note(f"{clients.answered} answered, {len(clients.lost)} lost, median {1000 * seconds[len(seconds) // 2]:.0f} ms, "
         f"longest {1000 * seconds[-1]:.0f} ms")
    note(f"sent again to another replica: {replicas.balancer.stat('BACKEND', 'wredis')}")
    faults = [line for server in replicas.all for line in server.log().splitlines() if re.search("panicked|ERROR 500", line)]
    check("no replica failed by itself", not faults, faults)


def one_dies(replicas, pause):
    """In the middle of its work."""
    check("replica 1 is at work when it is killed", eventually(lambda: replicas.at_work(1), 10))
    replicas.servers[1].kill()
    check("the balancer sees that replica 1 is gone", eventually(lambda: replicas.state_is(1, "DOWN"), 10))
    time.sleep(pause)
    replicas.start(1)
    check("replica 1 is back", eventually(lambda: replicas.is_up(1), 30))


def one_is_stopped(replicas):
    """It is unwell at once, goes on answering, and leaves within its time."""
    check("replica 2 is at work when it is told to stop", eventually(lambda: replicas.at_work(2), 10))
    process = replicas.servers[2].process
    process.send_signal(signal.SIGTERM)
    check("the balancer turns away from replica 2", eventually(lambda: replicas.state_is(2, "DOWN"), DRAIN))
    check("replica 2 is still there then", process.poll() is None)
    check("replica 2 leaves within its time", eventually(lambda: process.poll() is not None, 25))
    check("replica 2 leaves in order", process.poll() == 0, process.poll())
    replicas.start(2)
    check("replica 2 is back", eventually(lambda: replicas.is_up(2), 30))


def one_is_drained(replicas, pause):
    """By the balancer; it may then be stopped without a delay, and is taken back."""
    replicas.balancer.admin("set server replicas/replica3 state drain")
    check("replica 3 is drained", eventually(lambda: not replicas.at_work(3), 20))
    had = replicas.had(3)
    time.sleep(pause)
    check("replica 3 gets no more requests", replicas.had(3) == had, (had, replicas.had(3)))
    replicas.servers[3].kill()
    replicas.start(3)
    check("replica 3 is well again", eventually(lambda: replicas.servers[3].is_well(), 30))
    replicas.balancer.admin("set server replicas/replica3 state ready")
    check("replica 3 gets requests again", eventually(lambda: replicas.had(3) > had, 20))
