"""Everything that a resumed training needs, and the step that moves it on."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pagbench.errors import TrainingError, first_line
from pagbench.storage import files
from pagbench.training.augmentation import AUGMENTATIONS
from pagbench.training.recipe import Recipe, optimiser, schedule


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


class DivergedError(Exception):
    """A loss or weights that are NaN or infinite; the message is the value."""


class State:
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
        batch = Minibatch(*AUGMENTATIONS[self._recipe.augmentation](batch, self._augmentation))
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
            DivergedError: one is not.
        """
        tensors = [*self._network.parameters(), *(b for b in self._network.buffers() if b.is_floating_point())]
        if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
            raise DivergedError("nan")

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
            "parts": [part.state_dict() for part in self._parts()],
        }
        try:
            with files.replacing(path) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{path}: cannot write the checkpoint ({first_line(error)}); free the disk or give another --output"
            ) from None

    def restore(self, path: Path) -> None:
        """Takes up a checkpoint, if there is one.

        Raises:
            TrainingError: it is unreadable or of another training.
        """
        if not path.exists():
            return
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            same = state["identity"] == self._identity
            if same:
                self._take_up(state)
        except (
            OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, pickle.UnpicklingError
        ) as error:  # fmt: skip
            raise TrainingError(
                f"{path}: not a readable checkpoint ({first_line(error)}); delete it to start anew"
            ) from None
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
        for part, kept in zip(self._parts(), state["parts"], strict=True):
            part.load_state_dict(kept)

    def _parts(self) -> list[Any]:
        parts = [self._network, self._optimiser, self._schedule, self._average]
        return [part for part in parts if part is not None]
