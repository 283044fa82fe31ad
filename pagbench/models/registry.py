"""What users name or give as a model, resolved once into a `Request`: ids, card files, functions, modules. No torch.

`find` needs no benchmark and runs no code; `resolve` does what takes either.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache as cached
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, SmoothingCard, naming
from pagbench.errors import CardError, ContractError, PagbenchError, UnknownNameError, WeightsError, printable
from pagbench.models import factories, sources
from pagbench.models.local_ids import LocalFile, clean, derive
from pagbench.storage import cache
from pagbench.storage.files import at_home, sha256_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pagbench.models.loading import LoadedModel

_PACKAGE = Path(__file__).parent.parent
LEADERBOARD = _PACKAGE.parent / "leaderboard"
"""The published one; in a checkout only."""
_FOLDERS = (_PACKAGE / "models" / "cards", LEADERBOARD / "models")
"""The package's own cards, and in a checkout those of the published leaderboard, which are too large to install."""


class Control(NamedTuple):
    """A control.

    Attributes:
        build: `module:function`, which builds it from a benchmark and its card.
        of_bayes: whether it is made of the Bayes classifier, which only some benchmarks have.
    """

    build: str
    of_bayes: bool = False


CONTROLS: dict[str, Control] = {
    "bayes": Control("pagbench.models.controls:bayes", of_bayes=True),
    "sign-flipped": Control("pagbench.models.controls:sign_flipped", of_bayes=True),
    "random-init": Control("pagbench.models.controls:random_init"),
    "constant": Control("pagbench.models.controls:constant"),
}
"""Controls by the `architecture` of their cards: a new one is a function, a line here, and a card."""


_OWN_ID = "give yours its own id (--id, in Python its key in a mapping)"

Origin = Literal["card", "function", "module"]
"""Where a user gives the fields of a model's card: in a card, from the function that builds it, or nowhere."""


@dataclass(frozen=True)
class Request:
    """One model, resolved but not loaded.

    Attributes:
        card: its card.
        path: where the card lies, its weights beside it; None where there is no such file.
        network: the module, or an empty network for the card's weights; None to build the card's architecture.
        explicit: whether the user named it; false for anchors that are added because they are missing.
        origin: where fields of its card are given.
    """

    card: ModelCard
    path: Path | None = None
    network: "nn.Module | None" = None
    explicit: bool = True
    origin: Origin = "card"

    @property
    def weights_file(self) -> Path | None:
        """The file that its card names: beside the card, or trained again in the cache; None where it is not here."""
        if self.path is None or self.card.weights is None:
            return None
        beside = self.path.parent / self.card.weights
        if beside.is_file():
            return beside
        with suppress(OSError):  # not there, or not readable
            if sha256_of(again := trained_again(self.card)) == self.card.weights_sha256:
                return again
        return None

    @property
    def has_weights(self) -> bool:
        """Whether the file that its card names is here."""
        return self.weights_file is not None

    @property
    def is_usable(self) -> bool:
        """Whether its weights are here or can be fetched: they are neither under embargo nor to be trained again."""
        return not self.to_be_trained and (not self.card.embargo or self.has_weights)

    @property
    def to_be_trained(self) -> bool:
        """Whether its weights are not here, and the card says which command makes them again."""
        known = self.card.weights is not None and self.card.training_command is not None
        return known and self.path is not None and not self.has_weights

    def load(self, benchmark: Benchmark, device: "torch.device | None" = None) -> "LoadedModel":
        """Builds and checks the classifier, on the CPU by default; see `pagbench.models.loading.load`."""
        from pagbench.models import loading

        if self.card.embargo and not self.has_weights:
            raise WeightsError(f"{self.card.id}: its weights are under embargo; only its authors can load it")
        if self.to_be_trained:
            assert self.path is not None
            folder, place = self.path.parent, self.card.id.rpartition("/")[0]
            where = f"--output {folder} --device {self.card.training.get('device', 'cpu')}"
            command = f"{self.card.training_command} --prefix {place} {where}"
            raise WeightsError(
                f"{self.card.id}: cannot read the weights, for {folder / str(self.card.weights)} is not there; put the "
                f"file there, or train them again with `{command}`"
            )
        return loading.load(self, benchmark) if device is None else loading.load(self, benchmark, device)


def misfit(card: ModelCard, benchmark: Benchmark) -> str:
    """Why a model cannot be measured on a benchmark: other images or classes; empty where it can. Controls fit all."""
    shape, expected = card.input_shape, benchmark.input_shape
    if card.control:
        return ""
    if shape != expected and not (card.resize is not None and shape is not None and shape[0] == expected[0]):
        return f"takes images of shape {shape}, {benchmark.label} has {expected}"
    return (
        ""
        if card.classes == benchmark.classes
        else f"has {card.classes} classes, {benchmark.label} has {benchmark.classes}"
    )


def trained_again(card: ModelCard) -> Path:
    """Where the weights of a card lie in the cache once they were trained again: under their hash."""
    return cache.root() / "trained" / f"{card.weights_sha256}.safetensors"


@cached
def shipped() -> dict[str, Path]:
    """Cards by id: the package's own, and the published leaderboard's."""
    cards: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in cards:
                raise CardError(f"{path}: the id {name!r} is already that of {cards[name]}; rename one")
            cards[name] = path
    return cards


def submitted(leaderboard: Path) -> dict[str, list[Path]]:
    """Cards of a leaderboard's submissions, by id: `submissions/<name>@<version>/<id>/model.yaml`.

    One that was submitted to several benchmarks has a card in each; the first of them is found by its id.
    """
    cards: dict[str, list[Path]] = {}
    for path in sorted((leaderboard / "submissions").glob("*/*/*/model.yaml")):
        cards.setdefault(f"{path.parent.parent.name}/{path.parent.name}", []).append(path)
    return cards


@cached
def _known() -> dict[str, Path]:
    return {name: paths[0] for name, paths in submitted(LEADERBOARD).items()} | shipped()


@cached
def names() -> tuple[str, ...]:
    """Ids of all shipped and submitted cards: by data set, the unregularised network first, families by strength."""

    def order(name: str) -> tuple[str, bool, str, float]:
        card = find(name).card
        return name.partition("/")[0], card.family != "standard", card.family, card.strength or 0.0

    return tuple(sorted(_known(), key=order))


def models_of(benchmark: Benchmark) -> list[str]:
    """Ids of the shipped models that a benchmark is for: those trained on its data, then the controls.

    Without those whose weights are not here: they are under embargo, or have to be trained again.
    """
    cards = [request.card for request in map(find, names()) if not request.to_be_trained]
    left_out = {name for name, control in CONTROLS.items() if control.of_bayes and not benchmark.bayes}
    trained = [card.id for card in cards if card.dataset == benchmark.data_name and not card.embargo]
    return trained + [card.id for card in cards if card.control and card.architecture not in left_out]


@cached
def _read(path: Path) -> ModelCard:
    return ModelCard.read(path, ours=path in shipped().values())


def find(model: str) -> Request:
    """The model of a shipped, submitted or third-party source's id, or of a YAML file; `smoothed:...` around any.

    >>> find("digits/noise-0.6").card.training_command
    'pagbench train digits --family noise --strength 0.6 --seed 0 --epochs 40'

    Raises:
        UnknownNameError: neither a known id nor a file; the message has the closest ids.
        CardError: the file is not a valid card or not there, or a shipped card's id is not its place.
    """
    if (smoothed := parse_smoothed(model)) is not None:
        return smooth(find(smoothed.model), smoothed.card)
    model = str(at_home(model)) if model.startswith("~") else model
    if (path := _known().get(model)) is not None:
        card = _read(path)
        if card.id != model:
            raise CardError(f"{path}: field 'id' is {card.id!r}, expected {model!r}, the card's place")
        return Request(card, path)
    if (source := sources.find(model)) is not None:
        return Request(source.card(model))
    if model.endswith((".yaml", ".yml")):
        path = Path(model)
        return Request(ModelCard.read(path, ours=path.absolute() in shipped().values()), path)
    if Path(model).is_file():
        raise CardError(
            f"{model}: a file, but no card (.yaml); for a checkpoint give --architecture module:function (in Python "
            "load it into its network, and give that), for a function of a Python file its name after a colon"
        )
    if factories.is_factory(model):
        raise CardError(f"{model}: a function builds it, so that its card depends on the benchmark; name one")
    if Path(model).is_dir():
        raise CardError(f"{model}: a folder; name a card (.yaml), a function of a Python file, or an id")
    module, separator, function = model.partition(":")
    if separator and Path(f"{module}.py").is_file():
        raise CardError(f"unknown model {model!r}; did you mean {module}.py:{function}?")
    if model.startswith(("/", "./", "../")) or model.lower().endswith(_FILES):
        raise CardError(f"{model}: no such file")
    prefix, _, name = model.partition("/")
    meant = {f"{source}/{name}" for source in get_close_matches(prefix, sources.SOURCES, n=1, cutoff=0.75)}
    if found := naming.ending(model, _listed()):
        return find(naming.only(model, found))
    known = {*_known(), *(point.name for point in factories.installed()), *meant}
    close = naming.close(model, _listed())
    raise UnknownNameError("model", model, close or known, "" if close else naming.LISTED)


def _listed(pattern: str = "") -> tuple[str, ...]:
    """Ids that are known without anybody's package, and those of the source that a pattern names."""
    third = pattern.partition("/")[0]
    chosen = [name for name, entry in sources.SOURCES.items() if entry.indexed or name == third]
    others = [name for source in chosen for name in sources.load(source).names()]
    return (*names(), *(point.name for point in factories.installed()), *others)


def expand(model: str, dataset: str | None = None) -> list[str]:
    """The ids that a user means by a pattern, or by the end of an id alone; a name of another kind as it is.

    Models that a pattern matches are left out where their weights have to be trained first, or are under embargo.

    >>> expand("digits/noise-0.[12]*"), expand("standard", "digits")
    (['digits/noise-0.15'], ['digits/standard'])

    Args:
        model: an id, a pattern of ids, the end of an id, a file, or a function; `smoothed:...` around one.
        dataset: of the benchmark; of several ids of one end, those that have it are meant.

    Raises:
        UnknownNameError: no id matches the pattern.
        ContractError: several ids have this end.
    """
    if (smoothed := parse_smoothed(model)) is not None and model.endswith(smoothed.model):
        around = model.removesuffix(smoothed.model)
        return [f"{around}{name}" for name in expand(smoothed.model, dataset)]
    if model in _known() or factories.is_factory(model) or _is_path(model):
        return [model]
    if naming.is_pattern(model):
        found = naming.matching(model, _listed(model))
        usable = [name for name in found if name not in _known() or find(name).is_usable]
        return usable or found
    found = [] if "/" in model else naming.ending(model, _listed(), dataset)
    return [naming.only(model, found)] if found else [model]


def _is_path(model: str) -> bool:
    """Whether a name is that of a file, or looks like it."""
    ends = (*_FILES, ".yaml", ".yml")
    if model.startswith(("/", "./", "../", "~")) or model.lower().endswith(ends):
        return True
    with suppress(OSError, ValueError):  # longer than any name, or with a zero byte
        return Path(model).exists()
    return False


_FILES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py", ".safetensors", ".tar")
"""How files end that a user may mean by a name, of weights above all."""
_PREFIX = "smoothed:"
_SMOOTHED_ID = re.compile(r"smoothed-([\d.e+-]+)-(\d+)/([^:]+)(?<!\.yaml)(?<!\.yml)")
_SAMPLES = "100"


class Smoothed(NamedTuple):
    """`smoothed:SIGMA[:SAMPLES]:MODEL`, any model under randomised smoothing.

    Attributes:
        card: the smoothing, `around` still unknown.
        model: what is smoothed, as the user named it.
    """

    card: SmoothingCard
    model: str


def parse_smoothed(name: str) -> Smoothed | None:
    """What is smoothed and how, as users write it or as the card's id says; None where the name is of neither form.

    >>> parse_smoothed("smoothed:0.25:digits/standard")
    Smoothed(card=SmoothingCard(sigma=0.25, samples=100, seed=0, around=None), model='digits/standard')

    Raises:
        CardError: sigma or the number of samples is missing or out of range.
    """
    if (parts := _SMOOTHED_ID.fullmatch(name)) is not None:
        name = _PREFIX + ":".join(parts.groups())
    if not name.startswith(_PREFIX):
        return None
    sigma, _, model = name.removeprefix(_PREFIX).partition(":")
    samples, separator, rest = model.partition(":")
    if separator and samples.isdigit():
        model = rest
    else:
        samples = _SAMPLES
    if not sigma or not model:
        raise CardError(f"{name}: expected smoothed:SIGMA[:SAMPLES]:MODEL, as in smoothed:0.25:100:digits/standard")
    return Smoothed(SmoothingCard.parse({"sigma": sigma, "samples": samples}, name), model)


def smooth(base: Request, smoothing: SmoothingCard) -> Request:
    """The same model under smoothing, id `smoothed-<sigma>-<samples>/<id>`.

    Raises:
        CardError: the model is smoothed already.
    """
    card = base.card
    if card.smoothing is not None:
        raise CardError(f"{card.id}: is smoothed already; smooth the network itself")
    changed = {
        "id": f"smoothed-{smoothing.sigma:g}-{smoothing.samples}/{card.id}",
        "title": f"{card.title}, smoothed {smoothing.sigma:g}",
        "family": "smoothed",
        "strength": smoothing.sigma,
        "smoothing": smoothing.model_copy(update={"around": card.id}),
        "published_accuracy": None,
        "training_accuracy": None,
    }
    return replace(base, card=card.model_copy(update=changed))


def resolve(models: Any, benchmark: Benchmark) -> list[Request]:
    """Resolves what the user named, all of it before anything is measured.

    Args:
        models: an id, a pattern of ids, the end of an id, card file, `path.py:function`, `smoothed:...` around one,
            module or request, several of them, or a mapping from ids to any of these but patterns; none for all shipped
            models of the benchmark.
        benchmark: what they will be measured on.

    Raises:
        PagbenchError: unknown id, invalid card, or two models with one id; a line for each of several that are wrong.
    """
    errors = list[PagbenchError]()
    if isinstance(models, Mapping):
        if not models:
            raise ContractError("no models: the mapping is empty; give an id and a model, as {'mine': network}")
        if all(_is_torch(part, "Tensor") for part in models.values()):
            raise ContractError(_no_model(models))
        ids, listed = [*models], [*models.values()]
    else:
        several = isinstance(models, Iterable) and not isinstance(models, str) and not _is_module(models)
        given = (list(models) if several else [models]) or models_of(benchmark)
        listed = []
        for model in given:
            try:
                listed += expand(str(model), benchmark.data_name) if isinstance(model, str | Path) else [model]
            except PagbenchError as error:
                errors.append(error)
        ids = [None] * len(listed)
    local, requests = _local_ids(listed), list[Request]()
    for model, name in zip(listed, ids, strict=True):
        try:
            request = resolve_one(model, benchmark, name, local)
            _check_id(request)
            requests.append(request)
        except PagbenchError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ContractError("\n".join(map(str, errors)))
    ids = [request.card.id for request in requests]
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise ContractError(
            f"two models are called {min(twice)!r}; give each its own id: --id for each of them, in Python a "
            "mapping from ids to models"
        )
    return requests


def _is_module(model: Any) -> bool:
    """Whether it is a network."""
    return _is_torch(model, "nn.Module")


def _is_torch(value: Any, kind: str) -> bool:
    """Whether it is of a class of PyTorch's; where that is not loaded, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, attrgetter(kind)(torch))


def _no_model(value: Any) -> str:
    """Why something is no model, and what to do."""
    if isinstance(value, Mapping) and any(_is_torch(part, "Tensor") for part in value.values()):
        return "a dict of tensors is no network; load it into its network by load_state_dict, and give that"
    kind = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__} is no network yet; call it, and give what it makes"
    if callable(value):
        return f"a {kind} is no network; wrap it in a torch.nn.Module"
    return f"model of type {kind}; expected an id, a card file, path.py:function or a torch.nn.Module"


def _local_ids(models: Sequence[Any]) -> dict[LocalFile, str]:
    """Ids of the functions of files among what users name, smoothed or not, which tell them apart."""
    smoothed = [parse_smoothed(str(model)) if isinstance(model, str | Path) else None for model in models]
    names = [str(model if part is None else part.model) for model, part in zip(models, smoothed, strict=True)]
    return derive(factories.local_file(name) for name in names if factories.is_file(name))


def resolve_one(
    model: Any, benchmark: Benchmark, name: str | None = None, local: Mapping[LocalFile, str] | None = None
) -> Request:
    """Resolves one model; `resolve` also refuses one that takes the id of another.

    Args:
        model: as for `resolve`, but one.
        benchmark: what it will be measured on.
        name: its id; None for that of its card, file or class.
        local: ids of functions of files, where the file alone is not to say it.

    Raises:
        PagbenchError: unknown id or invalid card.
    """
    if _is_module(model):
        return from_module(model, clean(type(model).__name__) if name is None else name, benchmark)
    if not isinstance(model, Request | str | Path):
        raise ContractError(_no_model(model) if name is None else f"{name}: {_no_model(model)}")
    if name is not None:
        return _named(resolve_one(model, benchmark, local=local), name)
    if isinstance(model, Request):
        return model
    text = str(model)
    if (smoothed := parse_smoothed(text)) is not None:
        base = resolve_one(smoothed.model, benchmark, local=local)
        _check_id(base)
        return smooth(base, smoothed.card)
    others = [str(_known()[text])] if text in _known() else []
    if sources.find(text) is not None:
        others.append(f"the source {text.partition('/')[0]!r}")
    own = local.get(factories.local_file(text)) if local and factories.is_file(text) else None
    factory = factories.find(text, others=others, name=own)
    return find(text) if factory is None else from_factory(factory, benchmark)


def _named(request: Request, name: str) -> Request:
    """The same model under an id that the user gives."""
    card = request.card
    if name == card.id:
        return request
    if card.loader != "checkpoint":
        raise ContractError(f"{card.id}: is measured under its own id, {name!r} cannot be given to it")
    fields = {**card.model_dump(exclude_defaults=True), "id": name}
    return replace(request, card=ModelCard.parse(fields, f"the id {name!r}"))


def _check_id(request: Request) -> None:
    """An id of ours or of a source stands for that network: anchors above all must not be replaced."""
    name, smoothing = request.card.id, request.card.smoothing
    if parse_smoothed(name) is not None and (smoothing is None or smoothing.around is None):
        raise ContractError(f"{name!r} is an id of a model under `smoothed:...`; {_OWN_ID}")
    if name not in shipped():
        if sources.find(name) is not None and (request.path is not None or request.card.loader != "source"):
            raise ContractError(
                f"{name!r} is an id of the source {name.partition('/')[0]!r}, which is measured by that name; {_OWN_ID}"
            )
        return
    ours = find(name)
    same = (
        request.card.functional_hash() == ours.card.functional_hash()
        and request.card.weights_sha256 == ours.card.weights_sha256
    )
    if request.path != ours.path and not (same and request.path is not None and ours.card.weights_sha256):
        raise ContractError(f"{name!r} is the id of a shipped model with other weights; {_OWN_ID}")


def from_module(network: "nn.Module", name: str, benchmark: Benchmark) -> Request:
    """A module given from Python: pixels in [0, 1] → logits. It is copied, not changed.

    Raises:
        CardError: the name cannot be an id.
    """
    kind = type(network).__name__
    fields = {"id": name, "title": f"{kind} given from Python", "architecture": clean(kind)}
    return Request(own_card(fields, benchmark), network=network, origin="module")


def from_checkpoints(paths: Sequence[str | Path], architecture: str, benchmark: Benchmark) -> list[Request]:
    """Checkpoints without cards, for the network that `module:function` builds. Runs the code of that module.

    Raises:
        ContractError: the function cannot be imported or called, or returns no module.
        CardError: a card field that it gives is wrong, or not for it to say.
    """
    files = [LocalFile(path.parent.resolve() / path.name) for path in map(at_home, paths)]
    ids = derive(files)
    return [_from_checkpoint(file.path, ids[file], architecture, benchmark) for file in files]


def _from_checkpoint(path: Path, name: str, architecture: str, benchmark: Benchmark) -> Request:
    request = from_factory(factories.from_reference(name, architecture), benchmark, clean(path.name))
    return replace(request, path=path)


_NOT_FOR_FUNCTIONS = {"loader", "weights", "weights_sha256", "download"}


def from_factory(factory: factories.Factory, benchmark: Benchmark, weights: str = "in-memory") -> Request:
    """A network that a function builds, with the card fields that it gives. Runs that function.

    Args:
        factory: the function.
        benchmark: fixes shape and classes where the function does not give them.
        weights: name of the checkpoint that is to be loaded into the network, if there is one.

    Raises:
        ContractError: it fails, or returns no module.
        CardError: a field is wrong, or not for it to say.
    """
    network, given = factory.build()
    if refused := given.keys() & _NOT_FOR_FUNCTIONS:
        raise CardError(f"{factory.origin}: field {min(refused)!r} is not for a function to give; leave it out")
    kind = clean(type(network).__name__)
    fields = {
        "id": factory.id,
        "title": f"{kind} of {printable(factory.origin)}",
        "architecture": kind,
        "weights": weights,
    }
    return Request(own_card({**fields, **given}, benchmark), network=network, origin="function")


def own_card(fields: Mapping[str, Any], benchmark: Benchmark) -> ModelCard:
    """The card of a network that is not ours, with these fields and what follows from the benchmark."""
    usual = {
        "family": "own",
        "input_shape": benchmark.input_shape,
        "classes": benchmark.classes,
        "weights": "in-memory",
    }
    return ModelCard.parse({**usual, **fields}, f"model {fields['id']!r}")
