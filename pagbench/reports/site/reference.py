"""The pages that explain the numbers: every column with its definition, and the methods with formulas and limits."""

from pagbench import benchmarks
from pagbench.columns import SAMPLE_COLUMNS, Column
from pagbench.ranking import board, eligibility, statistics
from pagbench.reports import glossary
from pagbench.reports.glossary import Group
from pagbench.reports.site.rendering import Page


def measures() -> Page:
    """The page `measures.html`. A column's place on it is `#<column>`, where its definition is.

    A column of the leaderboard that is the mean of a per-sample one has its name; the anchor is that of the definition.
    """
    groups: list[tuple[Group, list[tuple[str, Column]]]] = []
    taken: set[str] = set()
    for group in glossary.groups():
        names = [column.name for column in group.columns]
        anchors = [f"{group.anchor}-{name}" if name in taken else name for name in names]
        taken.update(anchors)
        groups.append((group, list(zip(anchors, group.columns, strict=True))))
    content = {"groups": groups, "published": len(benchmarks.names())}
    return Page("measures.html", "measures.html.j2", "Measures", content)


def methods() -> Page:
    """The page `methods.html`: formulas and constants, how to read the tables, and what they do not cover."""
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    content = {
        "judged": [definition for definition in definitions if definition.thresholds is not None],
        "on_manifold": [definition for definition in definitions if definition.manifold is not None],
        "replicates": statistics.REPLICATES,
        "significance": eligibility.SIGNIFICANCE,
        "min_scored": eligibility.MIN_SCORED,
        "max_unfaithful": eligibility.MAX_UNFAITHFUL,
        "fewest": board.FEWEST,
        "defined": {column.name: column for filled in SAMPLE_COLUMNS.values() for column in filled},
    }
    return Page("methods.html", "methods.html.j2", "Methods", content)
