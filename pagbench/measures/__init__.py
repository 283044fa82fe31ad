"""Measures: pure functions of one classifier on one batch that return named per-sample columns."""

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from pagbench.measures import accuracy, alignment, faithfulness, paper, response, sensitivity, tangent
from pagbench.measures.observation import Batch, Observation

__all__ = ["MEASURES", "Batch", "Observation"]

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
}
"""Measures by the name that benchmarks use; `pagbench.columns.SAMPLE_COLUMNS` says what each returns."""
