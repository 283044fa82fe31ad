"""After Theorem 1: as noise shrinks, off-manifold robustness tends to the off-manifold energy of the gradient.

For u ~ N(0, s² I), P the projector on the tangent space and g = ∇f(x),

    ρ₁(s) = E|f(x + (I - P)u) - f(x)|² / E|f(x + u) - f(x)|²,   ρ₂ = ‖(I - P)g‖²/‖g‖²,

and ρ₁(s) - ρ₂ = O(s²): the third moments of u vanish, so that the first correction is of fourth order over second.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import benchmarks, geometry
from pagbench.studies.theory import closed_forms
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.closed_forms import Subject, normal_part

NETWORKS = ("gaussians/standard", "gaussians/gradient-norm-1")
_DRAWS = 2048
_HALVINGS = range(-3, 8)
_SMALL = 1 / 16
"""Standard deviations up to this share of the blur are small: there the quartering is asserted."""


class Estimate(NamedTuple):
    """Monte Carlo means with their standard errors."""

    value: Float[Tensor, "*shape"]
    error: Float[Tensor, "*shape"]


class Curve(NamedTuple):
    """What was measured of a subject.

    Attributes:
        title: of the subject.
        energy: ρ₂.
        plain: ρ₁(s), from nothing but changes of f.
        gap: ρ₁(s) - ρ₂, from the same draws; the mean square of the linear part g·u is taken exactly.
        squares: E|f(x + u) - f(x)|² and the same for (I - P)u, as for `gap`.
    """

    title: str
    energy: Float[Tensor, "images"]
    plain: Estimate
    gap: Estimate
    squares: Estimate


class Equivalence(NamedTuple):
    """The experiment.

    Attributes:
        stds: s, pixel units, falling.
        small: the largest s that counts as small.
        quadratic: log-odds of two Gaussian classes.
        squares: the closed form of `quadratic.squares`.
        others: functions without closed form.
        linear: log-odds of two Gaussian classes with one covariance.
    """

    stds: Float[Tensor, "stds"]
    small: float
    quadratic: Curve
    squares: Float[Tensor, "images stds two"]
    others: tuple[Curve, ...]
    linear: Curve

    @property
    def closed(self) -> Float[Tensor, "images stds"]:
        """ρ₁(s) of the quadratic in closed form."""
        return self.squares[..., 1] / self.squares[..., 0]


def measure(draws_each: int = _DRAWS) -> Equivalence:
    """Runs the experiment on the Gaussian benchmarks.

    Args:
        draws_each: pairs of opposite noises per image.
    """
    sigma = benchmarks.load("gaussians").sigma
    stds = [sigma * 2.0**-halvings for halvings in _HALVINGS]
    quadratic, others = closed_forms.two_classes(), (closed_forms.four_classes(), *map(closed_forms.network, NETWORKS))
    return Equivalence(
        stds=torch.tensor(stds, dtype=torch.float64),
        small=_SMALL * sigma,
        quadratic=_curve(quadratic, stds, draws_each),
        squares=_closed_squares(quadratic, sigma, stds),
        others=tuple(_curve(subject, stds, draws_each) for subject in others),
        linear=_curve(closed_forms.one_covariance(), stds, draws_each),
    )


def mean_square(
    gradient: Float[Tensor, "d"], hessian: Float[Tensor, "d d"], projector: Float[Tensor, "d d"], std: float
) -> Float[Tensor, ""]:
    """E|f(x + u) - f(x)|² of a quadratic f for u ~ N(0, s² Q): s²‖Q g‖² + s⁴/4 (2‖Q A Q‖²_F + tr(Q A)²)."""
    curvature = projector @ hessian @ projector
    fourth = 2 * curvature.square().sum() + curvature.trace().square()
    return std**2 * (projector @ gradient).square().sum() + std**4 / 4 * fourth


def claims(result: Equivalence) -> list[Claim]:
    """What Theorem 1 and the closed form predict."""
    after, quadratic = "after Theorem 1", result.quadratic
    small = result.stds <= result.small * (1 + 1e-9)
    gaps = torch.cat([curve.gap.value for curve in result.others])
    return [
        Claim(
            "ρ₁ - ρ₂ quarters when s is halved, in closed form",
            "ρ₁(s) = [‖Pₙg‖² + s²/4 (2‖PₙAPₙ‖² + tr(PₙA)²)] / [‖g‖² + s²/4 (2‖A‖² + tr(A)²)]",
            f"{after}; Gaussian moments",
            _quartering((result.closed - quadratic.energy[:, None])[:, small]), "of the ratio from 4", 0.1,
        ),
        Claim(
            "measured ρ₁ is the closed form's", "ρ₁(s) as above", "Gaussian moments",
            _errors(quadratic.plain, result.closed), "standard errors", 4.0,
        ),
        Claim(
            "measured mean squares are the closed form's",
            "E|Δf|² = s²‖Qg‖² + s⁴/4 (2‖QAQ‖² + tr(QA)²), Q = I or Pₙ", "Gaussian moments",
            _errors(quadratic.squares, result.squares), "standard errors", 4.0,
        ),
        Claim(
            "ρ₁ - ρ₂ quarters where there is no closed form, measured",
            "ρ₁(s) = ρ₂ + O(s²)", after, _quartering(gaps[:, small]), "of the ratio from 4", 0.1,
        ),
        Claim(
            "ρ₁ = ρ₂ at every s for linear f", "E(g·Qu)² = s²‖Qg‖²", after,
            float(result.linear.gap.value.abs().max()), "of ρ₁", 1e-9,
        ),
    ]  # fmt: skip


def _quartering(gap: Float[Tensor, "images stds"]) -> float:
    return float((gap[:, :-1] / gap[:, 1:] - 4).abs().max())


def _errors(measured: Estimate, expected: Float[Tensor, "*shape"]) -> float:
    return float(((measured.value - expected) / measured.error).abs().max())


def _closed_squares(subject: Subject, sigma: float, stds: Sequence[float]) -> Float[Tensor, "images stds two"]:
    precision = closed_forms.two_densities().precision(sigma)
    identity = torch.eye(len(precision[0]), dtype=torch.float64)
    gradient = geometry.log_odds_gradient(subject.classifier, subject.x, subject.labels).gradient.flatten(1)
    projectors = identity, identity - subject.basis[0] @ subject.basis[0].T
    rows = [
        torch.stack([mean_square(g, precision[0] - precision[1], projector, std) for projector in projectors])
        for g in gradient
        for std in stds
    ]
    return torch.stack(rows).unflatten(0, (len(gradient), len(stds)))


def _curve(subject: Subject, stds: Sequence[float], count: int) -> Curve:
    gradient = geometry.log_odds_gradient(subject.classifier, subject.x, subject.labels).gradient
    parts = torch.stack([gradient.flatten(1), normal_part(subject.basis, gradient)], dim=1)
    length = parts.square().sum(2)
    measured = [_at_image(subject, index, parts[index, 0], stds, count) for index in range(len(gradient))]
    squared, linear = (torch.stack(each) for each in zip(*measured, strict=True))
    exact = torch.tensor(stds, dtype=torch.float64).square()[:, None] * length[:, None]
    reduced = squared - linear + exact[:, None]
    energy = length[:, 1] / length[:, 0]
    gap = _ratio(reduced)
    return Curve(
        subject.title, energy, _ratio(squared), Estimate(gap.value - energy[:, None], gap.error),
        Estimate(reduced.mean(1), reduced.std(1) / count**0.5),
    )  # fmt: skip


def _at_image(
    subject: Subject, index: int, gradient: Float[Tensor, "d"], stds: Sequence[float], count: int
) -> tuple[Float[Tensor, "n stds two"], Float[Tensor, "n stds two"]]:
    """|Δf|² of u and of (I - P)u, mean of both signs, and (g·u)² likewise, by draw and standard deviation."""
    x, label, basis = subject.x[index : index + 1], subject.labels[index : index + 1], subject.basis[index : index + 1]
    generator = geometry.generator(0, "theory", str(index))
    u = torch.from_numpy(generator.standard_normal((count, x.numel())))
    off = u - geometry.project(basis, u.T[None])[0].T
    steps = torch.stack([u, -u, off, -off], dim=1)
    moved = geometry.moved_logits(subject.classifier, x.expand(count, *x.shape[1:]), steps, stds)
    with torch.no_grad():
        still = geometry.log_odds(subject.classifier(x), label)
    ahead = geometry.log_odds(moved.flatten(0, 2), label.expand(moved[..., 0].numel())).unflatten(0, moved.shape[:3])
    squared = (ahead - still).square().unflatten(2, (2, 2)).mean(3)
    lengths = torch.tensor(stds, dtype=torch.float64)[:, None]
    return squared, (lengths * (steps[:, ::2] @ gradient)[:, None]).square()


def _ratio(squares: Float[Tensor, "images n stds two"]) -> Estimate:
    """Mean of (I - P)u over mean of u, with the delta method's error."""
    every, off = squares.unbind(3)
    value = off.mean(1) / every.mean(1)
    error = (off - value[:, None] * every).std(1) / (every.mean(1) * every.shape[1] ** 0.5)
    return Estimate(value, error)
