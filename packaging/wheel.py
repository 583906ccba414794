"""Wraps the program in a wheel, as those of ruff and uv: no Python in it, a script that is the binary.

    packaging/wheel.py BINARY VERSION ARCH GLIBC OUT      makes OUT/ironrank-VERSION-py3-none-manylinux_..._ARCH....whl

Times are $SOURCE_DATE_EPOCH, so that the same binary makes the same bytes. Standard library only.
"""

import base64
import hashlib
import os
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The name that Python's tools had for a glibc before they took its version.
LEGACY = {"2.17": "manylinux2014"}


def main(binary, version, arch, glibc, out):
    tags = [f"manylinux_{glibc.replace('.', '_')}_{arch}", *([f"{LEGACY[glibc]}_{arch}"] if glibc in LEGACY else [])]
    info = f"ironrank-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.4",
        "Name: ironrank",
        f"Version: {version}",
        "Summary: Serves Qwen3 rerankers and embedding models on ordinary CPUs, behind vLLM's API",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        "Requires-Python: >=3.8",
        "Description-Content-Type: text/markdown",
    ]
    wheel = ["Wheel-Version: 1.0", "Generator: ironrank", "Root-Is-Purelib: false", *(f"Tag: py3-none-{tag}" for tag in tags)]
    files = {
        f"ironrank-{version}.data/scripts/ironrank": (Path(binary).read_bytes(), 0o755),
        f"{info}/METADATA": (("\n".join(metadata) + "\n\n").encode() + (ROOT / "README.md").read_bytes(), 0o644),
        f"{info}/WHEEL": (("\n".join(wheel) + "\n").encode(), 0o644),
        f"{info}/licenses/LICENSE": ((ROOT / "LICENSE").read_bytes(), 0o644),
    }
    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, (data, _) in files.items())
    files[f"{info}/RECORD"] = (f"{record}{info}/RECORD,,\n".encode(), 0o644)
    made = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))[:6]
    with zipfile.ZipFile(Path(out, f"ironrank-{version}-py3-none-{'.'.join(tags)}.whl"), "w", zipfile.ZIP_DEFLATED) as packed:
        for name, (data, mode) in files.items():
            entry = zipfile.ZipInfo(name, made)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, data)


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
