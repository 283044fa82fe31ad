"""Trains a model for a benchmark and writes its card and weights."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor, nn

from pagbench import benchmarks, data
from pagbench.benchmarks import Benchmark
from pagbench.cards import Identifier, ModelCard, SmoothingCard
from pagbench.densities import scores
from pagbench.errors import CardError, PagbenchError, TrainingError, UnknownNameError, WeightsError, excerpt
from pagbench.models import architectures, devices, registry
from pagbench.models.registry import Request
from pagbench.storage import files, global_state, weights
from pagbench.training.families import FAMILIES
from pagbench.training.loop import Progress, guard_memory, train
from pagbench.training.recipe import Minibatch, Recipe

DRAWS = 64
"""Monte Carlo draws of a smoothed network, unless told otherwise."""

_FALLBACK = ("strided-cnn", "silu")
_MAX_STRENGTH = 1e6
_DIGITS = 12
_SPLIT = "training split of "


def default_recipe(benchmark: Benchmark) -> Recipe:
    """How the benchmark's reference was trained, so that only the regularisation differs."""
    reference = _reference(benchmark)
    recorded: dict[str, Any] = {} if reference is None else reference.training
    return Recipe(**{field.name: recorded[field.name] for field in fields(Recipe) if field.name in recorded})


def _default_network(benchmark: Benchmark) -> tuple[str, str]:
    """Architecture and activation of the reference."""
    reference = _reference(benchmark)
    return _FALLBACK if reference is None else (reference.architecture or "", reference.activation or "silu")


def _reference(benchmark: Benchmark) -> ModelCard | None:
    name = benchmark.reference
    return registry.find(name).card if name is not None and name in registry.names() else None


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that fixes a trained model.

    Attributes:
        benchmark: whose training split to use.
        family: one of `FAMILIES`.
        strength: in the family's unit; None for `standard`.
        seed: of initial weights, shuffling and noise.
        architecture: a name in `pagbench.models.architectures`; the reference's by default.
        activation: silu, relu, gelu or softplus; the reference's by default.
        recipe: schedule and optimiser; the reference's by default.
        prefix: first part of the id; `trained/<benchmark>` by default.
        half: round the weights to half precision before they are written, and used.
        draws: Monte Carlo draws of a smoothed network, even; of no use to other families.
    """

    benchmark: Benchmark
    family: str
    strength: float | None = None
    seed: int = 0
    architecture: str | None = None
    activation: str | None = None
    recipe: Recipe | None = None
    prefix: str | None = None
    half: bool = False
    draws: int = DRAWS

    def __post_init__(self) -> None:
        """Checks names and ranges.

        Raises:
            UnknownNameError: no such family, architecture or activation.
            TrainingError: the strength is missing or out of range, or the seed is.
        """
        if self.family not in FAMILIES:
            raise UnknownNameError("family", self.family, FAMILIES)
        unit, strength = FAMILIES[self.family].unit, self.strength
        if self.family == "standard" and strength is not None:
            raise TrainingError(f"family 'standard' has no strength, got {strength:g}; leave it out")
        if self.family != "standard" and (strength is None or not 0 < strength <= _MAX_STRENGTH):
            raise TrainingError(
                f"family {self.family!r} needs a strength above 0 and up to {_MAX_STRENGTH:g} ({unit}), got {strength}"
            )
        if not 0 <= self.seed < 2**32:
            raise TrainingError(f"seed {self.seed} is out of range; expected 0 to {2**32 - 1}")
        if self.draws < 2 or self.draws % 2:
            raise TrainingError(
                f"draws {self.draws}; expected an even number from 2, for they come in antithetic pairs"
            )
        default = _default_network(self.benchmark)
        object.__setattr__(self, "architecture", self.architecture or default[0])
        object.__setattr__(self, "activation", self.activation or default[1])
        object.__setattr__(self, "recipe", self.recipe or default_recipe(self.benchmark))
        object.__setattr__(self, "prefix", self.prefix or f"trained/{self.benchmark.name}")
        architectures.check(self.architecture or "", self.activation or "")
        _check_prefix(self.prefix or "")

    @property
    def name(self) -> str:
        """Name of card and weights: what differs from the reference network, in short.

        >>> from pagbench import benchmarks
        >>> TrainingPlan(benchmarks.load("digits"), "noise", 0.5, seed=1, activation="relu").name
        'small-cnn-relu.noise-0.5.seed1'
        """
        default = _default_network(self.benchmark)
        network = "" if default == (self.architecture, self.activation) else f"{self.architecture}-{self.activation}."
        path = self.family if self.strength is None else f"{self.family}-{_plain(self.strength)}"
        return f"{network}{path}" + (f".seed{self.seed}" if self.seed else "")

    @property
    def command(self) -> str:
        """The command that trains it."""
        assert self.recipe is not None
        words = ["pagbench train", _first_alike(self.benchmark, self.family), f"--family {self.family}"]
        words += [] if self.strength is None else [f"--strength {_plain(self.strength)}"]
        words.append(f"--seed {self.seed}")
        default = _default_network(self.benchmark)
        words += [f"--architecture {self.architecture}"] if self.architecture != default[0] else []
        words += [f"--activation {self.activation}"] if self.activation != default[1] else []
        words.append(f"--epochs {self.recipe.epochs}")
        recipe = asdict(default_recipe(self.benchmark)) | {"epochs": self.recipe.epochs}
        changed = [(name, value) for name, value in asdict(self.recipe).items() if value != recipe[name]]
        words += [f"--recipe {name}={_plain(value)}" for name, value in changed]
        shipped = (f"trained/{self.benchmark.name}", self.benchmark.data_name)
        words += [] if self.prefix in shipped else [f"--prefix {self.prefix}"]
        words += [f"--draws {self.draws}"] if FAMILIES[self.family].smoothed and self.draws != DRAWS else []
        return " ".join(words + (["--half"] if self.half else []))

    @property
    def identity(self) -> str:
        """What a checkpoint must agree in, beside recipe, seed and network."""
        return f"{self.benchmark.digest()} {self.family} {self.strength!r}"

    def card(self, digest: str, weights_file: str) -> ModelCard:
        """The card of the trained network."""
        family, recipe = FAMILIES[self.family], self.recipe
        assert recipe is not None
        smoothing = SmoothingCard(sigma=self.strength, samples=self.draws) if family.smoothed else None
        strength = "" if self.strength is None else f" {self.strength:g}"
        content = {
            "id": f"{self.prefix}/{self.name}",
            "title": f"{self.architecture} ({self.activation}), {self.family}{strength}, seed {self.seed}",
            "family": self.family,
            "strength": self.strength,
            "dataset": self.benchmark.data_name,
            "architecture": self.architecture,
            "activation": self.activation,
            "input_shape": self.benchmark.input_shape,
            "classes": self.benchmark.classes,
            "smoothing": smoothing,
            "weights": weights_file,
            "weights_sha256": digest,
            "seed": self.seed,
            "training_command": self.command,
            "training": {"split": f"{_SPLIT}{_first_alike(self.benchmark, self.family)}", **asdict(recipe)}
            | {"stored_as": "float16" if self.half else "float32"}
            | ({"note": family.note} if family.note else {}),
            "trained_on": "train",
            "trained_on_target": family.needs_target or None,
            "authors": "The pagbench authors",
            "license": "Apache-2.0",
        }
        return ModelCard.model_validate(content)

    def describes(self, card: ModelCard) -> bool:
        """Whether a card is that of this plan, wherever it was trained."""
        planned = self.card(card.weights_sha256 or "0" * 64, card.weights or "")
        trained = {name: value for name, value in card.training.items() if name not in _MACHINE}
        return card.functional_hash() == planned.functional_hash() and trained == planned.training


def plan_of(card: ModelCard) -> TrainingPlan | None:
    """The plan that a card was written by, read back from its fields; None where `train_model` did not write it.

    >>> plan = TrainingPlan(benchmarks.load("digits"), "noise", 0.6)
    >>> plan_of(plan.card("0" * 64, "noise-0.6.safetensors")).command == plan.command
    True
    """
    said = card.training
    try:
        plan = TrainingPlan(
            benchmarks.load(str(said["split"]).removeprefix(_SPLIT)),
            card.family,
            card.strength,
            card.seed or 0,
            card.architecture,
            card.activation,
            recipe=_RECIPE.validate_python({field.name: said[field.name] for field in fields(Recipe)}),
            prefix=card.id.rpartition("/")[0],
            half=said["stored_as"] == "float16",
            draws=DRAWS if card.smoothing is None else card.smoothing.samples,
        )
    except (KeyError, ValueError, PagbenchError):  # a recipe in words of others
        return None
    return plan if plan.describes(card) else None


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def _first_alike(benchmark: Benchmark, family: str) -> str:
    """The first version of the benchmark with the same training split, whose networks are of the same recipes.

    Of families that see the benchmark's target, the benchmark itself.
    """
    if not FAMILIES[family].needs_target:
        for version in range(1, benchmark.version):
            label = f"{benchmark.name}@{version}"
            if label in benchmarks.names() and _split(benchmarks.load(label)) == _split(benchmark):
                return label
    return benchmark.label


def _split(benchmark: Benchmark) -> tuple[object, ...]:
    """What fixes the training images."""
    if benchmark.training is not None:
        return benchmark.dataset, benchmark.training
    return benchmark.dataset, frozenset(benchmark.samples), frozenset(benchmark.calibration)


def _plain(value: object) -> str:
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def _check_prefix(prefix: str) -> None:
    try:
        ModelCard.parse({"id": prefix, "title": "", "family": "own", "loader": "control", "architecture": "x"}, "")
    except CardError:
        raise TrainingError(
            f"prefix {prefix!r} cannot begin an id; expected letters, digits, dots, dashes and slashes, as {Identifier}"
        ) from None


@global_state.known()
def train_model(
    plan: TrainingPlan,
    *,
    output: Path,
    device: torch.device | None = None,
    on_step: Progress = lambda done, total, loss: None,
) -> Path:
    """Trains one network on a benchmark's training split and returns the path of its card; its weights lie beside it.

    What is finished is not trained again: a card of the same plan in the folder is returned as it is. Where its weights
    are not there, they are trained again, and have to be the same. What was killed goes on from its checkpoint in the
    folder.

    Args:
        plan: what to train.
        output: folder for card and weights.
        device: where to train; the CPU by default.
        on_step: called with steps done, steps in all, and the latest loss.

    Raises:
        TrainingError: the folder cannot be written or holds another plan's card under this name, training diverged, or
            made other weights than those of the card that is there.
    """
    device = device or torch.device("cpu")
    path, checkpoint = output / f"{plan.name}.yaml", output / f".{plan.name}.checkpoint"
    known = _finished(path, plan) if path.exists() else None
    if known is not None and (output / (known.weights or "")).is_file():
        return path
    weights.make_folder(output)
    file = output / f"{plan.name}.safetensors"
    if known is not None:
        _train_known(known, plan, file, checkpoint, device, on_step)
        return path
    network, split = _trained(plan, checkpoint, device, on_step)
    digest = weights.write(network, file, half=plan.half)
    card = plan.card(digest, file.name)
    machine = dict(zip(_MACHINE, (device.type, str(torch.__version__), torch.get_num_threads()), strict=True))
    weights.load_into(network, weights.read(file), str(file))  # as they were rounded
    # under smoothing it would cost as many passes as there are draws
    accuracy = None if FAMILIES[plan.family].smoothed else _accuracy(network, split, device)
    card = card.model_copy(update={"training": card.training | machine, "training_accuracy": accuracy})
    content = card.model_dump(mode="json", exclude_defaults=True)
    files.write(path, yaml.safe_dump(content, sort_keys=False, width=100), WeightsError)
    checkpoint.unlink(missing_ok=True)
    return path


def train_again(
    request: Request,
    plan: TrainingPlan,
    *,
    on_step: Progress = lambda done, total, loss: None,
    on_wait: Callable[[], None] = lambda: None,
) -> None:
    """Trains a model of a card on the device that the card names, and keeps its weights in the cache.

    There `Request.weights_file` finds them. What is here already is not trained again. One process trains while others
    wait; what was killed goes on from its checkpoint.

    Args:
        request: the model.
        plan: its own, as `plan_of` reads it.
        on_step: called with steps done, steps in all, and the latest loss.
        on_wait: called once where another process trains it.

    Raises:
        ContractError: the device is not here.
        TrainingError: training made other weights than those of the card, which are not kept, or diverged.
        WeightsError: the cache folder cannot be written.
    """
    card, file = request.card, registry.trained_again(request.card)
    device = devices.choose_device(str(card.training.get("device", "cpu")))
    advice = "set PAGBENCH_CACHE to another folder"
    weights.make_folder(file.parent, advice)
    with ExitStack() as held:
        try:
            lock = files.file_lock(file.with_name(f".{file.stem}.lock"), timeout_s=-1, on_wait=on_wait)
            held.enter_context(lock)
        except OSError as error:  # the folder may be another user's
            raise WeightsError(f"{file.parent}: cannot write there ({error.strerror or error}); {advice}") from None
        if not request.has_weights:  # another process may have made them meanwhile
            checkpoint = file.with_name(f".{file.stem}.{plan.name}.checkpoint")
            _train_known(card, plan, file, checkpoint, device, on_step, advice)


@global_state.known()
def _train_known(
    card: ModelCard,
    plan: TrainingPlan,
    file: Path,
    checkpoint: Path,
    device: torch.device,
    on_step: Progress,
    advice: str = "give another --output",
) -> None:
    """Trains a model of a card by as many threads as it was, and writes its weights where they are those of the card.

    `advice` says what to do where they cannot be written.

    Raises:
        TrainingError: they are others, or the card's number of threads is none.
    """
    threads = card.training.get("threads", _THREADS)
    if not isinstance(threads, int) or not 0 < threads <= _MOST_THREADS:
        raise TrainingError(
            f"{card.id}: field 'training.threads' is {excerpt(repr(threads))}, expected a whole number from 1 to "
            f"{_MOST_THREADS}; correct the card"
        )
    torch.set_num_threads(threads)  # sums depend on it
    network, _ = _trained(plan, checkpoint, device, on_step)
    content = weights.encoded(network, file, half=plan.half)
    digest = hashlib.sha256(content).hexdigest()
    if digest == card.weights_sha256:
        files.write(file, content, WeightsError, advice)
    checkpoint.unlink(missing_ok=True)
    if digest != card.weights_sha256:
        device_then, torch_then = (card.training.get(name, "unknown") for name in ("device", "torch"))
        raise TrainingError(
            f"{card.id}: training again gives other weights than the card's, sha256 {digest[:12]}… instead of "
            f"{str(card.weights_sha256)[:12]}…, with PyTorch {torch.__version__}; they were made on {device_then} "
            f"by PyTorch {torch_then}, and rounding differs from machine to machine: train on such a machine, or "
            f"put {card.weights} beside the card"
        )


def _trained(
    plan: TrainingPlan, checkpoint: Path, device: torch.device, on_step: Progress
) -> tuple[nn.Module, data.Dataset]:
    """The trained network, and the images that it was trained on."""
    assert plan.architecture is not None and plan.activation is not None and plan.recipe is not None
    with torch.random.fork_rng(devices=[]), guard_memory(plan.recipe.batch_size, checkpoint):
        torch.default_generator.manual_seed(plan.seed)
        network = architectures.build(
            plan.architecture, plan.benchmark.input_shape, plan.benchmark.classes, plan.activation
        )
        split, family = data.splits(plan.benchmark).train, FAMILIES[plan.family]
        target = bayes_targets(plan.benchmark, device) if family.needs_target else None
        train(
            network,
            family.loss(plan.strength or 0.0),
            Minibatch(split.images, split.labels, target),
            plan.recipe,
            seed=plan.seed,
            device=device,
            checkpoint=checkpoint,
            identity=plan.identity,
            on_step=on_step,
        )
    return network, split


@torch.no_grad()
def _accuracy(network: nn.Module, split: data.Dataset, device: torch.device) -> float:
    right = sum(
        int((network(part.images.to(device)).argmax(1).cpu() == part.labels).sum()) for part in split.chunks(256)
    )
    return round(right / len(split.ids), 4)


_MACHINE = ("device", "torch", "threads")
"""Where a model was trained, in its card: elsewhere the same command gives weights that differ by rounding."""
_THREADS = 1
"""Threads of PyTorch by which a model was trained whose card does not say."""
_MOST_THREADS = 1024
"""More than any machine has; what a card asks for beyond them is not tried."""


def _finished(path: Path, plan: TrainingPlan) -> ModelCard:
    """The card of the same plan; its weights are beside it, or missing.

    Raises:
        TrainingError: it is another plan's, or its weights are altered.
    """
    card = registry.find(str(path)).card
    if not plan.describes(card):
        raise TrainingError(
            f"{path}: already there, from `{card.training_command}` as {card.id}; give another --output or delete it"
        )
    file = path.parent / (card.weights or "")
    if file.is_file() and weights.file_sha256(file) != card.weights_sha256:
        raise TrainingError(f"{path}: already there, but its weights {file.name} are altered; delete both")
    return card


@lru_cache(maxsize=1)
@global_state.known()
def bayes_targets(benchmark: Benchmark, device: torch.device) -> Float[Tensor, "n c h w"]:
    """Bayes targets s(x|y) - s(x) of the training images, unit length, each computed without the image itself.

    With the image itself among the points of the empirical density its class would be all but certain.
    """
    split = data.splits(benchmark).train
    density = scores.load_mixture(benchmark, split).leaving_one_out(torch.float32, device)
    targets = []
    for part in split.chunks(64):
        difference = density.log_odds_gradient(part.images.to(device), benchmark.sigma, part.labels)
        length = difference.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        targets.append((difference / length[:, None, None, None]).float().cpu())
    return torch.cat(targets)
