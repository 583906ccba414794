"""How exactly the models of a run are computed: `tests/run.py --precision`.

Invariant: a run has one precision. It stands in the environment, where the programs that a suite starts find it too, and
`cargo test`, whose models over HTTP follow it. Called by whoever starts the program with a model, and by whoever looks at scores.
"""

import os
from dataclasses import dataclass

VARIABLE = "TEST_PRECISION"


@dataclass(frozen=True)
class Precision:
    """What asks the program for it, how its log calls it, and how far a score of made-up weights may be from float64."""

    flags: tuple
    described: str
    off_by: float


PRECISIONS = {
    # As tests/it/golden.rs: what float32 may err at least.
    "float32": Precision((), "float32", 2e-6),
    "int8": Precision(("--quantization", "int8"), "8-bit integers", 1e-2),
}


def precision():
    """That of this run."""
    return PRECISIONS[os.environ.get(VARIABLE, "float32")]
