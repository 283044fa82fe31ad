"""Fits what a benchmark is made of: mixture, autoencoder of its manifold, diffusion model of its second target."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.cards import MixtureRecipe
from pagbench.densities import heldout, mixture
from pagbench.densities.autoencoder import Autoencoder
from pagbench.densities.diffusion import Denoiser, edm_loss
from pagbench.densities.mixture import MixtureDensity, Parameters
from pagbench.errors import TrainingError, UnknownNameError
from pagbench.storage import cache, global_state, weights
from pagbench.storage.files import file_lock
from pagbench.storage.transport import notify, tenths
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


CANDIDATES: dict[str, tuple[int, ...]] = {
    "components": (1, 2, 3, 5, 10, 20, 30),
    "rank": (4, 8, 16, 24, 32),
    "directions": (32, 64, 128, 256),
}
"""Sizes of mixtures that are tried."""

_START = {"components": 10, "rank": 16, "directions": 256}

_TOLERANCE = 0.01
"""A smaller mixture is chosen whose held-out error is no more than this share above the least of all."""


class Trial(NamedTuple):
    """A mixture that was tried."""

    recipe: MixtureRecipe
    error: float
    """Mean of ‖D(x + n) - x‖² over the calibration images, at the benchmark's sigma."""
    parameters: Parameters


def choose_mixture(
    benchmark: Benchmark,
    given: Mapping[str, int],
    *,
    seed: int = 0,
    on_trial: Callable[[Trial], object] = lambda trial: None,
) -> Trial:
    """The mixture to take for a benchmark, by held-out denoising error at its sigma.

    One size after the other is chosen: the smallest whose error is within 1 % of the least so far.

    Args:
        benchmark: whose training split is fitted, and whose calibration split is denoised.
        given: sizes that are fixed, by their name in `CANDIDATES`.
        seed: of the fit.
        on_trial: called with each mixture that was tried.

    Raises:
        CardError: a given size does not fit another.
        DataError: a given size does not fit the data.
        TrainingError: the benchmark has no calibration split, so that all sizes must be given.
    """
    splits, pixels = data.splits(benchmark), benchmark.dimension
    most = {
        "components": int(torch.bincount(splits.train.labels).min()) // 5,
        "directions": pixels,
        "rank": pixels // 2,
    }
    sizes = {name: min(_START[name], max(1, most[name])) for name in CANDIDATES} | dict(given)
    free = [name for name in CANDIDATES if name not in given]
    if free and not benchmark.calibration:
        raise TrainingError(f"{benchmark.label}: has no images to choose a mixture by; give --{' and --'.join(free)}")

    def attempt(tried: Mapping[str, int]) -> Trial:
        recipe = MixtureRecipe.parse({"seed": seed, **tried}, f"{benchmark.label}: its mixture")
        train = splits.train
        parameters = mixture.fit(train.images, train.labels, classes=benchmark.classes, recipe=recipe)
        error = float("nan")
        if benchmark.calibration:
            density = MixtureDensity(parameters)
            error = float(heldout.denoising_error(density, splits.calibration, benchmark.sigma).mean())
        trial = Trial(recipe, error, parameters)
        on_trial(trial)
        return trial

    chosen = attempt(sizes)
    best = chosen.error
    for name in free:
        least = chosen.recipe.rank if name == "directions" else 1
        most["rank"] = min(most["rank"], chosen.recipe.directions)
        own = getattr(chosen.recipe, name)
        others = [size for size in CANDIDATES[name] if least <= size <= most[name] and size != own]
        trials = [chosen, *(attempt({**chosen.recipe.model_dump(exclude={"seed"}), name: size}) for size in others)]
        best = min(best, *(trial.error for trial in trials))
        limit = (1 + _TOLERANCE) * best
        near = [trial for trial in trials if trial.error <= limit] or [min(trials, key=lambda trial: trial.error)]
        chosen = min(near, key=lambda trial: getattr(trial.recipe, name))
    return chosen


def write_mixture(benchmark: Benchmark, trial: Trial, output: Path) -> tuple[Path, str]:
    """Writes a mixture into a folder; returns its file and the file's sha256, both for its card.

    Raises:
        WeightsError: the folder cannot be written.
    """
    weights.make_folder(output)
    path = output / f"{benchmark.name}-mixture.safetensors"
    provenance = {"kind": "mixture", "data": benchmark.data_name} | trial.recipe.model_dump()
    return path, mixture.write(trial.parameters, path, json.dumps(provenance))


def find(kind: str) -> Component:
    """The network of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if kind not in COMPONENTS:
        raise UnknownNameError("part", kind, ["mixture", *COMPONENTS])
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
    start = f"training the autoencoder of {benchmark.label} once and for all in {folder}"
    loss = 0.0
    receive = tenths(lambda share: notify(f"{start}: {share}, mean squared error {loss:.4f}"))

    def show(done: int, total: int, latest: float) -> None:
        nonlocal loss
        loss = latest
        receive(done, total)

    return show
