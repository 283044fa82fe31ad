"""Classes on one sphere: a curved manifold whose blurred densities and scores are known in closed form."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from pagbench.cards import Count, Positive
from pagbench.data.base import DatasetCard, LoadedImages, Tensor

_CENTRE = 0.5


class SphereCard(DatasetCard):
    """Classes on one sphere R·S^{p-1} around mid-grey: von Mises-Fisher, mean direction m_c, concentration kappa."""

    kind: Literal["sphere"]
    seed: int
    count: Count
    side: Count
    classes: Annotated[int, Field(ge=2)]
    ambient: Annotated[int, Field(ge=3)]
    """p: the sphere has dimension p - 1."""
    radius: Positive
    concentration: Positive

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """All that are drawn."""
        return (("", self.count),)

    def load(self) -> LoadedImages:
        """`count` images of shape (1, side, side), drawn from the seed."""
        images, labels = sample(self)
        return LoadedImages(images.numpy(), labels.numpy())


@dataclass(frozen=True)
class SphereClasses:
    """Parameters of x = centre + R Q v, v|c von Mises-Fisher(m_c, kappa), float64.

    Attributes:
        centre: pixel value of the sphere's centre.
        frame: orthonormal Q, shape (d, p).
        directions: unit m_c, shape (classes, p).
        radius: R, pixel units.
        concentration: kappa.
    """

    centre: float
    frame: Float[Tensor, "d p"]
    directions: Float[Tensor, "classes p"]
    radius: float
    concentration: float


def parameters(card: SphereCard) -> SphereClasses:
    """Draws the frame and the mean directions that a card's seed fixes; classes are equally likely."""
    import torch

    rng = np.random.default_rng([card.seed, 0])
    frame, _ = np.linalg.qr(rng.standard_normal((card.side**2, card.ambient)))
    directions = rng.standard_normal((card.classes, card.ambient))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return SphereClasses(
        _CENTRE, torch.from_numpy(frame), torch.from_numpy(directions), card.radius, card.concentration
    )


def sample(card: SphereCard) -> tuple[Float[Tensor, "n 1 h w"], Int[Tensor, "n"]]:
    """Draws `card.count` images, classes in turn."""
    import torch
    from scipy.stats import vonmises_fisher  # slow to import

    classes = parameters(card)
    rng = np.random.default_rng([card.seed, 1])
    labels = np.arange(card.count) % card.classes
    points = np.empty((card.count, card.ambient))
    for label, direction in enumerate(classes.directions.numpy()):
        chosen = labels == label
        points[chosen] = vonmises_fisher(direction, card.concentration).rvs(int(chosen.sum()), random_state=rng)
    images = classes.centre + classes.radius * torch.from_numpy(points) @ classes.frame.T
    return images.float().reshape(-1, 1, card.side, card.side), torch.from_numpy(labels)
