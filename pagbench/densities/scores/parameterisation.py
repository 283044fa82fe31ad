"""Conversions between what diffusion networks predict and what pagbench needs, the score in pixel units.

Notation: x_t = alpha x_0 + spread e with e standard normal.

- VE: alpha = 1, spread = sigma.
- VP: alpha = √ā, spread = √(1 - ā).
- Rectified flow: alpha = 1 - t, spread = t.

The noise level of all three in data units is sigma = spread/alpha, at x_t/alpha.

Reference: Karras et al. 2022, arXiv 2206.00364 (noise levels, preconditioning); Salimans & Ho 2022, arXiv 2202.00512.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Level(NamedTuple):
    """One noise level: x_t = alpha x_0 + spread e."""

    alpha: float
    spread: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in data units, spread/alpha."""
        return self.spread / self.alpha


def variance_exploding(sigma: float) -> Level:
    """VE level of a noise standard deviation."""
    return Level(1.0, sigma)


def variance_preserving(sigma: float) -> Level:
    """VP level (alpha² + spread² = 1) with the same noise-to-signal ratio: ā = 1/(1 + sigma²)."""
    alpha = 1 / math.sqrt(1 + sigma**2)
    return Level(alpha, sigma * alpha)


def rectified_flow(sigma: float) -> Level:
    """Level of the straight path x_t = (1 - t) x_0 + t e with t/(1 - t) = sigma."""
    t = sigma / (1 + sigma)
    return Level(1 - t, t)


def clean_from_noise(
    x: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """x_0 of a network that predicts e."""
    return (x - level.spread * noise) / level.alpha


def noise_from_clean(
    x: Float[Tensor, "*shape"], clean: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """The noise e that belongs to a prediction of x_0."""
    return (x - level.alpha * clean) / level.spread


def clean_from_velocity(
    x: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """x_0 of a network that predicts v = alpha e - spread x_0 (VP levels only)."""
    return level.alpha * x - level.spread * v


def clean_from_flow(x: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"], level: Level) -> Float[Tensor, "*shape"]:
    """x_0 of a network that predicts the velocity u = e - x_0 of a rectified flow."""
    return x - level.spread * u


def score_from_clean(
    x: Float[Tensor, "*shape"], clean: Float[Tensor, "*shape"], sigma: float
) -> Float[Tensor, "*shape"]:
    """(D - x)/sigma², the VE score at x (Tweedie's formula)."""
    return (clean - x) / sigma**2


def score_from_noise(noise: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """-e/sigma, the VE score at x_t/alpha."""
    return -noise / sigma


def to_unit_pixels(score: Float[Tensor, "*shape"], sigma: float) -> tuple[Float[Tensor, "*shape"], float]:
    """Score at 2x - 1 and sigma of a network on [-1, 1] in units of pixels in [0, 1]: twice and half as large."""
    return 2 * score, sigma / 2


def linear_schedule(steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> Float[Tensor, "steps"]:
    """Noise levels sigma_t = √((1 - ā_t)/ā_t) of the DDPM schedule, t from 0 (Ho et al. 2020, arXiv 2006.11239)."""
    kept = torch.cumprod(1 - torch.linspace(first, last, steps, dtype=torch.float64), dim=0)
    return ((1 - kept) / kept).sqrt()


def nearest_step(levels: Float[Tensor, "steps"], sigma: float) -> int:
    """The step whose noise level is nearest to sigma, in the logarithm.

    >>> nearest_step(linear_schedule(), 0.5)
    144
    """
    return int((levels.log() - math.log(sigma)).abs().argmin())


class Preconditioning(NamedTuple):
    """D(x) = skip·x + out·F(in·x, noise), F the raw network (Karras et al. 2022, table 1)."""

    skip: float
    out: float
    input: float
    noise: float


def precondition(sigma: float, data_std: float = 0.5) -> Preconditioning:
    """EDM's coefficients for one noise level."""
    total = sigma**2 + data_std**2
    return Preconditioning(
        data_std**2 / total, sigma * data_std / math.sqrt(total), 1 / math.sqrt(total), math.log(sigma) / 4
    )
