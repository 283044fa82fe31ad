"""Following a classifier's input gradient: what its gradients alone can make of an image.

Targeted ascent with normalised L2 steps within a budget of each image (Santurkar et al. 2019, arXiv 1906.09453). Their
budgets are for 224×224 colour images; ours scale with √d, so that the change per pixel value is the same. Along a path
rounding errors add up: always the same images are followed together, in blocks.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pagbench import geometry

_REFERENCE_DIMENSION = 3 * 224**2
_PENALTY = 10.0
"""Weight of what pulls protected pixels back, as in Santurkar et al.; theirs is absolute, ours relative to a step."""


class Ascent(NamedTuple):
    """How far an image may go, and how it gets there.

    Attributes:
        epsilon: largest L2 distance from the start, pixel units.
        steps: gradient steps.
        stride: L2 length of each, pixel units.
    """

    epsilon: float
    steps: int
    stride: float


class Followed(NamedTuple):
    """Where the gradient leads.

    Attributes:
        images: the last images; the start where the gradient is not scored there.
        scored: whether it is.
    """

    images: Float[Tensor, "b c h w"]
    scored: Bool[Tensor, "b"]


def scaled(epsilon: float, steps: int, stride: float, dimension: int) -> Ascent:
    """The ascent for images of another size, given for those of 3·224² values.

    >>> scaled(40.0, 60, 1.0, 3 * 224**2)
    Ascent(epsilon=40.0, steps=60, stride=1.0)
    """
    scale = math.sqrt(dimension / _REFERENCE_DIMENSION)
    return Ascent(scale * epsilon, steps, scale * stride)


def follow(
    classifier: nn.Module,
    start: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"],
    ascent: Ascent,
    *,
    protected: Float[Tensor, "b c h w"] | None = None,
    clip: bool = True,
) -> Followed:
    """Raises the log-odds of a class of each image, and nothing else.

    Where the gradient is not scored on the way, an image waits there.

    Args:
        classifier: pixels in [0, 1] → logits; every forward pass holds the whole batch in its order.
        start: first images.
        labels: class of each, whose log-odds are raised.
        ascent: of each image.
        protected: 1 for pixels that are pulled back to the start, 0 for others; None for no such pixels.
        clip: keep pixels in [0, 1].
    """
    images, scored = start, torch.ones_like(labels, dtype=torch.bool)
    for step in range(ascent.steps):
        gradient = geometry.log_odds_gradient(classifier, images, labels).gradient
        usable = gradient.flatten(1).isfinite().all(1)
        scored = usable if step == 0 else scored
        direction = geometry.steepest(gradient.nan_to_num(), "l2")
        if protected is not None:
            direction = direction - _PENALTY / ascent.epsilon * (images - start) * protected
            direction = geometry.steepest(direction, "l2")
        moved = images + ascent.stride * direction.where((usable & scored)[:, None, None, None], 0)
        images = start + geometry.into_ball(moved - start, ascent.epsilon, "l2")
        images = images.clamp(0, 1) if clip else images
    return Followed(images.where(scored[:, None, None, None], start), scored)
