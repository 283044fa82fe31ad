"""Whether the gradient that autograd returns is the gradient of the function that is evaluated."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures.context import MeasureContext

_LONGEST_STEP = 1e-2
_CHANGE = 0.1
_TOLERANCE = 0.05
_DIRECTIONS = 2


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`gradient_faithful`: 1 where ‖D - F‖ ≤ .05 ‖D‖, else 0; NaN where the gradient is not scored.

    F are central differences of the log-odds of the true class, D what autograd's gradient says of them, along the
    gradient itself and two directions on and two off the manifold, or as many as the benchmark says. Steps are .01
    long, or shorter where the gradient is so large that the log-odds would change by more than .1. 0 for gradients that
    are masked, quantised, detached in part, or another network's, and where logits are so large that float32 hides
    their changes.
    """
    gradient = context.gradient.flatten(1)
    norm = gradient.norm(dim=1, keepdim=True)
    count = context.benchmark.differences or _DIRECTIONS
    along = torch.cat([(gradient / norm)[:, None], context.batch.on[:, :count], context.batch.off[:, :count]], dim=1)
    steps = (along * (_CHANGE / norm).clamp(max=_LONGEST_STEP)[..., None]).nan_to_num()
    predicted, found = geometry.log_odds_changes(
        context.classifier, context.batch.images, context.batch.labels, gradient, steps
    )
    error = (predicted - found).norm(dim=1) / predicted.norm(dim=1)
    return {"gradient_faithful": (error <= _TOLERANCE).to(error).where(error.isfinite(), torch.nan)}
