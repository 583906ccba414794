"""What a server must survive: requests that nobody should send, clients that are slow or gone, files that change or cannot be written,
a stop under load, and a system that refuses threads. docs/reliability.md says what is promised. As root it also mounts small file
systems in a namespace of its own.
"""

import sys

from harness import ROOT, Program, need, together

# Run beside each other. The first compare how long others wait, so that their neighbours must be such as mostly wait themselves.
ROUNDS = [["http_abuse", "slow_clients", "keep_alive"], ["hostile_bodies", "changing_files", "stopping", "threads"]]


def run(binary):
    need("apt-get install openssl", "openssl")
    for parts in ROUNDS:
        together([Program(part, [sys.executable, ROOT / "tests/run.py", "--binary", binary, part]) for part in parts])
