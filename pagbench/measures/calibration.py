"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599), fitted on images that are not measured."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

_RESAMPLES = 200
_LOG_RANGE = (-14.0, 14.0)


class Temperature(NamedTuple):
    """Temperature with its 95 % bootstrap interval over the calibration images."""

    value: float
    low: float
    high: float


def fit_temperature(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"], *, seed: int) -> Temperature:
    """T that minimises the NLL of logits/T; NaN where no T within [e⁻¹⁴, e¹⁴] does.

    None does for constant logits, or where no calibration image is wrong.

    Args:
        logits: of the calibration images.
        labels: their classes.
        seed: of the bootstrap.
    """
    z = (logits - logits.amax(1, keepdim=True)).double().cpu().numpy()
    y = labels.cpu().numpy()
    best = _fit(z, y)
    if abs(np.log(best)) > 0.99 * _LOG_RANGE[1]:
        return Temperature(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    resamples = (rng.integers(0, len(y), len(y)) for _ in range(_RESAMPLES))
    fitted = [_fit(z[index], y[index]) for index in resamples]
    return Temperature(best, *np.quantile(fitted, [0.025, 0.975]).tolist())


def _fit(logits: np.ndarray, labels: np.ndarray) -> float:
    own = logits[np.arange(len(labels)), labels]
    minimum = minimize_scalar(  # a lambda: tests would compile the check of a named function's types at every fit
        lambda t: np.mean(np.log(np.exp(logits * np.exp(-t)).sum(1)) - own * np.exp(-t)),
        bounds=_LOG_RANGE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(minimum.x))
