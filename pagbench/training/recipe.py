"""How to train: optimiser, schedule, augmentation, and everything else that stays the same along a path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn


class Minibatch(NamedTuple):
    """What a loss sees.

    Attributes:
        images: pixels in [0, 1].
        labels: classes.
        target: Bayes targets of the images; None unless the loss asks for them.
    """

    images: Float[Tensor, "b c h w"]
    labels: Int[Tensor, "b"]
    target: Float[Tensor, "b c h w"] | None = None


Loss = Callable[[nn.Module, Minibatch, torch.Generator], Tensor]
"""Mean loss of a minibatch; all randomness comes from the generator."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the same for all strengths of a path, so that only the regularisation differs.

    Attributes:
        epochs: passes over the training split.
        batch_size: images per step.
        optimiser: AdamW, or SGD with Nesterov momentum .9 (one-cycle moves AdamW's beta1 and SGD's momentum between .95
            and .85).
        schedule: one-cycle (Smith & Topin 2018, arXiv 1708.07120) to the learning rate and down again, step (a tenth at
            75 % and 87.5 % of the steps, as in arXiv 2305.19101), or constant.
        learning_rate: the largest.
        weight_decay: as the optimiser defines it.
        ema: decay of an exponential moving average of the weights, which is what is kept; 0 for none.
        precision: float32, or bfloat16 for products and convolutions (weights stay float32).
        augmentation: none, or crop-flip (shifts by up to an eighth of the side, horizontal flips). A target moves with
            its image, as an approximation of the moved image's.
        clip: largest norm of the parameters' gradient; 0 for no limit.
    """

    epochs: Annotated[int, Field(gt=0)] = 40
    batch_size: Annotated[int, Field(gt=0)] = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["one-cycle", "step", "constant"] = "one-cycle"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    augmentation: Literal["none", "crop-flip"] = "none"
    clip: Annotated[float, Field(ge=0)] = 0.0


def optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser for all parameters of a network."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, weight_decay=decay, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's learning rates over so many steps."""
    if recipe.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=max(steps, 2))
    milestones = [int(0.75 * steps), int(0.875 * steps)] if recipe.schedule == "step" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones)


def augment(batch: Minibatch, recipe: Recipe, generator: torch.Generator) -> Minibatch:
    """The recipe's augmentation of a minibatch; a target moves with its image."""
    if recipe.augmentation == "none":
        return batch
    images, labels, target = batch
    moved = shift_and_flip([images] if target is None else [images, target], generator)
    return Minibatch(moved[0], labels, None if target is None else moved[1])


def shift_and_flip(parts: list[Float[Tensor, "b c h w"]], generator: torch.Generator) -> list[Float[Tensor, "b c h w"]]:
    """Shifts each image by up to an eighth of its side, zeros moving in, and flips every other one from left to right.

    Args:
        parts: tensors that belong to the same images; all move alike.
        generator: on the parts' device.
    """
    b, _, h, w = parts[0].shape
    device = parts[0].device
    reach = torch.tensor([w // 8, h // 8], device=device)
    shift = (torch.rand(b, 2, generator=generator, device=device) * (2 * reach + 1)).floor() - reach
    flip = 1 - 2 * torch.randint(2, (b,), generator=generator, device=device)
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = flip.to(theta), 1
    theta[:, :, 2] = 2 * shift / torch.tensor([w, h], device=device)
    grid = nn.functional.affine_grid(theta, [b, 1, h, w], align_corners=False)
    return [nn.functional.grid_sample(part, grid, mode="nearest", align_corners=False) for part in parts]
