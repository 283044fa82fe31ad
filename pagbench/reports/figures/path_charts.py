"""The paths of regularisation against strength, after Figure 3 of arXiv 2305.19101: all families, all architectures."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pagbench.ranking import regimes
from pagbench.reports.figures import canvas
from pagbench.studies import legend
from pagbench.studies.models import Study
from pagbench.studies.paths import Path, Point, StrengthAxis, origin, point, strength_axis

TINTS = {name: light for name, (light, _) in legend.REGIME_COLOURS.items()} | {regimes.BOUNDARY: "#ffffff"}
_SHORT = {"weak": "weak", "bayes-aligned": "Bayes", "excessive": "exc.", regimes.BOUNDARY: "?"}
HATCH = {regimes.BOUNDARY: "////"}

_COLUMNS = 4
_WIDTH, _HEIGHT, _LEFT = 2.45, 1.25, 0.62
_HEAD, _FOOT, _BETWEEN = 0.95, 1.15, 1.1
_LETTER = 0.065
_ARCHITECTURE_ROWS = {"accuracy": "accuracy", "alignment": "alignment", "log_ratio": "log off/on response"}
_DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2)))
_DASHED = (0, (5, 3))


class Curve(NamedTuple):
    """How a quantity is drawn."""

    quantity: str
    label: str
    colour: str
    marker: str


ROWS: dict[str, tuple[Curve, ...]] = {
    "accuracy, alignment": (
        Curve("accuracy", "accuracy", legend.INK, "s"),
        Curve("alignment", "alignment (chance-corrected)", "#0072B2", "o"),
    ),
    "response (L1 of softmax)": (
        Curve("on_response", "on-manifold response", "#00795a", "^"),
        Curve("off_response", "off-manifold response", "#c44e00", "v"),
    ),
    "tangent energy": (Curve("tangent_energy", "tangent energy", "#882255", "D"),),
}


def draw(study: Study, paths: Sequence[Path]) -> Figure:
    """One column of three panels per family: accuracy and alignment, responses, tangent energy."""
    figure, blocks = layout(len(paths), len(ROWS))
    start, bayes = origin(study, study.make), point(0.0, [study.bayes], study)
    points = [bayes, *([start] if start else []), *(p for path in paths for p in path.points)]
    chance = study.benchmark.rank / study.benchmark.dimension
    for path, column in zip(paths, blocks, strict=True):
        scale = strength_axis(path, start)
        for axis, curves in zip(column, ROWS.values(), strict=True):
            _shade(axis, scale, named=axis is column[0])
            for curve in curves:
                _line(axis, scale, curve)
                axis.axhline(bayes.values[curve.quantity].value, color=curve.colour, lw=0.8, ls=_DASHED, zorder=1)
            axis.set_ylim(_limits(points, [curve.quantity for curve in curves]))
        column[-1].axhline(chance, color=canvas.GREY, lw=0.8, ls=":", zorder=1)
        _label(column, scale, path.family, list(ROWS))
    _frame(figure, _handles(study), caption(study, paths))
    return figure


def caption(study: Study, paths: Sequence[Path]) -> str:
    """What is drawn, and what the bands cover."""
    regime = "no regimes are judged" if study.anchors is None else "shading: regime of each strength"
    return (
        f"{study.benchmark.label}, {' '.join(study.make)}: {bands(paths)}. Strength 0 is the model without "
        f"regularisation; responses to steps of length {study.benchmark.epsilon:g} (L2, pixel units); {regime}; "
        "dashed: Bayes control (alignment 1); dotted: tangent energy of a random direction."
    )


def bands(paths: Sequence[Path]) -> str:
    """What the bands of paths cover: it depends on how many training seeds there are."""
    seeds = {len(point.models) for path in paths for point in path.points}
    if seeds == {1}:
        return "one training seed each, so the 95 % bands are of a bootstrap over images only and leave out retraining"
    count = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    rest = "; strengths with one seed have a band over images only" if 1 in seeds else ""
    return f"means over {count} training seeds with 95 % bands of a bootstrap over seeds and images{rest}"


def _line(axis: Any, scale: StrengthAxis, curve: Curve) -> None:
    value, low, high = np.array([point.values[curve.quantity] for point in scale.points]).T
    positions, first = scale.positions, int(scale.points[0].strength == 0)
    style = {"color": curve.colour, "marker": curve.marker, "ms": 3.4, "zorder": 3}
    axis.fill_between(positions, low, high, color=curve.colour, alpha=0.25, lw=0, zorder=2)
    axis.plot(positions[: first + 1], value[: first + 1], color=curve.colour, lw=1.0, ls=":", zorder=3)
    axis.plot(positions[:first], value[:first], mfc="white", ls="none", **style)
    axis.plot(positions[first:], value[first:], lw=1.3, **style)


def _handles(study: Study) -> list[Any]:
    curves = [curve for shown in ROWS.values() for curve in shown]
    handles: list[Any] = [
        Line2D([], [], color=curve.colour, marker=curve.marker, ms=4, lw=1.3, label=curve.label) for curve in curves
    ]
    handles.append(Line2D([], [], color=canvas.GREY, lw=0.9, ls=_DASHED, label="Bayes control"))
    if study.anchors is not None:
        handles += [
            Patch(fc=tint, ec="#bbbbbb", lw=0.5, hatch=HATCH.get(name), label=legend.REGIMES[name])
            for name, tint in TINTS.items()
        ]
    return handles


def draw_architectures(study: Study, paths: Sequence[Path], others: Sequence[Path]) -> Figure:
    """One column of panels per family that has paths of several architectures; one line per architecture.

    Args:
        study: all models.
        paths: of the reference's architecture.
        others: of the others.
    """
    families = sorted({path.family for path in others})
    makes = [study.make, *sorted({path.make for path in others})]
    figure, blocks = layout(len(families), len(_ARCHITECTURE_ROWS))
    shown = [path for path in [*paths, *others] if path.family in families]
    starts = [start for make in makes if (start := origin(study, make)) is not None]
    points = [*starts, *(point for path in shown for point in path.points)]
    for family, column in zip(families, blocks, strict=True):
        lines = [path for path in shown if path.family == family]
        every = {point.strength: point for path in lines for point in path.points}
        together = Path(family, study.make, tuple(every[strength] for strength in sorted(every)))
        for axis, quantity in zip(column, _ARCHITECTURE_ROWS, strict=True):
            for path in lines:
                _architecture_line(axis, path, study, quantity, makes.index(path.make))
            axis.set_ylim(_limits(points, [quantity], zero=quantity != "log_ratio"))
        _label(column, strength_axis(together, None), family, list(_ARCHITECTURE_ROWS.values()))
    handles = [Line2D([], [], ms=4, label=" ".join(make), **_style(index)) for index, make in enumerate(makes)]
    caption = (
        f"{study.benchmark.label}: {bands(shown)}. Dotted, level: the same architecture without regularisation; "
        f"responses to steps of length {study.benchmark.epsilon:g} (L2, pixel units)."
    )
    _frame(figure, handles, caption)
    return figure


def _style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of an architecture; the first one is the reference's."""
    if index == 0:
        return {"color": legend.INK, "marker": "o", "lw": 1.4, "ls": "-"}
    return {
        "color": legend.FAMILY_COLOURS[(index - 1) % len(legend.FAMILY_COLOURS)],
        "marker": canvas.MARKERS[index % len(canvas.MARKERS)],
        "lw": 1.1,
        "ls": _DASHES[(index - 1) % len(_DASHES)],
    }


def _architecture_line(axis: Any, path: Path, study: Study, quantity: str, index: int) -> None:
    positions = np.log10([point.strength for point in path.points])
    value, low, high = np.array([point.values[quantity] for point in path.points]).T
    style = _style(index)
    axis.fill_between(positions, low, high, color=style["color"], alpha=0.15, lw=0, zorder=2)
    axis.plot(positions, value, ms=3.4, zorder=3, **style)
    start = origin(study, path.make)
    if start is not None:
        axis.axhline(start.values[quantity].value, color=style["color"], lw=0.7, ls=(0, (1, 2)), zorder=1)


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


def _label(panels: Sequence[Any], scale: StrengthAxis, family: str, rows: Sequence[str]) -> None:
    """Names a column of panels and its axes; vertical axes are shared by a block and labelled at its left."""
    for axis, name in zip(panels, rows, strict=True):
        axis.set_xlim(scale.edges[0], scale.edges[-1])
        axis.tick_params(labelsize=7, width=0.5, length=2.5)
        first = axis.get_subplotspec().colspan.start == 0
        axis.tick_params(labelleft=first)
        axis.set_ylabel(name if first else "", fontsize=7.5)
        _ticks(axis, scale, named=axis is panels[-1])
    panels[0].set_title(family, fontsize=9, fontweight="bold", pad=14)
    panels[-1].set_xlabel(legend.UNITS.get(family, "strength"), fontsize=7.5, labelpad=2)


def _shade(axis: Any, scale: StrengthAxis, *, named: bool) -> None:
    """The background of each strength in the colour of its regime; runs of one regime named above."""
    inches = _WIDTH / (scale.edges[-1] - scale.edges[0])
    for regime, left, right in shade_runs(axis, scale.edges, [part.regime for part in scale.points]):
        if named:
            room = (right - left) * inches / _LETTER
            names = (legend.REGIMES[regime], _SHORT[regime], _SHORT[regime][0].upper())
            shown = next((name for name in names if len(name) < room), "")
            axis.text((left + right) / 2, 1.03, shown, transform=axis.get_xaxis_transform(), ha="center", fontsize=6.5)


def shade_runs(
    axis: Any, edges: NDArray[np.float64], regimes: Sequence[str | None]
) -> Iterator[tuple[str, float, float]]:
    """Colours the cells between edges by regime, and yields each run of one regime with its two ends."""
    position = 0
    for regime, run in groupby(regimes):
        left, right = edges[position], edges[position := position + len(list(run))]
        if regime is not None:
            tint, hatch = TINTS[regime], HATCH.get(regime)
            axis.axvspan(left, right, facecolor=tint, edgecolor="#bbbbbb", lw=0, hatch=hatch, zorder=0)
            yield regime, left, right


def _limits(points: Iterable[Point], quantities: Iterable[str], *, zero: bool = True) -> tuple[float, float]:
    """A vertical scale that holds all values and their intervals, and zero unless told otherwise, with a margin."""
    names = tuple(quantities)
    values = np.array([point.values[name] for point in points for name in names])
    values = np.append(values[np.isfinite(values)], [0.0] if zero else [])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low - 0.04 * (high - low), high + 0.06 * (high - low)


def _frame(figure: Figure, handles: Sequence[Any], caption: str) -> None:
    """Legend above, caption below."""
    columns = 5 if figure.get_figwidth() > 8 else 4
    top = 1 - 0.05 / figure.get_figheight()
    figure.legend(
        handles=list(handles), ncol=columns, loc="upper center", bbox_to_anchor=(0.5, top), fontsize=7, frameon=False
    )
    canvas.write_caption(figure, caption)


def _ticks(axis: Any, scale: StrengthAxis, *, named: bool) -> None:
    """A tick at every strength, labelled where there is room."""
    axis.set_xticks(scale.positions)
    labels, last = [], -np.inf
    room = 0.06 * (scale.edges[-1] - scale.edges[0])
    for position, step in zip(scale.positions, scale.points, strict=True):
        fits = position - last >= room
        labels.append(f"{step.strength:g}" if fits else "")
        last = position if fits else last
    axis.set_xticklabels(labels if named else [], rotation=45, ha="right", rotation_mode="anchor")
