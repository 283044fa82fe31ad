"""The page of a benchmark: its leaderboard and its plots."""

from pagbench.reports.site import abilities, about, plots, sensitivities, tables, verdicts
from pagbench.reports.site.rendering import Page
from pagbench.studies.networks import Study


def page(study: Study) -> Page:
    """The page `benchmarks/<label>.html`."""
    label = study.benchmark.label
    content = about.content(study.benchmark) | abilities.leading(study)
    for part in (verdicts, sensitivities, tables, plots):
        content |= part.content(study)
    return Page(f"benchmarks/{label}.html", "board.html.j2", f"{study.benchmark.title} ({label})", content)
