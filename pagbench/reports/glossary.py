"""The columns as people look them up: a measure's together, then the leaderboard's."""

from typing import NamedTuple

from pagbench import benchmarks
from pagbench.columns import BOARD_COLUMNS, OPTIONAL, SAMPLE_COLUMNS, Column, optional_board_columns


class Group(NamedTuple):
    """Columns under one heading.

    Attributes:
        title: of the heading; text between backticks is code.
        anchor: of the heading, unlike that of any column.
        columns: what stands below it.
        measured: labels of the benchmarks that take the measure by themselves; empty for optional measures, and for
            the columns of the leaderboard.
    """

    title: str
    anchor: str
    columns: tuple[Column, ...]
    measured: tuple[str, ...] = ()


def groups() -> list[Group]:
    """Every documented column."""
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    listed = [
        Group(_title(name), f"measure-{name}", filled, tuple(d.label for d in definitions if name in d.measures))
        for name, filled in SAMPLE_COLUMNS.items()
    ]
    added = tuple(optional_board_columns(benchmarks.load("digits")))
    return [
        *listed,
        Group("Columns of the leaderboard", "leaderboard", BOARD_COLUMNS),
        Group("Columns that optional measures add to it", "leaderboard-optional", added),
    ]


def _title(measure: str) -> str:
    return f"{measure} (optional: `pagbench run --measures {measure}`)" if measure in OPTIONAL else measure
