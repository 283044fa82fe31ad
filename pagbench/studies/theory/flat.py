"""After Theorem 2 on flat manifolds: the Bayes gradient stays in a span that the classes share, and in no other.

With one covariance, δ the difference of the means and v = noise² + sigma², the Bayes gradient is Σ⁻¹δ (linear
discriminant analysis): U diag(1/(l + v)) Uᵀδ in the span U and (I - P)δ/v off it. Classes whose means differ off the
span live on different manifolds: what little they differ there counts (l + v)/v times as much.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import benchmarks
from pagbench.data import gaussians
from pagbench.data.gaussians import GaussiansCard
from pagbench.densities.gaussian_mixture import GaussianMixture, LinearSpan
from pagbench.studies.theory import closed_forms
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.closed_forms import bayes_gradient, noise, normal_fraction

_AWAY = 10.0
"""Standard deviation of points far from all data, pixel units."""
_OFFSETS = tuple(0.005 * step for step in range(1, 17))
_SIGMAS = tuple(0.0075 * 2.0 ** (step / 2) for step in range(15))


class Separation(NamedTuple):
    """Energy off the span: of the difference of the means, and of the Bayes gradient measured and in closed form."""

    sigma: float
    offset: float
    measured: float
    expected: float


class Flat(NamedTuple):
    """The experiment.

    Attributes:
        shared: ‖(I - P)g‖/‖g‖ on the benchmark whose classes share the span, at its images and far from them.
        published: the benchmark whose means differ off the span.
        by_offset: the same with smaller and larger offsets.
        by_sigma: the published one under less and more blur.
    """

    shared: Float[Tensor, "points"]
    published: Separation
    by_offset: tuple[Separation, ...]
    by_sigma: tuple[Separation, ...]


def measure() -> Flat:
    """Runs the experiment on the Gaussian benchmarks."""
    card, sigma = closed_forms.gaussian_card("gaussians-off-span"), benchmarks.load("gaussians-off-span").sigma
    wider = [card.model_copy(update={"off_span": offset}) for offset in _OFFSETS]
    return Flat(
        shared=_shared(),
        published=_separation(card, sigma),
        by_offset=tuple(_separation(each, sigma) for each in wider),
        by_sigma=tuple(_separation(card, blur) for blur in _SIGMAS),
    )


def claims(result: Flat) -> list[Claim]:
    """What Theorem 2 predicts of flat manifolds, and where it is predicted to fail."""
    every = [result.published, *result.by_offset, *result.by_sigma]
    return [
        Claim(
            "the Bayes gradient stays in a span that the classes share, at any point",
            "(I - P)g = 0", "after Theorem 2", float(result.shared.max()), "of ‖g‖", 1e-10,
        ),
        Claim(
            "it stays in the span even where the means leave it",
            "‖Pₙg‖²/‖g‖² = ‖Pₙδ‖²/v² / (‖Pₙδ‖²/v² + Σ (Uᵀδ)ᵢ²/(lᵢ + v)²)", "linear discriminant analysis",
            max(abs(each.measured / each.expected - 1) for each in every), "relative", 1e-9, control=True,
        ),
    ]  # fmt: skip


def _shared() -> Float[Tensor, "points"]:
    classes, test = closed_forms.gaussian_classes("gaussians"), closed_forms.images("gaussians")
    x = torch.cat([test.images.double(), _AWAY * noise(0, *test.images.shape)])
    gradient = bayes_gradient(GaussianMixture(classes), benchmarks.load("gaussians").sigma, x, test.labels.repeat(2))
    return normal_fraction(LinearSpan(classes.basis).tangent_basis(x), gradient)


def _separation(card: GaussiansCard, sigma: float) -> Separation:
    classes = gaussians.parameters(card)
    delta = classes.means[1] - classes.means[0]
    along = classes.basis.T @ delta
    off = delta - classes.basis @ along
    v = classes.noise**2 + sigma**2
    inside = (along / (classes.variances[0] + v)).square().sum()
    outside = (off / v).square().sum()
    x = classes.means[:1].reshape(1, 1, card.side, card.side)
    gradient = bayes_gradient(GaussianMixture(classes), sigma, x, torch.ones(1, dtype=torch.long))
    fraction = normal_fraction(LinearSpan(classes.basis).tangent_basis(x), gradient)
    return Separation(
        sigma=sigma,
        offset=float(off.square().sum() / delta.square().sum()),
        measured=float(fraction.square()),
        expected=float(outside / (inside + outside)),
    )
