"""Classes on one sphere: a curved manifold whose blurred densities and scores are known in closed form."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import SphereCard

_CENTRE = 0.5


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
    rng = np.random.default_rng([card.seed, 0])
    frame, _ = np.linalg.qr(rng.standard_normal((card.side**2, card.ambient)))
    directions = rng.standard_normal((card.classes, card.ambient))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return SphereClasses(
        _CENTRE, torch.from_numpy(frame), torch.from_numpy(directions), card.radius, card.concentration
    )


def sample(card: SphereCard) -> tuple[Float[Tensor, "n 1 h w"], Int[Tensor, "n"]]:
    """Draws `card.count` images, classes in turn."""
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
