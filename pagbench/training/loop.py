"""One training loop for all families."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pagbench.data import Dataset
from pagbench.errors import TrainingError
from pagbench.training.families import Loss


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: AdamW, one-cycle schedule."""

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2


def train(
    network: nn.Module,
    loss: Loss,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> nn.Module:
    """Trains in place and returns the network in eval mode; the same seed on the same device gives the same weights.

    Args:
        network: any module from pixels in [0, 1] to logits.
        loss: one of `pagbench.training.FAMILIES`, at a strength.
        data: training split.
        recipe: schedule.
        seed: of shuffling and of the loss's noise.
        device: where to train.
        on_epoch: called after each epoch with its mean loss.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    network.to(device).train()
    images, labels = data.images.to(device), data.labels.to(device)
    order = torch.Generator().manual_seed(seed)
    noise = torch.Generator(device).manual_seed(seed)
    batches = (len(images) + recipe.batch_size - 1) // recipe.batch_size
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.epochs * batches)
    for epoch in range(recipe.epochs):
        total = torch.zeros((), device=device)
        for index in torch.randperm(len(images), generator=order).to(device).split(recipe.batch_size):
            value = loss(network, images[index], labels[index], noise)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += value.detach()
        mean = float(total) / batches
        if not torch.isfinite(torch.tensor(mean)):
            raise TrainingError(
                f"the loss became {mean} in epoch {epoch + 1} of {recipe.epochs}; "
                f"lower the strength or the learning rate ({recipe.learning_rate})"
            )
        on_epoch(mean)
    return network.eval()
