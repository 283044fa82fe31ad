"""What `pagbench sensitivity` found of a benchmark: one small file beside the results, aggregates only."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pagbench.benchmarks import Benchmark
from pagbench.cards import Card
from pagbench.errors import ResultsError, first_line
from pagbench.storage import files
from pagbench.studies.stability.rule import THRESHOLD

FORMAT = 1
FOLDER = "sensitivity"
_DIGITS = 5


def _short(value: Any) -> Any:
    """Few digits; None where there is no value."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_short)]


class Tau(Card):
    """Kendall's tau with the published ranking; bounds are of 95 % intervals, null where there is none."""

    value: Number
    low: Number
    high: Number
    """Over images."""
    families_low: Number
    families_high: Number
    """Over families, drawn whole."""


class Outcome(Card):
    """One setting of a choice; lists follow the report's models."""

    name: str
    images: int
    values: tuple[Number, ...]
    """What the ranking is by."""
    chances: tuple[Number, ...] | None = None
    """Mean similarity with another image's target; null for rankings that are by no alignment."""
    ranks: tuple[int | None, ...]
    """Null for controls, and where there is no value."""
    regimes: tuple[str | None, ...] | None = None
    """Null where the choice moves none."""
    unscored: int = 0
    """Images without a value, over all ranked models."""
    tau: Tau
    moved: tuple[str, ...] = ()
    """Models whose rank here lies outside their published rank interval, the farthest first."""
    first: str | None
    """Model of rank 1; null where none has a value."""
    overturns: tuple[str, ...] = ()
    """By which clauses of the rule, `pagbench.studies.stability.rule`."""


class Moved(Card):
    """A choice, with its published setting first."""

    name: str
    summary: str
    ranking: str
    """Column of the leaderboard that ranks: `alignment` for the published ranking."""
    rank_intervals: tuple[tuple[int, int] | None, ...]
    """Of the published setting on the same images, in the report's order of models."""
    outcomes: tuple[Outcome, ...]

    @property
    def published(self) -> Outcome:
        """The published setting."""
        return self.outcomes[0]

    @property
    def others(self) -> tuple[Outcome, ...]:
        """All other settings."""
        return self.outcomes[1:]

    @property
    def overturning(self) -> tuple[Outcome, ...]:
        """The settings that overturn the ranking."""
        return tuple(outcome for outcome in self.others if outcome.overturns)


class ListedModel(Card):
    """One model."""

    id: str
    family: str
    ranked: bool


class Report(Card):
    """All choices of a benchmark."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    format: int = FORMAT
    benchmark: str
    definition: str
    """Its digest."""
    threshold: float = THRESHOLD
    images: int
    """That alignments were measured on."""
    responses: int
    """That tangent energies and responses were measured on."""
    models: Annotated[tuple[ListedModel, ...], Field(alias="entrants")]
    """The ranked ones in published order, then controls; `entrants` in the file, as every report has called them."""
    choices: tuple[Moved, ...]
    left_out: tuple[str, ...] = ()
    """Settings and models that could not be measured, with the reason."""
    versions: dict[str, str]

    @model_validator(mode="after")
    def _whole(self) -> "Report":
        if not self.choices or not all(choice.outcomes for choice in self.choices):
            raise ValueError("no choices, or a choice without settings")
        for choice in self.choices:
            for outcome in choice.outcomes:
                if {len(outcome.values), len(outcome.ranks)} != {len(self.models)}:
                    raise ValueError(f"{choice.name}, {outcome.name}: not one value for each model")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the models."""
        return tuple(model.id for model in self.models)

    @property
    def overturned(self) -> tuple[Moved, ...]:
        """The choices that overturn the published ranking."""
        return tuple(choice for choice in self.choices if choice.ranking == "alignment" and choice.overturning)


def place(folder: Path, benchmark: Benchmark) -> Path:
    """Where the report of a benchmark lies in a results folder: `sensitivity/<name>@<version>.json`."""
    return folder / FOLDER / f"{benchmark.label}.json"


def write(report: Report, path: Path) -> Path:
    """Writes it; one choice's setting per line.

    Raises:
        ResultsError: the disk refuses.
    """
    content = report.model_dump(mode="json", by_alias=True)
    choices = content.pop("choices")
    lines = [f"{json.dumps(key)}:{_compact(value)}," for key, value in content.items()]
    told = [f"{_compact(choice | {'outcomes': []})[:-2]}\n{_joined(choice['outcomes'])}\n]}}" for choice in choices]
    text = "\n".join(["{", *lines, '"choices":[', ",\n".join(told), "]", "}", ""])
    return files.write(path, text)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _joined(outcomes: list[Any]) -> str:
    return ",\n".join(_compact(outcome) for outcome in outcomes)


def read(folder: Path, benchmark: Benchmark) -> Report | None:
    """The report of a benchmark in a results folder; None where there is none, or none of this definition.

    Raises:
        ResultsError: it is damaged, or cannot be read.
    """
    path = place(folder, benchmark)
    try:
        report = Report.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ResultsError(f"{path}: not a sensitivity report ({first_line(error)}); delete it and run again") from None
    return report if report.definition == benchmark.digest() and report.format == FORMAT else None
