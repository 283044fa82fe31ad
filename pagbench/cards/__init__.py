"""Cards: models, data sets, score models and manifolds as validated, hashed values read from YAML."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date as Date
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from pagbench.cards.addresses import Mirror
from pagbench.cards.plain_yaml import read_yaml
from pagbench.errors import CardError, hidden

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._+@-]*(/[A-Za-z0-9][A-Za-z0-9._+@-]*)*$": "expected letters and digits of ASCII and any "
    "of . _ + @ -, in parts with / between them, each beginning with a letter or a digit",
    r"^[0-9a-f]{64}$": "expected the 64 hexadecimal digits of a sha256",
}
"""What each pattern takes, in words."""
_CHANNELS = ("mean", "std")
_MOST_FLAWS = 20
"""Wrong fields that have a line each; the others are counted."""
_LONGEST_NAME = 60
"""Characters of a field's name that are shown."""
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What pydantic's commonest errors ask for, in words."""
_MOST_LINES = 30
"""Of what is wrong with a card."""
_IDENTIFIER, _SHA256 = _PATTERNS
Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER)]
Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]


def is_identifier(text: str) -> bool:
    """Whether a text can be an `Identifier`: it names nothing outside a folder that it is joined to.

    >>> is_identifier("digits/noise-0.6"), is_identifier("/digits/noise-0.6"), is_identifier("digits/../noise-0.6")
    (True, False, False)
    """
    return re.fullmatch(_IDENTIFIER, text) is not None


def _day(value: Any) -> str:
    """A day as text; YAML reads one as a date."""
    text = value.isoformat() if type(value) is Date else value
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError("expected a day as 2026-11-23")
    try:
        return Date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("expected a day of the calendar, as 2026-11-23") from None


Day = Annotated[str, BeforeValidator(_day)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


LONGEST_TEXT = 2_000
"""Characters of a text that is shown."""


def _text_flaws(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Field and flaw of every text in a value that cannot be shown, keys too."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            yield name, f"{len(value)} characters, at most {LONGEST_TEXT} are shown; shorten it"
        elif (mark := hidden(value)) is not None:
            yield name, f"holds the invisible character {mark!a}; remove it"
    elif isinstance(value, BaseModel):
        yield from _text_flaws(vars(value), name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _text_flaws(key, f"{name} (a key)".strip())
            yield from _text_flaws(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _text_flaws(item, f"{name}.{index}")


class Card(BaseModel):
    """A frozen value with a content hash; unknown fields and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Hash of the content, hexadecimal sha256; equal cards have equal hashes wherever they are stored.

        Fields that hold null do not count: a field that is added later, null by default, leaves published hashes alone.
        """
        content = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def parse(cls, fields: Mapping[str, Any], source: str) -> Self:
        """Validates fields from `source` (named in errors).

        Raises:
            CardError: a line for each wrong field, what it holds and what it should.
        """
        return cls._parse(fields, source, written=False)

    @classmethod
    def _parse(cls, fields: Mapping[str, Any], source: str, *, written: bool, given: bool = False) -> Self:
        try:
            return cls.model_validate(dict(fields), context={"written": written, "given": given})
        except ValidationError as error:
            lines, wrong, found, misspelt = list[str](), set[str](), dict[str, str](), set[str]()
            flaws = error.errors(include_url=False)
            for flaw in flaws[:_MOST_FLAWS]:
                if not flaw["loc"]:  # of the card as a whole
                    lines += flaw["msg"].removeprefix("Value error, ").splitlines()
                    continue
                place = _place(flaw, fields)
                line, meant = _describe(flaw, place, cls)
                wrong |= {str(flaw["loc"][0]), meant.partition(".")[0]}
                misspelt |= {meant}
                found.setdefault(place, line)  # one of a union is wrong in as many ways as this has parts
            missing = {_place(flaw, fields) for flaw in flaws[:_MOST_FLAWS] if flaw["type"] == "missing"}
            lines += [line for place, line in found.items() if place not in missing & misspelt]
            if wrong:  # the card as a whole was not looked at
                known = {name: fields[name] for name in cls.model_fields if name in fields and name not in wrong}
                others = cls.model_construct(**known)._flaws(written=written)
                lines += [line for names, line in others if wrong.isdisjoint(names)]
            more = max(0, len(lines) - _MOST_LINES) + max(0, len(flaws) - _MOST_FLAWS)
            lines = [*lines[:_MOST_LINES], *([f"and {more} more like these"] if more else [])]
            raise CardError("\n".join(f"{source}: {line}" for line in lines)) from None

    def _flaws(self, *, written: bool) -> Iterator[tuple[Sequence[str], str]]:
        """What is wrong with fields that are right by themselves: which fields, and a line."""
        yield from ()


def _place(flaw: "ErrorDetails", fields: Any) -> str:
    """Where in the given fields a flaw is; pydantic adds which part of a union it has tried."""
    found, value = [], fields
    for part in flaw["loc"]:
        try:
            value = value[part]
        except (IndexError, KeyError, TypeError):
            continue
        found.append(part)
    parts = [*found, *flaw["loc"][-1:]] if flaw["type"] == "missing" else found
    return ".".join(str(part)[:_LONGEST_NAME] for part in parts)


def _describe(flaw: "ErrorDetails", field: str, card: type[Card]) -> tuple[str, str]:
    """What is wrong with a field, in a line; and the place that a misspelt one was meant for, if there is one."""
    *outer, last = flaw["loc"]
    value = str(flaw["input"])[:60]
    if flaw["type"] == "missing":
        return f"field {field!r} is missing", ""
    if flaw["type"] == "extra_forbidden":
        known = sorted({name for inner in _cards_at(card, outer) for name in inner.model_fields})
        meant = next(iter(get_close_matches(str(last), known, n=1)), "")
        advice = f"did you mean {meant!r}?" if meant else f"known fields: {', '.join(known)}"
        return f"field {field!r} is unknown; {advice}", ".".join([*field.split(".")[:-1], meant]) if meant else ""
    if field == "architecture" and re.fullmatch(r"[\w.]+:\w+", value):
        return (
            f"field {field!r}: {value!r} is a function, which a card cannot name, for its code would run; a card names "
            f"an architecture that pagbench, timm or torchvision builds, or a graph that `pagbench export` writes, "
            f"and `--architecture {value}` on the command "
            "line is for a checkpoint without a card"
        ), ""
    message = _PATTERNS.get(flaw.get("ctx", {}).get("pattern", ""), flaw["msg"].removeprefix("Value error, "))
    if flaw["type"] in _EXPECTED:
        message = f"expected {_EXPECTED[flaw['type']]}"
        message += (
            ", one number for each channel, as [0.5]" if flaw["type"] == "tuple_type" and field in _CHANNELS else ""
        )
    return f"field {field!r}: {message}, got {value!r}", ""


def _cards_at(card: type[Card], place: Sequence[str | int]) -> list[type[Card]]:
    """The kinds of card that are nested at a place within one."""
    found = [card]
    for part in place:
        fields = [inner.model_fields[part].annotation for inner in found if part in inner.model_fields]
        found = [nested for field in fields for nested in _cards_in(field)] or found
    return found


def _cards_in(annotation: Any) -> list[type[Card]]:
    if isinstance(annotation, type) and issubclass(annotation, Card):
        return [annotation]
    return [card for part in get_args(annotation) for card in _cards_in(part)]


class SmoothingCard(Card):
    """Randomised smoothing around a network: E softmax f(x + n), n Gaussian (Cohen et al. 2019, arXiv 1902.02918)."""

    sigma: Positive
    """Standard deviation of the noise, pixel units."""
    samples: Annotated[int, Field(gt=0, le=10_000, multiple_of=2)]
    """Monte Carlo draws, in antithetic pairs, the same for every image."""
    seed: int = 0
    around: Identifier | None = None
    """Id of the model that `smoothed:...` wraps: each sample then has draws of its own, seeded by its id."""


_SOURCES_FOLDERS = ("adm", "hf", "madrylab", "robustbench", "smoothing", "timm", "torchvision")
"""Of the cache folder: downloads that pagbench's own cards and sources name."""
_CARDS_FOLDER = "cards"
"""Of the cache folder: downloads that others name."""
_KEPT_NAMES = {
    *_SOURCES_FOLDERS, _CARDS_FOLDER, "data", "fetched.json", "fitted", "huggingface", "results", "summaries",
    "targets", "torch", "trained",
}  # fmt: skip
"""What pagbench itself writes into the cache folder."""
_KEPT_ENDS = (".part", ".json", ".lock", ".tmp")
"""Of files beside a download."""


class RemoteFile(Card):
    """A file that is fetched once and kept below the cache folder; see `pagbench.storage.downloads`."""

    path: Identifier
    """Its name, which ends its place below the cache folder, as in `my-lab/my-network.safetensors`."""
    mirrors: Annotated[tuple[Mirror, ...], Field(max_length=16)] = ()
    """Where it is fetched from, tried in order: `https://…`, `gdrive:<id>`, `hf:<owner>/<name>@<revision>/<file>`."""
    sha256: Sha256 | None = None
    """Of the file, where the publisher gives one; otherwise that of the first fetch is kept and compared."""
    size: Count | None = None
    """Bytes: shown before it is fetched; a download that goes beyond it is cut off."""
    also: tuple[str, ...] = ()
    """Where others may have put it already: paths with `~` and `$VARIABLES`, relative ones in the working folder."""
    archive: "RemoteFile | None" = None
    """The tar archive that it is published in, with others, under the last parts of `path`; null where it is alone."""

    @property
    def place(self) -> str:
        """Where it is kept, below the cache folder: `path` alone for what pagbench's own cards and sources name.

        What others name is kept below the hash that their card has or, without one, that of where it comes from, so
        that no card can put a file into the place of another's.
        """
        if self.path.partition("/")[0] in _SOURCES_FOLDERS:
            return self.path
        origin = json.dumps([self.mirrors, self.archive and self.archive.place])
        return f"{_CARDS_FOLDER}/{(self.sha256 or hashlib.sha256(origin.encode()).hexdigest())[:16]}/{self.path}"

    @field_validator("path")
    @classmethod
    def _is_free(cls, path: str, info: ValidationInfo) -> str:
        """Refuses places of pagbench's own files, in a card that others give; no file system may tell cases apart."""
        parts = path.lower().split("/")
        taken = parts[0].rstrip(".") in _KEPT_NAMES or path.lower().rstrip(".").endswith(_KEPT_ENDS)
        if info.context and info.context.get("given") and taken:
            raise ValueError("a name of pagbench's own files; expected <id of the card>/<file>")
        return path


Activation = Literal["silu", "relu", "gelu", "softplus"]
GRAPHS = "graph/"
"""What the architecture of a network begins with that brings its own graph."""
NEEDS_ACTIVATION = (
    f"architecture {{!r}} needs the field 'activation', one of {', '.join(get_args(Activation))}: the one that the "
    "network was trained with, which no state dict tells"
)
"""For an architecture's name."""


class ModelCard(Card):
    """One model: which network, which weights, how it was trained, and under which name it is listed."""

    id: Identifier
    title: str
    family: Identifier
    """Training family: standard, gradient-norm, noise, smoothness, adversarial, smoothing, control, ..."""
    strength: Annotated[float, Field(ge=0)] | None = None
    """Strength of the regularisation in the family's own unit (see `pagbench.training`); null where there is none."""
    dataset: Identifier | None = None
    """The data set it was trained on; null for controls, which adapt to any benchmark."""
    loader: Literal["checkpoint", "control", "source"] = "checkpoint"
    """`source`: built by the third-party source that the id begins with, `pagbench.models.sources`."""
    architecture: Identifier | None = None
    """Name in `pagbench.models.architectures`; for a control, the name of the control. `graph/<name>.json` is a graph
    beside the card, as `pagbench export` writes it."""
    graph_sha256: Sha256 | None = None
    """Of the graph's file."""
    activation: Activation | None = None
    """Of pagbench's own architectures, which need it: no state dict tells it. Others have their own."""
    input_shape: tuple[Count, Count, Count] | None = None
    """Channels, height, width of one image."""
    classes: Count | None = None
    output: Literal["logits", "probabilities", "log-probabilities"] = "logits"
    mean: tuple[float, ...] | None = None
    """Subtracted from pixels in [0, 1], per channel, before the network; null for none."""
    std: tuple[Positive, ...] | None = None
    smoothing: SmoothingCard | None = None
    weights: str | None = None
    """File beside the card: safetensors, or a PyTorch state dict of tensors only."""
    weights_sha256: Sha256 | None = None
    embargo: bool | None = None
    """Whether its weights are kept back for now: `weights_sha256` commits to them, and nobody else can load them."""
    download: tuple[RemoteFile, ...] | None = None
    """The weights where they are not beside the card: one file, several for an ensemble."""
    state_key: str | None = None
    """Where the state dict lies in the checkpoint, as in `model` or `state_dict`; null for the whole file."""
    strip_prefix: str | None = None
    """Removed from the front of every name in the state dict, as in `module.`."""
    resize: Literal["bilinear", "bicubic"] | None = None
    """How images of another size than `input_shape` are brought to it, inside the classifier; null to refuse them."""
    preprocessing: str | None = None
    """How the publisher prepares images, in the publisher's words."""
    threat: Literal["Linf", "L2", "corruptions"] | None = None
    published_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Clean accuracy that the publisher reports, a fraction."""
    seed: int | None = None
    training_command: str | None = None
    training: dict[str, float | int | str] = {}
    training_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Declares the accuracy on the benchmark's training split, a fraction; null where nothing is declared."""
    trained_on: Literal["train", "other", "measured", "unknown"] | None = None
    """Declares which images it was trained on: `train`, those of the benchmark's training split and no others; `other`,
    further ones too, none of which is measured; `measured`, measured ones may be among them; `unknown`: nobody knows.
    Null where nothing is declared."""
    trained_on_target: bool | None = None
    """Declares whether training saw a benchmark's own target or score model; null where nothing is declared."""
    authors: str | None = None
    license: str | None = None
    reference: str | None = None
    date: Day | None = None
    """The day on which the model was published or submitted; null where nobody has said."""

    @property
    def control(self) -> bool:
        """Whether the model only bounds the columns and takes no rank."""
        return self.loader == "control"

    @property
    def graph(self) -> str | None:
        """The graph's file beside the card; None where a library builds the network."""
        name = self.architecture or ""
        return name.removeprefix(GRAPHS) if self.loader == "checkpoint" and name.startswith(GRAPHS) else None

    @property
    def probes(self) -> str | None:
        """The file beside the graph's that has images, and what the network makes of them; see `graph`."""
        return None if self.graph is None else f"{self.graph.removesuffix('.json')}.probes.safetensors"

    def functional_hash(self) -> str:
        """Hash of the fields that change the classifier; titles, authors and the like do not count."""
        return self.model_copy(update=dict.fromkeys(_DESCRIPTION)).digest()

    @classmethod
    def read(cls, path: Path, *, ours: bool = False) -> Self:
        """A card that a person has written, of a YAML file; see `parse_written`.

        Args:
            path: the file.
            ours: whether pagbench ships it: such a card's downloads may lie among those of sources.

        Raises:
            CardError: it cannot be read, or a field is wrong or missing.
        """
        return cls._parse(read_yaml(path), str(path), written=True, given=not ours)

    @classmethod
    def parse_written(cls, fields: Mapping[str, Any], source: str) -> Self:
        """As `parse`, and nothing may be left open that changes the function and that no state dict tells.

        Raises:
            CardError: a line for each wrong or missing field.
        """
        return cls._parse(fields, source, written=True, given=True)

    @property
    def lacks_activation(self) -> bool:
        """Whether its network is built by pagbench, and nothing says with which activation."""
        return self.loader == "checkpoint" and "/" not in (self.architecture or "/") and self.activation is None

    def _flaws(self, *, written: bool) -> Iterator[tuple[Sequence[str], str]]:
        required = {
            "control": ["architecture"],
            "source": ["input_shape", "classes"],
            "checkpoint": ["architecture", "input_shape", "classes"],
        }
        missing: list[tuple[str, ...]] = [
            (name,) for name in required.get(self.loader, ()) if getattr(self, name) is None
        ]
        if self.embargo and (self.weights_sha256 is None or self.download is not None):
            message = "weights under embargo need weights_sha256, which commits to them, and no download"
            yield ("embargo",), message
        if self.loader == "checkpoint" and self.weights is None and self.download is None and not self.embargo:
            missing.append(("weights", "download"))
        for names in missing:
            yield names, f"loader {self.loader!r} needs the field {names[0]!r}"
        if self.loader == "checkpoint" and self.download is not None and len(self.download) != 1:
            yield ("download",), f"loader 'checkpoint' needs one file in download, got {len(self.download)}"
        if self.weights is not None and not _below(self.weights):
            yield ("weights",), f"weights must be a file beside the card, got {self.weights!r}"
        if (self.graph is None) != (self.graph_sha256 is None):
            message = "architecture graph/<name>.json and graph_sha256 go together: give both or neither"
            yield ("architecture", "graph_sha256"), message
        elif self.graph is not None and ("/" in self.graph or not self.graph.endswith(".json")):
            yield ("architecture",), f"{self.architecture!r}: expected graph/<name>.json, a file beside the card"
        for name, flaw in _text_flaws(self, ""):
            yield (name.partition(".")[0],), f"field {name!r}: {flaw}"
        if (self.mean is None) != (self.std is None):
            yield _CHANNELS, "mean and std go together: give both or neither"
        if written:
            yield from self._open_flaws()

    def _open_flaws(self) -> Iterator[tuple[Sequence[str], str]]:
        """What a person who writes a card must not leave open, and what older cards may have."""
        if self.lacks_activation:
            yield ("activation", "architecture"), NEEDS_ACTIVATION.format(self.architecture)
        if self.activation is not None and "/" in (self.architecture or ""):
            message = f"architecture {self.architecture!r} has its own activation; leave the field 'activation' out"
            yield ("activation", "architecture"), message
        if self.mean is None or self.std is None:
            return
        lengths, channels = (len(self.mean), len(self.std)), None if self.input_shape is None else self.input_shape[0]
        if lengths[0] != lengths[1]:
            yield _CHANNELS, f"mean has {lengths[0]} values and std {lengths[1]}; give one each for every channel"
        elif channels is not None and lengths[0] not in (1, channels):
            message = f"mean and std have {lengths[0]} values for {channels} channels; give one for each, or for all"
            yield (*_CHANNELS, "input_shape"), message

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        flaws = [line for _, line in self._flaws(written=bool(info.context and info.context.get("written")))]
        if flaws:
            raise ValueError("\n".join(flaws))
        return self


def _below(path: str) -> bool:
    """Whether a relative path stays in its folder, on any system."""
    parts = PureWindowsPath(path)  # takes / and \\ apart
    return not (parts.drive or parts.root or ".." in parts.parts or "\0" in path)


_DESCRIPTION = (
    "title", "authors", "license", "reference", "training_command", "training", "weights", "download", "preprocessing",
    "threat", "published_accuracy", "training_accuracy", "trained_on", "trained_on_target", "date", "embargo",
)  # fmt: skip


class Kind(NamedTuple):
    """One kind of score model or manifold: how it is built, and what its card and its data set must have.

    Attributes:
        module: has `build_score` or `build_manifold`; see `pagbench.densities.scores` and `.manifolds`.
        needs: fields of the card that may not be null.
        allows: other fields that the card may give.
        data: the kind of data set that it is known for; None for any.
        fitted: whether it was trained or fitted, so that its weights have a hash.
        posteriors: of a score model, whether it has class posteriors, hence a Bayes classifier.
        of_score: of a manifold, whether it is made of a score model.
        title: of a manifold, what people read of it.
    """

    module: str
    needs: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()
    data: str | None = None
    fitted: bool = False
    posteriors: bool = False
    of_score: bool = False
    title: str = ""


_SIZES = ("resolution", "other_classes")
_DENSITIES = "pagbench.densities"

SCORE_MODELS: dict[str, Kind] = {
    "empirical": Kind(f"{_DENSITIES}.empirical", posteriors=True),
    "gaussian-mixture": Kind(f"{_DENSITIES}.gaussian_mixture", data="gaussians", posteriors=True),
    "von-mises-fisher": Kind(f"{_DENSITIES}.von_mises_fisher", data="sphere", posteriors=True),
    "signal-distractor": Kind(
        f"{_DENSITIES}.signal_distractor", allows=("weights", "weights_sha256"), data="distractor", posteriors=True
    ),
    "mixture": Kind(
        f"{_DENSITIES}.mixture", allows=("weights", "weights_sha256", "recipe"), fitted=True, posteriors=True
    ),
    "diffusion": Kind(f"{_DENSITIES}.diffusion", ("weights", "weights_sha256"), _SIZES, fitted=True),
    "diffusers": Kind(
        f"{_DENSITIES}.pipelines", ("repository",), (*_SIZES, "weights_sha256", "null_label"), fitted=True
    ),
    "adm": Kind(f"{_DENSITIES}.adm", ("architecture", "download"), _SIZES, fitted=True),
    "edm": Kind(f"{_DENSITIES}.edm", ("download",), _SIZES, fitted=True),
}
"""Score models by the `kind` of their cards. A new one is a module and a line here."""

MANIFOLDS: dict[str, Kind] = {
    "posterior-covariance": Kind(
        f"{_DENSITIES}.posterior",
        allows=("sigma", "score"),
        of_score=True,
        title="leading directions of the posterior covariance of the score",
    ),
    "span": Kind(f"{_DENSITIES}.gaussian_mixture", data="gaussians", title="the classes' own span, exact"),
    "sphere": Kind(f"{_DENSITIES}.von_mises_fisher", data="sphere", title="tangent space of the sphere, exact"),
    "mask": Kind(f"{_DENSITIES}.signal_distractor", data="distractor", title="the pixels of the signal, exact"),
    "autoencoder": Kind(
        f"{_DENSITIES}.autoencoder",
        allows=("weights", "weights_sha256", "recipe"),
        fitted=True,
        title="decoder Jacobian of an autoencoder",
    ),
    "autoencoder-kl": Kind(
        f"{_DENSITIES}.autoencoder_kl",
        ("repository",),
        ("weights_sha256",),
        fitted=True,
        title="decoder Jacobian of a published autoencoder",
    ),
    "local-pca": Kind(
        f"{_DENSITIES}.local_pca", ("neighbours",), title="principal directions of the nearest training images"
    ),
}
"""Manifolds by the `kind` of their cards. A new one is a module and a line here."""


class Fitted(Card):
    """A card whose object may be a trained network."""

    kind: str
    weights: str | None = None
    """Safetensors file in `pagbench/assets`, or a path; its metadata hold the network's configuration."""
    weights_sha256: Sha256 | None = None
    """Of the network's weights; needed with `weights`, optional with a `repository`."""
    repository: str | None = None
    """A folder that diffusers has written, or its name on the Hugging Face hub, `<owner>/<name>[@<revision>]`."""
    license: str | None = None

    @model_validator(mode="after")
    def _weights_with_hash(self) -> Self:
        if self.weights is not None and self.weights_sha256 is None:
            raise ValueError("weights and weights_sha256 go together: give both or neither")
        return self

    def _check_fields(self, kind: Kind) -> None:
        """Refuses fields that a kind lacks, or that mean nothing for it."""
        missing = [name for name in kind.needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"kind {self.kind!r} needs the field {missing[0]!r}")
        known = {"kind", "license", "rank", *kind.needs, *kind.allows}
        foreign = [name for name in type(self).model_fields if name not in known and getattr(self, name) is not None]
        if foreign:
            raise ValueError(f"the field {foreign[0]!r} means nothing for kind {self.kind!r}")


def _known(kinds: Mapping[str, Kind]) -> AfterValidator:
    """Refuses a kind that is not in the table, as pydantic refuses what is not in a Literal."""

    def check(kind: str) -> str:
        if kind not in kinds:
            *others, last = map(repr, kinds)
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
        return kind

    return AfterValidator(check)


class MixtureRecipe(Card):
    """How to fit the `mixture` of a score model, on the training split, where no fitted one is shipped."""

    components: Count
    """Low-rank Gaussians of each class."""
    rank: Count
    """Dimensions of each, beside the noise."""
    directions: Count
    """Principal directions of all images in which the components differ."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _rank_within(self) -> Self:
        if self.rank > self.directions:
            raise ValueError(f"rank {self.rank} of components that differ in {self.directions} directions; give fewer")
        return self


class ScoreCard(Fitted):
    """Which score model answers for the data: exact for the training set or the distribution, or fitted.

    `mixture` is fitted by `pagbench fit`, or by its `recipe` when it is first needed.

    `diffusion` is trained by `pagbench fit`; `diffusers` (a `UNet2DModel` with its scheduler), `adm` (Dhariwal & Nichol
    2021) and `edm` (Karras et al. 2022) are networks that others publish.
    """

    kind: Annotated[str, _known(SCORE_MODELS)]
    architecture: Identifier | None = None
    """Of an `adm` network: its name in `azula.plugins.adm`, as in `imagenet_64x64_cond`."""
    download: Annotated[tuple[RemoteFile, ...], Field(min_length=1, max_length=1)] | None = None
    """The weights of an `adm` or `edm` network, one file."""
    null_label: Annotated[int, Field(ge=0)] | None = None
    """The label by which a class-conditional `diffusers` network means any class; null where it has none."""
    resolution: Count | None = None
    """Side that larger images are brought to before the network sees them; null where they have the network's size."""
    other_classes: Count | None = None
    """How many classes, drawn for each image, stand for "not y" in the target; for networks without s(x)."""
    recipe: MixtureRecipe | None = None
    """Fits the mixture when it is first needed; it is kept in the cache folder."""

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        self._check_fields(SCORE_MODELS[self.kind])
        if self.kind == "mixture" and (self.weights is None) == (self.recipe is None):
            raise ValueError("kind 'mixture' needs either weights, of a fitted one, or a recipe")
        return self


class AutoencoderRecipe(Card):
    """How to train the autoencoder of a manifold, on the training split, where no trained one is shipped."""

    latent: Count
    """Size of the code."""
    width: Count
    """Channels of the first layer."""
    epochs: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class ManifoldCard(Fitted):
    """Which directions count as along the data, at an image.

    - `span`, `sphere`, `mask`: known exactly for the data set.
    - `posterior-covariance`: leading eigenvectors of Cov(x0 | x) = sigma² times the Jacobian of the denoiser.
    - `local-pca`: leading principal directions of the nearest training images.
    - `autoencoder`: leading singular vectors of the decoder's Jacobian; `weights` of a trained one, or a `recipe`.
    - `autoencoder-kl`: the same of diffusers' `AutoencoderKL`.
    """

    kind: Annotated[str, _known(MANIFOLDS)]
    rank: Count
    sigma: Positive | None = None
    """Noise level of the posterior, pixel units; null for the benchmark's."""
    score: ScoreCard | None = None
    """Whose posterior; null for the benchmark's own score model."""
    neighbours: Count | None = None
    """Nearest training images of the local PCA, more than `rank`."""
    recipe: AutoencoderRecipe | None = None
    """Trains the autoencoder when it is first needed; it is kept in the cache folder."""

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        self._check_fields(MANIFOLDS[self.kind])
        if self.kind == "autoencoder" and (self.weights is None) == (self.recipe is None):
            raise ValueError("kind 'autoencoder' needs either weights, of a trained one, or a recipe")
        if self.neighbours is not None and self.neighbours <= self.rank:
            raise ValueError(f"{self.neighbours} neighbours span fewer than rank {self.rank} directions; give more")
        if self.recipe is not None and self.recipe.latent < self.rank:
            raise ValueError(f"a code of size {self.recipe.latent} has fewer than rank {self.rank} directions")
        return self


class SecondTargetCard(Card):
    """Another target beside the benchmark's own: how far a ranking depends on the score model shows in both."""

    score: ScoreCard
    sigma: Positive | None = None
    """Noise level of its s(x|y) - s(x), a standard deviation in pixel units; null without `alignment_second`."""
    paper_sigma: Positive | None = None
    """Noise level of the scores that `paper` compares with, .25 for CIFAR-10 in arXiv 2305.19101; null without it."""
    paper_gradient: Literal["label", "predicted"] | None = None
    """Of which logit the paper protocol takes the gradient; null for the label's."""
    paper_responses: Count | None = None
    """How many of the first samples get the paper protocol's responses; null for all."""
