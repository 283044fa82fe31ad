"""Certified robustness of smoothed classifiers (Cohen et al. 2019, arXiv 1902.02918)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import beta, norm
from torch import Tensor, nn

from pagbench import geometry
from pagbench.measures.context import MeasureContext, not_scored
from pagbench.models.smoothing import PASS, smoothed_network

SELECTION, ESTIMATION, ALPHA = 100, 1000, 0.001
"""Draws that choose the class, draws that bound its probability, and the chance that the bound is wrong."""

ABSTAINS = -1


class Certificate(NamedTuple):
    """What a base network's majority vote under noise is certain of.

    Attributes:
        prediction: the class of the majority vote; -1 where it abstains.
        radius: L2, pixel units, within which the prediction does not change; 0 where it abstains.
    """

    prediction: Int[Tensor, "b"]
    radius: Float[Tensor, "b"]


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`certified_radius` and `certified_correct`; NaN for models that are not smoothed."""
    network = smoothed_network(context.classifier)
    if network is None:
        return not_scored(context, "certified_radius", "certified_correct")
    found = certify(network.network, context.batch.images, context.batch.ids, sigma=network.sigma, seed=context.seed)
    correct = (found.prediction == context.batch.labels).to(found.radius)
    return {"certified_radius": found.radius, "certified_correct": correct}


def certify(
    network: nn.Module,
    x: Float[Tensor, "b c h w"],
    ids: Sequence[str],
    *,
    sigma: float,
    seed: int,
    selection: int = SELECTION,
    estimation: int = ESTIMATION,
    alpha: float = ALPHA,
) -> Certificate:
    """Algorithm CERTIFY: sigma Φ⁻¹(p), p the Clopper-Pearson lower bound of the top class's probability under noise.

    It certifies the majority vote arg max_c P(f(x + n) = c), as Cohen et al. do; the largest mean softmax, which
    `pagbench.models.smoothing` has, may be of another class. Takes `selection` + `estimation` forward passes per image.

    Args:
        network: the base network, pixels in [0, 1] → logits.
        x: images.
        ids: of the samples, which seed their draws.
        sigma: standard deviation of the noise, pixel units.
        seed: of the draws, which are independent of those that the classifier itself uses.
        selection: draws that choose the class.
        estimation: further draws that bound its probability; the largest radius is sigma Φ⁻¹(alpha^(1/estimation)).
        alpha: chance that a certificate is wrong.
    """
    generators = [geometry.generator(seed, "certified", name) for name in ids]
    top = _counts(network, x, generators, sigma, selection).argmax(dim=1)
    hits = _counts(network, x, generators, sigma, estimation).gather(1, top[:, None])[:, 0]
    bound = lower_bound(hits.cpu().numpy(), estimation, alpha)
    sure = torch.from_numpy(bound > 0.5).to(x.device)
    radius = torch.from_numpy(sigma * norm.ppf(np.clip(bound, 0.5, None))).to(x)
    return Certificate(top.where(sure, ABSTAINS), radius)


def lower_bound(hits: NDArray[np.int64], n: int, alpha: float) -> NDArray[np.float64]:
    """One-sided Clopper-Pearson lower confidence bound of a probability from `hits` of n, confidence 1 - alpha.

    >>> lower_bound(np.array([0, 1000]), 1000, 0.001).round(4)
    array([0.    , 0.9931])
    """
    return np.nan_to_num(beta.ppf(alpha, hits, n - hits + 1), nan=0.0)


@torch.no_grad()
def _counts(
    network: nn.Module, x: Tensor, generators: Sequence[np.random.Generator], sigma: float, n: int
) -> Int[Tensor, "b k"]:
    """How often each class is the largest logit under n draws of noise."""
    size = max(1, PASS // x.numel())
    counts: Tensor | int = 0
    for start in range(0, n, size):
        shape = (min(size, n - start), *x.shape[1:])
        noise = torch.from_numpy(np.stack([part.standard_normal(shape, dtype=np.float32) for part in generators]))
        logits = network((x[:, None] + sigma * noise.to(x)).flatten(0, 1))
        chosen = nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])
        counts = counts + chosen.unflatten(0, (len(x), -1)).sum(dim=1)
    assert isinstance(counts, Tensor)
    return counts
