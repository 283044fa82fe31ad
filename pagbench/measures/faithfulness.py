"""Whether the gradient that autograd returns is the gradient of the function that is evaluated."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures.observation import Observation
from pagbench.measures.response import moved_logits

_STEP = 1e-2
_TOLERANCE = 0.05
_DIRECTIONS = 2


def measure(seen: Observation) -> dict[str, Float[Tensor, "b"]]:
    """`gradient_faithful`: 1 where ‖D - F‖ ≤ .05 ‖D‖, else 0; NaN where the gradient is not scored.

    D are directional derivatives of the log-odds of the true class by autograd, F by central finite differences with
    steps of .01, along the gradient itself and two directions on and two off the manifold. 0 for gradients that are
    masked, quantised, detached in part, or another network's.
    """
    gradient = seen.gradient.flatten(1)
    unit = (gradient / gradient.norm(dim=1, keepdim=True)).nan_to_num()
    along = torch.cat([unit[:, None], seen.batch.on[:, :_DIRECTIONS], seen.batch.off[:, :_DIRECTIONS]], dim=1)
    moved = moved_logits(seen.classifier, seen.batch.images, along, (_STEP, -_STEP))
    labels = seen.batch.labels[:, None, None].expand(moved.shape[:3])
    ahead, behind = geometry.log_odds(moved.flatten(0, 2), labels.flatten()).unflatten(0, moved.shape[:3]).unbind(1)
    by_autograd = torch.einsum("bmd,bd->bm", along, gradient)
    by_difference = (ahead - behind) / (2 * _STEP)
    error = (by_autograd - by_difference).norm(dim=1) / by_autograd.norm(dim=1)
    return {"gradient_faithful": (error <= _TOLERANCE).to(error).where(error.isfinite(), torch.nan)}
