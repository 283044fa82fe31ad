"""Models as users name them: ids, card files, checkpoints with a function, Python functions, modules."""

import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import cloudpickle
from torch import nn

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import CardError, ContractError, first_line
from pagbench.models import factories, loading, registry, sources, wrapping
from pagbench.models.classifier import Classifier


@dataclass(frozen=True)
class Request:
    """One model, resolved but not loaded.

    Attributes:
        card: its card.
        path: where the card lies, its weights beside it; None where there is no such file.
        network: the module, or an empty network for the card's weights; None to build the card's architecture.
        explicit: whether the user named it; false for anchors that are added because they are missing.
    """

    card: ModelCard
    path: Path | None
    network: nn.Module | None = None
    explicit: bool = True

    def load(self, benchmark: Benchmark) -> loading.LoadedModel:
        """Builds and checks the classifier; see `pagbench.models.loading`."""
        if self.path is None and self.network is not None:
            return loading.wrap(self.network, self.card, benchmark)
        return loading.load(self.card, self.path, benchmark, network=self.network)


_SINGLE = (str, Path, nn.Module, Request)


def resolve(models: Any, benchmark: Benchmark) -> list[Request]:
    """Resolves what the user named, all of it before anything is measured.

    Args:
        models: an id, card file, `path.py:function`, `smoothed:...` around one, module or request, several of them,
            or a mapping from names to modules; none for all shipped models of the benchmark.
        benchmark: what they will be measured on.

    Raises:
        PagbenchError: unknown id, invalid card, or two models with one id.
    """
    if isinstance(models, Mapping):
        for name, network in models.items():
            if not isinstance(network, nn.Module):
                raise ContractError(f"model {name!r} is of type {type(network).__name__}, expected a torch.nn.Module")
        found = [from_module(network, name, benchmark) for name, network in models.items()]
    else:
        listed = list(models) if isinstance(models, Iterable) and not isinstance(models, _SINGLE) else [models]
        found = [_resolve(model, benchmark) for model in listed or registry.models_of(benchmark)]
    ids = [request.card.id for request in found]
    for request in found:
        _check_name(request)
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise ContractError(f"two models are called {min(twice)!r}; give each its own id")
    return found


def _resolve(model: Any, benchmark: Benchmark) -> Request:
    if isinstance(model, Request):
        return model
    if isinstance(model, nn.Module):
        return from_module(model, type(model).__name__, benchmark)
    smoothed = wrapping.parse(str(model)) if isinstance(model, str | Path) else None
    if smoothed is not None:
        base = _resolve(smoothed.model, benchmark)
        _check_name(base)
        return replace(base, card=wrapping.card(base.card, smoothed))
    if isinstance(model, str | Path):
        factory = factories.find(str(model), others=_shipped_as(str(model)))
        return Request(*registry.find(str(model))) if factory is None else from_factory(factory, benchmark)
    raise ContractError(f"model of type {type(model).__name__}; expected an id, a card file or a torch.nn.Module")


def _shipped_as(model: str) -> list[str]:
    """What pagbench itself has under an id."""
    shipped = [str(registry.find(model)[1])] if model in registry.names() else []
    return shipped + ([] if sources.of(model) is None else [f"the source {model.partition('/')[0]!r}"])


def _check_name(request: Request) -> None:
    """An id of ours or of a source stands for that network: anchors above all must not be replaced."""
    name = request.card.id
    if name not in registry.shipped():
        if sources.of(name) is not None and (request.path is not None or request.card.loader != "source"):
            raise ContractError(
                f"{name!r} is an id of the source {name.partition('/')[0]!r}, which is measured by that name; "
                "give yours its own id"
            )
        return
    shipped, path = registry.find(name)
    same = (
        request.card.functional_hash() == shipped.functional_hash()
        and request.card.weights_sha256 == shipped.weights_sha256
    )
    if request.path != path and not (same and request.path is not None and shipped.weights_sha256):
        raise ContractError(f"{name!r} is the id of a shipped model with other weights; give yours its own id")


def from_module(network: nn.Module, name: str, benchmark: Benchmark) -> Request:
    """A module given from Python: pixels in [0, 1] → logits. It is copied, not changed.

    Raises:
        CardError: the name cannot be an id.
    """
    kind = type(network).__name__
    return Request(_own_card(name, f"{kind} given from Python", kind, "in-memory", benchmark), None, network)


def from_factory(factory: factories.Factory, benchmark: Benchmark) -> Request:
    """A network that a function builds, with the card fields that it gives. Runs that function.

    Raises:
        ContractError: it fails, or returns no module.
        CardError: a field is wrong, or not for it to say.
    """
    return Request(*_made(factory, "in-memory", benchmark))


def from_checkpoint(path: Path, architecture: str, benchmark: Benchmark) -> Request:
    """A checkpoint without a card, for the network that `module:function` builds. Runs the code of that module.

    Raises:
        ContractError: the function cannot be imported or called, or returns no module.
        CardError: a card field that it gives is wrong, or not for it to say.
    """
    factory = factories.from_module(f"local/{path.stem}", architecture)
    card, _, network = _made(factory, path.name, benchmark)
    return Request(card, path, network)


_NOT_A_FACTORYS = {"id", "loader", "weights", "weights_sha256", "download"}


def _made(factory: factories.Factory, weights: str, benchmark: Benchmark) -> tuple[ModelCard, None, nn.Module]:
    network, fields = factory.build()
    if refused := fields.keys() & _NOT_A_FACTORYS:
        raise CardError(f"{factory.origin}: field {min(refused)!r} is not for a function to give; leave it out")
    kind = type(network).__name__.lstrip("_")
    card = _own_card(factory.id, f"{kind} of {factory.origin}", kind, weights, benchmark, fields)
    return card, None, network


def _own_card(
    name: str,
    title: str,
    architecture: str,
    weights: str,
    benchmark: Benchmark,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> ModelCard:
    fields = {
        "id": name,
        "title": title,
        "family": "own",
        "architecture": architecture,
        "input_shape": benchmark.input_shape,
        "classes": benchmark.classes,
        "weights": weights,
    }
    return ModelCard.parse({**fields, **given}, f"model {name!r}")


def load_model(model: str | Path, benchmark: str | None = None) -> Classifier:
    """Loads a model as a classifier: pixels in [0, 1] → logits, in eval mode, frozen, differentiable in the pixels.

    Args:
        model: an id, a card file, or `path.py:function`.
        benchmark: for which benchmark; by default the one it was trained for, `digits` for controls.

    Raises:
        PagbenchError: no such model, or it cannot be loaded or breaks the contract.
    """
    if benchmark is None:
        benchmark = registry.find(str(model))[0].dataset or "digits"
    definition = benchmarks.load(benchmark)
    return _resolve(model, definition).load(definition).classifier


def _installed(module: ModuleType) -> bool:
    """Whether other machines have a module, too, as far as one can tell."""
    if module.__name__.partition(".")[0] in ("pagbench", "__main__"):
        return True  # cloudpickle sends what is of the main program by value anyway
    places = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    file = getattr(module, "__file__", None)
    return file is None or any(Path(file).is_relative_to(place) for place in places)


def send(request: Request) -> bytes:
    """A request for another process, on any machine. Classes go by their value unless they are of installed packages.

    Raises:
        ContractError: the module cannot be sent.
    """
    homes = {type(part).__module__ for part in request.network.modules()} if request.network is not None else set()
    by_value = [sys.modules[name] for name in homes if name in sys.modules and not _installed(sys.modules[name])]
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(request)
    except Exception as error:  # a third party's module may refuse in any way
        raise ContractError(
            f"{request.card.id}: cannot be sent to another process ({first_line(error)}); use --executor local, or "
            "give it a card with weights"
        ) from None
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return content
