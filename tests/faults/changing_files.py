"""Files that change under a server or cannot be written: scores are right, or there are none and a sentence.
"""

import json
import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

from harness import COMPUTES, PATIENCE, Server, check, eventually, not_run, precision, tiny_model, work

DOCUMENTS = [f"document {i} of a few words" for i in range(12)]


def bfloat16(random_bytes, count, upper):
    """`count` numbers whose upper byte is one of `upper`."""
    numbers = bytearray(random_bytes(2 * count))
    table = bytes(upper[i % len(upper)] for i in range(256))
    numbers[1::2] = numbers[1::2].translate(table)
    return bytes(numbers)


def write_checkpoint(directory, model, seed, layers=8, hidden=128, intermediate=512):
    """A checkpoint with weights at random: 60 MB packed, so that a start takes long enough to be killed."""
    directory.mkdir(exist_ok=True)
    config = json.loads(Path(model, "config.json").read_text())
    config |= {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    (directory / "config.json").write_text(json.dumps(config))
    if not (directory / "tokenizer.json").exists():
        shutil.copy(Path(model, "tokenizer.json"), directory)
    q, kv, d = config["num_attention_heads"] * 32, config["num_key_value_heads"] * 32, 32
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": [hidden], "self_attn.q_proj": [q, hidden], "self_attn.k_proj": [kv, hidden],
                "self_attn.v_proj": [kv, hidden], "self_attn.o_proj": [hidden, q], "self_attn.q_norm": [d],
                "self_attn.k_norm": [d], "post_attention_layernorm": [hidden], "mlp.gate_proj": [intermediate, hidden],
                "mlp.up_proj": [intermediate, hidden], "mlp.down_proj": [hidden, intermediate],
            }.items()
        }
    numbers = random.Random(seed).randbytes
    header, data = {}, []
    at = 0
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        # Norms about 1, all else up to 0.12 in both directions.
        data.append(bfloat16(numbers, count, b"\x3f" if "norm" in name else b"\x3d\xbd\x3c\xbc"))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with open(directory / "new.part", "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        out.writelines(data)
    os.replace(directory / "new.part", directory / "model.safetensors")


class Files:
    def __init__(self, binary, model, work):
        self.binary, self.checkpoint, self.cache = binary, work / "checkpoint", work / "cache"
        write_checkpoint(self.checkpoint, model, 1)
        with self.server("off") as server:
            self.right = scores(server)

    def server(self, cache=None, **more):
        flags = ["--max-model-len", "512", "--prefix-cache-mib", "0", *COMPUTES]
        return Server(self.binary, self.checkpoint, *flags, dummy=False, cache=cache or self.cache, **more)

    def cached(self, kind="weights"):
        return sorted(self.cache.glob(f"*.{kind}"))


def scores(server):
    return server.rerank("which", DOCUMENTS)


def ended(server):
    """Asks until it has no answer, and checks that no answer has other scores; the exit code."""
    try:
        said = scores(server)
    except (AssertionError, OSError) as error:
        said = str(error)
    return said, server.ends(20)


def the_checkpoint(files):
    path = files.checkpoint / "model.safetensors"
    good = path.read_bytes()
    for cache in "off", files.cache:
        where = "in memory" if cache == "off" else "in the cache"
        with files.server(cache) as server:
            with open(path, "r+b") as there:
                there.seek(len(good) // 2)
                there.write(bytes(len(good) // 4))
            check(f"a model that is written into changes no score (weights {where})", scores(server) == files.right)
            os.truncate(path, 100)
            check("nor does one that is truncated", scores(server) == files.right)
            path.unlink()
            shutil.move(files.checkpoint / "config.json", files.checkpoint / "away")
            check("nor one that is gone", scores(server) == files.right)
            check("the server stops in order", server.stop() == 0)
        shutil.move(files.checkpoint / "away", files.checkpoint / "config.json")
        path.write_bytes(good)
    with files.server() as server:
        check("a complete one gives the right scores again", scores(server) == files.right)


def the_cache(files):
    with files.server() as server:
        [path] = files.cached()
        good = path.read_bytes()
        path.unlink()
        check("a packed file that is removed changes no score", scores(server) == files.right)
        with files.server() as other:
            check("another server makes it again", scores(other) == files.right and path.read_bytes() == good)
        check("which changes no score", scores(server) == files.right)
    with files.server() as server:
        with open(path, "r+b") as there:
            there.seek(len(good) - len(good) // 3)
            there.write(bytes(len(good) // 4))
        said, code = ended(server)
        check("a packed file that is written into: no score but a 500", str(said).startswith("500: b"), said)
        check("and the process ends with code 1 and a sentence", code == 1 and "was changed while it was in use" in server.log(), (code, server.log()[-500:]))
    with files.server() as server:
        check("the next start makes it anew", scores(server) == files.right and path.read_bytes() == good)
        os.truncate(path, 8192)
        said, code = ended(server)
        check("a packed file that is truncated: no score", not isinstance(said, list), said)
        log = server.log()
        why = "became shorter" in log or "was changed while it was in use" in log
        check("and the process ends with code 1 and a sentence", code == 1 and why, (code, log[-500:]))
    with files.server() as server:
        check("the next start makes it anew", scores(server) == files.right and path.read_bytes() == good)


def killed(files):
    shutil.rmtree(files.cache)
    start = time.monotonic()
    with files.server() as server:
        whole = time.monotonic() - start
        check("a start that packs gives the right scores", scores(server) == files.right)
    chance = random.Random(7)
    unfinished = 0
    for _ in range(15):
        shutil.rmtree(files.cache, ignore_errors=True)
        command = [files.binary, "serve", str(files.checkpoint), "--weight-cache", str(files.cache), "--port", "0", "--threads", "1", *precision().flags]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + whole + 10
        while not files.cached("unfinished") and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.wait()
        unfinished += len(files.cached("unfinished"))
    check("some of 15 kills hit a file that was being written", unfinished > 0, unfinished)
    with files.server() as server:
        check("the start after them gives the right scores", scores(server) == files.right)
    names = sorted(path.suffix for path in files.cache.iterdir())
    check("and leaves one packed file and its lock", names == [".lock", ".weights"], names)
    shutil.rmtree(files.cache)
    starts = [files.server(ready=0) for _ in range(3)]
    for server in starts:
        eventually(server.is_ready, PATIENCE)
    logs = [server.log() for server in starts]
    check("of three starts at once one packs", sum("packing the weights into" in log for log in logs) == 1, logs)
    check("all have its file", all("cannot hold" not in log and "ready: " in log for log in logs), logs)
    check("and the right scores", all(scores(server) == files.right for server in starts))
    for server in starts:
        server.stop()


def no_room(files):
    place = work() / "place"
    place.mkdir()
    mount = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
    can = subprocess.run(["unshare", "-m", "bash", "-c", mount, "bash", "size=1m", place, "true"], capture_output=True)
    for claim, options in ("full", "size=4m"), ("read-only", "ro"):
        if can.returncode != 0:
            not_run(f"a {claim} disk", "no file system can be mounted here: " + can.stderr.decode().strip())
            continue
        wrap = ["unshare", "-m", "bash", "-c", mount, "bash", options, str(place)]
        with files.server(place / "cache" if claim == "full" else place, wrap=wrap) as server:
            said = [line for line in server.log().splitlines() if "cannot hold the packed weights" in line]
            check(f"a {claim} disk costs one line in the log", len(said) == 1, server.log())
            check("and no score", scores(server) == files.right)
            # The file system is mounted where the server alone sees it.
            seen = Path("/proc", str(server.pid), "root", place.relative_to("/"))
            left = os.listdir(seen / "cache" if claim == "full" else seen)
            check("nothing unfinished is left there", not any(name.endswith("unfinished") for name in left), left)


def run(binary):
    model = tiny_model()
    files = Files(binary, model, work())
    the_checkpoint(files)
    the_cache(files)
    killed(files)
    no_room(files)
