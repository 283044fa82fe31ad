"""The report as a table for terminals."""

from rich.console import Console
from rich.table import Table

from pagbench.studies.stability import rule, wording
from pagbench.studies.stability.report import Report

_HEADS = ("choice", "setting", "tau [95 %]", "families", "beyond rank", "farthest", "regimes", "overturns")


def show(report: Report, console: Console | None = None) -> None:
    """Prints a row per setting: tau, who moves, and how many regimes do."""
    console = console or Console()
    table = Table(title=f"{report.benchmark}: one choice moved at a time", title_justify="left")
    for head in _HEADS:
        table.add_column(head, overflow="fold")
    for choice in report.choices:
        for outcome in choice.others:
            table.add_row(
                f"{choice.name}{wording.concerned(choice)}",
                f"{choice.published.name} → {outcome.name}",
                wording.tau(outcome.tau),
                wording.families(outcome.tau),
                f"{len(outcome.moved)} of {wording.compared(outcome)}",
                wording.farthest(choice, outcome, report),
                wording.regimes(choice, outcome, report),
                " and ".join(outcome.overturns) or "no",
                end_section=outcome is choice.others[-1],
            )
    console.print(table)
    console.print(rule.SAID)
    console.print(wording.verdict(report))
