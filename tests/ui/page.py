"""The page at /ui in a headless Chromium, as its users have it: a ranking, a comparison, a matrix, the key, the live view under load, by
keyboard, in the dark and on a phone. Needs Debian's chromium, and Playwright from PyPI. What it has looked like is left in target/ui/.
"""

import os
import shutil

from harness import ROOT, Program, Server, environment, need, tiny_embedder, tiny_model, together

KEY = "the-right-key"
# Seconds that the script may take.
LIMIT = 300
# They are looked at by people who have nothing else of the run.
SCREENSHOTS = ROOT / "target/ui"


def prepare():
    """The environment of its packages."""
    return environment("ui", (ROOT / "tests/ui/requirements.txt").read_text(), "--no-deps", "--no-compile")


def run(binary):
    need("apt-get install chromium", "chromium")
    packages = prepare()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    config = SCREENSHOTS / "models.yaml"
    config.write_text(f"""
models:
- {{model: {tiny_model()}, names: [reranker, other-name], max-model-len: 1024}}
- {{model: {tiny_model()}, names: [reranker-int8], max-model-len: 1024, quantization: int8}}
- {{model: {tiny_embedder()}, names: [embedder]}}
""")
    with Server(binary, None, "--config", config, name=None) as several, Server(
        binary, tiny_model(), "--api-key", KEY, "--root-path", "/behind/a-proxy"
    ) as keyed:
        config.unlink()
        env = {"UI_URL": several.url, "UI_KEYED_URL": keyed.url + "/behind/a-proxy", "UI_KEY": KEY, "UI_CHROMIUM": shutil.which("chromium"),
               "UI_SCREENSHOTS": str(SCREENSHOTS)}
        together([Program("browser", [packages / "bin/python", ROOT / "tests/ui/browser.py"], {**os.environ, **env}, LIMIT)])
