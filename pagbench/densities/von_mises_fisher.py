"""Von Mises-Fisher classes on a sphere, blurred, in closed form: score, Bayes classifier, and the curved manifold."""

import math
from typing import Any

import torch
from jaxtyping import Float
from scipy.special import ive
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard, ScoreCard
from pagbench.data import Dataset, sphere
from pagbench.data.sphere import SphereCard, SphereClasses
from pagbench.densities.scores import ClassMixture, ScoreModel, flat_exact


def _ratio(order: float, k: Tensor) -> Tensor:
    values = k.detach().cpu().numpy()
    return torch.as_tensor(ive(order + 1, values) / ive(order, values)).to(k)


class _BesselRatio(torch.autograd.Function):
    """A = I_{order+1}/I_order by SciPy, with its derivative A' = 1 - A² - (2·order + 1) A/k."""

    @staticmethod
    def forward(ctx: Any, order: float, k: Tensor) -> Tensor:
        ratio = _ratio(order, k)
        ctx.save_for_backward(k, ratio)
        ctx.order = order
        return ratio

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        k, ratio = ctx.saved_tensors
        return None, gradient * (1 - ratio.square() - (2 * ctx.order + 1) * ratio / k)


class _LogBessel(torch.autograd.Function):
    """log I_order by SciPy, with its derivative I_{order+1}/I_order + order/k."""

    @staticmethod
    def forward(ctx: Any, order: float, k: Tensor) -> Tensor:
        ctx.save_for_backward(k)
        ctx.order = order
        return torch.as_tensor(ive(order, k.detach().cpu().numpy())).to(k).log() + k

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (k,) = ctx.saved_tensors
        return None, gradient * (bessel_ratio(ctx.order, k) + ctx.order / k)


def bessel_ratio(order: float, k: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """I_{order+1}(k) / I_order(k), the mean resultant length A_p(k) for order = p/2 - 1; differentiable once in k."""
    found: Tensor = _BesselRatio.apply(order, k)
    return found


class VonMisesFisherMixture(ClassMixture):
    """Equally likely von Mises-Fisher classes on the sphere R Q S^{p-1}, blurred with N(0, sigma² I).

    With x relative to the centre and q_c = kappa m_c + (R/sigma²) Qᵀ x:

    - p(x|c) ∝ C_p(kappa)/C_p(‖q_c‖) · exp(-(‖x‖² + R²)/2sigma²), C_p the normaliser;
    - D_c = R A_p(‖q_c‖) Q q_c/‖q_c‖, A_p the mean resultant length (Mardia & Jupp 2000).
    """

    def __init__(self, classes: SphereClasses) -> None:
        self._classes = classes
        self._order = classes.frame.shape[1] / 2 - 1

    def _centred(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        return flat_exact(x, self._classes.frame) - self._classes.centre

    def _natural(self, centred: Float[Tensor, "b d"], sigma: float) -> Float[Tensor, "b classes p"]:
        """q_c."""
        pull = (self._classes.radius / sigma**2) * centred @ self._classes.frame
        return self._classes.concentration * self._classes.directions + pull[:, None]

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(c) + log p_sigma(x|c), normalised."""
        centred = self._centred(x)
        d = centred.shape[1]
        kappa = torch.tensor(self._classes.concentration, dtype=torch.float64, device=centred.device)
        squared = (centred.square().sum(1, keepdim=True) + self._classes.radius**2) / (2 * sigma**2)
        ratio = self._log_normaliser(kappa) - self._log_normaliser(self._natural(centred, sigma).norm(dim=2))
        return ratio - squared - d / 2 * math.log(2 * math.pi * sigma**2) - math.log(len(self._classes.directions))

    def _log_normaliser(self, k: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log C_p(k), C_p(k) = k^{p/2-1} / ((2π)^{p/2} I_{p/2-1}(k))."""
        log_bessel: Tensor = _LogBessel.apply(self._order, k)
        return self._order * k.log() - (self._order + 1) * math.log(2 * math.pi) - log_bessel

    def _denoised(self, natural: Float[Tensor, "b classes p"]) -> Float[Tensor, "b classes p"]:
        """Class posterior means in the frame's coordinates."""
        length = natural.norm(dim=2, keepdim=True)
        return self._classes.radius * bessel_ratio(self._order, length) * natural / length

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """(D_c(x) - x)/sigma² for every class."""
        centred = self._centred(x)
        denoised = self._denoised(self._natural(centred, sigma)) @ self._classes.frame.T
        return ((denoised - centred[:, None]) / sigma**2).unflatten(2, x.shape[1:])

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Mixture of the class posteriors' covariances, in the sphere's span.

        A von Mises-Fisher law with natural parameter q, k = ‖q‖, μ = q/k has second moment
        E vvᵀ = (A/k) I + (1 - pA/k) μμᵀ, A = A_p(k).
        """
        p = self._classes.frame.shape[1]
        natural = self._natural(self._centred(x), sigma)
        length = natural.norm(dim=2)[..., None, None]
        unit = (natural / length[..., 0])[..., None]
        a = bessel_ratio(self._order, length)
        identity = torch.eye(p, dtype=natural.dtype, device=natural.device)
        second = self._classes.radius**2 * (a / length * identity + (1 - p * a / length) * unit @ unit.mT)
        weights = self.posterior(x, sigma)
        mean = torch.einsum("bk,bkp->bp", weights, self._denoised(natural))
        covariance = torch.einsum("bk,bkpq->bpq", weights, second) - mean[:, :, None] * mean[:, None]
        return self._classes.frame @ covariance @ self._classes.frame.T


class Sphere:
    """The tangent space of R Q S^{p-1} at the point of the sphere nearest to x: Q v⊥, of dimension p - 1."""

    def __init__(self, classes: SphereClasses) -> None:
        self._classes, self.rank = classes, classes.frame.shape[1] - 1

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Complement of the radial direction in the sphere's span; see `pagbench.densities.manifolds.Manifold`."""
        frame = self._classes.frame
        radial = (flat_exact(x, frame) - self._classes.centre) @ frame
        radial = radial / radial.norm(dim=1, keepdim=True)
        return frame @ torch.linalg.svd(radial[:, None]).Vh.mT[:, :, 1:]


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> VonMisesFisherMixture:
    """The density that the data set is drawn from."""
    assert isinstance(benchmark.dataset, SphereCard)  # by the table of kinds, as below
    return VonMisesFisherMixture(sphere.parameters(benchmark.dataset))


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> Sphere:
    """The sphere that the data set lies on."""
    assert isinstance(benchmark.dataset, SphereCard)
    return Sphere(sphere.parameters(benchmark.dataset))
