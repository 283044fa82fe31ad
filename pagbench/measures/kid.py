"""Kernel inception distance (Bińkowski et al. 2018, arXiv 1801.01401): squared MMD under a cubic kernel of features.

Of images with their classes: only images of one class are compared, since one of another class is no success.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def influences(
    x: Float[Tensor, "n f"],
    y: Float[Tensor, "n f"],
    labels: Int[Tensor, "n"] | None = None,
    scored: Bool[Tensor, "n"] | None = None,
) -> Float[Tensor, "n"]:
    """Values whose mean is the unbiased estimate of MMD² (Gretton et al. 2012, Lemma 6), one for each pair (x_i, y_i).

    To first order resampling them resamples the estimate: their bootstrap intervals are the distance's, somewhat too
    wide where classes have few pairs. NaN where no two pairs can be compared.

    Args:
        x: features of one set.
        y: features of the other, paired by position.
        labels: class of each pair; the mean is over pairs of pairs of one class. None for one class.
        scored: pairs that count; NaN for the others. None for all.

    >>> influences(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
    tensor([0., 0.], dtype=torch.float64)
    """
    counted = torch.ones(len(x), dtype=torch.bool) if scored is None else scored.cpu()
    x, y = x.cpu().double(), y.cpu().double()  # not every device has doubles
    labels = None if labels is None else labels.cpu()
    cross = _kernel(x, y)
    h = _kernel(x, x) + _kernel(y, y) - cross - cross.T
    same = torch.ones_like(h) if labels is None else (labels[:, None] == labels).to(h)
    same = same.fill_diagonal_(0) * counted[:, None] * counted
    row = counted.sum() * (h * same).sum(1) / same.sum()
    return (2 * row - row[counted].mean()).where(counted, torch.nan)


def _kernel(x: Float[Tensor, "n f"], y: Float[Tensor, "m f"]) -> Float[Tensor, "n m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3
