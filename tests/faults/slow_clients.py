"""Clients that are slow, silent, or gone: none of them holds a place, memory or the engine for long.
"""

import json
import os
import socket
import struct
import time

from harness import COMPUTES, Server, check, eventually, tiny_model

from .raw import HEAD, MIB, Bystander, says, status

# What the server under test gives: seconds for a head and a body, and between requests.
RECEIVE, KEEP_ALIVE = 2, 1
BODY = b'{"query":"q","documents":["a"]}'
GOOD = (HEAD + f"Content-Length: {len(BODY)}\r\n\r\n").encode() + BODY
LARGE = json.dumps({"query": "q", "documents": [f"{i} " + "word " * 500 for i in range(300)]}).encode()


def post(body):
    return (HEAD + f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def drip(stream, data, seconds=15):
    """Sends a byte every 100 ms until the other side has enough; the answer, and after how long."""
    start, got = time.monotonic(), b""
    stream.settimeout(0.1)
    for byte in data:
        if time.monotonic() - start > seconds:
            break
        try:
            stream.sendall(bytes([byte]))
            got += (chunk := stream.recv(65536))
            if not chunk:
                break
        except socket.timeout:
            continue
        except OSError:
            break
    return got, time.monotonic() - start


def closed(stream, seconds=10):
    """What comes until the server closes, and after how long; None if it does not."""
    start = time.monotonic()
    stream.settimeout(seconds)
    got = b""
    try:
        while chunk := stream.recv(65536):
            got += chunk
    except socket.timeout:
        return got, None
    except ConnectionResetError:
        pass
    return got, time.monotonic() - start


def slow_senders(server):
    with server.connect() as stream:
        got, seconds = drip(stream, b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000)
        check("a head that comes byte by byte is given up: 408", status(got) == 408 and seconds < 10, (got, seconds))
    with server.connect() as stream:
        stream.sendall((HEAD + "Content-Length: 1000\r\n\r\n").encode())
        got, seconds = drip(stream, b'{"query":"' + b"y" * 990)
        rest, _ = closed(stream)
        good = status(got + rest) == 408 and "too slowly" in says(got + rest)
        check("a body that comes byte by byte is given up: 408", good and seconds < 10, (got + rest, seconds))
    with server.connect() as stream:
        stream.sendall(GOOD)
        time.sleep(0.2)
        got, seconds = drip(stream, b"POST /v1/rerank HTTP/1.1\r\nX: " + b"y" * 1000)
        check("so is a head on a connection that has had an answer", status(got) == 200 and seconds < 10, (got, seconds))
    body = b"x" * 200_000
    with server.connect() as stream:
        start = time.monotonic()
        stream.sendall((HEAD + f"Content-Length: {len(body) + 50}\r\n\r\n").encode() + b'{"query":"q","documents":["')
        for at in range(0, len(body), 20_000):
            time.sleep(0.5)
            stream.sendall(body[at : at + 20_000])
        stream.sendall(b'"]}'.ljust(50 - 27))
        answer = b""
        while b"\r\n\r\n" not in answer and (chunk := stream.recv(65536)):
            answer += chunk
        seconds = time.monotonic() - start
        check(f"200 kB in {seconds:.0f} s are fast enough", status(answer) == 400 and b"token" in answer, answer[:300])


def silent(server):
    streams = [server.connect() for _ in range(200)]
    times = [closed(stream, 15)[1] for stream in streams]
    check("200 connections without a word are closed", None not in times, times[:5])
    with server.connect() as stream:
        stream.sendall(GOOD)
        got, seconds = closed(stream)
        check("a connection without a second request is closed", status(got) == 200 and seconds is not None, (got, seconds))
    with server.connect() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Identical ones cost no time: what is slow here is the client alone.
        documents = ["x" * 2000] * 4000
        stream.sendall(post(json.dumps({"query": "q", "documents": documents, "truncate_prompt_tokens": 120}).encode()))
        before = eventually(lambda: server.load() == 1, 5)
        eventually(lambda: server.load() == 0, 30)
        gone = eventually(lambda: established(server) == 0, 120)
        check("a client that does not take its answer is given up", gone, f"was at work: {before}; {established(server)} connected")


def established(server):
    """Connections that the server has, as the system counts its sockets, but for the one that listens."""
    files = os.listdir(f"/proc/{server.pid}/fd")
    names = []
    for file in files:
        try:
            names.append(os.readlink(f"/proc/{server.pid}/fd/{file}"))
        except OSError:
            pass
    inodes = {name[8:-1] for name in names if name.startswith("socket:[")}
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table.readlines()[1:]]
    return sum(row[9] in inodes and row[3] != "0A" and int(row[1].split(":")[1], 16) == server.port for row in rows)


def leavers(server):
    before = server.memory() / MIB
    for i in range(200):
        with server.connect() as stream:
            stream.sendall(post(LARGE)[: 1000 + 1000 * i])
            if i % 2:
                # With a reset, as from a process that was killed.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check("200 uploads that break off leave nothing behind", eventually(lambda: server.load() == 0, 10), server.load())
    streams = [server.connect() for _ in range(40)]
    for stream in streams:
        stream.sendall(post(LARGE))
    check("40 large requests are at work", eventually(lambda: server.load() > 30, 20), server.load())
    start = time.monotonic()
    for stream in streams:
        stream.close()
    gone = eventually(lambda: server.load() == 0 and server.metric("vllm:num_requests_waiting") == 0, 10)
    check("their clients leave, and so do they, at once", gone and time.monotonic() - start < 10, server.load())
    check("the next request finds the engine free", server.rerank() is not None)
    after = server.memory() / MIB
    check("their memory is given back", after < before + 200, f"{before:.0f} MB before, {after:.0f} MB after")


def crowded(binary, model):
    """A server with eight places."""
    with Server(binary, model, "--max-connections", "8", "--receive-timeout", "1",
                env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "1"}) as server:
        idle = [server.connect() for _ in range(8)]
        start = time.monotonic()
        server.rerank()
        seconds = time.monotonic() - start
        check("a client waits for a place that silent ones hold, and gets it", seconds < 10, seconds)
        for stream in idle:
            stream.close()
    wrap = ["bash", "-c", 'ulimit -n 128; exec "$@"', "bash"]
    with Server(binary, model, "--receive-timeout", "1", wrap=wrap) as server:
        idle = [server.connect() for _ in range(200)]
        check("more clients than files: they wait, and nothing breaks", server.rerank() is not None)
        for stream in idle:
            stream.close()
        check("no file was missing", "Too many open files" not in server.log() and "ERROR" not in server.log(), server.log())


def run(binary):
    model = tiny_model()
    flags = ["--max-model-len", "8192", "--receive-timeout", str(RECEIVE), *COMPUTES]
    with Server(binary, model, *flags, env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE)}) as server:
        with Bystander(server) as alone:
            time.sleep(1)
        with Bystander(server) as other:
            slow_senders(server)
        check("others were answered meanwhile", not other.problems, other.problems[:3])
        other.took_no_longer(alone)
        silent(server)
        leavers(server)
        check("no answer was a 5xx", server.server_errors() == 0, server.server_errors())
        check("nothing panicked, nothing is an error of ours", "panicked" not in server.log() and "ERROR" not in server.log(), server.log()[-2000:])
        check("the server stops in order", server.stop() == 0)
    crowded(binary, model)
