"""A system that refuses threads, at every thread that is started: a sentence and code 1, or a server that answers. Needs root, for a
user of its own whose threads are counted, and setpriv and prlimit.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess

from harness import COMPUTES, Server, check, not_run, precision, tiny_model, work

# Nobody else's, so that all of its threads are the server's.
USER = 61234
# More than any command starts with one compute thread.
MOST = 20


AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def limited(threads):
    """Words before a command whose user may have so many threads."""
    return ["prlimit", f"--nproc={threads}:{threads}", *AS_USER]


def in_order(code, log):
    """Whether a command that was refused a thread ended as it should."""
    return code == 1 and "refuses a thread (" in log and not re.search("panicked|RUST_BACKTRACE", log)


def serves(server):
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda i: server.rerank(f"query {i}", ["one", "two"]), range(16)))
    return all(len(scores) == 2 for scores in answers)


def a_server(binary, model):
    refused, served = [], 0
    for limit in range(1, MOST):
        server = Server(binary, model, "--max-model-len", "512", *COMPUTES, wrap=limited(limit))
        if server.url is None:
            code = server.ends(20)
            refused += re.findall(r"refuses a thread \(([^)]*)\)", server.log())
            check(f"with {limit} threads the start ends with a sentence", in_order(code, server.log()), (code, server.log()[-500:]))
            check("and before it says that it is ready", "ready: " not in server.log(), server.log())
            if server.process.poll() is None:
                server.kill()
            continue
        with server:
            check(f"with {limit} threads the server answers", serves(server))
            subprocess.run([*AS_USER, "prlimit", f"--pid={server.pid}", "--nproc=1:1"], check=True)
            check("and needs no more of them later", serves(server))
            check("and stops in order", server.stop() == 0 and "panicked" not in server.log(), server.log()[-500:])
        served += 1
        if served == 2:
            break
    check("some limits were too low", len(refused) >= 5, refused)
    # The engine's comes when the tokenizer's has ended.
    check("one was refused of each kind", {"signals", "kernels", "tokenizer", "texts", "http"} <= set(refused), refused)
    check("and some sufficed", served == 2)


def a_command(name, arguments, done):
    """Every limit from one thread on, until the command is twice done."""
    succeeded = 0
    for limit in range(1, MOST):
        ran = subprocess.run([*limited(limit), *arguments], capture_output=True, text=True, timeout=120)
        said = ran.stderr + ran.stdout
        if ran.returncode == 0:
            check(f"{name} with {limit} threads is done", done(ran) and "panicked" not in said, said[-500:])
            succeeded += 1
        else:
            check(f"{name} with {limit} threads ends with a sentence", in_order(ran.returncode, said), (ran.returncode, said[-500:]))
        if succeeded == 2:
            break
    check(f"{name}: some limits sufficed", succeeded == 2)


def run(binary):
    model = tiny_model()
    missing = [tool for tool in ("prlimit", "setpriv") if shutil.which(tool) is None]
    if os.getuid() != 0 or missing:
        not_run("refused threads", "needs root, for a user of its own" if not missing else f"no {missing[0]}")
        return
        # Where another user may run it.
    own = work() / "ironrank"
    shutil.copy(binary, own)
    own.chmod(0o755)
    a_server(own, model)
    flags = [model, "--load-format", "dummy", "--weight-cache", "off", "--threads", "1", "--max-model-len", "2048", *precision().flags]
    pairs = work() / "pairs.jsonl"
    pairs.write_text('{"query": "q", "document": "d"}\n' * 3)
    a_command("score", [own, "score", *flags, "--input", pairs, "--output", "-"], lambda ran: len(ran.stdout.splitlines()) == 3)
    a_command("bench", [own, "bench", *flags, "--workload", "pair", "--requests", "1", "--json"], lambda ran: "passages_s" in ran.stdout)
    a_command("check", [own, "check", *flags, "--json"], lambda ran: '"loads":true' in ran.stdout)
