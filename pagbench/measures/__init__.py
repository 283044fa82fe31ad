"""Measures: pure functions of one classifier on one batch that return named per-sample columns."""

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from pagbench.measures import (
    accuracy,
    adversarial,
    alignment,
    certified,
    faithfulness,
    paper,
    pgd,
    response,
    sensitivity,
    smoothing,
    tangent,
)
from pagbench.measures.observation import Batch, Observation

__all__ = ["BLOCKS", "MEASURES", "Batch", "Observation"]

Measure = Callable[[Observation], Mapping[str, Float[Tensor, "b"]]]

MEASURES: dict[str, Measure] = {
    "accuracy": accuracy.measure,
    "response": response.measure,
    "sensitivity": sensitivity.measure,
    "faithfulness": faithfulness.measure,
    "tangent": tangent.measure,
    "alignment_cosine": alignment.measure_cosine,
    "alignment_lpips": alignment.measure_lpips,
    "alignment_second": alignment.measure_second,
    "paper": paper.measure,
    "adversarial": adversarial.measure,
    "pgd": pgd.measure,
    "confined": pgd.measure_confined,
    "certified": certified.measure,
    "smoothing": smoothing.measure,
}
"""Measures by the name that benchmarks and `--measures` use; `pagbench.columns.SAMPLE_COLUMNS` has their columns."""

BLOCKS = {"adversarial": adversarial.BLOCK}
"""Measures whose rows depend on which images are measured together: so many of a benchmark's samples, in order."""
