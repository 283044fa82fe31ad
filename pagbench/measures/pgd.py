"""Projected gradient descent, in all pixels or confined to a space: a lower bound of adversarial vulnerability."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pagbench import columns, geometry
from pagbench.geometry import Norm
from pagbench.measures.context import MeasureContext

STEPS = 40
_STRIDE = 2.5

Projection = Callable[[Float[Tensor, "b d"]], Float[Tensor, "b d"]]


class Attack(NamedTuple):
    """What an attack has found.

    Attributes:
        images: the first moved image that was classified wrongly; the last one where none was.
        robust: whether none was.
    """

    images: Float[Tensor, "b c h w"]
    robust: Bool[Tensor, "b"]


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`pgd_<norm>_<epsilon>`: 1 where the image is classified correctly and stays so within the budget."""
    return {
        columns.budget_name("pgd", budget): survives(context, budget.norm, budget.epsilon)
        for budget in columns.budgets(context.benchmark)
    }


def survives(
    context: MeasureContext, norm: Norm, epsilon: float, within: Projection | None = None
) -> Float[Tensor, "b"]:
    """1 where an image is classified correctly and `attack` from a random start does not change that, else 0."""
    batch = context.batch
    context.release()
    start = random_start(batch.images, batch.ids, norm=norm, epsilon=epsilon, seed=context.seed, within=within)
    attacked = attack(context.classifier, batch.images, batch.labels, start, norm=norm, epsilon=epsilon, within=within)
    return (attacked.robust & (context.logits.argmax(dim=1) == batch.labels)).to(context.logits)


def random_start(
    x: Float[Tensor, "b c h w"],
    ids: tuple[str, ...],
    *,
    norm: Norm,
    epsilon: float,
    seed: int,
    within: Projection | None = None,
) -> Float[Tensor, "b c h w"]:
    """A perturbation in the ball, or in its part within a space, that depends on the seed and the sample's id only."""
    generators = [geometry.generator(seed, f"pgd/{norm}", name) for name in ids]
    if norm == "linf":
        drawn = np.stack([part.uniform(-1, 1, x.shape[1:]) for part in generators])
        return epsilon * torch.from_numpy(drawn).to(x)
    noise = torch.from_numpy(np.stack([part.standard_normal(x[0].numel()) for part in generators])).to(x)
    radius = torch.tensor([part.uniform() for part in generators])[:, None, None, None].to(x)
    direction = geometry.steepest((noise if within is None else within(noise)).reshape(x.shape), norm)
    return epsilon * radius * direction


def attack(
    classifier: nn.Module,
    x: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"],
    start: Float[Tensor, "b c h w"],
    *,
    norm: Norm,
    epsilon: float,
    within: Projection | None = None,
    steps: int = STEPS,
) -> Attack:
    """Lowers the log-odds of the true class within ‖x' - x‖ ≤ epsilon (Madry et al. 2018, arXiv 1706.06083).

    Steepest steps of 2.5 epsilon/steps; every point on the way counts. The log-odds have the direction of the
    cross-entropy's gradient and do not saturate.

    Args:
        classifier: pixels in [0, 1] → logits; every forward pass holds the whole batch in its order.
        x: images.
        labels: their classes.
        start: first perturbation, in the ball.
        norm: l2 or linf.
        epsilon: budget of each image, pixel units.
        within: orthogonal projection on the space that perturbations lie in, L2 only; they are not clipped then. None
            for all pixels, clipped to [0, 1].
        steps: gradient steps.
    """
    robust = torch.ones_like(labels, dtype=torch.bool)
    delta = _allowed(start, x, norm, epsilon, within)
    images = x + delta
    for step in range(steps + 1):
        moved = x + delta
        passed = geometry.ForwardPass(classifier, moved)
        images = moved.where(robust[:, None, None, None], images)
        robust = robust & (passed.logits.argmax(dim=1) == labels)
        if step == steps or not robust.any():
            break
        descent = -passed.log_odds_gradient(labels).nan_to_num()
        if within is not None:
            descent = within(descent.flatten(1)).reshape(x.shape)
        stride = _STRIDE * epsilon / steps * geometry.steepest(descent, norm)
        delta = _allowed(delta + stride, x, norm, epsilon, within)
    return Attack(images, robust)


def _allowed(delta: Tensor, x: Tensor, norm: Norm, epsilon: float, within: Projection | None) -> Tensor:
    """The nearest perturbation in the ball, in its space or with pixels in [0, 1]."""
    if within is not None:
        return geometry.into_ball(within(delta.flatten(1)).reshape(x.shape), epsilon, norm)
    return (x + geometry.into_ball(delta, epsilon, norm)).clamp(0, 1) - x
