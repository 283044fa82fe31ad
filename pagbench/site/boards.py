"""The page of a benchmark: its leaderboard and its plots."""

from pagbench.site import abilities, about, plots, tables, verdicts
from pagbench.site.rendering import Page
from pagbench.study import Study


def page(study: Study) -> Page:
    """The page `benchmarks/<label>.html`."""
    label = study.benchmark.label
    content = about.content(study.benchmark) | verdicts.content(study) | abilities.leading(study)
    content |= tables.content(study) | plots.content(study)
    return Page(f"benchmarks/{label}.html", "board.html.j2", f"{study.benchmark.title} ({label})", content)
