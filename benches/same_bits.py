#!/usr/bin/env python3
"""Whether two builds of the program give the same scores to the bit: all pairs of all goldens, as raw margins, on the
goldens' synthetic models and on every instruction set of this CPU.

    benches/same_bits.py OLD NEW [SHAPE...]      default: tiny tiny-untied tiny-mha 0.6b

OLD and NEW are two executables (`git worktree add` and `cargo build` make one of any revision). A score is written with
all the digits that tell its bits from the next; its digits are compared. Shape 0.6b wants 3 GB of memory, as much room
for temporary files, and some minutes with a debug build. Exit code 1 if a score differs or one build has no score where
the other has one.
"""

import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, intermediate_size, tied: as in
# tests/it/support/mod.rs. The program carries 0.6b itself.
SHAPES = {
    "tiny": (64, 3, 4, 2, 32, 160, True),
    "tiny-untied": (96, 2, 6, 2, 16, 200, False),
    "tiny-mha": (128, 2, 4, 4, 64, 352, True),
    "0.6b": None,
}


def model(shape, parent):
    """The arguments that name the synthetic model of a shape, made in a directory of its own."""
    if SHAPES[shape] is None:
        return ["--load-format", "dummy"]
    hidden, layers, heads, kv_heads, head_dim, intermediate, tied = SHAPES[shape]
    directory = parent / shape
    directory.mkdir()
    (directory / "tokenizer.json").write_bytes(gzip.decompress((ROOT / "assets/tokenizer.json.gz").read_bytes()))
    config = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "head_dim": head_dim, "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": intermediate, "max_position_embeddings": 40960,
        "model_type": "qwen3", "num_attention_heads": heads, "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16", "vocab_size": 151669,
    }
    (directory / "config.json").write_text(json.dumps(config))
    return [str(directory), "--load-format", "dummy"]


def pairs(shape):
    """The pairs of a shape's goldens, the short and the long ones, as rows of `ironrank score`."""
    rows = []
    for path in (ROOT / f"tests/fixtures/goldens-{shape}{length}.json.gz" for length in ("", "-long")):
        if path.exists():
            for golden in json.loads(gzip.decompress(path.read_bytes())):
                given = ((name, golden.get(name)) for name in ("query", "document", "instruction"))
                rows.append({name: text for name, text in given if text is not None})
    return rows


def instruction_sets(binary, named):
    """Those of this CPU, which the refusal of one that nobody has lists."""
    command = [binary, "score", *named, "--isa", "none", "--input", "-", "--output", "-"]
    said = subprocess.run(command, input="", capture_output=True, text=True).stderr
    found = re.search(r"available: ([a-z0-9, ]+)\.", said)
    if not found:
        sys.exit(f"{binary} does not say which instruction sets there are: {said}")
    return found[1].split(", ")


def scores(binary, named, isa, rows, cache):
    """The margin of every row, as it is written."""
    command = [binary, "score", *named, "--isa", isa, "--threads", "2", "--max-model-len", "8192"]
    command += ["--weight-cache", cache, "--pooler-config.use_activation", "false", "--input", "-", "--output", "-"]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    ran = subprocess.run(command, input=text, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)} ends with {ran.returncode}: {ran.stderr}")
    return [json.loads(line, parse_float=str, parse_int=str)["score"] for line in ran.stdout.splitlines()]


def main(old, new, *shapes):
    different = compared = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for shape in shapes or SHAPES:
            named, rows = model(shape, work), pairs(shape)
            isas = instruction_sets(old, named)
            if instruction_sets(new, named) != isas:
                sys.exit(f"The two builds know other instruction sets: {isas} and {instruction_sets(new, named)}.")
            for isa in isas:
                # Every build packs for itself: that is compared too.
                before = scores(old, named, isa, rows, str(work / f"{shape}-old"))
                after = scores(new, named, isa, rows, str(work / f"{shape}-new"))
                if not len(rows) == len(before) == len(after):
                    sys.exit(f"{shape} on {isa}: {len(rows)} pairs have {len(before)} and {len(after)} scores.")
                others = [i for i, both in enumerate(zip(before, after)) if both[0] != both[1]]
                compared, different = compared + len(rows), different + len(others)
                same = f"{len(rows) - len(others)} of {len(rows)}"
                print(f"{shape:12} {isa:9} {same} scores are the same bits", flush=True)
                for i in others[:3]:
                    print(f"  {before[i]} is {after[i]} now: {rows[i]['query'][:60]!r}")
    print(f"{compared - different} of {compared} scores are the same bits")
    return different > 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or not set(sys.argv[3:]) <= set(SHAPES):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
