"""In-painting: what a classifier's gradient puts in the place of a missing patch (Santurkar et al. 2019)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import geometry
from pagbench.measures.context import MeasureContext
from pagbench.measures.denoising import psnr
from pagbench.measures.following import Followed, follow, scaled

_PATCH = 60 / 224
_EPSILON, _STEPS, _STRIDE = 21.6, 36, 2.0
"""Their budget and the length of their path, in 36 steps instead of 720."""


class Holed(NamedTuple):
    """Images with a missing patch.

    Attributes:
        images: the patch filled with the mean colour of the rest.
        patch: 1 where pixels are missing, else 0.
    """

    images: Float[Tensor, "b c h w"]
    patch: Float[Tensor, "b c h w"]


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """Gain in PSNR within the patch over the mean fill, and recognition; NaN where the gradient is not scored."""
    context.release()
    clean, labels, judge = context.batch.images, context.batch.labels, context.judge
    holed = judge.once(("holed", *context.key), make_holes, clean, context.batch.ids, context.seed)
    made = inpaint(context.classifier, holed, labels)

    def gain(images: Tensor) -> Tensor:
        return _psnr(images, clean, holed.patch) - _psnr(holed.images, clean, holed.patch)

    sigma = context.benchmark.sigma
    painted = judge.once(
        ("painted", *context.key), judge.denoised, holed.images, sigma=sigma, labels=labels, of_class=True
    )
    return {
        "inpainting_psnr": gain(made.images).where(made.scored, torch.nan),
        "inpainting_psnr_ceiling": gain(painted),
        "inpainting_recognised": judge.recognised(made.images, labels).where(made.scored, torch.nan),
        "inpainting_recognised_chance": judge.recognised(holed.images, labels),
        "inpainting_recognised_ceiling": judge.recognised(clean, labels),
    }


def pictures(context: MeasureContext) -> dict[str, Float[Tensor, "b c h w"]]:
    """Images with a filled patch, `before_inpainting`, what the gradient makes of them, and the clean ones."""
    clean, ids = context.batch.images, context.batch.ids
    holed = make_holes(clean, ids, context.seed)
    made = inpaint(context.classifier, holed, context.batch.labels)
    return {"inpainting": made.images, "before_inpainting": holed.images, "clean": clean}


def make_holes(x: Float[Tensor, "b c h w"], ids: tuple[str, ...], seed: int) -> Holed:
    """A patch of 60/224 of the sides is missing, anywhere within each image; where depends on seed and id."""
    patch = torch.zeros_like(x)
    sides = [max(1, round(_PATCH * side)) for side in x.shape[2:]]
    for one, name in zip(patch, ids, strict=True):
        rng = geometry.generator(seed, "inpainting", name)
        top, left = (int(rng.integers(full - side + 1)) for full, side in zip(x.shape[2:], sides, strict=True))
        one[:, top : top + sides[0], left : left + sides[1]] = 1
    rest = 1 - patch
    colour = (x * rest).sum((2, 3), keepdim=True) / rest.sum((2, 3), keepdim=True)
    return Holed(x * rest + colour * patch, patch)


def inpaint(classifier: nn.Module, holed: Holed, labels: Int[Tensor, "b"]) -> Followed:
    """Follows the gradient towards the classes; pixels outside the patch are pulled back where they move."""
    ascent = scaled(_EPSILON, _STEPS, _STRIDE, holed.images[0].numel())
    return follow(classifier, holed.images, labels, ascent, protected=1 - holed.patch)


def _psnr(
    x: Float[Tensor, "b c h w"], clean: Float[Tensor, "b c h w"], patch: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b"]:
    error = ((x - clean).square() * patch).flatten(1).sum(1)
    return psnr(error / patch.flatten(1).sum(1))
