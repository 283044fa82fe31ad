"""The tables of `docs/explanation/sensitivity.md`, from the committed reports; `docs/generate.py` writes them."""

from collections.abc import Iterator

from pagbench.studies.legend import number
from pagbench.studies.stability.report import RANKINGS, FactorOutcomes, Outcome, Report

_HEADS = ("level", "τ [95 %]", "moved", "first", "regimes", "overturns")


def tables(reports: list[Report]) -> str:
    """One table for each benchmark, a line for each level that changes something, as Markdown."""
    return "\n".join(line for report in reports for line in _benchmark(report))


def _benchmark(report: Report) -> Iterator[str]:
    ranked = sum(model.ranked for model in report.models)
    yield f"### `{report.benchmark}`: {ranked} ranked models, {report.images} images"
    yield ""
    yield report.verdict
    yield ""
    yield f"| {' | '.join(_HEADS)} |"
    yield "|" + "---|" * len(_HEADS)
    for factor in report.factors:
        shown = [outcome for outcome in factor.others if _changes(report, factor, outcome)]
        if shown:
            ranking = RANKINGS[factor.ranking].removeprefix("the ranking ")
            title = f"**{factor.summary}** (published: {factor.published.name})"
            yield f"| {_escaped(title if factor.ranking == 'alignment' else f'{title}, {ranking}')} |{' |' * 5}"
        for outcome in shown:
            yield f"| {' | '.join(_cells(report, factor, outcome))} |"
    yield ""


def _changes(report: Report, factor: FactorOutcomes, outcome: Outcome) -> bool:
    """Whether a level changes the ranking, moves a model or a regime, or overturns the ranking."""
    return outcome.tau.bounded or bool(outcome.moved or outcome.overturns or report.changed_regimes(factor, outcome))


def _cells(report: Report, factor: FactorOutcomes, outcome: Outcome) -> Iterator[str]:
    yield _escaped(outcome.name)
    yield outcome.tau.text if outcome.tau.bounded else number(outcome.tau.value)
    yield str(len(outcome.moved))
    yield report.first(outcome)
    changed = report.changed_regimes(factor, outcome)
    judged = any(outcome.regimes or ())
    yield "" if changed is None else str(len(changed)) if judged else "none"
    yield " and ".join(outcome.overturns)


def _escaped(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")
