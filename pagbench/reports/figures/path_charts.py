"""The paths drawn against strength, after Figure 3 of arXiv 2305.19101."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pagbench.reports.figures import canvas, panels
from pagbench.studies import legend
from pagbench.studies.networks import Study
from pagbench.studies.paths import Path, StrengthAxis, origin, point, strength_axis

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
    figure, blocks = panels.layout(len(paths), len(ROWS))
    start, bayes = origin(study, study.make), point(0.0, [study.bayes], study)
    points = [bayes, *([start] if start else []), *(p for path in paths for p in path.points)]
    chance = study.benchmark.rank / study.benchmark.dimension
    for path, column in zip(paths, blocks, strict=True):
        laid_out = strength_axis(path, start)
        for axis, curves in zip(column, ROWS.values(), strict=True):
            panels.shade(axis, laid_out, named=axis is column[0])
            for curve in curves:
                _line(axis, laid_out, curve)
                axis.axhline(bayes.values[curve.quantity].value, color=curve.colour, lw=0.8, ls=_DASHED, zorder=1)
            axis.set_ylim(panels.limits(points, [curve.quantity for curve in curves]))
        column[-1].axhline(chance, color=canvas.GREY, lw=0.8, ls=":", zorder=1)
        panels.label(column, laid_out, path.family, list(ROWS))
    panels.frame(figure, _handles(study), caption(study, paths))
    return figure


def caption(study: Study, paths: Sequence[Path]) -> str:
    """What is drawn, and what the bands cover."""
    regime = "no regimes are judged" if study.anchors is None else "shading: regime of each strength"
    return (
        f"{study.benchmark.label}, {' '.join(study.make)}: {bands(paths)}. Strength 0 is the network without "
        f"regularisation; responses to steps of length {study.benchmark.epsilon:g} (L2, pixel units); {regime}; "
        "dashed: Bayes control (alignment 1); dotted: tangent energy of a random direction."
    )


def bands(paths: Sequence[Path]) -> str:
    """What the bands of paths cover: it depends on how many training seeds there are."""
    seeds = {len(point.networks) for path in paths for point in path.points}
    if seeds == {1}:
        return "one training seed each, so the 95 % bands are of a bootstrap over images only and leave out retraining"
    count = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    rest = "; strengths with one seed have a band over images only" if 1 in seeds else ""
    return f"means over {count} training seeds with 95 % bands of a bootstrap over seeds and images{rest}"


def _line(axis: Any, laid_out: StrengthAxis, curve: Curve) -> None:
    value, low, high = np.array([point.values[curve.quantity] for point in laid_out.points]).T
    places, first = laid_out.positions, int(laid_out.points[0].strength == 0)
    style = {"color": curve.colour, "marker": curve.marker, "ms": 3.4, "zorder": 3}
    axis.fill_between(places, low, high, color=curve.colour, alpha=0.25, lw=0, zorder=2)
    axis.plot(places[: first + 1], value[: first + 1], color=curve.colour, lw=1.0, ls=":", zorder=3)
    axis.plot(places[:first], value[:first], mfc="white", ls="none", **style)
    axis.plot(places[first:], value[first:], lw=1.3, **style)


def _handles(study: Study) -> list[Any]:
    curves = [curve for shown in ROWS.values() for curve in shown]
    handles: list[Any] = [
        Line2D([], [], color=curve.colour, marker=curve.marker, ms=4, lw=1.3, label=curve.label) for curve in curves
    ]
    handles.append(Line2D([], [], color=canvas.GREY, lw=0.9, ls=_DASHED, label="Bayes control"))
    if study.anchors is not None:
        handles += [
            Patch(fc=tint, ec="#bbbbbb", lw=0.5, hatch=panels.HATCH.get(name), label=legend.REGIMES[name])
            for name, tint in panels.TINTS.items()
        ]
    return handles
