"""The Bayes gradient leaves the distractor as soon as it is known which half it is."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from pagbench.reports.figures.theory import frame
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.distractor import STDS, Placed


def draw(found: Placed, claims: Sequence[Claim]) -> Figure:
    """An image with two gradients; energy and doubt against the blur; reactions to noise on either half."""
    shown = (
        "Four Gaussian classes beside the glyphs of fashion-distractor@1, above or below at random. a: gradients at "
        "the blurred image, dark against the class, light for it, each scaled to its largest value. b, c: means of "
        f"{len(found.energy[0])} images."
    )
    figure, (first, second, third) = frame.panels(shown, claims, (2.4, 2.5, 2.5), (2.5,))
    _pictures(first, found)
    second.plot(found.sigmas, found.energy.mean(1), color=frame.BLUE, marker="o", mfc="white", ms=4, lw=1.2,
                label="energy on the distractor")  # fmt: skip
    second.plot(found.sigmas, found.doubt.mean(1), color=frame.ORANGE, marker="s", mfc="white", ms=4, lw=1.2,
                ls=frame.DASHED, label="P(wrong place | x)")  # fmt: skip
    second.set_xscale("log")
    second.set_yscale("log")
    second.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    second.minorticks_off()
    frame.key(second, "lower right")
    frame.label(second, "b", "only doubt puts it there", "blur σ (pixel units)", "share of ‖g‖², probability")
    for column, (colour, marker, name) in enumerate(((frame.BLUE, "o", "signal"), (frame.ORANGE, "s", "distractor"))):
        third.plot(STDS, found.reactions[:, column], color=colour, marker=marker, mfc="white", ms=4, lw=1.2,
                   ls=frame.DASHED if column else "-", label=f"noise on the {name}")  # fmt: skip
    third.set_xscale("log")
    third.set_yscale("log")
    frame.key(third, "upper left")
    frame.label(third, "c", "reactions to noise, blur 4", "noise per pixel (std)", "mean L1 change of the softmax")
    return figure


def _pictures(axis: Any, found: Placed) -> None:
    maps = [found.image, *(gradient / gradient.abs().max() for gradient in found.gradients)]
    height, width = found.image.shape[1:]
    for column, (pixels, name) in enumerate(
        zip(maps, ("image", f"g, σ = {found.sigmas[-1]:g}", f"g, σ = {found.sigmas[0]:g}"), strict=True)
    ):
        left = column * (width + 4)
        low, high = (0, 1) if column == 0 else (-1, 1)
        axis.imshow(
            torch.squeeze(pixels).numpy(), cmap="gray", vmin=low, vmax=high, extent=(left, left + width, height, 0)
        )
        axis.text(left + width / 2, height + 5, name, ha="center", fontsize=7)
    axis.set(xlim=(-1, 3 * width + 9), ylim=(height + 8, -1), aspect="equal")
    axis.axis("off")
    axis.set_anchor("N")
    frame.label(axis, "a", "signal above, glyph below", "", "")
