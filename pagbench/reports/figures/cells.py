"""Cells of a grid of images and gradients."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_CELL, _GAP = 1.15, 0.2
_CLIP = 99.5


def grid(rows: int, columns: int, *, title: float = 0.4, foot: float = 0.0) -> tuple[Figure, Any]:
    """Square cells of fixed size, laid out by hand: matplotlib's own layout takes longer than the rest.

    Args:
        rows: number of images.
        columns: number of maps, the image among them.
        title: room above, inches.
        foot: room below, inches.
    """
    width, height = _CELL * columns, (_CELL + _GAP) * rows + title + foot
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=(_GAP + foot) / height, top=1 - title / height, wspace=0.06, hspace=0.2
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def show_image(axis: Any, image: NDArray[np.float32]) -> None:
    """An image in [0, 1], shape (c, h, w)."""
    axis.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])


def show_map(axis: Any, gradient: NDArray[np.float32], similarity: float) -> None:
    """A gradient, scaled to the 99.5 % quantile of its magnitude, with its cosine to the Bayes target below.

    In grey images, red raises the class and blue lowers it; in colour images, grey is zero.

    Args:
        axis: the cell.
        gradient: shape (c, h, w); NaN where not scored.
        similarity: in [-1, 1]; NaN where not scored.
    """
    scale = max(float(np.percentile(np.abs(gradient), _CLIP)), float(np.finfo(np.float32).tiny))
    scaled = np.nan_to_num(gradient / scale).clip(-1, 1).transpose(1, 2, 0)
    if scaled.shape[2] == 1:
        axis.imshow(scaled, cmap="RdBu_r", vmin=-1, vmax=1)
    else:
        axis.imshow((scaled + 1) / 2)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("not scored" if np.isnan(similarity) else f"{similarity:.2f}", fontsize=7, labelpad=2)
