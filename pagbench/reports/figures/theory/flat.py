"""Classes that share a flat manifold, and classes that do not."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pagbench.reports.figures.theory import frame
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.flat import Flat


def draw(found: Flat, claims: Sequence[Claim]) -> Figure:
    """Energy off the span against that of the means' difference, and against the blur."""
    shown = (
        "Circled: gaussians-off-span@1; the other points have its seed, and other offsets or blurs. Square: "
        "gaussians@1, whose classes share the span, at its images and 10 pixel units away from them. Dashed: no "
        "amplification."
    )
    figure, (left, right) = frame.panels(shown, claims, (3.0, 3.0), (2.6,))
    offsets = [each.offset for each in found.by_offset]
    point = {"marker": "o", "mfc": "white", "mec": frame.BLUE, "ls": "none", "ms": 4}
    left.plot([0, *offsets], [0, *(each.expected for each in found.by_offset)], color=frame.BLUE, lw=1.2)
    left.plot(offsets, [each.found for each in found.by_offset], **point)
    left.plot([0, offsets[-1]], [0, offsets[-1]], color=frame.INK, lw=0.9, ls=frame.DASHED)
    left.plot(
        0, float(found.shared.max()) ** 2, marker="s", ms=5, color=frame.ORANGE, ls="none", clip_on=False, zorder=4
    )
    ring = {"marker": "o", "mfc": "none", "mec": frame.INK, "ms": 8, "ls": "none", "mew": 1.0}
    left.plot(found.published.offset, found.published.found, **ring)
    left.set_xlim(0, offsets[-1] * 1.03)
    frame.label(
        left, "a", "the further the means leave the span", "off-span energy ‖Pₙδ‖²/‖δ‖² of the means' difference δ",
        "off-span energy ‖Pₙg‖²/‖g‖² of the Bayes gradient",
    )  # fmt: skip
    sigmas = [each.sigma for each in found.by_sigma]
    right.plot(sigmas, [each.expected for each in found.by_sigma], color=frame.BLUE, lw=1.2, label="formula")
    right.plot(sigmas, [each.found for each in found.by_sigma], label="Bayes classifier", **point)
    right.plot(found.published.sigma, found.published.found, label="gaussians-off-span@1", **ring)
    right.axhline(found.published.offset, color=frame.INK, lw=0.9, ls=frame.DASHED, label="that of the means")
    right.plot([], [], marker="s", ms=5, color=frame.ORANGE, ls="none", label="gaussians@1, shared span (in a)")
    right.set_xscale("log")
    right.set_ylim(-0.02, 1.0)
    frame.key(right, "upper right")
    frame.label(right, "b", "the less the blur", "blur σ (pixel units)", "off-span energy of the Bayes gradient")
    return figure
