"""How good a benchmark's ruler is, drawn from the record of a validation: nothing is computed again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.validation import DensityRow, Estimate, Validation
from pagbench.errors import ContractError
from pagbench.reports.figures import canvas
from pagbench.studies import legend

_PANELS = {
    "error": "denoising error ‖D(x + n) − x‖²",
    "accuracy": "accuracy of the Bayes classifier at x + n",
    "nll": "−log p(y | x + n), nats",
    "halves": "agreement of the targets of two halves",
}
"""What is drawn of a density's rows, by column."""

_SAVE: dict[str, Callable[[Figure, Path], Path]] = {".png": canvas.save_palette, ".pdf": canvas.save}


def check_name(path: Path) -> Path:
    """A path to which the figure can be written.

    Raises:
        ContractError: its suffix is neither .png nor .pdf.
    """
    if path.suffix not in _SAVE:
        raise ContractError(f"{path}: a figure is a PNG or a PDF; give a name that ends in .png or .pdf")
    return path


def save(found: Validation, benchmark: Benchmark, path: Path) -> Path:
    """Draws a record and writes it as PNG or PDF, as the path's suffix says.

    Raises:
        ContractError: its suffix is neither .png nor .pdf.
        ResultsError: the disk refuses.
    """
    with canvas.style():
        return _SAVE[check_name(path).suffix](draw(found, benchmark), path)


def draw(found: Validation, benchmark: Benchmark) -> Figure:
    """Every candidate density over sigma: denoising error, class accuracy and NLL, agreement of halves.

    Args:
        found: the record.
        benchmark: the definition that it is of, whose sigma is marked.
    """
    width, height = 6.2, 5.0
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        2, 2, left=0.35 / width, right=1 - 0.1 / width, top=1 - 0.48 / height, bottom=0.95 / height, hspace=0.42,
        wspace=0.2,
    )  # fmt: skip
    names = list(dict.fromkeys(row.density for row in found.densities))
    colours = legend.FAMILY_COLOURS
    for index, (column, title) in enumerate(_PANELS.items()):
        axis = figure.add_subplot(grid[index // 2, index % 2])
        for place, name in enumerate(names):
            rows = [row for row in found.densities if row.density == name and getattr(row, column).value is not None]
            _curve(axis, rows, column, {"color": colours[place], "marker": canvas.MARKERS[place], "label": name})
        if column == "halves" and found.ceilings:
            bounds = _values(list(found.ceilings.values()))
            axis.plot(list(found.ceilings), bounds[0], color=colours[0], lw=1, ls="--", zorder=3)
            axis.fill_between(list(found.ceilings), bounds[1], bounds[2], color=colours[0], alpha=0.2, lw=0)
        axis.axvline(benchmark.sigma, color=canvas.GREY, lw=0.8, zorder=1)
        axis.set_xscale("log")
        canvas.plain_ticks(axis.xaxis, [row.sigma for row in found.own][::2])
        if column in ("accuracy", "halves"):
            axis.set_ylim(min(0, axis.get_ylim()[0]), 1.03)
        axis.set_title(title, fontsize=8, loc="left")
        axis.set_xlabel("sigma (pixel units)", fontsize=7)
        axis.tick_params(labelsize=6.5, width=0.5, length=2)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", ncols=len(names), fontsize=7.5, frameon=False, labelcolor=legend.INK
    )
    canvas.write_caption(figure, caption(found, benchmark))
    return figure


def caption(found: Validation, benchmark: Benchmark) -> str:
    """What is drawn."""
    ceiling = (
        f" Lower right: at measured images; dashed: the noise ceiling of {found.densities[0].density}, the cosine with "
        "the target that a perfect model would reach."
    )
    return (
        f"{found.benchmark}: candidate densities under noise of sigma, on {found.images} images that were neither "
        f"trained on nor measured; shaded: 95\N{NO-BREAK SPACE}% intervals; grey line: the benchmark's sigma, "
        f"{benchmark.sigma:g}.{ceiling if found.ceilings else ''}"
    )


def _curve(axis: Any, rows: list[DensityRow], column: str, style: dict[str, Any]) -> None:
    sigmas = [row.sigma for row in rows]
    value, low, high = _values([getattr(row, column) for row in rows])
    axis.fill_between(sigmas, low, high, color=style["color"], alpha=0.15, lw=0, zorder=1)
    axis.plot(sigmas, value, lw=1.1, ms=2.8, zorder=2, **style)


def _values(estimates: list[Estimate]) -> np.ndarray:
    """Values, and both bounds, shape (3, n); NaN where there is none."""
    return np.array(estimates, dtype=float).reshape(-1, 3).T
