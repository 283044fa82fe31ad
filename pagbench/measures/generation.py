"""Generation: what becomes of a random start when a classifier's gradient is followed towards a class.

After Santurkar et al. 2019 (arXiv 1906.09453), whose seeds are drawn from Gaussians of each class.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pagbench.measures.context import Batch, MeasureContext
from pagbench.measures.following import Followed, follow, scaled
from pagbench.measures.judge import Judge, kid_influences

STEPS = 30
_BUDGETS = {"generation": 40.0, "generation_noise": 80.0}
"""L2, for images of 3·224² values: of Santurkar et al.'s tasks, 40 draws from sketches and 80 translates.

Each takes 30 steps of a twentieth, so that a path may be half as long again as its budget.
"""

STARTS = tuple(_BUDGETS)
"""Where generation begins: in a Gaussian of the class, or in noise around the mean image; first parts of columns."""


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """Columns of both starts; NaN where the gradient is not scored there."""
    batch, judge = context.batch, context.judge
    context.release()
    found: dict[str, Float[Tensor, "b"]] = {}

    for name in STARTS:
        before = start(context, name)
        made = generate(context.classifier, before, batch.labels, name)
        chance = judge.once((name, "judged", *context.key), _judged, judge, before, batch)
        judged = _judged(judge, made.images, batch, made.scored)
        found |= {f"{name}_{what}": value.where(made.scored, torch.nan) for what, value in judged.items()}
        found |= {f"{name}_{what}_chance": value for what, value in chance.items()}
    ceiling = judge.once(("real", *context.key), _judged, judge, batch.images, batch)
    return found | {f"generation_{what}_ceiling": value for what, value in ceiling.items() if what != "kid"}


def pictures(context: MeasureContext) -> dict[str, Float[Tensor, "b c h w"]]:
    """What the gradient makes of both starts, by the start's name, and the starts, `before_<name>`."""
    found = {}
    for name in STARTS:
        before = start(context, name)
        found[name] = generate(context.classifier, before, context.batch.labels, name).images
        found[f"before_{name}"] = before
    return found


def start(context: MeasureContext, name: str) -> Float[Tensor, "b c h w"]:
    """Where a batch begins: draws from its classes' Gaussians, or noise around the mean image."""
    batch, judge = context.batch, context.judge
    if name == "generation":
        return judge.once((name, *context.key), judge.from_class, batch.ids, batch.labels, context.seed)
    return judge.once((name, *context.key), judge.from_noise, batch.ids, context.seed)


def generate(classifier: nn.Module, before: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"], name: str) -> Followed:
    """Images of the classes, out of a start that has its budget."""
    epsilon = _BUDGETS[name]
    return follow(classifier, before, labels, scaled(epsilon, STEPS, epsilon / 20, before[0].numel()))


def _judged(
    judge: Judge, images: Float[Tensor, "b c h w"], batch: Batch, scored: Bool[Tensor, "b"] | None = None
) -> dict[str, Float[Tensor, "b"]]:
    features, real = judge.features(images), judge.features(batch.images)
    return {
        "recognised": judge.recognised(images, batch.labels),
        "kid": kid_influences(features, real, batch.labels, scored).to(images),
        "off_data": judge.off_data(images, batch.labels),
        "nearest": judge.nearest(images),
    }
