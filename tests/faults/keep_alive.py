"""Connections that stay: what clients send over them is not lost, and idle ones are in nobody's way.
"""

import http.client
import random
import re
import select
import ssl
import threading
import time

from harness import Server, certificate, check, tiny_model

from .raw import HEAD, status

# What the server under test tells its clients, and how much longer it keeps a connection, in seconds.
TOLD, MARGIN = 1, 2
THREADS, POSTS = 50, 20
BODY = b'{"query":"q","documents":["a"]}'
POST = (HEAD + f"Content-Length: {len(BODY)}\r\n\r\n").encode() + BODY


class Pool(threading.Thread):
    """A client with one connection, which it uses again unless it sees that the other side has closed it; with pauses
    around the time that it was told. As most clients do, it does not send a POST twice."""

    def __init__(self, port, seed):
        super().__init__()
        self.port, self.random = port, random.Random(seed)
        self.reused, self.lost = 0, []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for _ in range(POSTS):
            if connection.sock and select.select([connection.sock], [], [], 0)[0]:
                connection.close()
            self.reused += connection.sock is not None
            try:
                connection.request("POST", "/v1/rerank", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status != 200 or b"relevance_score" not in answer.read():
                    self.lost.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            time.sleep(self.random.uniform(TOLD - 0.7, TOLD + 0.7))
        connection.close()


def pauses(server):
    clients = [Pool(server.port, seed) for seed in range(THREADS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    lost = [one for client in clients for one in client.lost]
    reused = sum(client.reused for client in clients)
    check(f"{THREADS * POSTS} POSTs with pauses around the end of keep-alive: none is lost", not lost, lost[:3])
    check("their connections were used again", reused == THREADS * (POSTS - 1), reused)


def head_of(stream):
    got = b""
    while b"relevance_score" not in got and (chunk := stream.recv(65536)):
        got += chunk
    return got


def ends(server):
    with server.connect() as stream:
        start = time.monotonic()  # before the server begins to count, however long this process is held up
        stream.sendall(POST)
        got = head_of(stream)
        told = re.search(rb"(?i)keep-alive: timeout=(\d+)\r\n", got)
        check("an answer says how long its connection stays", told and int(told[1]) == TOLD, got)
        rest = stream.recv(1)  # An error if the end were not in order.
        seconds = time.monotonic() - start
        check("an idle connection ends in order, and not before its time", rest == b"" and seconds > TOLD + MARGIN - 0.5, seconds)


def over_tls(binary, model, *flags):
    over, trusted = certificate("DNS:localhost")
    with Server(binary, model, *flags, *over, env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(TOLD)}) as server:
        context = ssl.create_default_context(cafile=trusted)
        wish = POST.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 1)
        options = {"server_hostname": "localhost", "suppress_ragged_eofs": False}
        with server.connect() as plain, context.wrap_socket(plain, **options) as stream:
            got = b""
            for request in [POST, *[wish] * 20]:
                stream.sendall(request)
                got += head_of(stream)
            good = got.count(b"HTTP/1.1 200 OK") == 21 and b"upgrade" not in got.lower()
            check("over TLS too connections stay, whatever protocol is wished for", good, got[:400])
            check("and their end is told", stream.recv(1) == b"")
        check("the server stops in order", server.stop() == 0)


def crowded(binary, model):
    """A server with eight places, whose idle connections would stay for a minute."""
    flags = ["--max-connections", "8"]
    with Server(binary, model, *flags, env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "60"}) as server:
        idle = []
        for _ in range(30):
            stream = server.connect()
            stream.sendall(POST)
            if status(head_of(stream)) != 200:
                break
            idle.append(stream)
        check("clients that leave their connections behind keep nobody out", len(idle) == 30, len(idle))
        ended = [not stream.recv(1) for stream in idle[:-8] if select.select([stream], [], [], 10)[0]]
        check("those that have been idle for longest ended, in order", len(ended) == 22 and all(ended), ended)
        newest = idle[-1]
        newest.sendall(POST)
        check("the newest goes on", status(head_of(newest)) == 200)
        for stream in idle:
            stream.close()
        check("the server stops in order", server.stop() == 0)


def run(binary):
    model = tiny_model()
    flags = ["--max-model-len", "512"]
    with Server(binary, model, *flags, env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(TOLD)}) as server:
        pauses(server)
        ends(server)
        check("the server stops in order", server.stop() == 0)
    over_tls(binary, model, *flags)
    crowded(binary, model)
