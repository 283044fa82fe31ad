"""A page for each benchmark, of what `pagbench.benchmarks.facts` says."""

from pagbench.benchmarks import Benchmark, facts

_RULER = "[What the tables say](../../explanation/ruler.md). `pagbench validate` prints them."


def page(benchmark: Benchmark, published: bool) -> str:
    """The page of one benchmark, Markdown.

    Args:
        benchmark: the definition.
        published: whether the repository has results on it.
    """
    known = facts.of(benchmark)
    link = f"[Leaderboard](../../../leaderboard/README.md#{_anchor(benchmark)})"
    return "\n".join(
        [
            f"# {benchmark.title} (`{benchmark.label}`)",
            "",
            benchmark.description.strip(),
            "",
            *([f"**{known.weakness}**", ""] if known.weakness else []),
            "## What it measures",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in known.definition),
            "",
            "Columns: [measures](../measures.md).",
            "",
            "## What it needs",
            "",
            "| what | download | licence | where |",
            "|---|---|---|---|",
            *(f"| {need.what} | {need.download} | {need.license} | {need.place} |" for need in known.needs),
            "",
            f"- Memory: {known.memory}",
            f"- Time: {known.time}",
            "",
            *_works(known),
            "## How to run",
            "",
            "```",
            *known.commands,
            "```",
            "",
            "## Results",
            "",
            link if published else f"No results are published yet. {known.caveat}".rstrip(),
            *(["", f"Agreement of tangent spaces: {known.agreement}"] if known.agreement else []),
            "",
            *(
                ["## How good the ruler is", "", _RULER, "", "```", known.evidence.rstrip(), "```", ""]
                if known.evidence
                else []
            ),
            "## How to cite",
            "",
            "pagbench ([CITATION.cff](../../../CITATION.cff)), and",
            "",
            *(f"- {source}" for source in known.sources),
            "",
        ]
    )


def _works(known: facts.Facts) -> list[str]:
    """Authors and licences of what the data set is made of; nothing where it is the work of one publisher."""
    if not known.works:
        return []
    rows = [f"| {work.what} | {work.author} | {work.license} |" for work in known.works]
    return ["## What the classes are", "", "| class | author | licence |", "|---|---|---|", *rows, ""]


def _anchor(benchmark: Benchmark) -> str:
    """Where GitHub puts the heading `title (`label`)`."""
    kept = [c for c in f"{benchmark.title} ({benchmark.label})".lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")
