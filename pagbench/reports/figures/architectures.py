"""The paths of other architectures and activations beside the reference's: does the shape of a path depend on them?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pagbench.reports.figures import canvas, panels
from pagbench.reports.figures.path_charts import bands
from pagbench.studies import legend
from pagbench.studies.networks import Study
from pagbench.studies.paths import Path, StrengthAxis, origin, strength_axis

_ROWS = {"accuracy": "accuracy", "alignment": "alignment", "log_ratio": "log off/on response"}
_STYLES = ((0, (4, 1.5)), (0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2)))


def draw(study: Study, paths: Sequence[Path], others: Sequence[Path]) -> Figure:
    """One column of panels per family that has paths of several architectures; one line per architecture.

    Args:
        study: all networks.
        paths: of the reference's architecture.
        others: of the others.
    """
    families = sorted({path.family for path in others})
    makes = [study.make, *sorted({path.make for path in others})]
    figure, blocks = panels.layout(len(families), len(_ROWS))
    shown = [path for path in [*paths, *others] if path.family in families]
    starts = [start for make in makes if (start := origin(study, make)) is not None]
    points = [*starts, *(point for path in shown for point in path.points)]
    for family, column in zip(families, blocks, strict=True):
        lines = [path for path in shown if path.family == family]
        widest = _axis_of(lines, study)
        for axis, quantity in zip(column, _ROWS, strict=True):
            for path in lines:
                _line(axis, path, study, quantity, makes.index(path.make))
            axis.set_ylim(panels.limits(points, [quantity], zero=quantity != "log_ratio"))
        panels.label(column, widest, family, list(_ROWS.values()))
    panels.frame(figure, [_handle(index, " ".join(make)) for index, make in enumerate(makes)], caption(study, shown))
    return figure


def _axis_of(lines: Sequence[Path], study: Study) -> StrengthAxis:
    """The strengths of all architectures together."""
    points = {point.strength: point for path in lines for point in path.points}
    union = Path(lines[0].family, study.make, tuple(points[strength] for strength in sorted(points)))
    return strength_axis(union, None)


def caption(study: Study, paths: Sequence[Path]) -> str:
    """What is drawn, and what the bands cover."""
    return (
        f"{study.benchmark.label}: {bands(paths)}. Dotted, level: the same architecture without regularisation; "
        f"responses to steps of length {study.benchmark.epsilon:g} (L2, pixel units)."
    )


def _look(index: int) -> dict[str, Any]:
    if index == 0:
        return {"color": legend.INK, "marker": "o", "lw": 1.4, "ls": "-"}
    return {
        "color": legend.FAMILY_COLOURS[(index - 1) % len(legend.FAMILY_COLOURS)],
        "marker": canvas.MARKERS[index % len(canvas.MARKERS)],
        "lw": 1.1,
        "ls": _STYLES[(index - 1) % len(_STYLES)],
    }


def _handle(index: int, label: str) -> Line2D:
    return Line2D([], [], ms=4, label=label, **_look(index))


def _line(axis: Any, path: Path, study: Study, quantity: str, index: int) -> None:
    places = np.log10([point.strength for point in path.points])
    value, low, high = np.array([point.values[quantity] for point in path.points]).T
    look = _look(index)
    axis.fill_between(places, low, high, color=look["color"], alpha=0.15, lw=0, zorder=2)
    axis.plot(places, value, ms=3.4, zorder=3, **look)
    start = origin(study, path.make)
    if start is not None:
        axis.axhline(start.values[quantity].value, color=look["color"], lw=0.7, ls=(0, (1, 2)), zorder=1)
