"""What the figures of theory share: panels of fixed size, and a caption that says formulas, sources and deviations."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from pagbench.studies import legend
from pagbench.studies.theory.claims import SOURCE, Claim

INK, BLUE, ORANGE, GREEN, PURPLE = legend.INK, "#0072B2", "#c44e00", "#00795a", "#882255"
"""As in the figures of paths; markers and dashes tell the curves apart without colour."""
DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.5))
_LETTERS, _LINE = 19.5, 0.124
"""Letters to the inch and height of a line of the caption, in inches."""
_LEFT, _RIGHT, _HEAD, _FOOT, _BESIDE, _BELOW = 0.68, 0.15, 0.34, 0.44, 0.72, 0.14
"""Margins and gaps between panels, in inches."""


def panels(
    shown: str, claims: Sequence[Claim], widths: Sequence[float], heights: Sequence[float]
) -> tuple[Figure, Any]:
    """Empty panels in a row, or below one another, above a caption.

    Args:
        shown: what is drawn.
        claims: of the caption, a line or two each.
        widths: of the panels, inches; one for a column of panels.
        heights: of the panels, inches; one for a row of panels.
    """
    width = _LEFT + sum(widths) + _BESIDE * (len(widths) - 1) + _RIGHT
    lines = _caption(shown, claims, int(_LETTERS * width))
    foot = _FOOT + _LINE * len(lines)
    height = _HEAD + sum(heights) + _BELOW * (len(heights) - 1) + foot
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(heights), len(widths), width_ratios=widths, height_ratios=heights,
        left=_LEFT / width, right=1 - _RIGHT / width, top=1 - _HEAD / height, bottom=foot / height,
        wspace=_BESIDE * len(widths) / sum(widths), hspace=_BELOW * len(heights) / sum(heights),
    )  # fmt: skip
    figure.text(0.06 / width, 0.05 / height, "\n".join(lines), va="bottom", fontsize=6.5, linespacing=1.2)
    axes = [figure.add_subplot(grid[row, column]) for row in range(len(heights)) for column in range(len(widths))]
    for axis in axes:
        axis.tick_params(labelsize=7, width=0.5, length=2.5, which="both")
    return figure, axes


def _caption(shown: str, claims: Sequence[Claim], letters: int) -> list[str]:
    lines = textwrap.wrap(shown, letters)
    for claim in claims:
        lines += textwrap.wrap(f"• {claim.sentence()}", letters, subsequent_indent="   ")
    return [*lines, *textwrap.wrap(SOURCE, letters)]


def label(axis: Any, letter: str, title: str, x: str, y: str) -> None:
    """Names a panel and its axes."""
    axis.set_title(f"{letter}  {title}", fontsize=8, loc="left", fontweight="bold", pad=5)
    axis.set_xlabel(x, fontsize=7.5, labelpad=2)
    axis.set_ylabel(y, fontsize=7.5, labelpad=3)


def key(axis: Any, place: str, **more: Any) -> None:
    """The panel's legend."""
    axis.legend(loc=place, fontsize=6.5, frameon=False, labelspacing=0.4, handlelength=2.2, **more)
