"""What `pagbench sensitivity` found of a benchmark: one small file beside the results, its words and its table."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from rich.console import Console
from rich.table import Table

from pagbench.benchmarks import Benchmark
from pagbench.cards import Card
from pagbench.errors import ResultsError, first_line
from pagbench.storage import files
from pagbench.studies.legend import bounds, number, rounded

FORMAT = 1
FOLDER = "sensitivity"
THRESHOLD = 0.5
"""Kendall's tau at which a quarter of all pairs of models stand in another order."""
HIGHEST = 0.85
"""Size of a Kendall's tau beyond which it has no interval: a bootstrap adds noise to both rankings, so that its
intervals lie too low, and miss the highest taus altogether (docs/explanation/intervals.md)."""
ORDER, FIRST = "order", "first"
"""The clauses of the rule."""
RULE = (
    "A level overturns a ranking if surely more than a quarter of all pairs of models change their order "
    f"(Kendall's tau and its whole 95 % interval lie below {THRESHOLD:g}), or if another model is surely first (none "
    "whose 95 % rank interval contains 1 in the one ranking has one that does in the other)."
)
RANKINGS = {
    "alignment": "the published ranking",
    "alignment_lpips_corrected": "the ranking by LPIPS",
    "tangent_energy": "the ranking by tangent energy",
    "log_ratio": "the ranking by log off/on",
}
"""Names of rankings, by the column of the leaderboard that they are by."""
_BAYES = "control/bayes"
_DIGITS = 5
_LARGEST = 16 * 2**20
"""Bytes of a report; a large one has a hundred thousand."""
_NONE = "–"
_TOO_HIGH = "[no interval]"
_HEADS = ("factor", "level", "tau [95 %]", "families", "beyond rank", "farthest", "regimes", "overturns")


Number = Annotated[float | None, BeforeValidator(partial(rounded, digits=_DIGITS))]
"""Few digits; None where there is no value."""


class Tau(Card):
    """Kendall's tau with the published ranking; bounds are of 95 % intervals, null where there is none.

    Reports of version 0.1.0 have bounds of every tau. Those of one beyond `HIGHEST` are kept and not shown.
    """

    value: Number
    low: Number
    high: Number
    """Over images."""
    families_low: Number
    families_high: Number
    """Over families, one left out after the other; drawn whole in reports of version 0.1.0."""

    @property
    def bounded(self) -> bool:
        """Whether it is one that has an interval."""
        return self.value is not None and abs(self.value) <= HIGHEST

    @property
    def text(self) -> str:
        """With the interval over images."""
        if self.value is None:
            return _NONE
        return f"{number(self.value)} {bounds(self.low, self.high) if self.bounded else _TOO_HIGH}"

    @property
    def families(self) -> str:
        """The interval over families, as text."""
        return bounds(self.families_low, self.families_high) if self.bounded else _NONE


class Outcome(Card):
    """One level of a factor; lists follow the report's models."""

    name: str
    images: int
    values: tuple[Number, ...]
    """What the ranking is by."""
    chances: tuple[Number, ...] | None = None
    """Mean similarity with another image's target; null for rankings that are by no alignment."""
    ranks: tuple[int | None, ...]
    """Null for controls, and where there is no value."""
    regimes: tuple[str | None, ...] | None = None
    """Null where the factor moves none."""
    unscored: int = 0
    """Images without a value, over all ranked models."""
    tau: Tau
    moved: tuple[str, ...] = ()
    """Models whose rank here lies outside their published rank interval, the farthest first."""
    first: str | None
    """Model of rank 1; null where none has a value, and where several share it."""
    overturns: tuple[str, ...] = ()
    """By which clauses of the rule the level overturns the ranking."""

    @property
    def ranked(self) -> int:
        """Number of models that have a rank."""
        return sum(rank is not None for rank in self.ranks)


class FactorOutcomes(Card):
    """A factor, with its published level first."""

    name: str
    summary: str
    ranking: str
    """Column of the leaderboard that ranks: `alignment` for the published ranking."""
    rank_intervals: tuple[tuple[int, int] | None, ...]
    """Of the published level on the same images, in the report's order of models."""
    outcomes: tuple[Outcome, ...]

    @property
    def published(self) -> Outcome:
        """The published level."""
        return self.outcomes[0]

    @property
    def others(self) -> tuple[Outcome, ...]:
        """All other levels."""
        return self.outcomes[1:]

    @property
    def overturning(self) -> tuple[Outcome, ...]:
        """The levels that overturn the ranking."""
        return tuple(outcome for outcome in self.others if outcome.overturns)


class ListedModel(Card):
    """One model."""

    id: str
    family: str
    ranked: bool


class Report(Card):
    """All factors of a benchmark."""

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
    """The ranked ones in published order, then controls; `entrants` in the file, as in every published report."""
    factors: Annotated[tuple[FactorOutcomes, ...], Field(alias="choices")]
    """`choices` in the file, as in every published report."""
    left_out: tuple[str, ...] = ()
    """Levels and models that could not be measured, with the reason."""
    versions: dict[str, str]

    @model_validator(mode="after")
    def _whole(self) -> "Report":
        if not self.factors or not all(factor.outcomes for factor in self.factors):
            raise ValueError("no factors, or a factor without levels")
        for factor in self.factors:
            for outcome in factor.outcomes:
                if {len(outcome.values), len(outcome.ranks)} != {len(self.models)}:
                    raise ValueError(f"{factor.name}, {outcome.name}: not one value for each model")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the models."""
        return tuple(model.id for model in self.models)

    @property
    def concerning(self) -> tuple[FactorOutcomes, ...]:
        """The factors that the published ranking depends on."""
        return tuple(factor for factor in self.factors if factor.ranking == "alignment")

    @property
    def overturned(self) -> tuple[FactorOutcomes, ...]:
        """The factors that overturn the published ranking."""
        return tuple(factor for factor in self.concerning if factor.overturning)

    @property
    def verdict(self) -> str:
        """Which factors overturn the published ranking, in one sentence."""
        count = len(self.concerning)
        if not self.overturned:
            return f"None of the {count} factors that it depends on overturns the published ranking."
        listed = "; ".join(
            f"{factor.summary} ({', '.join(outcome.name for outcome in factor.overturning)})"
            for factor in self.overturned
        )
        overturned = f"{len(self.overturned)} of the {count} factors that it depends on would overturn"
        return f"{overturned} the published ranking: {listed}."

    def farthest(self, factor: FactorOutcomes, outcome: Outcome, count: int = 2) -> str:
        """The models that move farthest beyond their rank intervals, with published rank and rank here, as text."""
        index = {name: position for position, name in enumerate(self.names)}
        moves = [
            f"{self._short(name)} {factor.published.ranks[index[name]]} → {outcome.ranks[index[name]]}"
            for name in outcome.moved[:count]
        ]
        return ", ".join(moves) or _NONE

    def first(self, outcome: Outcome) -> str:
        """The first model with its value and that of the Bayes control, which a fitting level puts on top; as text."""
        if outcome.first is None:
            return _NONE
        values = dict(zip(self.names, outcome.values, strict=True))
        bayes = values.get(_BAYES)
        beside = "" if bayes is None else f" (Bayes {number(bayes)})"
        return f"{self._short(outcome.first)} {number(values[outcome.first])}{beside}"

    def regimes(self, factor: FactorOutcomes, outcome: Outcome) -> str:
        """How many models' regimes differ from the published ones on the same images, as text."""
        changed = self.changed_regimes(factor, outcome)
        if changed is None:
            return _NONE
        judged = any(regime is not None for regime in outcome.regimes or ())
        return f"{len(changed)} of {len(self.models)} move" if judged else "none can be judged"

    def changed_regimes(
        self, factor: FactorOutcomes, outcome: Outcome
    ) -> dict[str, tuple[str | None, str | None]] | None:
        """Published regime and regime here of each model where they differ; None where the factor moves none."""
        before, after = factor.published.regimes, outcome.regimes
        if before is None or after is None or all(regime is None for regime in before):
            return None
        pairs = zip(self.names, before, after, strict=True)
        return {name: (was, now) for name, was, now in pairs if was != now}

    def _short(self, name: str) -> str:
        """An id without the collection that most are of."""
        return name.removeprefix(f"{self.benchmark.partition('@')[0]}/")


def show(report: Report, console: Console | None = None) -> None:
    """Prints a row per level: tau, the models that move, and how many regimes do."""
    console = console or Console()
    table = Table(title=f"{report.benchmark}: one factor moved at a time", title_justify="left")
    for head in _HEADS:
        table.add_column(head, overflow="fold")
    for factor in report.factors:
        ranking = RANKINGS[factor.ranking].removeprefix("the ranking ")
        title = factor.name if factor.ranking == "alignment" else f"{factor.name} ({ranking})"
        for outcome in factor.others:
            table.add_row(
                title,
                f"{factor.published.name} → {outcome.name}",
                outcome.tau.text,
                outcome.tau.families,
                f"{len(outcome.moved)} of {outcome.ranked}",
                report.farthest(factor, outcome),
                report.regimes(factor, outcome),
                " and ".join(outcome.overturns) or "no",
                end_section=outcome is factor.others[-1],
            )
    console.print(table)
    console.print(RULE)
    console.print(report.verdict)


def report_path(folder: Path, benchmark: Benchmark) -> Path:
    """Path of the report of a benchmark in a results folder: `sensitivity/<name>@<version>.json`."""
    return folder / FOLDER / f"{benchmark.label}.json"


def write_report(report: Report, path: Path) -> Path:
    """Writes it; one outcome per line.

    Raises:
        ResultsError: the disk refuses.
    """
    content = report.model_dump(mode="json", by_alias=True)
    factors = content.pop("choices")
    lines = [f"{json.dumps(key)}:{_compact(value)}," for key, value in content.items()]
    blocks = [
        f"{_compact(factor | {'outcomes': []})[:-2]}\n" + ",\n".join(map(_compact, factor["outcomes"])) + "\n]}"
        for factor in factors
    ]
    text = "\n".join(["{", *lines, '"choices":[', ",\n".join(blocks), "]", "}", ""])
    return files.write(path, text)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_report(folder: Path, benchmark: Benchmark) -> Report | None:
    """The report of a benchmark in a results folder; None where there is none, or none of this definition.

    Raises:
        ResultsError: it is damaged, or cannot be read.
    """
    path = report_path(folder, benchmark)
    try:
        report = Report.model_validate_json(files.read_regular(path, _LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ResultsError(f"{path}: not a sensitivity report ({first_line(error)}); delete it and run again") from None
    return report if report.definition == benchmark.digest() and report.format == FORMAT else None
