"""What the parts of `faults` share: HTTP as raw bytes, and a client who should notice nothing."""

import http.client
import json
import re
import socket
import statistics
import threading
import time

from harness import PATIENCE, check

HEAD = "POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MIB = 1 << 20


def raw(server, data, timeout=PATIENCE):
    """Sends bytes and reads to the end of the connection, or of patience."""
    with server.connect(timeout) as stream:
        try:
            stream.sendall(data)
        except OSError:
            pass  # Refused before it was all sent; the answer is what counts.
        return read_all(stream)


def read_all(stream):
    data = b""
    try:
        while chunk := stream.recv(65536):
            data += chunk
    except (socket.timeout, ConnectionResetError):
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

    def took_no_longer(self, alone):
        """Checks that its requests took the time that they usually take. One may be held up for some seconds: a machine stalls."""
        usual = self.median() < 5 * alone.median() + 0.05 and sorted(self.times)[-2] < 3 and max(self.times) < 10
        check("in their usual time", usual, f"alone {alone.median()}, median {self.median()}, most {sorted(self.times)[-3:]}")
