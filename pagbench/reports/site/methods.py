"""The page of methods: formulas and constants, how to read the tables, and what they do not cover."""

from pagbench import benchmarks
from pagbench.columns import SAMPLE_COLUMNS
from pagbench.ranking import board, eligibility, statistics
from pagbench.reports.site.rendering import Page


def page() -> Page:
    """The page `methods.html`."""
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    return Page(
        "methods.html",
        "methods.html.j2",
        "Methods",
        {
            "judged": [definition for definition in definitions if definition.thresholds is not None],
            "on_manifold": [definition for definition in definitions if definition.manifold is not None],
            "replicates": statistics.REPLICATES,
            "significance": eligibility.SIGNIFICANCE,
            "min_scored": eligibility.MIN_SCORED,
            "max_unfaithful": eligibility.MAX_UNFAITHFUL,
            "fewest": board.FEWEST,
            "defined": {column.name: column for filled in SAMPLE_COLUMNS.values() for column in filled},
        },
    )
