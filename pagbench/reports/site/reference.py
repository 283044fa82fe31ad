"""The pages that explain the numbers: every column with its definition, and the methods with formulas and limits."""

from typing import NamedTuple

from pagbench import benchmarks
from pagbench.columns import BOARD_COLUMNS, OPTIONAL, RECIPE_COLUMNS, SAMPLE_COLUMNS, Column, optional_board_columns
from pagbench.ranking import board, eligibility, resampling, statistics
from pagbench.reports.site.rendering import Page


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
        Group(
            f"{name} (optional: `pagbench run --measures {name}`)" if name in OPTIONAL else name,
            f"measure-{name}",
            filled,
            tuple(definition.label for definition in definitions if name in definition.measures),
        )
        for name, filled in SAMPLE_COLUMNS.items()
    ]
    added = tuple(optional_board_columns(benchmarks.load("digits")))
    return [
        *listed,
        Group("Columns of the leaderboard", "leaderboard", BOARD_COLUMNS),
        Group("Columns of a leaderboard whose rows are recipes", "leaderboard-recipes", RECIPE_COLUMNS),
        Group("Columns that optional measures add to it", "leaderboard-optional", added),
    ]


def measures() -> Page:
    """The page `measures.html`. A column's place on it is `#<column>`, where its definition is.

    A column of the leaderboard that is the mean of a per-sample one has its name; the anchor is that of the definition.
    """
    listed: list[tuple[Group, list[tuple[str, Column]]]] = []
    taken: set[str] = set()
    for group in groups():
        names = [column.name for column in group.columns]
        anchors = [f"{group.anchor}-{name}" if name in taken else name for name in names]
        taken.update(anchors)
        listed.append((group, list(zip(anchors, group.columns, strict=True))))
    content = {"groups": listed, "published": len(benchmarks.names())}
    return Page("measures.html", "measures.html.j2", "Measures", content)


def methods() -> Page:
    """The page `methods.html`: formulas and constants, how to read the tables, and what they do not cover."""
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    content = {
        "judged": [definition for definition in definitions if definition.thresholds is not None],
        "on_manifold": [definition for definition in definitions if definition.manifold is not None],
        "replicates": statistics.REPLICATES,
        "rank_replicates": resampling.RANK_REPLICATES,
        "significance": eligibility.SIGNIFICANCE,
        "min_scored": eligibility.MIN_SCORED,
        "max_unfaithful": eligibility.MAX_UNFAITHFUL,
        "fewest": board.FEWEST,
        "defined": {column.name: column for filled in SAMPLE_COLUMNS.values() for column in filled},
    }
    return Page("methods.html", "methods.html.j2", "Methods", content)
