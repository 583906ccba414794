"""HAProxy with the shipped configuration, on ports of this machine."""

import re
import socket

from harness import ROOT, free_port, start, work


class HAProxy:
    """`replicas` are names and addresses; `changes` are pairs, a text of the configuration and what takes its place."""

    def __init__(self, name, replicas, changes=()):
        self.port, self.socket, self.config = free_port(), work() / f"{name}.sock", work() / f"{name}.cfg"
        text = (ROOT / "deploy/haproxy.cfg").read_text()
        servers = "\n".join(f"    server {replica} {address}" for replica, address in replicas.items())
        text = text.replace("bind :8000", f"bind 127.0.0.1:{self.port}").replace("/tmp/haproxy.sock", str(self.socket))
        text = re.sub(r"^ *server-template .*$", servers, text, flags=re.M)
        for old, new in changes:
            text = text.replace(old, new)
        self.config.write_text(text)
        self.url, self.log_path = f"http://127.0.0.1:{self.port}", work() / f"{name}.log"

    def start(self):
        start(["haproxy", "-db", "-f", self.config], self.log_path)
        return self

    def admin(self, command):
        """What it answers to a command."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.socket))
            stream.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: stream.recv(65536), b"")).decode().strip()

    def stat(self, server, field, proxy="replicas"):
        """A field of a server's line: `status`, `stot`, how many requests it had in all, `scur`, how many it has now."""
        names, *lines = self.admin("show stat").lstrip("# ").splitlines()
        names = names.split(",")
        for line in lines:
            values = dict(zip(names, line.split(",")))
            if (values["pxname"], values["svname"]) == (proxy, server):
                return values[field]
        raise AssertionError(f"HAProxy has no server {server}")
