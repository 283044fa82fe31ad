"""Two ways to the same result, timed in turns; and the table of their ratios."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parent
PAGE = ROOT.parent / "docs" / "reference" / "performance.md"
START, END = "<!-- measured by make bench: start -->\n", "<!-- end -->"

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: is computed.
        pagbench: its time, as it is printed.
        other: what it is compared with.
        theirs: its time.
        found: the figure that is required of, with its spread.
        required: of the figure; empty for nothing.
        verdict: whether it is so.
    """

    what: str
    pagbench: str
    other: str
    theirs: str
    found: str
    required: str
    verdict: str


def clock() -> float:
    """CPU seconds of this process: what other processes do on the machine disturbs them least."""
    return time.process_time()


def seconds(work: Work) -> float:
    """CPU seconds that it takes."""
    start = clock()
    work()
    return clock() - start


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; of one value, that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(ours: Sequence[float], other: Sequence[float]) -> list[float]:
    """How many times longer the other takes, by round."""
    return [theirs / mine for mine, theirs in zip(ours, other, strict=True)]


def faster(what: str, ours: Sequence[float], name: str, other: Sequence[float], *, least: float | None) -> Row:
    """A line that says how many times longer the other takes; both in seconds for the same work, by round.

    Args:
        what: is computed.
        ours: of pagbench.
        name: of the other.
        other: its seconds.
        least: of the ratio's median; 1 means never slower, up to the spread; None for no requirement.
    """
    low, middle, high = quartiles(ratios(ours, other))
    met = (high if least == 1 else middle) >= (least or 0)
    required = "" if least is None else "not slower" if least == 1 else f"≥ {least:g}×"
    verdict = "" if least is None else "yes" if met else "**no**"
    found = f"{middle:.3g}× [{low:.3g}, {high:.3g}]"
    return Row(what, _shown(ours), name, _shown(other), found, required, verdict)


def overhead(what: str, ours: Sequence[float], name: str, floor: Sequence[float], *, most: float) -> Row:
    """A line that says by how much pagbench exceeds what cannot be avoided, as a fraction."""
    low, middle, high = quartiles([1 / ratio - 1 for ratio in ratios(ours, floor)])
    found = f"{middle:+.1%} [{low:+.1%}, {high:+.1%}]"
    verdict = "yes" if middle <= most else "**no**"
    return Row(what, _shown(ours), name, _shown(floor), found, f"≤ {most:.0%}", verdict)


def limit(what: str, found: Sequence[float], most: float) -> Row:
    """A line that says whether the best of several times is below a limit."""
    best = min(found)
    verdict = "yes" if best < most else "**no**"
    return Row(what, _shown(found), f"a limit of {most:g} s", "", f"{best / most:.0%} of it", "≤ 100%", verdict)


def _shown(values: Sequence[float]) -> str:
    median = statistics.median(values)
    return f"{median:.2f} s" if median >= 1 else f"{1000 * median:.3g} ms"


def render(rows: Sequence[Row]) -> str:
    """The table as Markdown, with the machine."""
    lines = [
        f"{_machine()}, Python {platform.python_version()}, PyTorch {torch.__version__}, one thread; CPU seconds but "
        "for the commands' starts.",
        "",
        "| what | pagbench | other | its time | ratio: median [quartiles] | required | met |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r.what} | {r.pagbench} | {r.other} | {r.theirs} | {r.found} | {r.required} | {r.verdict} |" for r in rows
    ]
    return "\n".join(lines) + "\n"


def relative(rows: Sequence[Row]) -> str:
    """What does not depend on the machine, of the lines from which something is required; as Markdown."""
    lines = ["| what | compared with | ratio | required |", "|---|---|---:|---:|"]
    for r in filter(lambda row: row.required, rows):
        missed = "" if r.verdict == "yes" else ", **missed**"
        lines.append(f"| {r.what} | {r.other.partition(' (timed')[0]} | {r.found} | {r.required}{missed} |")
    return "\n".join(lines) + "\n"


def write(rows: Sequence[Row]) -> None:
    """Puts the table into `benchmarks/results.md`, and its ratios into their place in the documentation."""
    (ROOT / "results.md").write_text(render(rows), encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(f"{before}{START}{relative(rows)}{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.is_file() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
