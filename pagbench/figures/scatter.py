"""Off-manifold robustness against alignment, over all ranked networks: does the one predict the other?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pagbench import statistics
from pagbench.errors import ResultsError
from pagbench.figures import canvas, panels
from pagbench.ranking import eligibility
from pagbench.statistics import Interval
from pagbench.study.networks import Study

PANELS = {
    "log_ratio": "log off/on response, steps of length {epsilon:g}",
    "log_ratio_infinitesimal": "log off/on sensitivity, infinitesimal steps",
}
"""Columns of the leaderboard on the horizontal axis."""
ACCURATE = 0.8
"""Share of the reference's accuracy that an accurate network has."""
_MIN_NETWORKS = 3
_MANY = 60


class Correlation(NamedTuple):
    """Spearman's rho between a log ratio and alignment.

    Attributes:
        rho: with a 95 % interval of a bootstrap over families.
        networks: number of points.
        families: number of families they are of.
    """

    rho: Interval
    networks: int
    families: int


def points(study: Study) -> pd.DataFrame:
    """Rows of the leaderboard that have a rank, with `architecture` (and activation) and `accurate`.

    Raises:
        ResultsError: there are fewer than three.
    """
    board = study.board[study.board["status"] == eligibility.RANKED]
    if len(board) < _MIN_NETWORKS:
        raise ResultsError(
            f"{study.benchmark.label}: {len(board)} ranked networks, a correlation needs {_MIN_NETWORKS}; "
            "measure more with `pagbench run`"
        )
    makes = {network.card.id: " ".join(filter(None, network.make)) or "unknown" for network in study.networks}
    best = board["accuracy"].max() if study.reference is None else study.reference.replicates["accuracy"][0]
    return board.assign(architecture=board["model"].map(makes), accurate=board["accuracy"] >= ACCURATE * best)


def correlations(study: Study) -> dict[str, dict[str, Correlation]]:
    """Correlation with alignment of each of `PANELS` that was measured, over `all` networks and the `accurate` ones."""
    table = points(study)
    found = {}
    for column in _measured(table):
        parts = {"all": table, "accurate": table[table["accurate"]]}
        found[column] = {name: _correlation(part, column, study.benchmark.seed) for name, part in parts.items()}
    return found


def _correlation(part: pd.DataFrame, column: str, seed: int) -> Correlation:
    known = part[part[column].notna() & part["alignment"].notna()]
    x, y = (known[name].to_numpy(float) for name in (column, "alignment"))
    rho = statistics.clustered_spearman(x, y, known["family"].tolist(), seed=seed)
    return Correlation(rho, len(known), known["family"].nunique())


def _measured(table: pd.DataFrame) -> list[str]:
    return [column for column in PANELS if column in table and table[column].notna().any()]


def draw(study: Study, found: dict[str, dict[str, Correlation]]) -> Figure:
    """One panel per log ratio; colour is family, shape is architecture, hollow is inaccurate."""
    table = points(study)
    families, makes = _families(table, study), _makes(table, study)
    width, height = 1.1 + 3.1 * len(found), 3.9 + 0.16 * max(0, len(families) + len(makes) - 14)
    figure = Figure(figsize=(width + 1.6, height))
    axes = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    right = (width - 0.1) / (width + 1.6)
    figure.subplots_adjust(
        left=0.7 / (width + 1.6), right=right, top=1 - 0.55 / height, bottom=0.95 / height, wspace=0.08
    )
    for axis, column in zip(axes, found, strict=True):
        _points(axis, table, column, families, makes)
        axis.set_xlabel(PANELS[column].format(epsilon=study.benchmark.epsilon), fontsize=8)
        axis.tick_params(labelsize=7, width=0.5, length=2.5)
        lines = [f"{name}: {_said(correlation)}" for name, correlation in found[column].items()]
        axis.set_title("\n".join(lines), fontsize=7, loc="left")
    axes[0].set_ylabel("alignment (chance-corrected)", fontsize=8)
    figure.legend(
        handles=_handles(families, makes), loc="upper left", bbox_to_anchor=(right + 0.005, 1 - 0.5 / height),
        fontsize=7, frameon=False, labelspacing=0.35,
    )  # fmt: skip
    panels.write_caption(figure, caption(study))
    return figure


def caption(study: Study) -> str:
    """What is drawn, and what the intervals cover."""
    best = "best network's" if study.reference is None else "reference's"
    return (
        f"{study.benchmark.label}: ranked networks; grey bars: 95 % bootstrap over images. ρ is Spearman's, with the "
        f"95 % interval of a bootstrap that draws whole families; accurate (filled): at least {ACCURATE:.0%} of "
        f"the {best} accuracy."
    )


def _said(correlation: Correlation) -> str:
    rho, count = correlation.rho, f"{correlation.networks} networks in {correlation.families} families"
    if np.isnan(rho.value):
        return f"ρ not defined ({count})"
    interval = "no interval" if np.isnan(rho.low) else f"{rho.low:.2f}, {rho.high:.2f}"
    return f"ρ = {rho.value:.2f} [{interval}], {count}".replace("-", "−")


def _makes(table: pd.DataFrame, study: Study) -> list[str]:
    """Architectures, the reference's first."""
    usual = " ".join(study.make)
    return sorted(table["architecture"].unique(), key=lambda name: (name != usual, name))


def _families(table: pd.DataFrame, study: Study) -> dict[str, str]:
    """Colour of each family; black for the networks without regularisation."""
    others = sorted(set(table["family"]) - {study.standard})
    colours = {family: canvas.FAMILY_COLOURS[i % len(canvas.FAMILY_COLOURS)] for i, family in enumerate(others)}
    return ({study.standard: canvas.INK} if study.standard in set(table["family"]) else {}) | colours


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
    found = [Line2D([], [], marker="o", color=colour, label=family, **blank) for family, colour in families.items()]
    found += [
        Line2D([], [], marker=canvas.MARKERS[index % len(canvas.MARKERS)], color=canvas.GREY, label=make, **blank)
        for index, make in enumerate(makes)
    ]
    return [*found, Line2D([], [], marker="o", mec=canvas.GREY, mfc="white", label="not accurate", **blank)]
