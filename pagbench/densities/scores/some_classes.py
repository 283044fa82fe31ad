"""Densities of which not every class has a share."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.densities.scores.class_mixture import ClassMixture


class SomeClasses(ClassMixture):
    """A mixture of some of a data set's classes: the others have no mass and no score.

    Args:
        mixture: of the classes that are present, numbered from 0.
        present: their numbers among all, ascending.
        classes: number of all.
    """

    def __init__(self, mixture: ClassMixture, present: Int[Tensor, "p"], classes: int) -> None:
        self._mixture, self._present, self._classes = mixture, present, classes

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c); minus infinity for absent classes."""
        found = self._mixture.log_joint(x, sigma)
        return found.new_full((len(x), self._classes), -torch.inf).index_copy(1, self._present.to(found.device), found)

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """∇x log p_sigma(x|c); NaN for absent classes."""
        found = self._mixture.class_scores(x, sigma)
        every = found.new_full((len(x), self._classes, *x.shape[1:]), torch.nan)
        return every.index_copy(1, self._present.to(found.device), found)

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """That of the mixture; see `pagbench.densities.scores.ScoreModel`."""
        return self._mixture.score(x, sigma, None if labels is None else self._position(labels))

    def log_odds_gradient(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """That of the mixture: absent classes are in no sum; see `ClassMixture`."""
        return self._mixture.log_odds_gradient(x, sigma, self._position(labels))

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """That of the mixture."""
        return self._mixture.posterior_covariance(x, sigma)

    def _position(self, labels: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Numbers among the present classes.

        Raises:
            ValueError: a label is of an absent class.
        """
        found = labels.to(self._present.device)
        position = torch.searchsorted(self._present, found).clamp(max=len(self._present) - 1)
        if not torch.equal(self._present[position], found):
            raise ValueError("a label is of a class without training images")
        return position
