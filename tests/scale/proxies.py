"""One server behind HAProxy, with deploy/haproxy.cfg, and behind nginx with a pool of connections: no request may be lost, and clients
that leave free their work.
"""

import http.client
import json
import os
import socket
import threading
import time

from harness import COMPUTES, Server, check, eventually, free_port, need, start, succeeds, tiny_model, work
from harness.server import ask

from .haproxy import HAProxy

SMALL = json.dumps({"query": "what", "documents": ["one", "two"]}).encode()
# Of some seconds' work each, all different, so that nothing of it is known already.
LARGE = [
    json.dumps({"query": f"query {i}", "documents": [f"{i} {j} " + "word " * 500 for j in range(300)]}).encode()
    for i in range(12)
]
WISHES = [{}, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}]


def posts(port, count):
    """All of `count` requests are answered, by ten clients, with a wish for another protocol."""
    lost = []

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
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
    assert not lost, f"{len(lost)} of {count} lost: {lost[:3]}"


def leaves(port, server):
    """Clients that leave free their work at the server."""
    streams = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in LARGE]
    for stream, body in zip(streams, LARGE):
        head = f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        stream.sendall(head.encode() + body)
    working = eventually(lambda: server.load() == len(LARGE), 30)
    for stream in streams:
        stream.close()
    left = time.monotonic()
    freed = eventually(lambda: server.load() == 0, 30)
    seconds = time.monotonic() - left
    # What was answered although its client had left is counted.
    answered = server.metric("http_requests_total", 'status="2xx"', 'handler="/v1/rerank"')
    said = f"at work: {working}; free after {seconds:.1f} s: {freed}; answered until now: {answered}"
    assert working and freed and answered < len(LARGE) // 2, said


def answers(port):
    try:
        return ask(f"http://127.0.0.1:{port}", "GET", "/version", timeout=5)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def proxied(name, port, server):
    check(f"{name} passes requests on", eventually(lambda: answers(port), 20))
    succeeds(f"clients that leave {name} free their work at the server", leaves, port, server)
    succeeds(f"none of 1,000 POSTs through {name} is lost", posts, port, 1000)


NGINX = """
%(user)s
daemon off;
pid %(work)s/nginx.pid;
error_log %(work)s/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path %(work)s/body;
  proxy_temp_path %(work)s/proxy;
  fastcgi_temp_path %(work)s/fastcgi;
  uwsgi_temp_path %(work)s/uwsgi;
  scgi_temp_path %(work)s/scgi;
  upstream rerank {
    server 127.0.0.1:%(server)s;
    keepalive 8;
  }
  server {
    listen 127.0.0.1:%(port)s;
    client_max_body_size 32m;
    location / {
      proxy_pass http://rerank;
      proxy_http_version 1.1;
      # As many a configuration has it that was written for WebSockets: the wish reaches the server.
      proxy_set_header Connection $http_connection;
      proxy_set_header Upgrade $http_upgrade;
      proxy_read_timeout 300s;
    }
  }
}
"""


def nginx(server):
    """Starts it before a server; its port."""
    port, file = free_port(), work() / "nginx.conf"
    # As root it must be told to stay so: work() is root's.
    user = "user root;" if os.getuid() == 0 else ""
    file.write_text(NGINX % {"user": user, "work": work(), "server": server.port, "port": port})
    start(["nginx", "-c", file, "-e", work() / "nginx.log"], work() / "nginx.out")
    return port


def run(binary):
    need("apt-get install haproxy nginx-light", "haproxy", "nginx")

    # A server of its own for each proxy, so that what it has answered is known.
    def begin():
        return Server(binary, tiny_model(), "--max-model-len", "8192", *COMPUTES)

    with begin() as behind_haproxy, begin() as behind_nginx:
        address = {"replica1": f"127.0.0.1:{behind_haproxy.port}"}
        proxied("haproxy", HAProxy("haproxy", address).start().port, behind_haproxy)
        plain = HAProxy("plain", address, [("option httpchk GET /health", "option httpchk")]).start()
        check("HAProxy's plain check finds the server well", eventually(lambda: answers(plain.port), 20))
        time.sleep(3)
        said = plain.log_path.read_text()
        check("and goes on finding it so", "DOWN" not in said and "no server" not in said, said)
        proxied("nginx", nginx(behind_nginx), behind_nginx)
        for name, server in ("haproxy", behind_haproxy), ("nginx", behind_nginx):
            check(f"the server behind {name} stops in order", server.stop() == 0)
