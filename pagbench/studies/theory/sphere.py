"""After Theorem 2 on a curved manifold: the Bayes gradient is tangent up to the square of the blur, s(x|y) is not.

On the sphere R Q S^{p-1} at x = R Q v, von Mises-Fisher classes of directions m_c and concentration κ have, as the blur
σ vanishes, the scores κ/R (m_c)_T along the sphere and -(p - 1)/(2R) across it, since a blurred curved surface is
densest a little inside. Across it the Bayes gradient has only what differs between the classes,

    σ²/R³ · κ [(p - 1)/2 Δ(m·v) - κ/2 Δ‖m_T‖²],

where Δ is the class minus the mean of the others under their posterior. Tangent spaces of blurred images are those of
the clean images, a step of length σ/R away along the gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.data.sphere import SphereClasses
from pagbench.densities.von_mises_fisher import Sphere, VonMisesFisherMixture
from pagbench.studies.theory import closed_forms
from pagbench.studies.theory.claims import Claim
from pagbench.studies.theory.closed_forms import bayes_gradient, noise, normal_fraction, slope, worst

_SIGMAS = tuple(0.2 * 2.0**-halvings for halvings in range(6))
_POINTS, _REPEATS = 200, 32
CIRCLE_SIGMA = 0.2
_CIRCLE_POINTS = 14


class Circle(NamedTuple):
    """Two classes on a circle, for a drawing: points, and what two maps say at them, shape (points, 2)."""

    directions: Float[Tensor, "classes two"]
    points: Float[Tensor, "points two"]
    class_score: Float[Tensor, "points two"]
    bayes: Float[Tensor, "points two"]


class Curved(NamedTuple):
    """The experiment: fractions across the sphere, ‖(I - P)v‖/‖v‖, shape (sigmas, points).

    Attributes:
        sigmas: blurs, pixel units, falling.
        bayes: of the Bayes gradient at clean images.
        bayes_expected: its leading order.
        class_score: of s(x|y) at clean images.
        class_score_limit: for vanishing blur, shape (points,).
        blurred: of the Bayes gradient at blurred images.
        blurred_expected: its root mean square in leading order, shape (sigmas,).
        class_score_blurred: of s(x|y) at blurred images.
        circle: the same law where it can be drawn.
    """

    sigmas: Float[Tensor, "sigmas"]
    bayes: Float[Tensor, "sigmas points"]
    bayes_expected: Float[Tensor, "sigmas points"]
    class_score: Float[Tensor, "sigmas points"]
    class_score_limit: Float[Tensor, "points"]
    blurred: Float[Tensor, "sigmas points"]
    blurred_expected: Float[Tensor, "sigmas"]
    class_score_blurred: Float[Tensor, "sigmas points"]
    circle: Circle


def measure() -> Curved:
    """Runs the experiment on the sphere benchmark's classes."""
    classes, test = closed_forms.sphere_classes(), closed_forms.images("sphere", _POINTS)
    units, labels = _units(test.images, classes), test.labels
    density, x = VonMisesFisherMixture(classes), _images(units, classes, test.images.shape)
    clean, sigmas = [x] * len(_SIGMAS), torch.tensor(_SIGMAS, dtype=torch.float64)
    repeated, again = x.repeat(_REPEATS, 1, 1, 1), labels.repeat(_REPEATS)
    steps = noise(0, *repeated.shape)
    blurred = [repeated + sigma * steps for sigma in _SIGMAS]
    basis = Sphere(classes).tangent_basis(x)
    every = basis.repeat(_REPEATS, 1, 1)
    return Curved(
        sigmas=sigmas,
        bayes=_fractions(basis, clean, lambda at, sigma: bayes_gradient(density, sigma, at, labels)),
        bayes_expected=sigmas[:, None] ** 2 * bayes_coefficient(classes, units, labels),
        class_score=_fractions(basis, clean, lambda at, sigma: density.score(at, sigma, labels)),
        class_score_limit=class_score_limit(classes, units, labels),
        blurred=_fractions(every, blurred, lambda at, sigma: bayes_gradient(density, sigma, at, again)),
        blurred_expected=sigmas / classes.radius,
        class_score_blurred=_fractions(every, blurred, lambda at, sigma: density.score(at, sigma, again)),
        circle=_circle(classes),
    )


def bayes_coefficient(
    classes: SphereClasses, units: Float[Tensor, "b p"], labels: Int[Tensor, "b"]
) -> Float[Tensor, "b"]:
    """What the Bayes gradient's fraction across the sphere is of the squared blur, in leading order."""
    kappa, p = classes.concentration, units.shape[1]
    height = units @ classes.directions.T
    own = torch.nn.functional.one_hot(labels, height.shape[1]).bool()
    weights = own.double() - (kappa * height).masked_fill(own, -torch.inf).softmax(dim=1)
    across = (p - 1) / 2 * (weights * height).sum(1) - kappa / 2 * (weights * (1 - height.square())).sum(1)
    direction = weights @ classes.directions
    tangent = direction - (direction * units).sum(1, keepdim=True) * units
    return across.abs() / tangent.norm(dim=1) / classes.radius**2


def class_score_limit(
    classes: SphereClasses, units: Float[Tensor, "b p"], labels: Int[Tensor, "b"]
) -> Float[Tensor, "b"]:
    """The fraction of s(x|y) across the sphere for vanishing blur: a/√(a² + κ²‖m_T‖²), a = (p - 1)/2."""
    drift = (units.shape[1] - 1) / 2
    tangent = 1 - (units * classes.directions[labels]).sum(1).square()
    return drift / (drift**2 + classes.concentration**2 * tangent).sqrt()


def claims(result: Curved) -> list[Claim]:
    """What Theorem 2 predicts in the limit of vanishing blur, and what it does not say of s(x|y)."""
    after = "after Theorem 2"
    energy = result.blurred.square().mean(1)
    return [
        Claim(
            "the Bayes gradient leaves the sphere with the square of the blur",
            "‖Pₙg‖/‖g‖ = O(σ²)", after,
            abs(slope(result.sigmas, result.bayes.mean(1)) - 2), "of the slope from 2", 0.15,
        ),
        Claim(
            "by the leading order, at the smallest blur",
            "σ²/R² |(p-1)/2 Δ(m·v) - κ/2 Δ‖m_T‖²| / ‖Δm_T‖", "derived here from the von Mises-Fisher posterior",
            float((result.bayes[-1] - result.bayes_expected[-1]).abs().max() / result.bayes_expected[-1].mean()),
            "of the mean", 0.02,
        ),
        Claim(
            "the class score s(x|y), the paper's proxy, becomes tangent",
            "‖Pₙs‖/‖s‖ → a/√(a² + κ²‖m_T‖²), a = (p-1)/2", "derived here from the von Mises-Fisher posterior",
            worst(result.class_score[-1], result.class_score_limit), "relative", 0.02, control=True,
        ),
        Claim(
            "at blurred images it leaves the clean image's tangent space by σ/R",
            "E‖Pₙg‖²/‖g‖² = σ²/R²", "derived here: the tangent space turns by σ/R along g",
            worst(energy[-3:], result.blurred_expected[-3:].square()), "relative", 0.07,
        ),
    ]  # fmt: skip


def _fractions(
    basis: Float[Tensor, "b d k"], images: Sequence[Tensor], vectors: Callable[[Tensor, float], Tensor]
) -> Float[Tensor, "sigmas b"]:
    return torch.stack([normal_fraction(basis, vectors(x, s)) for x, s in zip(images, _SIGMAS, strict=True)])


def _units(images: Float[Tensor, "b c h w"], classes: SphereClasses) -> Float[Tensor, "b p"]:
    """The points v of images, to double precision."""
    v = (images.flatten(1).double() - classes.centre) @ classes.frame
    return v / v.norm(dim=1, keepdim=True)


def _images(units: Float[Tensor, "b p"], classes: SphereClasses, shape: torch.Size) -> Float[Tensor, "b c h w"]:
    return (classes.centre + classes.radius * units @ classes.frame.T).reshape(shape)


def _circle(classes: SphereClasses) -> Circle:
    """Two classes a third of a turn apart; the score's part along the circle has the sphere's ratio to that across."""
    angles = torch.tensor([np.pi / 6, 5 * np.pi / 6], dtype=torch.float64)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    pull = classes.concentration / (classes.frame.shape[1] - 1)
    plane = replace(
        classes, concentration=pull, centre=0.0, frame=torch.eye(2, dtype=torch.float64), directions=directions
    )
    turn = 2 * np.pi * (torch.arange(_CIRCLE_POINTS, dtype=torch.float64) + 0.5) / _CIRCLE_POINTS
    points = classes.radius * torch.stack([turn.cos(), turn.sin()], dim=1)
    density, x, first = VonMisesFisherMixture(plane), points[:, None, None], torch.zeros(len(points), dtype=torch.long)
    score, bayes = density.score(x, CIRCLE_SIGMA, first), bayes_gradient(density, CIRCLE_SIGMA, x, first)
    return Circle(directions, points, score.flatten(1), bayes.flatten(1))
