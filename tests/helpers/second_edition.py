"""A second edition of `digits`, as its definition may be: the fields that are null in every first one have values."""

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark

MEASURES = (
    "accuracy", "response", "jacobian", "faithfulness", "tangent", "alignment_cosine", "alignment_lpips", "profile",
)  # fmt: skip
FIELDS = {
    "version": 2,
    "sigmas": (0.25, 0.5, 0.75, 1.5),
    "epsilons": (1.0,),
    "directions": 4,
    "measures": MEASURES,
    "gradient": "calibrated",
    "partners": "next",
    "probes": 2,
    "differences": 1,
}


def definition(**changes):
    """The benchmark; other fields than `FIELDS` are those of `digits@1`, whose samples alternate between classes."""
    return Benchmark.model_validate(benchmarks.load("digits@1").model_dump() | FIELDS | changes)
