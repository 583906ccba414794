"""Ray Data from PyPI with two workers over the recipes of docs/corpora.md: a worker or a command is killed. Takes minutes."""

from corpora import recipes
from harness import work


def prepare():
    return recipes.packages("ray")


def run(binary):
    env = {"RAY_ADDRESS": "local", "RAY_OVERRIDE_RESOURCES": '{"CPU": 4}', "RAY_TMPDIR": str(work()), "RAY_USAGE_STATS_ENABLED": "0",
           "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    recipes.run("Ray", binary, prepare(), env, r"^ray::\S*MapBatches")
