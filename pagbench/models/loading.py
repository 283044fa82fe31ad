"""From a request to a classifier that has kept its contract on a probe batch."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from pagbench import benchmarks, data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import (
    CardError,
    ContractError,
    DataError,
    PagbenchError,
    UnknownNameError,
    check_extra,
    described,
)
from pagbench.models import architectures, fingerprint, graphs, outputs, registry, sources, wrappers
from pagbench.models.classifier import Classifier, check_contract, raw_output, say
from pagbench.models.devices import is_out_of_memory
from pagbench.models.fingerprint import Fingerprint
from pagbench.models.outputs import Output, kind_of
from pagbench.models.registry import Origin, Request
from pagbench.models.smoothing import SmoothedNetwork
from pagbench.results.preflight import Check
from pagbench.storage import downloads, global_state, weights

P = ParamSpec("P")
T = TypeVar("T")
_PROBES = 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class LoadedModel:
    """A classifier with its card.

    Attributes:
        card: the card.
        classifier: on the device that it was loaded for, in float32.
        weights_sha256: hash of what was loaded.
        fingerprint: of outputs and gradients on fixed noise images: tells networks apart that share weights, not code.
        checks: those of its contract, all passed.
        origin: where fields of its card are given.
    """

    card: ModelCard
    classifier: Classifier
    weights_sha256: str
    fingerprint: Fingerprint
    checks: tuple[Check, ...]
    origin: Origin = "module"

    @property
    def declared(self) -> Output:
        """What the card says that the network returns."""
        return self.card.output


def accepting(**older: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets a function take keywords by the names that they had in 0.1.0; a value given twice is a TypeError.

    Args:
        older: the parameter's name, by its older one.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for old, new in older.items():
                if old in kwargs and new not in kwargs:
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


@accepting(entrant="model")
def load_model(model: str | Path, benchmark: str | None = None) -> Classifier:
    """Loads a model as a classifier: pixels in [0, 1] → logits, in eval mode, frozen, differentiable in the pixels.

    Args:
        model: an id, a card file, or `path.py:function`.
        benchmark: for which benchmark; by default the one it was trained for, `digits` for controls.

    Raises:
        PagbenchError: no such model, or it cannot be loaded or breaks the contract.
    """
    if benchmark is None:
        benchmark = registry.find(str(model)).card.dataset or "digits"
    definition = benchmarks.load(benchmark)
    return registry.resolve_one(model, definition).load(definition).classifier


@global_state.known()
def load(request: Request, benchmark: Benchmark, device: torch.device = _CPU) -> LoadedModel:
    """Builds the classifier of a request for a benchmark and checks its contract.

    A module without a file is copied, and itself left as it is; one with a file is filled with its weights.

    Args:
        request: the model.
        benchmark: fixes the expected input shape and number of classes.
        device: where the contract is tried, and the classifier stays.

    Raises:
        CardError, UnknownNameError: the card names what does not exist.
        WeightsError: the weights cannot be loaded.
        MissingPackageError: the network is built by a package that is not installed; nothing was fetched.
        ContractError: the classifier does not fit the benchmark or breaks its contract.
    """
    check_shapes(request.card, benchmark, request.origin)
    try:
        network, digest = _network(request, benchmark)
        return _checked(request, network, digest, benchmark, device)
    except PagbenchError:
        raise
    except (Exception, SystemExit) as error:  # a third party's network may raise anything
        if is_out_of_memory(error):
            raise
        reason = "it ends the program" if isinstance(error, SystemExit) else described(error)
        raise ContractError(f"{request.card.id}: cannot be loaded ({reason})") from error


def _network(request: Request, benchmark: Benchmark) -> tuple[nn.Module, str]:
    """The network of a request, and the hash of its weights."""
    card = request.card
    if request.network is not None and wrappers.is_uninitialised(request.network):
        raise ContractError(f"{card.id}: has lazy layers, which are not sized yet; show it an image once before")
    if request.network is not None and request.path is None:
        network = request.network
        network = wrappers.plain(network) if request.origin == "function" else wrappers.copied(network, card.id)
    elif card.control:
        network = _control(card, benchmark)
    elif card.loader == "source":
        return _from_source(card)
    else:
        return _from_checkpoint(request)
    return network, weights.state_sha256(network)


def _control(card: ModelCard, benchmark: Benchmark) -> nn.Module:
    name = card.architecture or ""
    if name not in registry.CONTROLS:
        raise UnknownNameError("control", name, registry.CONTROLS)
    network: nn.Module = resolve_name(registry.CONTROLS[name].build)(benchmark, card)
    return network


def _from_source(card: ModelCard) -> tuple[nn.Module, str]:
    """Network and hash of its weights: of the file, or of the whole state where there are several or none."""
    name = card.smoothing.around if card.smoothing is not None and card.smoothing.around else card.id
    source = sources.find(name)
    if source is None:
        raise CardError(f"{card.id}: loader 'source', but no source is called {name.partition('/')[0]!r}")
    if (package := sources.package(name)) is not None:
        check_extra(package)  # before gigabytes are fetched for it
    files = [downloads.get(file) for file in card.download or ()]
    network = source.build(card.model_copy(update={"id": name}), files)
    return network, weights.file_sha256(files[0]) if len(files) == 1 else weights.state_sha256(network)


def _from_checkpoint(request: Request) -> tuple[nn.Module, str]:
    """Network and hash of its file, which lies beside the card or is fetched."""
    card = request.card
    if request.network is not None and request.path is not None:  # a checkpoint without a card, of any name
        file = request.path
    elif card.weights is not None and request.path is not None:
        file = request.weights_file or request.path.parent / card.weights
    else:
        assert card.download is not None  # by the card's validation
        file = downloads.get(card.download[0])
    state = weights.read(file, card.weights_sha256, state_key=card.state_key, strip_prefix=card.strip_prefix)
    if request.network is None and card.graph is not None and request.path is not None:
        return graphs.build_for(card, request.path.parent, state), weights.file_sha256(file)
    network = architectures.build_for(card) if request.network is None else wrappers.plain(request.network)
    weights.load_into(network, state, str(file))
    return network, weights.file_sha256(file)


def _checked(
    request: Request, network: nn.Module, digest: str, benchmark: Benchmark, device: torch.device
) -> LoadedModel:
    card, origin = request.card, request.origin
    network = network.float().to(device)
    size = card.input_shape[1:] if card.resize and card.input_shape else None
    resize = card.resize or "bilinear"
    probe = _noise(benchmark).to(device)
    classifier = Classifier(network, output=card.output, mean=card.mean, std=card.std, size=size, resize=resize)
    classifier = classifier.to(device)
    source = _find_outputs(classifier, probe, benchmark.classes, card.id)
    if card.loader == "source":  # its card is not the publisher's own word: what the network does counts
        classifier.output = kind_of(raw_output(classifier, probe, card.id, origin))
    if card.smoothing is not None:
        smoothed = SmoothedNetwork(
            classifier,
            benchmark.input_shape,
            sigma=card.smoothing.sigma,
            samples=card.smoothing.samples,
            seed=card.smoothing.seed,
            per_sample=card.smoothing.around is not None,
        )
        classifier = Classifier(smoothed, output="log-probabilities").to(device)
    checks = check_contract(classifier, probe, benchmark.classes, card.id, origin)
    if source:
        checks = (checks[0].model_copy(update={"found": f"{checks[0].found}; outputs are {source}"}), *checks[1:])
    return LoadedModel(card, classifier, digest, fingerprint_of(classifier, benchmark, device), checks, origin)


def fingerprint_of(classifier: Classifier, benchmark: Benchmark, device: torch.device) -> Fingerprint:
    """The fingerprint of a classifier on noise, and on a few of the measured images where the data are here."""
    ids = [benchmark.samples[index * len(benchmark.samples) // _PROBES] for index in range(_PROBES)]
    real: Tensor | None = None
    with suppress(DataError):
        images = data.splits(benchmark).test.select(list(dict.fromkeys(ids))).images
        real = images.to(device) if tuple(images.shape[1:]) == benchmark.input_shape else None
    return fingerprint.take(classifier, _noise(benchmark).to(device), real)


def _noise(benchmark: Benchmark) -> Tensor:
    """The images on which the contract is tried."""
    return torch.rand(_PROBES, *benchmark.input_shape, generator=torch.Generator().manual_seed(0))


def _find_outputs(classifier: Classifier, probe: Tensor, classes: int, name: str) -> str:
    """Finds the logits in what a network returns, where that is more than a tensor; says which were taken.

    Raises:
        ContractError: it is not obvious which they are.
    """
    with torch.no_grad():
        try:
            returned = classifier.network(classifier.prepare(probe))
        except Exception:  # the contract says so, with what it was shown
            return ""
    if isinstance(returned, Tensor):
        return ""
    try:
        found = outputs.taken(returned, (len(probe), classes))
    except ValueError as error:
        raise ContractError(
            f"{name}: returns a {error}, expected one tensor of shape {(len(probe), classes)}; return the logits "
            "alone, or call them logits"
        ) from None
    classifier.take = found.take
    return found.source


def check_shapes(card: ModelCard, benchmark: Benchmark, origin: Origin = "card") -> None:
    """Compares what a card says of images and classes with those of a benchmark; controls fit every one.

    Args:
        card: the card.
        benchmark: the benchmark.
        origin: where fields of the card are given.

    Raises:
        ContractError: they are others.
    """
    misfit = registry.misfit(card, benchmark)
    if not misfit:
        return
    ways = []
    shape, of_others = card.input_shape, card.dataset not in (None, benchmark.data_name)
    if card.classes == benchmark.classes and shape and shape[0] == benchmark.input_shape[0] and not of_others:
        ways.append(say(origin, {"resize": "bilinear"}))
    ways += [
        f"measure it on its own data, -b {card.dataset}" for name in benchmarks.names() if name == f"{card.dataset}@1"
    ]
    raise ContractError("; ".join([f"{card.id}: {misfit}", *([", or ".join(ways)] if ways else [])]))
