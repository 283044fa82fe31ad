"""Gaussian classes on one low-dimensional linear manifold: everything about them is known in closed form."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from pagbench.cards import Count, Positive
from pagbench.data.base import DatasetCard, LoadedImages, Tensor

_CENTRE = 0.5


class GaussiansCard(DatasetCard):
    """Low-rank Gaussian classes around mid-grey: x|c = 1/2 + mu_c + U L_c^{1/2} z + noise e, U shared by all."""

    kind: Literal["gaussians"]
    seed: int
    count: Count
    side: Count
    classes: Annotated[int, Field(ge=2)]
    rank: Count
    noise: Positive
    """Standard deviation of the isotropic part, pixel units."""
    spread: tuple[Positive, Positive]
    """Smallest and largest standard deviation along the shared span."""
    separation: Positive
    """Standard deviation of the class means along the shared span."""
    off_span: Annotated[float, Field(ge=0)] = 0.0
    """Distance of the two extreme class means off the span; 0 where the classes share the manifold."""
    shared_covariance: bool = False

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """All that are drawn."""
        return (("", self.count),)

    def load(self) -> LoadedImages:
        """`count` images of shape (1, side, side), drawn from the seed."""
        images, labels = sample(self)
        return LoadedImages(images.numpy(), labels.numpy())


@dataclass(frozen=True)
class GaussianClasses:
    """Parameters of x|c = mu_c + U L_c^{1/2} z + noise·e, float64.

    Attributes:
        means: mu_c, shape (classes, d), pixel units.
        basis: orthonormal U, shape (d, rank).
        variances: diagonal of L_c, shape (classes, rank).
        noise: standard deviation of the isotropic part.
    """

    means: Float[Tensor, "classes d"]
    basis: Float[Tensor, "d rank"]
    variances: Float[Tensor, "classes rank"]
    noise: float


def parameters(card: GaussiansCard) -> GaussianClasses:
    """Draws the distribution that a card's seed fixes; classes are equally likely."""
    import torch

    rng = np.random.default_rng([card.seed, 0])
    d = card.side**2
    frame, _ = np.linalg.qr(rng.standard_normal((d, card.rank + 1)))
    span, normal = frame[:, : card.rank], frame[:, card.rank]
    coordinates = card.separation * rng.standard_normal((card.classes, card.rank))
    offset = card.off_span * np.linspace(-0.5, 0.5, card.classes)[:, None] * normal
    spread = rng.uniform(*card.spread, size=(card.classes, card.rank))
    if card.shared_covariance:
        spread[:] = spread[0]
    return GaussianClasses(
        means=torch.from_numpy(_CENTRE + coordinates @ span.T + offset),
        basis=torch.from_numpy(span.copy()),
        variances=torch.from_numpy(spread**2),
        noise=card.noise,
    )


def sample(card: GaussiansCard) -> tuple[Float[Tensor, "n 1 h w"], Int[Tensor, "n"]]:
    """Draws `card.count` images, classes in turn."""
    import torch

    classes = parameters(card)
    rng = np.random.default_rng([card.seed, 1])
    labels = torch.arange(card.count) % card.classes
    latent = torch.from_numpy(rng.standard_normal((card.count, card.rank)))
    noise = torch.from_numpy(rng.standard_normal((card.count, card.side**2)))
    along = (classes.variances[labels].sqrt() * latent) @ classes.basis.T
    images = classes.means[labels] + along + classes.noise * noise
    return images.float().reshape(-1, 1, card.side, card.side), labels
