"""One training loop for everything: classifiers of every family, autoencoders, diffusion models."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pagbench.errors import TrainingError, WeightsError, first_line
from pagbench.models import devices
from pagbench.storage import files, global_state, weights
from pagbench.training.recipe import Loss, Minibatch, Recipe, augment, optimiser, schedule

Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the latest loss."""


_CHECKPOINT_SECONDS = 20.0
_REPORT_STEPS = 20


class _State:
    """Everything that a resumed training needs."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, seed: int, device: torch.device, count: int, identity: str
    ) -> None:
        self._network, self._recipe, self._device, self._count = network, recipe, device, count
        whole, rest = divmod(count, recipe.batch_size)
        self._batches = max(1, whole + (rest > 1))
        self.steps = recipe.epochs * self._batches
        self.step = 0
        self._order = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator(device).manual_seed(seed)
        self._augmentation = torch.Generator(device).manual_seed(seed + 1)
        self._optimiser = optimiser(network, recipe)
        self._schedule = schedule(self._optimiser, recipe, self.steps)
        average = get_ema_multi_avg_fn(recipe.ema)
        self._average = AveragedModel(network, multi_avg_fn=average, use_buffers=True) if recipe.ema else None
        stateful = (network, self._optimiser, self._schedule, self._average)
        self._stateful: list[Any] = [part for part in stateful if part is not None]
        self._permutation = torch.arange(count)
        self._identity = hashlib.sha256(
            json.dumps([asdict(recipe), seed, count, str(network), str(device), identity]).encode()
        ).hexdigest()

    def advance(self, loss: Loss, data: Minibatch) -> Tensor:
        """One step; returns its loss, still on the device."""
        position = self.step % self._batches
        if position == 0:
            self._permutation = torch.randperm(self._count, generator=self._order)
        size = self._recipe.batch_size
        index = self._permutation[position * size : (position + 1) * size].to(self._device)
        batch = Minibatch(data.images[index], data.labels[index], None if data.target is None else data.target[index])
        batch = augment(batch, self._recipe, self._augmentation)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16"):
            value = loss(self._network, batch, self._noise)
        self._optimiser.zero_grad()
        value.backward()
        if self._recipe.clip:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.clip)
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._network)
        self.step += 1
        return value.detach()

    def kept(self) -> nn.Module:
        """The trained network: with its averaged weights where the recipe asks for them."""
        if self._average is not None:
            self._network.load_state_dict(self._average.module.state_dict())
        return self._network

    def check_finite(self) -> None:
        """Whether all parameters and buffers are finite.

        Raises:
            FloatingPointError: one is not.
        """
        tensors = [*self._network.parameters(), *(b for b in self._network.buffers() if b.is_floating_point())]
        if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
            raise FloatingPointError("nan")

    def save(self, path: Path) -> None:
        """Writes a checkpoint beside its place, then renames."""
        generators = [generator.get_state() for generator in (self._order, self._noise, self._augmentation)]
        cuda = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        state = {
            "identity": self._identity,
            "step": self.step,
            "permutation": self._permutation,
            "generators": generators,
            "global": [torch.get_rng_state(), cuda],
            "parts": [part.state_dict() for part in self._stateful],
        }
        try:
            with files.replacing(path) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{path}: cannot write the checkpoint ({first_line(error)}); free the disk or train in another folder"
            ) from None

    def restore(self, path: Path) -> None:
        """Takes up a checkpoint, if there is one.

        Raises:
            TrainingError: it is unreadable or of another training.
        """
        if not path.exists():
            return
        try:
            state = weights.read_checkpoint(path)
            same = state["identity"] == self._identity
            if same:
                self._take_up(state)
        except (WeightsError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            reason = first_line(error).removeprefix(f"{path}: ").partition(";")[0]
            raise TrainingError(f"{path}: not a readable checkpoint ({reason}); delete it to start anew") from None
        if not same:
            raise TrainingError(
                f"{path}: the checkpoint of another training (data, family, strength, seed, recipe or device differ); "
                "delete it, or give another --output"
            )

    def _take_up(self, state: dict[str, Any]) -> None:
        self.step, self._permutation = state["step"], state["permutation"]
        for generator, kept in zip((self._order, self._noise, self._augmentation), state["generators"], strict=True):
            generator.set_state(kept)
        torch.set_rng_state(state["global"][0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["global"][1], self._device)
        for part, kept in zip(self._stateful, state["parts"], strict=True):
            part.load_state_dict(kept)


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
    with global_state.known(), _own_random_state(seed, device), guard_memory(recipe.batch_size, checkpoint):
        device_data = Minibatch(*(None if part is None else part.to(device) for part in data))  # type: ignore[arg-type]
        state = _State(network.to(device).train(), recipe, seed, device, len(data.images), identity)
        if checkpoint is not None:
            state.restore(checkpoint)
        try:
            _run(state, loss, device_data, checkpoint, on_step)
        except FloatingPointError as error:
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
            raise TrainingError(
                f"the loss became {error} by step {state.step} of {state.steps}; "
                f"lower the strength or the learning rate ({recipe.learning_rate:g})"
            ) from None
        return state.kept().eval()


def _run(state: _State, loss: Loss, data: Minibatch, checkpoint: Path | None, on_step: Progress) -> None:
    saved = time.monotonic()
    while state.step < state.steps:
        value = state.advance(loss, data)
        finished = state.step == state.steps
        if not (finished or state.step % _REPORT_STEPS == 0):
            continue
        loss_value = float(value)
        if not math.isfinite(loss_value):
            raise FloatingPointError(loss_value)
        on_step(state.step, state.steps, loss_value)
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


@contextmanager
def guard_memory(batch_size: int, checkpoint: Path | None = None) -> Iterator[None]:
    """One clear line where memory runs out, on a GPU or on the CPU.

    Raises:
        TrainingError: it has run out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # on the CPU torch raises a plain RuntimeError
        if not devices.is_out_of_memory(error):
            raise
        kept = f"; {checkpoint} keeps the last state" if checkpoint is not None and checkpoint.exists() else ""
        raise TrainingError(
            f"out of memory with {batch_size} images at a time; lower the recipe's batch_size or the width{kept}"
        ) from None
