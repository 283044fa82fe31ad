"""The page of measures: every column with its unit, direction, definition and source."""

from collections.abc import Iterator

from pagbench import benchmarks
from pagbench.columns import Column
from pagbench.reports import glossary
from pagbench.reports.glossary import Group
from pagbench.reports.site.rendering import Page


def page() -> Page:
    """The page `measures.html`. A column's place on it is `#<column>`, where its definition is."""
    content = {"groups": list(_anchored(glossary.groups())), "published": len(benchmarks.names())}
    return Page("measures.html", "measures.html.j2", "Measures", content)


def _anchored(groups: list[Group]) -> Iterator[tuple[Group, list[tuple[str, Column]]]]:
    """Each group with its columns and their anchors.

    A column of the leaderboard that is the mean of a per-sample one has its name; the anchor is that of the definition.
    """
    taken: set[str] = set()
    for group in groups:
        anchors = [name if name not in taken else f"{group.anchor}-{name}" for name in _names(group)]
        taken.update(anchors)
        yield group, list(zip(anchors, group.columns, strict=True))


def _names(group: Group) -> list[str]:
    return [column.name for column in group.columns]
