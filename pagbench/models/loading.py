"""From a card to a classifier that has kept its contract on a probe batch."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import CardError, ContractError, first_line
from pagbench.models import architectures, controls, sources
from pagbench.models.classifier import Classifier, Output, check_contract, kind_of, raw_output
from pagbench.models.smoothing import SmoothedNetwork
from pagbench.results.preflight import Check
from pagbench.storage import downloads, weights

_PROBES = 4
_FINGERPRINT = 10


@dataclass(frozen=True)
class LoadedModel:
    """A classifier with its card.

    Attributes:
        card: the card.
        classifier: on the CPU, in float32.
        weights_sha256: hash of what was loaded.
        fingerprint: some of its logits on fixed noise images: tells networks apart that share weights but not code.
        checks: those of its contract, all passed.
    """

    card: ModelCard
    classifier: Classifier
    weights_sha256: str
    fingerprint: tuple[float, ...]
    checks: tuple[Check, ...]


def load(card: ModelCard, path: Path | None, benchmark: Benchmark, *, network: nn.Module | None = None) -> LoadedModel:
    """Builds the classifier of a card for a benchmark and checks its contract.

    Args:
        card: the card.
        path: where the card lies, its weights beside it; None for a third-party source's card.
        benchmark: fixes the expected input shape and number of classes.
        network: an empty network to load the weights into instead of the card's architecture.

    Raises:
        CardError, UnknownNameError: the card names what does not exist.
        WeightsError: the weights cannot be loaded.
        ContractError: the classifier does not fit the benchmark or breaks its contract.
    """
    if card.control:
        network = controls.build(card, benchmark)
        digest = weights.state_sha256(network)
    elif card.loader == "source":
        _check_shapes(card, benchmark)
        network, digest = _from_source(card)
    else:
        _check_shapes(card, benchmark)
        assert card.architecture and card.input_shape and card.classes  # by the card's validation
        network = network or architectures.build(
            card.architecture, card.input_shape, card.classes, card.activation or "silu"
        )
        file = _weights_file(card, path)
        state = weights.read(file, card.weights_sha256, state_key=card.state_key, strip_prefix=card.strip_prefix)
        weights.load_into(network, state, str(file))
        digest = weights.file_sha256(file)
    return _model(card, network, digest, benchmark)


def _from_source(card: ModelCard) -> tuple[nn.Module, str]:
    """Network and hash of its weights: of the file, or of the whole state where there are several or none."""
    name = card.smoothing.around if card.smoothing is not None and card.smoothing.around else card.id
    source = sources.of(name)
    if source is None:
        raise CardError(f"{card.id}: loader 'source', but no source is called {name.partition('/')[0]!r}")
    files = [downloads.get(file) for file in card.download or ()]
    network = source.build(card.model_copy(update={"id": name}), files)
    return network, weights.file_sha256(files[0]) if len(files) == 1 else weights.state_sha256(network)


def _weights_file(card: ModelCard, path: Path | None) -> Path:
    """Beside the card, or fetched."""
    if card.weights is not None and path is not None:
        return path.parent / card.weights
    assert card.download is not None  # by the card's validation
    return downloads.get(card.download[0])


def wrap(network: nn.Module, card: ModelCard, benchmark: Benchmark) -> LoadedModel:
    """A model from a module that takes pixels in [0, 1]; the module itself is left as it is.

    Raises:
        ContractError: the module does not fit the benchmark or breaks the contract.
    """
    _check_shapes(card, benchmark)
    try:
        network = copy.deepcopy(network)
    except Exception as error:  # a third party's module may refuse in any way
        reason = first_line(error)
        raise ContractError(
            f"{card.id}: the module cannot be copied ({reason}); detach the tensors it keeps"
        ) from error
    return _model(card, network, weights.state_sha256(network), benchmark)


def _model(card: ModelCard, network: nn.Module, digest: str, benchmark: Benchmark) -> LoadedModel:
    network = network.float().to("cpu")
    size = card.input_shape[1:] if card.resize and card.input_shape else None
    resize = card.resize or "bilinear"
    classifier = Classifier(network, output=card.output, mean=card.mean, std=card.std, size=size, resize=resize)
    probe = torch.rand(_PROBES, *benchmark.input_shape, generator=torch.Generator().manual_seed(0))
    declared: Output | None = None
    if card.loader == "source":  # its card is not the publisher's own word: what the network does counts
        classifier.output, declared = kind_of(raw_output(classifier, probe, card.id)), card.output
    if card.smoothing is not None:
        smoothed = SmoothedNetwork(
            classifier,
            benchmark.input_shape,
            sigma=card.smoothing.sigma,
            samples=card.smoothing.samples,
            seed=card.smoothing.seed,
            per_sample=card.smoothing.around is not None,
        )
        classifier, declared = Classifier(smoothed, output="log-probabilities"), None
    checks = check_contract(classifier, probe, benchmark.classes, card.id, declared=declared)
    with torch.no_grad():
        logits = classifier(probe)
    return LoadedModel(card, classifier, digest, tuple(logits[:, :_FINGERPRINT].flatten().tolist()), checks)


def _check_shapes(card: ModelCard, benchmark: Benchmark) -> None:
    shape, expected = card.input_shape, benchmark.input_shape
    resized = card.resize is not None and shape is not None and shape[0] == expected[0]
    if shape != expected and not resized:
        raise ContractError(f"{card.id}: takes images of shape {shape}, {benchmark.label} has {expected}")
    if card.classes != benchmark.classes:
        raise ContractError(f"{card.id}: has {card.classes} classes, {benchmark.label} has {benchmark.classes}")
