"""How to train: optimiser, schedule, and everything else that stays the same along a path."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from pagbench.training.augmentation import Augmentation


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
    augmentation: Augmentation = "none"
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
