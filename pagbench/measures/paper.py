"""The paper's own protocol, choice by choice, so that its curves can be reproduced (arXiv 2305.19101 and its code).

What differs from the strict protocol: logits are differentiated, which is not invariant to logits + c(x); the target
is the score itself; LPIPS sees the maps at their own size; one noise vector per image is split into its tangent and
its normal part.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import geometry
from pagbench.errors import ContractError
from pagbench.measures import lpips
from pagbench.measures.context import MeasureContext
from pagbench.measures.response import l1_change

EPSILONS: tuple[float, ...] = tuple(np.logspace(-3, 2, 20)[12:16].tolist())
"""Step lengths, L2 in units of pixels in [0, 1]; the figures show the second."""

MIN_SIDE = 32
"""The smallest map that AlexNet's strides leave anything of: CIFAR's size."""

_COLUMNS = ("paper_alignment", "paper_alignment_sum", "paper_on_response", "paper_off_response")


def split_noise(basis: Float[Tensor, "b d k"], noise: Float[Tensor, "b c h w"]) -> geometry.Directions:
    """Unit tangent and normal parts of one noise vector per image, m = 1."""
    flat = noise.flatten(1)
    tangent = geometry.project(basis, flat)
    normal = flat - tangent
    return geometry.Directions(_unit(tangent)[:, None], _unit(normal)[:, None])


def _unit(v: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    return v / v.norm(dim=1, keepdim=True)


def responses(
    classifier: nn.Module,
    x: Float[Tensor, "b c h w"],
    logits: Float[Tensor, "b k"],
    direction: Float[Tensor, "b 1 d"],
    epsilons: Sequence[float] = EPSILONS,
) -> Float[Tensor, "b e"]:
    """‖softmax f(x + e·u) - softmax f(x)‖₁ for each step length, unclipped; `logits` are f(x)."""
    return l1_change(geometry.moved_logits(classifier, x, direction, epsilons), logits[:, None, None])[:, :, 0]


def perceptual_distance(gradient: Float[Tensor, "b c h w"], score: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """LPIPS of both maps, each divided by its largest magnitude, at their own size; the paper plots 1 - mean.

    Maps below 32×32, which the paper does not have, get a margin of zeros.
    """
    maps = (_with_margin(geometry.scale_to_unit_range(part)) for part in (gradient, score))
    return lpips.distance(*(lpips.embed(part, side=None) for part in maps))


def _with_margin(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    rows, columns = (max(0, MIN_SIDE - side) for side in x.shape[2:])
    margins = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.nn.functional.pad(x, margins)


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """Perceptual alignment of logit gradients with scores, and responses along one noise vector's two parts.

    It is about the logits as the network gives them: a calibration is undone. Of gradients it changes the length only,
    which does not count.

    NaN where the score model has no s(x|y) or no s(x), and where the benchmark has no manifold or asks for no responses
    of an image.

    Raises:
        ContractError: the batch was built without a second target.
    """
    batch, card = context.batch, context.benchmark.second
    if batch.second is None:
        raise ContractError("the batch has no second target; build it for a benchmark that names one")
    found = {name: torch.full((len(batch.images),), torch.nan, device=batch.images.device) for name in _COLUMNS}
    if batch.second.conditional is not None:
        predicted = card is not None and card.paper_gradient == "predicted"
        chosen = context.logits.argmax(dim=1) if predicted else batch.labels
        gradient = context.forward_pass.logit_gradient(chosen)
        found["paper_alignment"] = 1 - perceptual_distance(gradient, batch.second.conditional)
    if batch.second.marginal is not None:
        gradient = context.forward_pass.logit_sum_gradient()
        found["paper_alignment_sum"] = 1 - perceptual_distance(gradient, batch.second.marginal)
    if batch.noise_parts is not None:
        asked = batch.noise_parts.on.flatten(1).isfinite().all(1)
        for name, part in zip(_COLUMNS[2:], batch.noise_parts, strict=True):
            if asked.any():
                # of the whole batch, by whose order smoothed models know which draws are whose
                moved = responses(
                    context.uncalibrated, batch.images, context.raw_logits, part.nan_to_num(), EPSILONS[1:2]
                )
                found[name] = moved[:, 0].where(asked, torch.nan)
    return found
