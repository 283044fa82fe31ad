"""Off-manifold robustness against alignment, over all ranked models: does the one predict the other?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pagbench.reports.figures import canvas
from pagbench.studies import correlations, legend
from pagbench.studies.correlations import Correlation
from pagbench.studies.models import Study

PANELS = {
    "log_ratio": "log off/on response, steps of length {epsilon:g}",
    "log_ratio_infinitesimal": "log off/on sensitivity, infinitesimal steps",
}
"""Columns of the leaderboard on the horizontal axis."""
_MANY = 60


def draw(study: Study, correlations_by_column: Mapping[str, Mapping[str, Correlation]]) -> Figure:
    """One panel per log ratio; colour is family, shape is architecture, hollow is inaccurate."""
    table = correlations.points(study)
    families, usual = legend.family_colours(table["family"].unique(), study.standard), " ".join(study.make)
    makes = sorted(table["architecture"].unique(), key=lambda name: (name != usual, name))
    width, height = 1.1 + 3.1 * len(correlations_by_column), 3.9 + 0.16 * max(0, len(families) + len(makes) - 14)
    figure = Figure(figsize=(width + 1.6, height))
    axes = figure.subplots(1, len(correlations_by_column), squeeze=False, sharey=True)[0]
    right = (width - 0.1) / (width + 1.6)
    figure.subplots_adjust(
        left=0.7 / (width + 1.6), right=right, top=1 - 0.55 / height, bottom=0.95 / height, wspace=0.08
    )
    for axis, column in zip(axes, correlations_by_column, strict=True):
        _points(axis, table, column, families, makes)
        axis.set_xlabel(PANELS[column].format(epsilon=study.benchmark.epsilon), fontsize=8)
        axis.tick_params(labelsize=7, width=0.5, length=2.5)
        lines = [f"{name}: {correlation.text}" for name, correlation in correlations_by_column[column].items()]
        axis.set_title("\n".join(lines), fontsize=7, loc="left")
    axes[0].set_ylabel("alignment (chance-corrected)", fontsize=8)
    figure.legend(
        handles=_handles(families, makes), loc="upper left", bbox_to_anchor=(right + 0.005, 1 - 0.5 / height),
        fontsize=7, frameon=False, labelspacing=0.35,
    )  # fmt: skip
    canvas.write_caption(figure, caption(study))
    return figure


def caption(study: Study) -> str:
    """What is drawn, and what the intervals cover."""
    best = "best model's" if study.reference is None else "reference's"
    return (
        f"{study.benchmark.label}: ranked models; grey bars: 95 % bootstrap over images. ρ is Spearman's, with the "
        f"95 % interval over families, one left out after the other; accurate (filled): at least "
        f"{correlations.ACCURATE:.0%} of the {best} accuracy."
    )


def _points(axis: Any, table: pd.DataFrame, column: str, families: Mapping[str, str], makes: Sequence[str]) -> None:
    size = 5.0 if len(table) < _MANY else 3.5
    for _, row in table[table[column].notna()].iterrows():
        colour, x, y = families[row["family"]], row[column], row["alignment"]
        bars = {"color": "#cccccc", "lw": 0.5, "zorder": 1}
        axis.plot([row[f"{column}_low"], row[f"{column}_high"]], [y, y], **bars)
        axis.plot([x, x], [row["alignment_low"], row["alignment_high"]], **bars)
        marker = canvas.MARKERS[makes.index(row["architecture"]) % len(canvas.MARKERS)]
        face = colour if row["accurate"] else "white"
        axis.plot(x, y, ls="none", marker=marker, ms=size, mec=colour, mfc=face, mew=0.9, alpha=0.85, zorder=2)


def _handles(families: Mapping[str, str], makes: Sequence[str]) -> list[Line2D]:
    blank: dict[str, Any] = {"ls": "none", "ms": 5}
    handles = [Line2D([], [], marker="o", color=colour, label=family, **blank) for family, colour in families.items()]
    handles += [
        Line2D([], [], marker=canvas.MARKERS[index % len(canvas.MARKERS)], color=canvas.GREY, label=make, **blank)
        for index, make in enumerate(makes)
    ]
    return [*handles, Line2D([], [], marker="o", mec=canvas.GREY, mfc="white", label="not accurate", **blank)]
