"""A curved manifold: the Bayes gradient becomes tangent, the class score does not."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from pagbench.reports.figures.theory import frame
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.sphere import CIRCLE_SIGMA, Circle, Curved

_LENGTH = 0.42
"""Of the longest arrow, as a share of the radius."""


def draw(found: Curved, claims: Sequence[Claim]) -> Figure:
    """Both maps as arrows on a circle, and their part across the sphere against the blur."""
    shown = (
        f"a: two classes on a circle, p = 2, blur {CIRCLE_SIGMA:g}, κ such that (p-1)/κ is that of sphere@1; maps of "
        "class y, each scaled to its longest arrow. b: sphere@1, tangent spaces of the clean images; points are root "
        "mean squares."
    )
    figure, (left, right) = frame.panels(shown, claims, (2.9, 3.4), (2.9,))
    _arrows(left, found.circle)
    _fractions(right, found)
    return figure


def _arrows(axis: Any, circle: Circle) -> None:
    radius = float(circle.points[0].norm())
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axis.plot(radius * turn.cos(), radius * turn.sin(), color="#bbbbbb", lw=1.0, zorder=1)
    for vectors, colour, width in ((circle.class_score, frame.ORANGE, 0.0085), (circle.bayes, frame.BLUE, 0.0085)):
        scaled = _LENGTH * radius * vectors / vectors.norm(dim=1).max()
        axis.quiver(
            *circle.points.T, *scaled.T, color=colour, angles="xy", scale_units="xy", scale=1, width=width, zorder=3
        )
    for direction, name in zip(circle.directions, ("y", "other"), strict=True):
        axis.plot(*(radius * direction), marker="*", ms=9, color=frame.INK, mfc="white", zorder=4)
        axis.annotate(name, radius * direction * 1.17, fontsize=7.5, ha="center", va="center")
    axis.plot([], [], color=frame.ORANGE, lw=2, label="class score s(x|y)")
    axis.plot([], [], color=frame.BLUE, lw=2, label="Bayes gradient, along s(x|y) - s(x)")
    axis.plot([], [], marker="*", ms=7, color=frame.INK, mfc="white", ls="none", label="mean directions")
    axis.set_aspect("equal")
    axis.set(xlim=(-1.35 * radius, 1.35 * radius), ylim=(-1.15 * radius, 1.55 * radius), xticks=[], yticks=[])
    frame.key(axis, "upper center")
    frame.label(axis, "a", "what the maps look like", "", "")


def _fractions(axis: Any, found: Curved) -> None:
    sigmas = found.sigmas
    axis.plot(sigmas, _rms(found.class_score_limit).expand(len(sigmas)), color=frame.ORANGE, lw=1.2)
    axis.plot(sigmas, found.blurred_expected, color=frame.GREEN, lw=1.2, ls=frame.DASHED)
    axis.plot(sigmas, _rms(found.bayes_expected), color=frame.BLUE, lw=1.2)
    for values, colour, marker, name in (
        (found.class_score_blurred, frame.ORANGE, "P", "s(x|y) at blurred images"),
        (found.class_score, frame.ORANGE, "s", "s(x|y) at clean images; line: limit"),
        (found.blurred, frame.GREEN, "^", "Bayes at blurred images; dashed: σ/R"),
        (found.bayes, frame.BLUE, "o", "Bayes at clean images; line: slope 2, no free factor"),
    ):
        axis.plot(sigmas, _rms(values), ls="none", marker=marker, ms=4.5, mec=colour, mfc="white", label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(2e-5, 100)
    frame.key(axis, "upper left")
    frame.label(axis, "b", "how far they leave the sphere", "blur σ (pixel units)", "‖Pₙv‖/‖v‖, root mean square")


def _rms(values: Float[Tensor, "*sigmas points"]) -> Float[Tensor, "*sigmas"]:
    return values.square().mean(-1).sqrt()
