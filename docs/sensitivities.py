"""The tables of `docs/sensitivity.md`, from the committed reports; `docs/generate.py` writes them."""

from collections.abc import Iterator

from pagbench.studies.stability import wording
from pagbench.studies.stability.report import Moved, Report

_HEADS = (
    "setting",
    "τ [95 %]",
    "families",
    "beyond rank interval",
    "farthest, both ranks",
    "first",
    "regimes",
    "overturns",
)


def tables(reports: list[Report]) -> str:
    """One table per benchmark and choice, as Markdown."""
    return "\n".join(line for report in reports for line in _benchmark(report))


def _benchmark(report: Report) -> Iterator[str]:
    ranked = sum(model.ranked for model in report.models)
    yield f"### `{report.benchmark}`: {ranked} ranked models, {report.images} images"
    yield ""
    yield wording.verdict(report)
    yield ""
    for choice in report.choices:
        yield from _choice(choice, report)
    if report.left_out:
        yield f"Left out: {'; '.join(report.left_out)}."
        yield ""


def _choice(choice: Moved, report: Report) -> Iterator[str]:
    concerned = "" if choice.ranking == "alignment" else f"; it concerns {wording.NAMES[choice.ranking]}"
    own, summary = choice.published, f"{choice.summary[0].upper()}{choice.summary[1:]}"
    yield f"**{summary}** (published: {_escaped(own.name)}; {own.images} images{concerned})"
    yield ""
    yield f"| {' | '.join(_HEADS)} |"
    yield "|" + "---|" * len(_HEADS)
    for outcome in choice.others:
        cells = (
            _escaped(outcome.name),
            wording.tau(outcome.tau),
            wording.families(outcome.tau),
            f"{len(outcome.moved)} of {wording.compared(outcome)}",
            wording.farthest(choice, outcome, report),
            wording.first(outcome, report),
            wording.regimes(choice, outcome, report),
            " and ".join(outcome.overturns) or "no",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _escaped(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")
