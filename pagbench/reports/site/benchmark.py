"""The page of a benchmark: its verdict in a few sentences, leaderboard, plots, and what a reader should know of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pagbench.benchmarks import Benchmark, cost, facts, splits
from pagbench.data.gaussians import GaussiansCard
from pagbench.data.sphere import SphereCard
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import abilities, board_columns, pictures, plots, sensitivity, table
from pagbench.reports.site.rendering import Page
from pagbench.reports.site.table import Download
from pagbench.results.verification import SELF_REPORTED
from pagbench.studies.models import Study

_LISTED = 20_000
"""Images of a data set whose splits are listed in a file."""
_NAMED = 3
"""So many rivals are named, the others counted."""


@dataclass(frozen=True)
class Standing:
    """One row of the leaderboard, as sentences need it.

    Attributes:
        model: its id.
        alignment: with its 95 % interval.
        rank: None for controls.
        rank_low: best rank that the comparisons allow.
        rank_high: worst one.
        regime: None where none is judged.
        regime_probability: of the regime.
        trained_on_target: what its card declares; None where it declares nothing.
        trust: self-reported, verified or refuted.
        checked: how, by whom and when; empty where self-reported.
        embargo: whether its weights are kept back, so that nobody else can measure it again.
        same_as: `outputs of <ids>` of models that are the same network; empty where there is none.
        gallery: its pictures, where there are any.
    """

    model: str
    alignment: Interval
    rank: int | None
    rank_low: int | None
    rank_high: int | None
    regime: str | None
    regime_probability: float | None
    trained_on_target: bool | None
    trust: str
    checked: str
    embargo: bool
    same_as: str
    gallery: pictures.Gallery | None


@dataclass(frozen=True)
class Verdict:
    """What a leaderboard says of its first place: whose gradients are the most aligned, and how sure that is.

    Two models cannot be told apart where the simultaneous 95 % comparisons of all pairs do not separate them. As many
    as that are not separated from the first one lie between its rank and its worst rank; those whose best rank is 1 are
    certainly among them, for nothing is better than these.

    Attributes:
        benchmark: the definition.
        measure: short name of the column that ranks.
        best: the first place; None where no model is ranked.
        ranked: how many models are.
        measured: how many models are measured, controls aside.
        indistinct: how many models cannot be told apart from the best.
        rivals: some of them, the best ones first.
        second: the second place; None where fewer than two models are ranked.
        untrained: the best model that does not declare to be trained on the target, where the best one does.
        on_target: the best of those who declare to be trained on the target, where they rank among themselves.
        apart: how many these are.
        reference: the unregularised model.
        bayes: the Bayes control.
    """

    benchmark: Benchmark
    measure: str
    best: Standing | None
    ranked: int
    measured: int
    indistinct: int
    rivals: tuple[str, ...]
    second: str | None
    untrained: Standing | None
    on_target: Standing | None
    apart: int
    reference: Standing | None
    bayes: Standing | None

    @property
    def named(self) -> tuple[str, ...]:
        """The rivals that a sentence names."""
        return self.rivals[:_NAMED]

    @property
    def opponent(self) -> str | None:
        """The model to compare the best one with: a rival, the best untrained model, or the next one."""
        untrained = None if self.untrained is None else self.untrained.model
        return next((name for name in (*self.rivals, untrained, self.second) if name is not None), None)


def verdicts(studies: Sequence[Study]) -> list[Verdict]:
    """The verdicts in the order of reading: images before invented data, newest editions first, then long boards."""

    def place(verdict: Verdict) -> tuple[bool, bool, int, str]:
        shown = verdict.benchmark
        superseded = any(s.benchmark.name == shown.name and s.benchmark.version > shown.version for s in studies)
        return is_closed_form(shown), superseded, -verdict.ranked, shown.label

    return sorted(map(verdict, studies), key=place)


def is_closed_form(benchmark: Benchmark) -> bool:
    """Whether its data are drawn from a known distribution."""
    return isinstance(benchmark.dataset, GaussiansCard | SphereCard)


def page(study: Study, downloads: Sequence[Download]) -> Page:
    """The page `benchmarks/<label>.html`.

    Args:
        study: of the benchmark.
        downloads: the files that its table names.
    """
    leaders = abilities.leaders(study, board_columns.describe(study))
    content = _about(study.benchmark) | {"verdict": verdict(study), "leaders": leaders}
    content |= sensitivity.content(study) | table.content(study, downloads)
    content |= {} if study.benchmark.no_target else plots.content(study)
    title = f"{study.benchmark.title} ({study.benchmark.label})"
    return Page(f"benchmarks/{study.benchmark.label}.html", "board.html.j2", title, content)


def page_without_results(benchmark: Benchmark) -> Page:
    """The page `benchmarks/<label>.html` of a benchmark that has no results."""
    title = f"{benchmark.title} ({benchmark.label})"
    content = _about(benchmark) | {"counted": cost.LABELS}
    return Page(f"benchmarks/{benchmark.label}.html", "about.html.j2", title, content)


def _about(benchmark: Benchmark) -> dict[str, Any]:
    """What `_about.html.j2` shows."""
    listed = splits_file(benchmark)
    return {"benchmark": benchmark, "facts": facts.of(benchmark), "citation": facts.citation(), "splits": listed}


def splits_file(benchmark: Benchmark) -> Download | None:
    """Which images are measured, as CSV; None where the data set has too many for a page."""
    if splits.count(benchmark) > _LISTED:
        return None
    return Download("CSV", f"data/{benchmark.label}.splits.csv", splits.to_csv(benchmark).encode())


def verdict(study: Study) -> Verdict:
    """The verdict of a benchmark's leaderboard."""
    entries = study.entries
    open_to_all, on_target = study.rankings
    ranked, apart = (open_to_all, on_target) if open_to_all else (on_target, [])
    first = ranked[0] if ranked else None
    untrained = [row for row in ranked if row["trained_on_target"] is not True]
    return Verdict(
        benchmark=study.benchmark,
        measure=pictures.measure(study.benchmark),
        best=_standing(study, first),
        ranked=len(ranked),
        measured=sum(not row["control"] for row in entries.values()),
        indistinct=0 if first is None else int(first["rank_high"]) - 1,
        rivals=tuple(str(row["model"]) for row in ranked[1:] if row["rank_low"] == 1),
        second=str(ranked[1]["model"]) if len(ranked) > 1 else None,
        untrained=_standing(study, untrained[0]) if untrained and untrained[0] is not first else None,
        on_target=_standing(study, apart[0]) if apart else None,
        apart=len(apart),
        reference=_standing(study, entries.get(study.benchmark.reference or "")),
        bayes=_standing(study, entries.get(study.benchmark.bayes or "")),
    )


def _standing(study: Study, row: Mapping[str, Any] | None) -> Standing | None:
    """None where there is no such row, or its gradients were never scored."""
    if row is None or row.get("alignment") is None:
        return None
    model = study.named(row["model"])
    record = None if model is None else model.verification
    if row["model"] in study.row_of and not str(row["verification"]).startswith("verified"):
        record = None  # one of its networks is not
    return Standing(
        model=str(row["model"]),
        alignment=study.row_interval(row["model"], "alignment"),
        rank=row["rank"],
        rank_low=row["rank_low"],
        rank_high=row["rank_high"],
        regime=row["regime"],
        regime_probability=row["regime_probability"],
        trained_on_target=row["trained_on_target"],
        trust=SELF_REPORTED if record is None else record.verdict,
        checked="" if record is None else record.summary().removeprefix(record.verdict).strip(),
        embargo=model is not None and bool(model.card.embargo),
        same_as=next((part for part in (row.get("same_as") or "").split("; ") if part.startswith("outputs")), ""),
        gallery=None if model is None else pictures.gallery(study, model),
    )
