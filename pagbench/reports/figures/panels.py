"""Panels that show paths: regimes behind the strengths, four families side by side."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pagbench.ranking import regimes
from pagbench.studies import legend
from pagbench.studies.paths import Point, StrengthAxis

TINTS = {"weak": "#ececec", "bayes-aligned": "#cfe4f5", "excessive": "#fadcc6", regimes.BOUNDARY: "#ffffff"}
_SHORT = {"weak": "weak", "bayes-aligned": "Bayes", "excessive": "exc.", regimes.BOUNDARY: "?"}
HATCH = {regimes.BOUNDARY: "////"}

_COLUMNS = 4
_WIDTH, _HEIGHT, _LEFT = 2.45, 1.25, 0.62
_HEAD, _FOOT, _BETWEEN = 0.95, 1.15, 1.1
_LETTER = 0.065


def layout(count: int, rows: int) -> tuple[Figure, Iterator[list[Any]]]:
    """Panels of fixed size in blocks of up to four families.

    Args:
        count: number of families.
        rows: panels of each, one below the other.

    Returns:
        The figure, and the panels of each family from the top.
    """
    columns, blocks = min(count, _COLUMNS), -(-count // _COLUMNS)
    inner = rows * _HEIGHT + 0.12 * (rows - 1)
    width = max(_LEFT + columns * _WIDTH + 0.1, 6.4)
    height = _HEAD + blocks * inner + (blocks - 1) * _BETWEEN + _FOOT
    left = max(_LEFT, (width - columns * _WIDTH) / 2)
    figure = Figure(figsize=(width, height))

    def panels() -> Iterator[list[Any]]:
        for index in range(count):
            block, column = divmod(index, columns)
            top = height - _HEAD - block * (inner + _BETWEEN)
            grid = figure.add_gridspec(
                rows, columns, left=left / width, right=(left + columns * _WIDTH) / width,
                top=top / height, bottom=(top - inner) / height, wspace=0.08, hspace=0.1,
            )  # fmt: skip
            yield [figure.add_subplot(grid[row, column]) for row in range(rows)]

    return figure, panels()


def label(panels: Sequence[Any], laid_out: StrengthAxis, family: str, rows: Sequence[str]) -> None:
    """Names a column of panels and its axes; vertical axes are shared by a block and labelled at its left."""
    for axis, name in zip(panels, rows, strict=True):
        axis.set_xlim(laid_out.edges[0], laid_out.edges[-1])
        axis.tick_params(labelsize=7, width=0.5, length=2.5)
        first = axis.get_subplotspec().colspan.start == 0
        axis.tick_params(labelleft=first)
        axis.set_ylabel(name if first else "", fontsize=7.5)
        _ticks(axis, laid_out, named=axis is panels[-1])
    panels[0].set_title(family, fontsize=9, fontweight="bold", pad=14)
    panels[-1].set_xlabel(legend.UNITS.get(family, "strength"), fontsize=7.5, labelpad=2)


def shade(axis: Any, laid_out: StrengthAxis, *, named: bool) -> None:
    """The background of each strength in the colour of its regime; runs of one regime named above."""
    edges, span = laid_out.edges, laid_out.edges[-1] - laid_out.edges[0]
    position = 0
    for regime, run in groupby(laid_out.points, key=lambda point: point.regime):
        left, right = edges[position], edges[position := position + len(list(run))]
        if regime is None:
            continue
        axis.axvspan(left, right, facecolor=TINTS[regime], edgecolor="#bbbbbb", lw=0, hatch=HATCH.get(regime), zorder=0)
        if named:
            room = (right - left) / span * _WIDTH / _LETTER
            names = (legend.REGIMES[regime], _SHORT[regime], _SHORT[regime][0].upper())
            shown = next((name for name in names if len(name) < room), "")
            axis.text((left + right) / 2, 1.03, shown, transform=axis.get_xaxis_transform(), ha="center", fontsize=6.5)


def limits(points: Iterable[Point], quantities: Iterable[str], *, zero: bool = True) -> tuple[float, float]:
    """A vertical scale that holds all values and their intervals, and zero unless told otherwise, with a margin."""
    names = tuple(quantities)
    values = np.array([point.values[name] for point in points for name in names])
    values = np.append(values[np.isfinite(values)], [0.0] if zero else [])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low - 0.04 * (high - low), high + 0.06 * (high - low)


def frame(figure: Figure, handles: Sequence[Any], caption: str) -> None:
    """Legend above, caption below."""
    columns = 5 if figure.get_figwidth() > 8 else 4
    top = 1 - 0.05 / figure.get_figheight()
    figure.legend(
        handles=list(handles), ncol=columns, loc="upper center", bbox_to_anchor=(0.5, top), fontsize=7, frameon=False
    )
    write_caption(figure, caption)


def write_caption(figure: Figure, caption: str) -> None:
    """Wrapped, at the bottom."""
    text = textwrap.fill(caption, int(19 * figure.get_figwidth()))
    figure.text(0.5, 0.06 / figure.get_figheight(), text, ha="center", va="bottom", fontsize=7)


def _ticks(axis: Any, laid_out: StrengthAxis, *, named: bool) -> None:
    """A tick at every strength, labelled where there is room."""
    axis.set_xticks(laid_out.positions)
    labels, last = [], -np.inf
    room = 0.06 * (laid_out.edges[-1] - laid_out.edges[0])
    for place, point in zip(laid_out.positions, laid_out.points, strict=True):
        fits = place - last >= room
        labels.append(f"{point.strength:g}" if fits else "")
        last = place if fits else last
    axis.set_xticklabels(labels if named else [], rotation=45, ha="right", rotation_mode="anchor")
