"""Low-rank Gaussian classes in closed form: score, Hessian, posterior covariance, and the span as tangent space."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard, ScoreCard
from pagbench.data import Dataset, gaussians
from pagbench.data.gaussians import GaussianClasses, GaussiansCard
from pagbench.densities.scores import ClassMixture, ScoreModel, flat_exact


class GaussianMixture(ClassMixture):
    """Equally likely classes N(mu_c, U L_c Uᵀ + noise² I), blurred with N(0, sigma² I).

    With v = noise² + sigma²: Σ_c⁻¹ = (I - U diag(l_i/(l_i + v)) Uᵀ)/v and log det Σ_c = Σ log(l_i + v) + (d - k) log v.
    """

    def __init__(self, classes: GaussianClasses) -> None:
        self._classes = classes

    def _residuals(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes d"]:
        return flat_exact(x, self._classes.means)[:, None] - self._classes.means

    def _apply_precision(self, r: Float[Tensor, "b classes d"], sigma: float) -> Float[Tensor, "b classes d"]:
        v = self._classes.noise**2 + sigma**2
        u, shrink = self._classes.basis, self._classes.variances / (self._classes.variances + v)
        return (r - ((r @ u) * shrink) @ u.T) / v

    def precision(self, sigma: float) -> Float[Tensor, "classes d d"]:
        """Σ_c⁻¹ of the blurred classes."""
        d = len(self._classes.basis)
        identity = torch.eye(d, dtype=torch.float64, device=self._classes.basis.device)
        repeated = identity[:, None].expand(d, len(self._classes.means), d)
        return self._apply_precision(repeated, sigma).transpose(0, 1)

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(c) + log N(x; mu_c, Σ_c), normalised."""
        r = self._residuals(x)
        d, k = self._classes.basis.shape
        v = self._classes.noise**2 + sigma**2
        log_det = (self._classes.variances + v).log().sum(1) + (d - k) * math.log(v)
        mahalanobis = (r * self._apply_precision(r, sigma)).sum(2)
        return -0.5 * (mahalanobis + log_det + d * math.log(2 * math.pi)) - math.log(len(log_det))

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """-Σ_c⁻¹ (x - mu_c)."""
        return -self._apply_precision(self._residuals(x), sigma).unflatten(2, x.shape[1:])

    def hessian(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """∇² log p_sigma(x) = Σ_c r_c (-Σ_c⁻¹ + s_c s_cᵀ) - s sᵀ, r the posterior."""
        r = self.posterior(x, sigma)
        s_c = self.class_scores(x, sigma).flatten(2)
        s = torch.einsum("bk,bkd->bd", r, s_c)
        mean_precision = torch.einsum("bk,kde->bde", r, self.precision(sigma))
        return torch.einsum("bk,bkd,bke->bde", r, s_c, s_c) - mean_precision - torch.einsum("bd,be->bde", s, s)

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """sigma² (I + sigma² ∇² log p_sigma(x))."""
        hessian = self.hessian(x, sigma)
        return sigma**2 * (torch.eye(hessian.shape[1], dtype=hessian.dtype, device=hessian.device) + sigma**2 * hessian)


class LinearSpan:
    """The same linear tangent space everywhere.

    Args:
        basis: orthonormal columns, shape (d, k).
    """

    def __init__(self, basis: Float[Tensor, "d k"]) -> None:
        self._basis, self.rank = basis, basis.shape[1]

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The span's basis, once per image; see `pagbench.densities.manifolds.Manifold`."""
        return self._basis.expand(len(x), *self._basis.shape)


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> GaussianMixture:
    """The density that the data set is drawn from."""
    assert isinstance(benchmark.dataset, GaussiansCard)  # by the table of kinds, as below
    return GaussianMixture(gaussians.parameters(benchmark.dataset))


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> LinearSpan:
    """The span that all classes share."""
    assert isinstance(benchmark.dataset, GaussiansCard)
    return LinearSpan(gaussians.parameters(benchmark.dataset).basis)
