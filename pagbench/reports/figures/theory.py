"""Figures of the theorems, one for each experiment of `pagbench.studies.theory`."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from pagbench.errors import ResultsError
from pagbench.ranking import regimes
from pagbench.reports.figures import canvas
from pagbench.reports.figures.path_charts import shade_runs
from pagbench.studies import legend
from pagbench.studies.theory import EXPERIMENTS, Claim, distractor
from pagbench.studies.theory.claims import SOURCE
from pagbench.studies.theory.distractor import Placed
from pagbench.studies.theory.equivalence import Equivalence
from pagbench.studies.theory.flat import Flat
from pagbench.studies.theory.ridge import DIMENSION, IMAGES, NOISE, RANK, REPEATS, VARIANCES, RidgePath
from pagbench.studies.theory.sphere import CIRCLE_SIGMA, Circle, Curved

INK, BLUE, ORANGE, GREEN, PURPLE = legend.INK, "#0072B2", "#c44e00", "#00795a", "#882255"
"""As in the figures of paths; markers and dashes tell the curves apart without colour."""
DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.5))
_LETTERS, _LINE = 19.5, 0.124
"""Letters to the inch and height of a line of the caption, in inches."""
_LEFT, _RIGHT, _HEAD, _FOOT, _BESIDE, _BELOW = 0.68, 0.15, 0.34, 0.44, 0.72, 0.14
"""Margins and gaps between panels, in inches."""
_MARKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"))
_S = "standard deviation s of the noise (pixel units)"
_BARS: dict[str, Any] = {"ms": 3.2, "ls": "none", "elinewidth": 0.8, "capsize": 1.8, "mfc": "white"}
"""Of points with their errors."""
_ARROW = 0.42
"""Of the longest arrow, as a share of the radius."""


def _panels(
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
    letters = int(_LETTERS * width)
    lines = textwrap.wrap(shown, letters)
    for claim in claims:
        lines += textwrap.wrap(f"• {claim.sentence()}", letters, subsequent_indent="   ")
    lines += textwrap.wrap(SOURCE, letters)
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


def _label(axis: Any, letter: str, title: str, x: str, y: str) -> None:
    """Names a panel and its axes."""
    axis.set_title(f"{letter}  {title}", fontsize=8, loc="left", fontweight="bold", pad=5)
    axis.set_xlabel(x, fontsize=7.5, labelpad=2)
    axis.set_ylabel(y, fontsize=7.5, labelpad=3)


def _key(axis: Any, corner: str, **more: Any) -> None:
    """The panel's legend."""
    axis.legend(loc=corner, fontsize=6.5, frameon=False, labelspacing=0.4, handlelength=2.2, **more)


def draw_equivalence(result: Equivalence, claims: Sequence[Claim]) -> Figure:
    """ρ₁ against s; ρ₁ - ρ₂ against s; ρ₁ against ρ₂ at the smallest and the largest s."""
    shown = (
        "gaussians@1, f the log-odds. Two classes and four: Bayes classifiers, in a tangent space that misses half of "
        "the span, so that ρ₂ is neither 0 nor 1; trained networks: in the span. Bars: 4 standard errors of Monte "
        "Carlo, with the same noise at every s; b takes the mean square of the linear part g·u exactly."
    )
    figure, (left, middle, right) = _panels(shown, claims, (2.5, 2.5, 2.5), (2.6,))
    _equivalence_robustness(left, result)
    _equivalence_gap(middle, result)
    _equivalence_agreement(right, result)
    return figure


def _equivalence_robustness(axis: Any, result: Equivalence) -> None:
    measured = result.quadratic
    order = measured.energy.argsort()
    images = order[[0, len(order) // 2, -1]]
    for image, shift, (colour, marker) in zip(images, (0.9, 1.0, 1.1), _MARKS, strict=False):
        axis.axhline(measured.energy[image], color=colour, lw=0.8, ls=DOTTED)
        axis.plot(result.stds, result.closed[image], color=colour, lw=1.2)
        axis.errorbar(
            shift * result.stds, measured.plain.value[image], 4 * measured.plain.error[image],
            color=colour, marker=marker, **_BARS,
        )  # fmt: skip
    axis.plot([], [], color=INK, lw=1.2, label="closed form")
    axis.errorbar([], [], [], color=INK, marker="o", mfc="white", ms=3.2, ls="none", label="Monte Carlo")
    axis.plot([], [], color=INK, lw=0.8, ls=DOTTED, label="ρ₂")
    axis.set_xscale("log")
    _key(axis, "upper left", ncol=3, columnspacing=1.0)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.15 * (high - low))
    _label(axis, "a", "two classes, three images", _S, "off-manifold robustness ρ₁(s)")


def _equivalence_gap(axis: Any, result: Equivalence) -> None:
    closed = (result.closed - result.quadratic.energy[:, None]).square().mean(0).sqrt()
    axis.plot(result.stds, closed, color=_MARKS[0][0], lw=1.2, label="two classes, closed form")
    for curve, (colour, marker) in zip((result.quadratic, *result.others), _MARKS, strict=True):
        size = curve.gap.value.square().mean(0).sqrt()
        error = (curve.gap.value * curve.gap.error).square().mean(0).sqrt() / size
        axis.errorbar(result.stds, size, 4 * error, color=colour, marker=marker, label=curve.title, **_BARS)
    guide = result.stds[result.stds <= 16 * result.small]
    axis.plot(guide, 0.12 * closed[-1] * (guide / result.stds[-1]) ** 2, color=INK, lw=0.9, ls=DASHED)
    axis.plot([], [], color=INK, lw=0.9, ls=DASHED, label="slope 2")
    ends = 0.8 * float(result.stds[-1]), 1.25 * float(result.stds[0])
    axis.axvspan(ends[0], result.small * 1.15, color="#eeeeee", lw=0, zorder=0)
    axis.set_xlim(*ends)
    axis.set_xscale("log")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_ylim(low, 400 * high)
    _key(axis, "upper left")
    _label(axis, "b", "the difference (grey: small s)", _S, "|ρ₁(s) - ρ₂|, root mean square over images")


def _equivalence_agreement(axis: Any, result: Equivalence) -> None:
    for curve, (colour, marker) in zip((result.quadratic, *result.others), _MARKS, strict=True):
        for index, filled in ((0, False), (-1, True)):
            axis.plot(
                curve.energy, curve.plain.value[:, index], ls="none", marker=marker, ms=4, mec=colour, mew=0.9,
                mfc=colour if filled else "white",
            )  # fmt: skip
    axis.plot([0.004, 1.3], [0.004, 1.3], color=INK, lw=0.9, ls=DASHED, label="ρ₁ = ρ₂")
    for index, face in ((-1, INK), (0, "white")):
        name = f"s = {result.stds[index]:.2g}"
        axis.plot([], [], ls="none", marker="o", ms=4, mec=INK, mfc=face, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    _key(axis, "upper left")
    y = "off-manifold robustness ρ₁(s)"
    _label(axis, "c", "every image, marks as in b", "off-manifold energy ρ₂ of the gradient", y)


def draw_flat(result: Flat, claims: Sequence[Claim]) -> Figure:
    """Energy off the span against that of the means' difference, and against the blur."""
    shown = (
        "Circled: gaussians-off-span@1; the other points have its seed, and other offsets or blurs. Square: "
        "gaussians@1, whose classes share the span, at its images and 10 pixel units away from them. Dashed: no "
        "amplification."
    )
    figure, (left, right) = _panels(shown, claims, (3.0, 3.0), (2.6,))
    offsets = [each.offset for each in result.by_offset]
    point = {"marker": "o", "mfc": "white", "mec": BLUE, "ls": "none", "ms": 4}
    left.plot([0, *offsets], [0, *(each.expected for each in result.by_offset)], color=BLUE, lw=1.2)
    left.plot(offsets, [each.measured for each in result.by_offset], **point)
    left.plot([0, offsets[-1]], [0, offsets[-1]], color=INK, lw=0.9, ls=DASHED)
    left.plot(0, float(result.shared.max()) ** 2, marker="s", ms=5, color=ORANGE, ls="none", clip_on=False, zorder=4)
    ring = {"marker": "o", "mfc": "none", "mec": INK, "ms": 8, "ls": "none", "mew": 1.0}
    left.plot(result.published.offset, result.published.measured, **ring)
    left.set_xlim(0, offsets[-1] * 1.03)
    _label(
        left, "a", "the further the means leave the span", "off-span energy ‖Pₙδ‖²/‖δ‖² of the means' difference δ",
        "off-span energy ‖Pₙg‖²/‖g‖² of the Bayes gradient",
    )  # fmt: skip
    sigmas = [each.sigma for each in result.by_sigma]
    right.plot(sigmas, [each.expected for each in result.by_sigma], color=BLUE, lw=1.2, label="formula")
    right.plot(sigmas, [each.measured for each in result.by_sigma], label="Bayes classifier", **point)
    right.plot(result.published.sigma, result.published.measured, label="gaussians-off-span@1", **ring)
    right.axhline(result.published.offset, color=INK, lw=0.9, ls=DASHED, label="that of the means")
    right.plot([], [], marker="s", ms=5, color=ORANGE, ls="none", label="gaussians@1, shared span (in a)")
    right.set_xscale("log")
    right.set_ylim(-0.02, 1.0)
    _key(right, "upper right")
    _label(right, "b", "the less the blur", "blur σ (pixel units)", "off-span energy of the Bayes gradient")
    return figure


def draw_sphere(result: Curved, claims: Sequence[Claim]) -> Figure:
    """Both maps as arrows on a circle, and their part across the sphere against the blur."""
    shown = (
        f"a: two classes on a circle, p = 2, blur {CIRCLE_SIGMA:g}, κ such that (p-1)/κ is that of sphere@1; maps of "
        "class y, each scaled to its longest arrow. b: sphere@1, tangent spaces of the clean images; points are root "
        "mean squares."
    )
    figure, (left, right) = _panels(shown, claims, (2.9, 3.4), (2.9,))
    _sphere_arrows(left, result.circle)
    _sphere_fractions(right, result)
    return figure


def _sphere_arrows(axis: Any, circle: Circle) -> None:
    radius = float(circle.points[0].norm())
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axis.plot(radius * turn.cos(), radius * turn.sin(), color="#bbbbbb", lw=1.0, zorder=1)
    for vectors, colour in ((circle.class_score, ORANGE), (circle.bayes, BLUE)):
        scaled = _ARROW * radius * vectors / vectors.norm(dim=1).max()
        arrows = *circle.points.T, *scaled.T
        axis.quiver(*arrows, color=colour, angles="xy", scale_units="xy", scale=1, width=0.0085, zorder=3)
    for direction, name in zip(circle.directions, ("y", "other"), strict=True):
        axis.plot(*(radius * direction), marker="*", ms=9, color=INK, mfc="white", zorder=4)
        axis.annotate(name, radius * direction * 1.17, fontsize=7.5, ha="center", va="center")
    axis.plot([], [], color=ORANGE, lw=2, label="class score s(x|y)")
    axis.plot([], [], color=BLUE, lw=2, label="Bayes gradient, along s(x|y) - s(x)")
    axis.plot([], [], marker="*", ms=7, color=INK, mfc="white", ls="none", label="mean directions")
    axis.set_aspect("equal")
    axis.set(xlim=(-1.35 * radius, 1.35 * radius), ylim=(-1.15 * radius, 1.55 * radius), xticks=[], yticks=[])
    _key(axis, "upper center")
    _label(axis, "a", "what the maps look like", "", "")


def _sphere_fractions(axis: Any, result: Curved) -> None:
    sigmas = result.sigmas
    axis.plot(sigmas, _rms(result.class_score_limit).expand(len(sigmas)), color=ORANGE, lw=1.2)
    axis.plot(sigmas, result.blurred_expected, color=GREEN, lw=1.2, ls=DASHED)
    axis.plot(sigmas, _rms(result.bayes_expected), color=BLUE, lw=1.2)
    for values, colour, marker, name in (
        (result.class_score_blurred, ORANGE, "P", "s(x|y) at blurred images"),
        (result.class_score, ORANGE, "s", "s(x|y) at clean images; line: limit"),
        (result.blurred, GREEN, "^", "Bayes at blurred images; dashed: σ/R"),
        (result.bayes, BLUE, "o", "Bayes at clean images; line: slope 2, no free factor"),
    ):
        axis.plot(sigmas, _rms(values), ls="none", marker=marker, ms=4.5, mec=colour, mfc="white", label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(2e-5, 100)
    _key(axis, "upper left")
    _label(axis, "b", "how far they leave the sphere", "blur σ (pixel units)", "‖Pₙv‖/‖v‖, root mean square")


def _rms(values: Float[Tensor, "*sigmas points"]) -> Float[Tensor, "*sigmas"]:
    return values.square().mean(-1).sqrt()


def draw_distractor(result: Placed, claims: Sequence[Claim]) -> Figure:
    """An image with two gradients; energy and doubt against the blur; reactions to noise on either half."""
    shown = (
        "Four Gaussian classes beside the glyphs of fashion-distractor@1, above or below at random. a: gradients at "
        "the blurred image, dark against the class, light for it, each scaled to its largest value. b, c: means of "
        f"{len(result.energy[0])} images."
    )
    figure, (first, second, third) = _panels(shown, claims, (2.4, 2.5, 2.5), (2.5,))
    _distractor_pictures(first, result)
    second.plot(result.sigmas, result.energy.mean(1), color=BLUE, marker="o", mfc="white", ms=4, lw=1.2,
                label="energy on the distractor")  # fmt: skip
    second.plot(result.sigmas, result.doubt.mean(1), color=ORANGE, marker="s", mfc="white", ms=4, lw=1.2,
                ls=DASHED, label="P(wrong place | x)")  # fmt: skip
    second.set_xscale("log")
    second.set_yscale("log")
    second.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    second.minorticks_off()
    _key(second, "lower right")
    _label(second, "b", "only doubt puts it there", "blur σ (pixel units)", "share of ‖g‖², probability")
    for column, (colour, marker, name) in enumerate(((BLUE, "o", "signal"), (ORANGE, "s", "distractor"))):
        third.plot(distractor.STDS, result.reactions[:, column], color=colour, marker=marker, mfc="white", ms=4, lw=1.2,
                   ls=DASHED if column else "-", label=f"noise on the {name}")  # fmt: skip
    third.set_xscale("log")
    third.set_yscale("log")
    _key(third, "upper left")
    _label(third, "c", "reactions to noise, blur 4", "noise per pixel (std)", "mean L1 change of the softmax")
    return figure


def _distractor_pictures(axis: Any, result: Placed) -> None:
    maps = [result.image, *(gradient / gradient.abs().max() for gradient in result.gradients)]
    height, width = result.image.shape[1:]
    names = "image", f"g, σ = {result.sigmas[-1]:g}", f"g, σ = {result.sigmas[0]:g}"
    for column, (pixels, name) in enumerate(zip(maps, names, strict=True)):
        left = column * (width + 4)
        low, high = (0, 1) if column == 0 else (-1, 1)
        box = left, left + width, height, 0
        axis.imshow(torch.squeeze(pixels).numpy(), cmap="gray", vmin=low, vmax=high, extent=box)
        axis.text(left + width / 2, height + 5, name, ha="center", fontsize=7)
    axis.set(xlim=(-1, 3 * width + 9), ylim=(height + 8, -1), aspect="equal")
    axis.axis("off")
    axis.set_anchor("N")
    _label(axis, "a", "signal above, glyph below", "", "")


def draw_ridge(path: RidgePath, claims: Sequence[Claim]) -> Figure:
    """Squared gradients, alignment and risk, tangent energy, one below the other."""
    shown = (
        f"Linear regression on a flat manifold, k = {RANK} of d = {DIMENSION} dimensions, n = {IMAGES}, noise sₙ = "
        f"{NOISE:g} off it. Points: means over {REPEATS} samples; lines: closed forms. Shading: regime by the "
        "benchmarks' rule. Vertical: variance sₙ² off the manifold, least and largest variance l_k, l₁ on it."
    )
    figure, axes = _panels(shown, claims, (5.6,), (1.5, 1.5, 1.2))
    for axis in axes:
        _ridge_shade(axis, path, named=axis is axes[0])
        axis.set_xscale("log")
        axis.set_xlim(path.strengths[0], path.strengths[-1])
        axis.tick_params(labelbottom=axis is axes[-1])
    _ridge_line(axes[0], path, path.measured.on.mean(0), path.expected.on, "‖Pw‖², on the manifold", GREEN, "^")
    _ridge_line(axes[0], path, path.measured.off.mean(0), path.expected.off, "‖Pₙw‖², off the manifold", ORANGE, "v")
    axes[0].set_yscale("log")
    axes[0].set_ylabel("squared gradient", fontsize=7.5)
    _key(axes[0], "lower left")
    _ridge_line(axes[1], path, path.measured.cosine.mean(0), path.expected.cosine, "alignment cos(w, w*)", BLUE, "o")
    explained = 1 - path.measured.excess.mean(0)
    _ridge_line(axes[1], path, explained, 1 - path.expected.excess, "1 - excess risk/Var y", PURPLE, "D")
    for values, colour in ((path.measured.cosine.mean(0), BLUE), (explained, PURPLE)):
        best = int(values.argmax())
        axes[1].plot(path.strengths[best], values[best], marker="o", ms=9, mfc="none", mec=colour, mew=1.2)
    axes[1].set_ylabel("alignment, risk (rings: best)", fontsize=7.5)
    _key(axes[1], "lower center", ncol=2)
    axes[1].set_ylim(-0.25, 1.1)
    axes[1].set_yticks([0, 0.5, 1])
    energy = path.expected.on / (path.expected.on + path.expected.off)
    _ridge_line(axes[2], path, path.tangent_energy.mean(0), energy, "tangent energy", INK, "s")
    axes[2].axhline(RANK / DIMENSION, color=INK, lw=0.8, ls=DOTTED, label="k/d, random direction")
    axes[2].axvline(path.crossing, color=ORANGE, lw=1.0, ls=DASHED, label="predicted crossing")
    axes[2].set_ylabel("‖Pw‖²/‖w‖²", fontsize=7.5)
    axes[2].set_xlabel("strength λ of the penalty λ‖w‖²", fontsize=7.5)
    axes[2].set_ylim(-0.05, 1.08)
    _key(axes[2], "center right")
    return figure


def _ridge_line(
    axis: Any, path: RidgePath, result: np.ndarray, expected: np.ndarray, name: str, colour: str, marker: str
) -> None:
    axis.plot(path.strengths, expected, color=colour, lw=1.2, zorder=2)
    axis.plot(path.strengths, result, color=colour, marker=marker, mfc="white", ms=3.4, ls="none", label=name, zorder=3)


def _ridge_shade(axis: Any, path: RidgePath, *, named: bool) -> None:
    steps = np.log(path.strengths)
    edges = np.exp(np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]]))
    judged = [regimes.REGIMES[int(label)] for label in np.median(path.regimes, axis=1)]
    for regime, left, right in shade_runs(axis, edges, judged):
        axis.axvline(right, color=INK, lw=0.8, zorder=1)
        if named:
            middle, name = np.sqrt(left * right), legend.REGIMES[regime]
            axis.text(middle, 1.03, name, transform=axis.get_xaxis_transform(), ha="center", fontsize=7.5)
    for value, name in ((NOISE**2, "sₙ²"), (VARIANCES.min(), "l_k "), (VARIANCES.max(), " l₁")):
        axis.axvline(value, color="#888888", lw=0.6, ls=DOTTED, zorder=1)
        if named:
            side = {"l_k ": "right", " l₁": "left"}.get(name, "center")
            axis.text(value, 1.13, name, transform=axis.get_xaxis_transform(), ha=side, fontsize=7)


DRAW: dict[str, Callable[[Any, Sequence[Claim]], Figure]] = {
    "equivalence": draw_equivalence,
    "flat": draw_flat,
    "sphere": draw_sphere,
    "distractor": draw_distractor,
    "ridge": draw_ridge,
}
"""The figure of each experiment, of what was measured and what is claimed of it."""


def check(output: Path, *, advance: Callable[[str], object] = lambda title: None) -> dict[str, list[Claim]]:
    """Runs every experiment and draws `theory-<name>.png` of each.

    Args:
        output: folder for the figures.
        advance: called with the title of the next experiment.

    Returns:
        The claims of each experiment, whether its predictions hold or not.

    Raises:
        ResultsError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{output}: not a folder ({error.strerror}); give another --output") from None
    claims = {}
    for name, experiment in EXPERIMENTS.items():
        advance(experiment.title)
        values = experiment.measure()
        claims[name] = experiment.claims(values)
        with canvas.style():
            canvas.save_palette(DRAW[name](values, claims[name]), output / f"theory-{name}.png")
    return claims
