"""How far a smoothed classifier's finite number of draws lets its probability and its gradient wander."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.measures.context import MeasureContext, not_scored
from pagbench.models.smoothing import SmoothedNetwork, smoothed_network

_COLUMNS = ("smoothed_probability_error", "smoothed_gradient_error")


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`smoothed_probability_error` and `smoothed_gradient_error`; NaN for models that are not smoothed."""
    network = smoothed_network(context.classifier)
    if network is None:
        return not_scored(context, *_COLUMNS)
    return dict(zip(_COLUMNS, standard_errors(network, context.batch.images, context.batch.labels), strict=True))


def standard_errors(
    network: SmoothedNetwork, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Standard errors from the spread over the N antithetic pairs, which are independent of each other.

    With p_i the probability of the true class in pair i, g_i its gradient, p and g their means and q = p(1 - p), the
    gradient of the log-odds is g/q, and by the delta method its error is that of the mean of
    (g_i - g)/q - g (1 - 2p)(p_i - p)/q².

    Args:
        network: the smoothed network, with the draws whose error is asked for.
        x: images.
        labels: their classes.

    Returns:
        Standard error of the smoothed probability of the class; and that of the gradient of its log-odds, the root of
        the trace of its covariance, over the gradient's length. NaN where there is a single pair or no gradient.
    """
    n = network.pairs
    sums = [_sums(network, x, labels, *span) for span in network.passes(x)]
    p, rest, pp, g, gg, gp = (torch.stack(parts).sum(0) / n for parts in zip(*sums, strict=True))
    length = g.square().sum(1)
    skew = (rest - p) / (p * rest)
    variance = (pp - p.square()) / (n - 1) if n > 1 else torch.full_like(p, torch.nan)
    along = ((gp - g * p[:, None]) * g).sum(1)
    spread = (gg - length - 2 * skew * along) / (n - 1) + skew.square() * length * variance if n > 1 else variance
    error = (spread.clamp(min=0) / length).sqrt()
    return variance.clamp(min=0).sqrt(), error.where(error.isfinite(), torch.nan)


def _sums(network: SmoothedNetwork, x: Tensor, labels: Tensor, start: int, stop: int) -> tuple[Tensor, ...]:
    """Sums over some pairs of p, 1 - p, p², g, ‖g‖² and g p, in float64."""
    noisy = network.noisy(x, start, stop)
    b, n = noisy.shape[:2]
    classes = labels.repeat_interleave(n)
    logits, gradient = geometry.log_odds_gradient(network.network, noisy.flatten(0, 1), classes)
    odds = geometry.log_odds(logits.double(), classes)
    p, rest = odds.sigmoid(), (-odds).sigmoid()
    slope = (p * rest)[:, None] * gradient.flatten(1).double().nan_to_num()
    p, rest, g = (part.unflatten(0, (b, 2, n // 2)).mean(dim=1) for part in (p, rest, slope))
    return p.sum(1), rest.sum(1), p.square().sum(1), g.sum(1), g.square().sum((1, 2)), (g * p[..., None]).sum(1)
