"""Measures: pure functions of one classifier on one batch that return named per-sample columns."""

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from pagbench.columns import ABILITIES
from pagbench.measures import (
    accuracy,
    adversarial,
    alignment,
    certified,
    denoising,
    faithfulness,
    following,
    generation,
    inpainting,
    paper,
    pgd,
    response,
    sensitivity,
    smoothing,
    tangent,
)
from pagbench.measures.context import Batch, MeasureContext

__all__ = ["BLOCKS", "MEASURES", "PICTURES", "Batch", "MeasureContext"]

Measure = Callable[[MeasureContext], Mapping[str, Float[Tensor, "b"]]]

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
    "generation": generation.measure,
    "denoising": denoising.measure,
    "inpainting": inpainting.measure,
}
"""Measures by the name that benchmarks and `--measures` use; `pagbench.columns.SAMPLE_COLUMNS` has their columns."""

PICTURES: dict[str, Callable[[MeasureContext], Mapping[str, Float[Tensor, "b c h w"]]]] = {
    "generation": generation.pictures,
    "denoising": denoising.pictures,
    "inpainting": inpainting.pictures,
}
"""Images that measures of abilities make; what there was before is the same for all models."""

BLOCKS = {"adversarial": adversarial.BLOCK, **dict.fromkeys(ABILITIES, following.BLOCK)}
"""Measures whose rows depend on which images are measured together: so many of a benchmark's samples, in order."""
