"""Writes a card, or the folder of a submission, from answers to questions that the card's own schema judges. No torch.

Only what tries the network of a card, before it is written, imports PyTorch.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark
from pagbench.cards import GRAPHS, ModelCard
from pagbench.errors import CardError, PagbenchError, ResultsError, WeightsError, first_line
from pagbench.models.registry import Request
from pagbench.storage import files
from pagbench.storage.content import flaw
from pagbench.submissions.check import latest_day
from pagbench.submissions.folder import CARD, WEIGHTS_BESIDE, WEIGHTS_LINKED, WEIGHTS_SUFFIX, graph_files

if TYPE_CHECKING:
    from pagbench.models.loading import LoadedModel

Answers = Mapping[str, Any]
_TRIED, _BATCH = 256, 64
"""Images that a network is tried on before its card is written, and how many of them at a time."""
_CONVERTED = (".pt", ".pth")
_CARD_FIELDS = (
    "id", "title", "family", "strength", "architecture", "activation", "output", "mean", "std", "state_key",
    "strip_prefix", "authors", "license", "reference", "trained_on", "training_accuracy", "trained_on_target", "date",
    "embargo",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: a field of the card, or `benchmark` or `link`.
        text: what is asked, or a function of the answers before.
        default: the answer that is offered, or a function of the answers before; None where there is no sensible one.
    """

    name: str
    text: str | Callable[[Answers], str]
    default: str | Callable[[Answers], str | None] | None

    def offer(self, answers: Answers) -> str | None:
        """The default answer after those before."""
        return self.default(answers) if callable(self.default) else self.default

    def asks(self, answers: Answers) -> str:
        """What is asked after the answers before."""
        return self.text(answers) if callable(self.text) else self.text

    def value(self, text: str) -> Any:
        """What an answer means; None for an empty one.

        Raises:
            CardError: it is not an answer, in one line.
        """
        text = text.strip()
        try:
            return _PARSERS[self.name](text) if self.name in _PARSERS else _field(self.name, text or None)
        except ValidationError as error:
            first = error.errors()[0]
            raise CardError(f"{self.name}: {first['msg']}, got {text[:60]!r}") from None
        except PagbenchError as error:
            raise CardError(f"{self.name}: {error}") from None


def _field(name: str, value: Any) -> Any:
    field = ModelCard.model_fields[name]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind).validate_python(value)


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(part) for part in text.split(",")) if text else None
    except ValueError:
        raise CardError(f"expected numbers with commas between, got {text[:60]!r}") from None


def _weights(text: str) -> Path:
    path, suffixes = files.at_home(text), (WEIGHTS_SUFFIX, *_CONVERTED)
    if not path.is_file():
        found = "is no file" if path.exists() else "is not there"
        raise CardError(f"{text[:200]!r} {found}; expected a file ending in {', '.join(suffixes)}")
    if path.suffix not in suffixes:
        raise CardError(f"expected a file ending in {', '.join(suffixes)}, got {text[:200]!r}")
    return path


def _link(text: str) -> str | None:
    if text and not text.startswith(("https://", "hf:", "gdrive:")):
        raise CardError(f"expected https://…, hf:<owner>/<name>@<revision>/<file> or gdrive:<id>, got {text[:60]!r}")
    return text or None


def _date(text: str) -> str | None:
    day: str | None = _field("date", text or None)
    if day is not None and day > latest_day():
        raise CardError(f"{day} lies in the future; expected a day as {date.today().isoformat()}")
    return day


def _id(text: str) -> str:
    if text.count("/") != 1:
        raise CardError(f"expected <data set>/<name>, got {text[:60]!r}")
    return str(_field("id", text))


def _embargo(text: str) -> bool | None:
    return _field("embargo", text or None) or None


_PARSERS: dict[str, Callable[[str], Any]] = {
    "benchmark": lambda text: benchmarks.load(text).label,
    "weights": _weights,
    "id": _id,
    "link": _link,
    "date": _date,
    "embargo": _embargo,
    "mean": lambda text: _field("mean", _numbers(text)),
    "std": lambda text: _field("std", _numbers(text)),
}


def _title(answers: Answers) -> str:
    strength = "" if answers["strength"] is None else f" {answers['strength']:g}"
    architecture = answers["architecture"].removeprefix(GRAPHS).removesuffix(".json")
    return f"{architecture}, {answers['family']}{strength}"


QUESTIONS: tuple[Question, ...] = (
    Question("benchmark", "Benchmark (pagbench list benchmarks)", "digits"),
    Question("weights", "File of the weights: a state dict, safetensors or .pt", None),
    Question(
        "architecture",
        "Architecture: small-cnn, strided-cnn, small-resnet, tiny-resnet, mlp or mixer, timm/<name>, "
        "torchvision/<name>, or graph/<name>.json beside the weights, of `pagbench export`",
        "small-cnn",
    ),
    Question(
        "activation",
        lambda answers: (
            f"Activation: empty, for {answers['architecture']} has its own"
            if "/" in answers["architecture"]
            else f"Activation: {answers['architecture']} needs one of silu, relu, gelu, softplus, as in training"
        ),
        lambda answers: "" if "/" in answers["architecture"] else None,
    ),
    Question("family", "How it was trained: standard, noise, adversarial, gradient-norm, ...", "standard"),
    Question("strength", "Strength of the regularisation, a number; empty for none", ""),
    Question(
        "trained_on",
        "Trained on which images: train (the benchmark's training split alone, see pagbench splits), other (further "
        "ones, none of them measured), measured (measured ones may be among them) or unknown",
        None,
    ),
    Question(
        "training_accuracy", "Accuracy on the training split, between 0 and 1; empty where you do not know it", ""
    ),
    Question(
        "id", "Id, <data set>/<name>", lambda a: f"{benchmarks.load(a['benchmark']).data_name}/{a['weights'].stem}"
    ),
    Question("title", "Title, a few words", _title),
    Question("output", "What it returns: logits, probabilities or log-probabilities", "logits"),
    Question("mean", "Mean subtracted from pixels in [0, 1], per channel, with commas; empty for none", ""),
    Question("std", "Standard deviation that then divides them; empty for none", ""),
    Question("authors", "Authors", None),
    Question("license", "Licence of the weights, an SPDX id as MIT or CC-BY-4.0", None),
    Question("reference", "Paper or page; empty for none", ""),
    Question("trained_on_target", "Did training see a benchmark's own target or score model? yes or no", "no"),
    Question("date", "Day on which it was published or is submitted", lambda answers: date.today().isoformat()),
    Question("embargo", "Are the weights under embargo, kept back for now? yes or no", "no"),
    Question(
        "link",
        f"Link to the weights, where they are published; needed above {WEIGHTS_BESIDE // 2**20} MiB",
        lambda a: None if a["weights"].stat().st_size > WEIGHTS_BESIDE and not a["embargo"] else "",
    ),
)


_OF_A_CARD: dict[str, str | Callable[[Answers], str | None]] = {
    "trained_on": "unknown",
    "id": lambda answers: f"{benchmarks.load(answers['benchmark']).data_name}/{answers['card'].stem}",
}
CARD_QUESTIONS: tuple[Question, ...] = (
    *(
        replace(question, default=_OF_A_CARD.get(question.name, question.default))
        for question in QUESTIONS
        if question.name not in ("authors", "license", "reference", "trained_on_target", "date", "embargo", "link")
    ),
    Question(
        "state_key", "Where the state dict lies in the file, as model or state_dict; empty for the whole file", ""
    ),
    Question("strip_prefix", "What to remove from the front of its names, as module.; empty for nothing", ""),
)
"""What a card needs that stays with whoever writes it; the answer `card`, its path, is there before them."""


class Tried(NamedTuple):
    """How a network did before its card was written.

    Attributes:
        benchmark: on which it can be measured.
        accuracy: on images that are not measured; None where the data set is not here.
        images: their number.
    """

    benchmark: Benchmark
    accuracy: float | None
    images: int


def create_card(answers: Answers) -> Tried:
    """Writes a card for weights that stay where they are; first its network is built and tried.

    Args:
        answers: `card`, its path, and a value for each of `CARD_QUESTIONS`.

    Returns:
        How the network did.

    Raises:
        CardError: it is there already, the answers do not make a card, or the weights lie elsewhere.
        PagbenchError: the network cannot be built, or does not take the weights, or breaks the contract.
        ResultsError: the disk refuses.
    """
    path, weights = answers["card"], answers["weights"]
    if path.suffix not in (".yaml", ".yml"):
        raise CardError(f"{path}: expected a name ending in .yaml")
    if path.exists():
        raise CardError(f"{path}: is there already; edit it, or give another name")
    if not weights.resolve().is_relative_to(folder := path.parent.resolve()):
        advice = f"write the card beside them: pagbench card new {weights.with_suffix('.yaml')}"
        raise CardError(f"{weights}: a card names weights of its own folder, which is {path.parent}; {advice}")
    benchmark = benchmarks.load(answers["benchmark"])
    content = _content(answers, benchmark)
    content |= {"weights": weights.resolve().relative_to(folder).as_posix(), "weights_sha256": files.sha256_of(weights)}
    card = ModelCard.parse_written(_in_order(content), "the answers")
    tried = _tried(Request(card, path).load(benchmark), benchmark)
    _write_yaml(path, content)
    return tried


def _tried(model: "LoadedModel", benchmark: Benchmark) -> Tried:
    """The accuracy on images that temperatures are fitted on or, where there are none, on training images."""
    if benchmark.dataset.missing(benchmark.samples) is not None:
        return Tried(benchmark, None, 0)
    import torch

    from pagbench import data

    splits = data.splits(benchmark)
    unmeasured = splits.calibration if benchmark.calibration else splits.train
    if not unmeasured.ids:
        return Tried(benchmark, None, 0)
    images = unmeasured.select(unmeasured.ids[:: max(1, len(unmeasured.ids) // _TRIED)][:_TRIED])
    with torch.no_grad():
        right = torch.cat([model.classifier(part.images).argmax(1) == part.labels for part in images.chunks(_BATCH)])
    return Tried(benchmark, float(right.double().mean()), len(right))


def create(root: Path, answers: Answers) -> Path:
    """Writes `model.yaml`, and the weights beside it as safetensors where no link is given; a graph and its probes too.

    Args:
        root: the folder, made where it is missing.
        answers: a value for each of `QUESTIONS`.

    Returns:
        The card's path.

    Raises:
        CardError: the folder has a card already, the answers do not make one, or the weights are too large to go
            without a link.
        WeightsError: the weights are no state dict.
        ResultsError: the disk refuses.
    """
    card, weights, link = root / CARD, answers["weights"], answers["link"]
    if card.exists():
        raise CardError(f"{card}: is there already; edit it, or give another folder")
    if link is not None and answers["embargo"]:
        raise CardError("weights under embargo have no link; give no --link, or no --embargo")
    if link is not None and weights.suffix != WEIGHTS_SUFFIX:
        raise CardError(f"{weights}: publish it as {WEIGHTS_SUFFIX} (safetensors.torch.save_file), and give that file")
    benchmark = benchmarks.load(answers["benchmark"])
    content = _content(answers, benchmark)
    if link is None:
        content["weights"] = f"{weights.stem}{WEIGHTS_SUFFIX}"
    else:
        size, path = weights.stat().st_size, f"{answers['id']}/{weights.name}"
        file = {"path": path, "mirrors": [link], "sha256": files.sha256_of(weights), "size": size}
        content["download"] = [file]
    unknown = {} if "weights_sha256" in content else {"weights_sha256": "0" * 64}  # that of the file is not known yet
    answered = ModelCard.parse_written(_in_order(content | unknown), "the answers")
    for name in graph_files(answered):
        _sha256(weights.parent / name)
        _copy(weights.parent / name, root / name)
    if link is None:
        copy = _lay_weights(
            weights, root / content["weights"], WEIGHTS_LINKED if answers["embargo"] else WEIGHTS_BESIDE
        )
        content["weights_sha256"] = files.sha256_of(copy)
    return _write_yaml(card, content)


def _content(answers: Answers, benchmark: Benchmark) -> dict[str, Any]:
    """Fields of a card, without its weights."""
    content = {name: answers.get(name) for name in _CARD_FIELDS}
    content |= {name: list(answers[name]) for name in ("mean", "std") if answers[name] is not None}
    content |= {"dataset": benchmark.data_name, "classes": benchmark.classes}
    content |= {"input_shape": list(benchmark.input_shape)}
    if "/" in answers["architecture"]:
        content["activation"] = None  # other libraries' networks have their own
    if answers["architecture"].startswith(GRAPHS):
        content["graph_sha256"] = _sha256(answers["weights"].parent / answers["architecture"].removeprefix(GRAPHS))
    return content


def _in_order(content: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given, as the card's schema lists them."""
    return {name: content[name] for name in ModelCard.model_fields if content.get(name) is not None}


def _write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    return files.write(path, yaml.safe_dump(_in_order(content), sort_keys=False, allow_unicode=True, width=110))


def _sha256(path: Path) -> str:
    """Sha256 of a file that `pagbench export` writes beside the weights."""
    try:
        return files.sha256_of(path)
    except OSError as error:
        raise CardError(
            f"{path}: cannot be read ({error.strerror or error}); put what `pagbench export` wrote beside the weights"
        ) from None


def _copy(path: Path, target: Path) -> None:
    if not target.exists() or not target.samefile(path):
        with files.replacing(target, ResultsError) as temporary:
            shutil.copyfile(path, temporary)


def _lay_weights(weights: Path, target: Path, largest: int) -> Path:
    """The weights as safetensors at a path: copied, or converted from a PyTorch file of tensors."""
    if weights.stat().st_size > largest:
        raise CardError(f"{weights}: more than {largest // 2**20} MiB; publish it elsewhere and give its --link")
    if weights.suffix == WEIGHTS_SUFFIX:
        if (found := flaw(weights, weights.name)) is not None:
            raise WeightsError(f"{weights}: not a whole safetensors file ({found}); save the state dict anew")
        _copy(weights, target)
        return target
    from safetensors.torch import save

    from pagbench.storage.weights import read

    tensors = {name: tensor.contiguous().clone() for name, tensor in read(weights).items()}  # none share memory
    try:
        return files.write(target, save(tensors))
    except (KeyError, ValueError) as error:  # a type of numbers that safetensors has not
        raise WeightsError(f"{weights}: {first_line(error)} cannot be written as safetensors; convert it") from None
