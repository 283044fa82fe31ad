"""What a reader should know of a benchmark: a section of its page, or the whole page where it has no results."""

from typing import Any

from pagbench.benchmarks import Benchmark, facts
from pagbench.reports.site.rendering import Page


def content(benchmark: Benchmark) -> dict[str, Any]:
    """What `_about.html.j2` shows."""
    return {"benchmark": benchmark, "facts": facts.of(benchmark), "citation": facts.citation()}


def page(benchmark: Benchmark) -> Page:
    """The page `benchmarks/<label>.html` of a benchmark that has no results."""
    title = f"{benchmark.title} ({benchmark.label})"
    return Page(f"benchmarks/{benchmark.label}.html", "about.html.j2", title, content(benchmark))
