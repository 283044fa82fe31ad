"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599), fitted on images that are not measured."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

_RESAMPLES = 200
_LOG_RANGE = (-14.0, 14.0)
_STEPS = 200
_RESOLUTION = 1e-12
"""Of log T, where the steps to an exact one end."""
_STRIDE = 2.0
"""Of log T: the longest such step."""


class Temperature(NamedTuple):
    """Temperature with its 95 % bootstrap interval over the calibration images."""

    value: float
    low: float
    high: float


NONE = Temperature(np.nan, np.nan, np.nan)
ONE = Temperature(1.0, 1.0, 1.0)


class Calibrated(nn.Module):
    """A classifier whose logits are divided by a temperature, here and nowhere else.

    In float64, and rounded once: logits that are small or large as a whole lose nothing by that. The network stays
    reachable under its name, for what asks whether it is smoothed.

    Args:
        classifier: pixels in [0, 1] → logits.
        temperature: positive, finite.
    """

    def __init__(self, classifier: nn.Module, temperature: float) -> None:
        super().__init__()
        self.classifier, self.temperature = classifier, temperature
        self.network = getattr(classifier, "network", None)
        self.training = classifier.training

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits over the temperature, in the logits' own precision."""
        logits: Tensor = self.classifier(x)
        return (logits.double() / self.temperature).to(logits.dtype)


def fit_temperature(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"], *, seed: int, exact: bool = False
) -> Temperature:
    """T that minimises the NLL of logits/T; NaN where none does.

    None does for constant logits, for logits that order the classes no better than chance, or where no calibration
    image is wrong.

    There are two ways to find it, for published rows do not change. What divides all outputs has to be exact: logits a
    times as large have a times the temperature, to 1e-9 of it. First editions, where it changes two columns only, stop
    within 1e-6 of log T and look no further than [e⁻¹⁴, e¹⁴]; at twelve digits their rows would differ.

    Args:
        logits: of the calibration images.
        labels: their classes.
        seed: of the bootstrap.
        exact: to rounding, wherever the minimum is.
    """
    y = labels.cpu().numpy()
    if exact:
        z, scale = _normalised(logits)
        fit = _newton
    else:
        z, scale = (logits - logits.amax(1, keepdim=True)).double().cpu().numpy(), 1.0
        fit = _bounded
    best = fit(z, y)
    if not 0 < best < np.inf or (not exact and abs(np.log(best)) > 0.99 * _LOG_RANGE[1]):
        return NONE
    rng = np.random.default_rng(seed)
    resamples = (rng.integers(0, len(y), len(y)) for _ in range(_RESAMPLES))
    fitted = [fit(z[index], y[index]) for index in resamples]
    with np.errstate(invalid="ignore"):  # a bound next to a resample without a temperature is none
        low, high = (scale * np.quantile(fitted, [0.025, 0.975])).tolist()
    return Temperature(scale * best, *(bound if np.isfinite(bound) else np.nan for bound in (low, high)))


def _normalised(logits: Float[Tensor, "n k"]) -> tuple[NDArray[np.float64], float]:
    """Logits less each row's largest one, in units of their spread, and that unit; zeros where there is no such."""
    z = logits.double().cpu().numpy()
    if not np.isfinite(z).all():
        return np.zeros_like(z), 1.0
    z = z - z.max(1, keepdims=True)
    scale = float(np.sqrt(np.mean((z - z.mean(1, keepdims=True)) ** 2)))
    return (z / scale, scale) if scale > 0 else (z, 1.0)


def _bounded(logits: np.ndarray, labels: np.ndarray) -> float:
    own = logits[np.arange(len(labels)), labels]
    minimum = minimize_scalar(  # a lambda: tests would compile the check of a named function's types at every fit
        lambda t: np.mean(np.log(np.exp(logits * np.exp(-t)).sum(1)) - own * np.exp(-t)),
        bounds=_LOG_RANGE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(minimum.x))


def _newton(logits: np.ndarray, labels: np.ndarray) -> float:
    """1/b for the root b of the slope of the NLL of b·logits, which is convex in b; 0 or infinity where it has none.

    Newton's method on log b, halving the bracket where it leaves that.

    Args:
        logits: the largest of each row 0, and of order one: then the root is, too, but for degenerate networks.
        labels: classes.
    """
    own = logits[np.arange(len(labels)), labels]
    if np.mean(logits.mean(1) - own) >= 0:
        return np.inf
    if np.mean(own) >= 0:
        return 0.0  # no image is wrong, ties aside
    low, high, at = -np.inf, np.inf, 0.0  # of log b
    for _ in range(_STEPS):
        b = np.exp(at)
        weights = np.exp(b * logits)
        weights /= weights.sum(1, keepdims=True)
        means = (weights * logits).sum(1)
        slope = float(np.mean(means - own))
        curvature = float(np.mean((weights * logits**2).sum(1) - means**2))
        low, high = (at, high) if slope < 0 else (low, at)
        step = abs(slope) / (b * curvature) if b * curvature > 0 else np.inf
        if min(step, high - low) <= _RESOLUTION:
            break
        following = at + np.copysign(min(step, _STRIDE), -slope)
        at = following if low < following < high else (low + high) / 2
    return float(np.exp(-at))
