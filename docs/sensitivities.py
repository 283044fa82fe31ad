"""The tables of `docs/explanation/sensitivity.md`, from the committed reports; `docs/generate.py` writes them."""

from collections.abc import Iterator

from pagbench.studies.stability.report import RANKINGS, FactorOutcomes, Report

_HEADS = (
    "level",
    "τ [95 %]",
    "families",
    "beyond rank interval",
    "farthest, both ranks",
    "first",
    "regimes",
    "overturns",
)


def tables(reports: list[Report]) -> str:
    """One table per benchmark and factor, as Markdown."""
    return "\n".join(line for report in reports for line in _benchmark(report))


def _benchmark(report: Report) -> Iterator[str]:
    ranked = sum(model.ranked for model in report.models)
    yield f"### `{report.benchmark}`: {ranked} ranked models, {report.images} images"
    yield ""
    yield report.verdict
    yield ""
    for factor in report.factors:
        yield from _factor(factor, report)
    if report.left_out:
        yield f"Left out: {'; '.join(report.left_out)}."
        yield ""


def _factor(factor: FactorOutcomes, report: Report) -> Iterator[str]:
    concerned = "" if factor.ranking == "alignment" else f"; it concerns {RANKINGS[factor.ranking]}"
    own, summary = factor.published, f"{factor.summary[0].upper()}{factor.summary[1:]}"
    yield f"**{summary}** (published: {_escaped(own.name)}; {own.images} images{concerned})"
    yield ""
    yield f"| {' | '.join(_HEADS)} |"
    yield "|" + "---|" * len(_HEADS)
    for outcome in factor.others:
        cells = (
            _escaped(outcome.name),
            outcome.tau.text,
            outcome.tau.families,
            f"{len(outcome.moved)} of {outcome.ranked}",
            report.farthest(factor, outcome),
            report.first(outcome),
            report.regimes(factor, outcome),
            " and ".join(outcome.overturns) or "no",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _escaped(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")
