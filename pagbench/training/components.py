"""Trains what a benchmark is made of: the autoencoder of its manifold, the diffusion model of its second target."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.densities.autoencoder import Autoencoder
from pagbench.densities.diffusion import Denoiser, edm_loss
from pagbench.errors import TrainingError, UnknownNameError
from pagbench.storage import cache, global_state, weights
from pagbench.storage.files import file_lock
from pagbench.storage.transport import notify
from pagbench.training.loop import Progress, guard_memory, train
from pagbench.training.recipe import Loss, Minibatch, Recipe


def reconstruction(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
    """Mean squared error of dec(enc(x)), pixel units."""
    return nn.functional.mse_loss(network(batch.images), batch.images)


def denoising(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
    """EDM's weighted denoising error; see `pagbench.densities.diffusion.edm_loss`."""
    assert isinstance(network, Denoiser)
    return edm_loss(network, batch.images, batch.labels, generator)


def _autoencoder(benchmark: Benchmark, images: Tensor, size: int) -> nn.Module:
    if benchmark.manifold is None:
        raise ValueError(f"{benchmark.label} has no manifold")
    recipe = benchmark.manifold.recipe
    return Autoencoder(benchmark.input_shape, benchmark.rank if recipe is None else recipe.latent, size)


def _diffusion(benchmark: Benchmark, images: Tensor, size: int) -> nn.Module:
    std = round(2 * float(images.std()), 4)
    return Denoiser(benchmark.input_shape, benchmark.classes, (size, 2 * size, 2 * size), std)


class Component(NamedTuple):
    """How to train a component of a benchmark: untrained network, loss, recipe, and the width of the first layer."""

    build: Callable[[Benchmark, Tensor, int], nn.Module]
    loss: Loss
    recipe: Recipe
    width: int


COMPONENTS: dict[str, Component] = {
    "autoencoder": Component(_autoencoder, reconstruction, Recipe(8, 128, learning_rate=2e-3, weight_decay=1e-4), 16),
    "diffusion": Component(
        _diffusion, denoising, Recipe(6, 64, learning_rate=2e-3, weight_decay=1e-4, ema=0.999, clip=1.0), 16
    ),
}


def find(kind: str) -> Component:
    """The component of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if kind not in COMPONENTS:
        raise UnknownNameError("part", kind, COMPONENTS)
    return COMPONENTS[kind]


@global_state.known()
def fit(
    benchmark: Benchmark,
    kind: str,
    *,
    output: Path,
    seed: int = 0,
    width: int | None = None,
    recipe: Recipe | None = None,
    half: bool = False,
    device: torch.device | None = None,
    on_step: Progress = lambda done, total, loss: None,
) -> tuple[Path, str]:
    """Trains a component on the benchmark's training split; returns its file and the file's sha256, both for its card.

    A finished one is not trained again; one that was killed goes on from its checkpoint.

    Args:
        benchmark: whose training split to use; its manifold's rank is the size of the autoencoder's code.
        kind: autoencoder or diffusion.
        output: folder for the file.
        seed: of weights, shuffling and noise.
        width: channels of the first layer.
        recipe: schedule and optimiser.
        half: write weights in half precision.
        device: where to train; the CPU by default.
        on_step: called with steps done, steps in all, and the latest loss.

    Raises:
        UnknownNameError: no such component.
        TrainingError: the network does not fit the images, the folder cannot be written, or training diverged.
    """
    component = find(kind)
    recipe, width = recipe or component.recipe, width or component.width
    if not 0 <= seed < 2**32:
        raise TrainingError(f"seed {seed} is out of range; expected 0 to {2**32 - 1}")
    name = f"{benchmark.name}-{kind}"
    path, checkpoint = output / f"{name}.safetensors", output / f".{name}.checkpoint"
    fixed = {"kind": kind, "data": benchmark.data_name, "seed": seed, "width": width, "rank": benchmark.rank}
    provenance = json.dumps(fixed | asdict(recipe) | {"stored_as": "float16" if half else "float32"})
    if path.exists():
        recorded = weights.header(path).get("training")
        if recorded != provenance:
            raise TrainingError(
                f"{path}: already there, trained otherwise ({recorded}); give another --output or delete it"
            )
        return path, weights.file_sha256(path)
    weights.make_folder(output)
    split = data.splits(benchmark).train
    with torch.random.fork_rng(devices=[]), guard_memory(recipe.batch_size, checkpoint):
        torch.default_generator.manual_seed(seed)
        try:
            network: Any = component.build(benchmark, split.images, width)
        except ValueError as error:
            raise TrainingError(f"{benchmark.label}: {error}; give another --width, or another benchmark") from None
        train(
            network,
            component.loss,
            Minibatch(split.images, split.labels),
            recipe,
            seed=seed,
            device=device or torch.device("cpu"),
            checkpoint=checkpoint,
            identity=provenance,
            on_step=on_step,
        )
    metadata = {"kind": kind, "config": json.dumps(network.config), "training": provenance}
    digest = weights.write(network, path, half=half, metadata=metadata)
    checkpoint.unlink(missing_ok=True)
    return path, digest


def with_autoencoder(benchmark: Benchmark, device: torch.device) -> Benchmark:
    """The benchmark with the autoencoder that its manifold's recipe asks for, trained now if it is not in the cache.

    It lies in `fitted/<hash of data set, training ids and recipe>` below the cache folder; one process trains it while
    others wait. Any other benchmark is returned as it is.

    Raises:
        TrainingError: the network does not fit the images, or training diverged.
        WeightsError: the cache folder cannot be written.
    """
    card, folder = benchmark.manifold, recipe_folder(benchmark)
    if card is None or card.recipe is None or folder is None:
        return benchmark
    weights.make_folder(folder)
    with file_lock(folder / ".lock", timeout_s=-1):
        path, digest = fit(
            benchmark,
            "autoencoder",
            output=folder,
            seed=card.recipe.seed,
            width=card.recipe.width,
            recipe=_autoencoder_recipe(card.recipe.epochs),
            device=device,
            on_step=_tenths(benchmark, folder),
        )
    fitted = {"weights": str(path), "weights_sha256": digest, "recipe": None}
    return benchmark.model_copy(update={"manifold": card.model_copy(update=fitted)})


def recipe_folder(benchmark: Benchmark) -> Path | None:
    """Where the autoencoder of a manifold's recipe lies once it is trained; None without a recipe."""
    card = benchmark.manifold
    if card is None or card.recipe is None:
        return None
    split = benchmark.training or (*benchmark.samples, *benchmark.calibration)
    recipe = json.dumps(asdict(_autoencoder_recipe(card.recipe.epochs)))
    fixed = "/".join([benchmark.dataset.digest(), card.digest(), recipe, *split])
    return cache.root() / "fitted" / hashlib.sha256(fixed.encode()).hexdigest()[:16]


def _autoencoder_recipe(epochs: int) -> Recipe:
    return replace(COMPONENTS["autoencoder"].recipe, epochs=epochs)


def _tenths(benchmark: Benchmark, folder: Path) -> Progress:
    """Ten lines at most, for nobody has asked for this training and the run seems to stand still."""
    shown = 0

    def show(done: int, total: int, loss: float) -> None:
        nonlocal shown
        if 10 * done // total > shown:
            shown = 10 * done // total
            share = f"{10 * shown} %, mean squared error {loss:.4f}"
            notify(f"training the autoencoder of {benchmark.label} once and for all in {folder}: {share}")

    return show
