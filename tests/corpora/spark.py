"""Spark from PyPI with two executors, each a Java process of its own, over the recipes of docs/corpora.md: an executor or a command is
killed. Needs Java and takes minutes.
"""

from corpora import recipes
from harness import need, work


def prepare():
    return recipes.packages("spark")


def run(binary):
    need("apt-get install default-jre-headless", "java")
    python = prepare()
    # Two machines of one core, as far as Spark knows.
    submit = "--master local-cluster[2,1,1024] --conf spark.ui.enabled=false pyspark-shell"
    env = {"PYSPARK_SUBMIT_ARGS": submit, "PYSPARK_PYTHON": str(python / "bin/python"), "SPARK_LOCAL_IP": "127.0.0.1",
           "SPARK_LOCAL_DIRS": str(work() / "spark")}  # fmt: skip
    recipes.run("Spark", binary, python, env, "CoarseGrainedExecutorBackend")
