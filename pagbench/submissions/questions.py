"""What `pagbench submit init` asks: card fields, each answer judged by the card's own schema. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from pagbench import benchmarks
from pagbench.cards import ModelCard
from pagbench.errors import CardError, PagbenchError
from pagbench.submissions import limits
from pagbench.submissions.folder import WEIGHTS_SUFFIXES

Answers = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: a field of the card, or `benchmark` or `link`.
        text: what is asked.
        default: the answer that is offered, from those given before; None where there is no sensible one.
    """

    name: str
    text: str
    default: Callable[[Answers], str | None]

    def value(self, text: str) -> Any:
        """What an answer means; None for an empty one.

        Raises:
            CardError: it is not an answer, in one line.
        """
        text = text.strip()
        try:
            return _SPECIAL[self.name](text) if self.name in _SPECIAL else _field(self.name, text or None)
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


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file() or path.suffix not in WEIGHTS_SUFFIXES:
        raise CardError(f"expected a file ending in {', '.join(WEIGHTS_SUFFIXES)}, got {text[:200]!r}")
    return path


def _link(text: str) -> str | None:
    if text and not text.startswith(("https://", "hf:", "gdrive:")):
        raise CardError(f"expected https://…, hf:<owner>/<name>@<revision>/<file> or gdrive:<id>, got {text[:60]!r}")
    return text or None


_SPECIAL: dict[str, Callable[[str], Any]] = {
    "benchmark": lambda text: benchmarks.load(text).label,
    "weights": _file,
    "link": _link,
    "mean": lambda text: _field("mean", _numbers(text)),
    "std": lambda text: _field("std", _numbers(text)),
}


def _constant(text: str) -> Callable[[Answers], str]:
    return lambda _: text


def _required(_: Answers) -> None:
    return None


def _id(answers: Answers) -> str:
    return f"{benchmarks.load(answers['benchmark']).data_name}/{answers['weights'].stem}"


def _title(answers: Answers) -> str:
    strength = "" if answers["strength"] is None else f" {answers['strength']:g}"
    return f"{answers['architecture']}, {answers['family']}{strength}"


def _needs_link(answers: Answers) -> str | None:
    return None if answers["weights"].stat().st_size > limits.WEIGHTS_BESIDE else ""


QUESTIONS: tuple[Question, ...] = (
    Question("benchmark", "Benchmark (pagbench list benchmarks)", _constant("digits")),
    Question("weights", "File of the weights: a state dict, safetensors or .pt", _required),
    Question(
        "architecture",
        "Architecture: small-cnn, small-resnet, ..., timm/<name> or torchvision/<name>",
        _constant("small-cnn"),
    ),
    Question(
        "activation", "Activation, of pagbench's own architectures: silu, relu, gelu or softplus", _constant("silu")
    ),
    Question("family", "How it was trained: standard, noise, adversarial, gradient-norm, ...", _constant("standard")),
    Question("strength", "Strength of the regularisation, a number; empty for none", _constant("")),
    Question("id", "Id, <data set>/<name>", _id),
    Question("title", "Title, a few words", _title),
    Question("output", "What it returns: logits, probabilities or log-probabilities", _constant("logits")),
    Question("mean", "Mean subtracted from pixels in [0, 1], per channel, with commas; empty for none", _constant("")),
    Question("std", "Standard deviation that then divides them; empty for none", _constant("")),
    Question("authors", "Authors", _required),
    Question("license", "Licence of the weights, an SPDX id as MIT or CC-BY-4.0", _required),
    Question("reference", "Paper or page; empty for none", _constant("")),
    Question(
        "trained_on_target", "Did training see a benchmark's own target or score model? yes or no", _constant("no")
    ),
    Question(
        "link",
        f"Link to the weights, where they are published; needed above {limits.WEIGHTS_BESIDE // 2**20} MiB",
        _needs_link,
    ),
)
