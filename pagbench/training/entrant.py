"""Trains an entrant for a benchmark and writes its card and weights."""

from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, SmoothingCard
from pagbench.errors import TrainingError, UnknownNameError
from pagbench.models import architectures, weights
from pagbench.training.families import FAMILIES
from pagbench.training.loop import Recipe, train

SMOOTHING_SAMPLES = 64
_DEFAULT_ARCHITECTURE = {"digits": "small-cnn"}


def train_entrant(
    benchmark: Benchmark,
    family: str,
    strength: float | None = None,
    *,
    seed: int = 0,
    output: Path,
    recipe: Recipe | None = None,
    device: torch.device | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> Path:
    """Trains one network on a benchmark's training split and returns the path of its card; its weights lie beside it.

    Args:
        benchmark: whose data to train on.
        family: one of `FAMILIES`.
        strength: in the family's unit; not needed for `standard`.
        seed: of initial weights, shuffling and noise.
        output: folder for card and weights.
        recipe: schedule.
        device: where to train; the CPU by default.
        on_epoch: called after each epoch with its mean loss.

    Raises:
        UnknownNameError: no such family.
        TrainingError: the strength is missing or out of range, or training diverged.
    """
    if family not in FAMILIES:
        raise UnknownNameError("family", family, FAMILIES)
    if family != "standard" and (strength is None or not strength > 0):
        raise TrainingError(f"family {family!r} needs a strength above 0 ({FAMILIES[family].unit}), got {strength}")
    if family == "standard" and strength:
        raise TrainingError(f"family 'standard' has no strength, got {strength}; leave it out")
    if not 0 <= seed < 2**32:
        raise TrainingError(f"seed {seed} is out of range; expected 0 to {2**32 - 1}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{output}: cannot write there ({error.strerror or error}); give another --output"
        ) from None
    recipe = recipe or Recipe()
    architecture = _DEFAULT_ARCHITECTURE.get(benchmark.name, "mlp")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architectures.build(architecture, benchmark.input_shape, benchmark.classes)
    loss = FAMILIES[family].loss(strength or 0.0)
    splits = data.splits(benchmark)
    train(network, loss, splits.train, recipe, seed=seed, device=device or torch.device("cpu"), on_epoch=on_epoch)
    name = _name(family, strength, seed)
    digest = weights.write(network, output / f"{name}.safetensors")
    card = _card(benchmark, family, strength, seed, recipe, name, architecture, digest)
    path = output / f"{name}.yaml"
    path.write_text(to_yaml(card), encoding="utf-8")
    return path


def _name(family: str, strength: float | None, seed: int) -> str:
    name = family if strength is None else f"{family}-{strength:g}"
    return name if seed == 0 else f"{name}.seed{seed}"


def _card(
    benchmark: Benchmark,
    family: str,
    strength: float | None,
    seed: int,
    recipe: Recipe,
    name: str,
    architecture: str,
    digest: str,
) -> ModelCard:
    settings = FAMILIES[family]
    smoothing = SmoothingCard(sigma=strength, samples=SMOOTHING_SAMPLES) if settings.smoothed and strength else None
    asked = f"--family {family}" if strength is None else f"--family {family} --strength {strength:g}"
    return ModelCard(
        id=f"trained/{benchmark.name}/{name}",
        title=f"{architecture}, {family} {'' if strength is None else f'{strength:g}'}".strip(),
        family=family,
        strength=strength,
        dataset=benchmark.name,
        architecture=architecture,
        activation="silu",
        input_shape=benchmark.input_shape,
        classes=benchmark.classes,
        smoothing=smoothing,
        weights=f"{name}.safetensors",
        weights_sha256=digest,
        seed=seed,
        training_command=f"pagbench train {benchmark.name} {asked} --seed {seed} --epochs {recipe.epochs}",
        training={
            "split": f"training split of {benchmark.label}",
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "optimiser": "AdamW, one-cycle",
            "learning_rate": recipe.learning_rate,
            "weight_decay": recipe.weight_decay,
        },
        authors="The pagbench authors",
        license="Apache-2.0",
    )


def to_yaml(card: ModelCard) -> str:
    """A card as YAML, fields in the order of their definition, without those at their default."""
    return yaml.safe_dump(card.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=100)
