"""Densities that are mixtures of class densities: their scores, posteriors and denoisers."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor


def flat_exact(x: Float[Tensor, "b c h w"], like: Tensor) -> Float[Tensor, "b d"]:
    """Flattened images in float64 on the parameters' device; moved before they are widened, for MPS has no float64."""
    return x.flatten(1).to(like.device).to(like.dtype)


class ClassMixture(ABC):
    """p(x) = Σ_c p(c) p(x|c), every p(x|c) blurred with N(0, sigma² I); exact, in float64.

    Subclasses give the two class-wise quantities; everything else follows from them.
    """

    @abstractmethod
    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c) = log p(c) + log p_sigma(x|c), differentiable in x."""

    @abstractmethod
    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """∇x log p_sigma(x|c) for every class."""

    @abstractmethod
    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Cov(x0 | x) of the clean image given the noisy one: sigma² times the denoiser's Jacobian."""

    def placed(self, dtype: torch.dtype, device: torch.device) -> "ClassMixture":
        """The same density computed in another precision and on another device; itself where it has no choice."""
        return self

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "ClassMixture":
        """The density to use at its own training images: at each of them, that of all others.

        Itself where it does not consist of training images.

        Args:
            dtype: float32 is enough to train on, and faster.
            device: where to compute.
        """
        return self

    def posterior(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """p_sigma(c|x)."""
        return self.log_joint(x, sigma).softmax(dim=1)

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """∇x log p_sigma(x|labels), or ∇x log p_sigma(x) without labels; see `pagbench.densities.scores.ScoreModel`."""
        scores = self.class_scores(x, sigma)
        if labels is not None:
            return scores[torch.arange(len(x), device=scores.device), labels.to(scores.device)]
        return torch.einsum("bk,bkchw->bchw", self.posterior(x, sigma), scores)

    def log_odds_gradient(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """∇x log p(y|x)/(1 - p(y|x)) = s(x|y) - s(x|not y), which is (s(x|y) - s(x))/(1 - p(y|x)).

        Computed without that difference, so that it is exact for images of a class that is all but certain.
        """
        scores = self.class_scores(x, sigma)
        labels = labels.to(scores.device)
        own = torch.nn.functional.one_hot(labels, scores.shape[1]).bool()
        others = self.log_joint(x, sigma).masked_fill(own, -torch.inf).softmax(dim=1)
        against = torch.einsum("bk,bkchw->bchw", others, scores)
        return scores[torch.arange(len(x), device=scores.device), labels] - against

    def denoise(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """E[x0 | x] = x + sigma² score(x) (Tweedie's formula; Efron 2011)."""
        return x + sigma**2 * self.score(x, sigma, labels)
