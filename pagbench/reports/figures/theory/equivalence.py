"""Off-manifold robustness tends to the gradient's off-manifold energy: closed form, measurement, slope."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from pagbench.reports.figures.theory import frame
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.equivalence import Equivalence

_LOOKS = ((frame.BLUE, "o"), (frame.ORANGE, "s"), (frame.GREEN, "^"), (frame.PURPLE, "D"))
_S = "standard deviation s of the noise (pixel units)"


def draw(found: Equivalence, claims: Sequence[Claim]) -> Figure:
    """ρ₁ against s; ρ₁ - ρ₂ against s; ρ₁ against ρ₂ at the smallest and the largest s."""
    shown = (
        "gaussians@1, f the log-odds. Two classes and four: Bayes classifiers, in a tangent space that misses half of "
        "the span, so that ρ₂ is neither 0 nor 1; trained networks: in the span. Bars: 4 standard errors of Monte "
        "Carlo, with the same noise at every s; b takes the mean square of the linear part g·u exactly."
    )
    figure, (left, middle, right) = frame.panels(shown, claims, (2.5, 2.5, 2.5), (2.6,))
    _robustness(left, found)
    _gap(middle, found)
    _agreement(right, found)
    return figure


def _robustness(axis: Any, found: Equivalence) -> None:
    measured = found.quadratic
    order = measured.energy.argsort()
    images = order[[0, len(order) // 2, -1]]
    for image, shift, (colour, marker) in zip(images, (0.9, 1.0, 1.1), _LOOKS, strict=False):
        axis.axhline(measured.energy[image], color=colour, lw=0.8, ls=frame.DOTTED)
        axis.plot(found.stds, found.closed[image], color=colour, lw=1.2)
        axis.errorbar(
            shift * found.stds, measured.plain.value[image], 4 * measured.plain.error[image], color=colour,
            marker=marker, ms=3.2, ls="none", elinewidth=0.8, capsize=1.8, mfc="white",
        )  # fmt: skip
    axis.plot([], [], color=frame.INK, lw=1.2, label="closed form")
    axis.errorbar([], [], [], color=frame.INK, marker="o", mfc="white", ms=3.2, ls="none", label="Monte Carlo")
    axis.plot([], [], color=frame.INK, lw=0.8, ls=frame.DOTTED, label="ρ₂")
    axis.set_xscale("log")
    frame.key(axis, "upper left", ncol=3, columnspacing=1.0)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.15 * (high - low))
    frame.label(axis, "a", "two classes, three images", _S, "off-manifold robustness ρ₁(s)")


def _gap(axis: Any, found: Equivalence) -> None:
    closed = (found.closed - found.quadratic.energy[:, None]).square().mean(0).sqrt()
    axis.plot(found.stds, closed, color=_LOOKS[0][0], lw=1.2, label="two classes, closed form")
    for curve, (colour, marker) in zip((found.quadratic, *found.others), _LOOKS, strict=True):
        size = curve.gap.value.square().mean(0).sqrt()
        error = (curve.gap.value * curve.gap.error).square().mean(0).sqrt() / size
        axis.errorbar(
            found.stds, size, 4 * error, color=colour, marker=marker, ms=3.2, ls="none", elinewidth=0.8, capsize=1.8,
            mfc="white", label=curve.title,
        )  # fmt: skip
    guide = found.stds[found.stds <= 16 * found.small]
    axis.plot(guide, 0.12 * closed[-1] * (guide / found.stds[-1]) ** 2, color=frame.INK, lw=0.9, ls=frame.DASHED)
    axis.plot([], [], color=frame.INK, lw=0.9, ls=frame.DASHED, label="slope 2")
    ends = 0.8 * float(found.stds[-1]), 1.25 * float(found.stds[0])
    axis.axvspan(ends[0], found.small * 1.15, color="#eeeeee", lw=0, zorder=0)
    axis.set_xlim(*ends)
    axis.set_xscale("log")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_ylim(low, 400 * high)
    frame.key(axis, "upper left")
    frame.label(axis, "b", "the difference (grey: small s)", _S, "|ρ₁(s) - ρ₂|, root mean square over images")


def _agreement(axis: Any, found: Equivalence) -> None:
    for curve, (colour, marker) in zip((found.quadratic, *found.others), _LOOKS, strict=True):
        for index, filled in ((0, False), (-1, True)):
            axis.plot(
                curve.energy, curve.plain.value[:, index], ls="none", marker=marker, ms=4, mec=colour, mew=0.9,
                mfc=colour if filled else "white",
            )  # fmt: skip
    axis.plot([0.004, 1.3], [0.004, 1.3], color=frame.INK, lw=0.9, ls=frame.DASHED, label="ρ₁ = ρ₂")
    for index, face in ((-1, frame.INK), (0, "white")):
        name = f"s = {found.stds[index]:.2g}"
        axis.plot([], [], ls="none", marker="o", ms=4, mec=frame.INK, mfc=face, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    frame.key(axis, "upper left")
    frame.label(
        axis,
        "c",
        "every image, marks as in b",
        "off-manifold energy ρ₂ of the gradient",
        "off-manifold robustness ρ₁(s)",
    )
