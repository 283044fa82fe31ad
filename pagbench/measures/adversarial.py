"""Adversarial accuracy by AutoAttack (Croce & Hein 2020, arXiv 2003.01690), run by the authors' own package.

Its draws depend on which images are attacked together, hence its blocks, always of the same images.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import columns
from pagbench.columns import Budget
from pagbench.errors import import_extra
from pagbench.measures.context import MeasureContext
from pagbench.models import smoothing

AutoAttack: Any = import_extra("pyautoattack").AutoAttack

_FEWEST_CLASSES = 4
_TARGETS = 9
_NORMS = {"l2": "L2", "linf": "Linf"}


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`adversarial_<norm>_<epsilon>`: 1 where the image is classified correctly and AutoAttack does not change that.

    An image whose two largest logits are equal lies on the decision boundary and counts as changed. Vanishing gradients
    are attacked too, without them (Square Attack): masking them hides nothing.

    Raises:
        ValueError: there are fewer than four classes.
    """
    context.release()
    return {
        columns.budget_name("adversarial", budget): _survives(context, budget)
        for budget in columns.budgets(context.benchmark)
    }


def _survives(context: MeasureContext, budget: Budget) -> Float[Tensor, "b"]:
    images, labels = context.batch.images, context.batch.labels
    robust = context.logits.argmax(dim=1) == labels
    with smoothing.sampled(context.classifier, ()):  # it attacks parts of the batch: draws that all images share
        largest = _logits(context.classifier, images).topk(2).values
        robust &= largest[:, 0] > largest[:, 1]
        if robust.any():
            attacked = attack(context.classifier, images[robust], labels[robust], budget, seed=context.seed)
            robust[robust.clone()] = _logits(context.classifier, attacked).argmax(dim=1) == labels[robust]
    return robust.to(context.logits)


@torch.no_grad()
def _logits(classifier: nn.Module, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
    return torch.as_tensor(classifier(x))


def attack(
    classifier: nn.Module, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"], budget: Budget, *, seed: int
) -> Float[Tensor, "b c h w"]:
    """AutoAttack's adversarial examples, the images themselves where it finds none.

    Version `standard`; `rand` where two calls on the same images differ. With fewer than ten classes all others are
    targets. The global random state is left as it was.

    Args:
        classifier: pixels in [0, 1] → logits.
        x: images, attacked as one batch.
        labels: their classes.
        budget: norm and radius.
        seed: of the attack.

    Raises:
        ValueError: there are fewer than four classes, which its targeted loss needs.
    """
    with torch.no_grad():
        logits, again = classifier(x), classifier(x)
    classes = logits.shape[1]
    if classes < _FEWEST_CLASSES:
        raise ValueError(f"AutoAttack needs {_FEWEST_CLASSES} classes, got {classes}; take --measures pgd")
    version = "standard" if torch.equal(logits, again) else "rand"
    with _quiet(), torch.random.fork_rng():
        autoattack = AutoAttack(
            classifier, norm=_NORMS[budget.norm], eps=budget.epsilon, seed=seed, version=version, device=x.device
        )
        autoattack.apgd_targeted.n_target_classes = autoattack.fab.n_target_classes = min(_TARGETS, classes - 1)
        images, _ = autoattack.run_standard_evaluation(x, labels, batch_size=len(x))
    return torch.as_tensor(images)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences AutoAttack's log, and brings back the trace function that it takes away."""
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
        sys.settrace(trace)
