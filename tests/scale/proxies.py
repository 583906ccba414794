"""Clients of a server behind a proxy, which pools its connections to the server.

    proxies.py posts URL COUNT          all of COUNT requests are answered, by ten clients, with a wish for another protocol
    proxies.py leaves URL SERVER_URL    clients that leave free their work at the server
"""

import http.client
import json
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

SMALL = json.dumps({"query": "what", "documents": ["one", "two"]}).encode()
# Of some seconds' work each, all different, so that nothing of it is known already.
LARGE = [
    json.dumps({"query": f"query {i}", "documents": [f"{i} {j} " + "word " * 500 for j in range(300)]}).encode()
    for i in range(12)
]
WISHES = [{}, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}]


def posts(url, count):
    lost = []

    def client(number):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        for i in range(count // 10):
            try:
                headers = {"Content-Type": "application/json", **WISHES[(number + i) % 2]}
                connection.request("POST", "/v1/rerank", SMALL, headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or b"relevance_score" not in body:
                    lost.append(f"{answer.status}: {body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(10)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    print(f"{len(lost)} of {count} lost", lost[:3])
    return not lost


def get(url, path):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


def load(server):
    return json.loads(get(server, "/load"))["server_load"]


def eventually(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def leaves(url, server):
    host, port = urlsplit(url).netloc.split(":")
    streams = [socket.create_connection((host, int(port)), timeout=60) for _ in LARGE]
    for stream, body in zip(streams, LARGE):
        head = f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        stream.sendall(head.encode() + body)
    working = eventually(lambda: load(server) == len(LARGE), 30)
    for stream in streams:
        stream.close()
    left = time.monotonic()
    freed = eventually(lambda: load(server) == 0, 30)
    seconds = time.monotonic() - left
    answered = sum(
        float(line.split()[-1])
        for line in get(server, "/metrics").splitlines()
        if line.startswith("http_requests_total{") and 'status="2xx"' in line and 'handler="/v1/rerank"' in line
    )
    print(f"at work: {working}; free after {seconds:.1f} s: {freed}; answered until now: {answered}")
    # What was answered although its client had left is counted.
    return working and freed and answered < len(LARGE) // 2


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    sys.exit(0 if (posts(rest[0], int(rest[1])) if what == "posts" else leaves(*rest)) else 1)
