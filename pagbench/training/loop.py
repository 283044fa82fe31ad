"""One training loop for everything: classifiers of every family, autoencoders, diffusion models."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from pagbench.errors import TrainingError
from pagbench.models import devices
from pagbench.models.devices import is_out_of_memory
from pagbench.training.recipe import Recipe
from pagbench.training.state import DivergedError, Loss, Minibatch, State

Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the latest loss."""


_CHECKPOINT_SECONDS = 20.0
_REPORT_STEPS = 20


def train(
    network: nn.Module,
    loss: Loss,
    data: Minibatch,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    identity: str = "",
    on_step: Progress = lambda done, total, loss: None,
) -> nn.Module:
    """Trains in place and returns the network in eval mode; the same seed on the same device gives the same weights.

    Args:
        network: any module that the loss can use.
        loss: mean loss of a minibatch, such as `pagbench.training.FAMILIES` makes.
        data: the whole training split, in memory. A last batch of a single image is left out, for batch norm's sake.
        recipe: schedule and optimiser.
        seed: of shuffling, augmentation, dropout and the loss's noise.
        device: where to train.
        checkpoint: file that keeps the state every 20 seconds and at the end; a killed training goes on from there, to
            the same weights. The caller removes it when the result is safe. None keeps nothing.
        identity: what else a checkpoint must agree in: data and loss above all.
        on_step: called every 20 steps and at the end.

    Raises:
        TrainingError: the loss or the weights became NaN or infinite (the checkpoint is then removed, since the same
            would happen again), memory ran out, or the checkpoint is unreadable or of another training.
    """
    with _own_random_state(seed, device), devices.single_precision(), guard_memory(recipe.batch_size, checkpoint):
        device_data = Minibatch(*(None if part is None else part.to(device) for part in data))  # type: ignore[arg-type]
        state = State(network.to(device).train(), recipe, seed, device, len(data.images), identity)
        if checkpoint is not None:
            state.restore(checkpoint)
        try:
            _run(state, loss, device_data, checkpoint, on_step)
        except DivergedError as error:
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
            raise TrainingError(
                f"the loss became {error} by step {state.step} of {state.steps}; "
                f"lower the strength or the learning rate ({recipe.learning_rate:g})"
            ) from None
        return state.kept().eval()


def _run(state: State, loss: Loss, data: Minibatch, checkpoint: Path | None, on_step: Progress) -> None:
    saved = time.monotonic()
    while state.step < state.steps:
        value = state.advance(loss, data)
        finished = state.step == state.steps
        if not (finished or state.step % _REPORT_STEPS == 0):
            continue
        on_step(state.step, state.steps, _finite(float(value)))
        if checkpoint is not None and (finished or time.monotonic() - saved > _CHECKPOINT_SECONDS):
            state.check_finite()
            state.save(checkpoint)
            saved = time.monotonic()
    state.check_finite()


@contextmanager
def _own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Global generators, which dropout draws from, seeded within and untouched without."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise DivergedError(value)
    return value


@contextmanager
def guard_memory(batch_size: int, checkpoint: Path | None = None) -> Iterator[None]:
    """One clear line where memory runs out, on a GPU or on the CPU.

    Raises:
        TrainingError: it has run out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # on the CPU torch raises a plain RuntimeError
        if not is_out_of_memory(error):
            raise
        kept = f"; {checkpoint} keeps the last state" if checkpoint is not None and checkpoint.exists() else ""
        raise TrainingError(
            f"out of memory with {batch_size} images at a time; lower the recipe's batch_size or the width{kept}"
        ) from None
