"""The exact score of a finite training set: no network, no training, no approximation."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ScoreCard
from pagbench.data import Dataset
from pagbench.data.samples import SamplesCard
from pagbench.densities.scores import ClassMixture, flat_exact

_RESIDENT = 2**26
"""Pixels of a training set that are held in float64, half a gigabyte; a larger one is streamed."""

_SAME_POINT = 1e-3
"""Squared distance, pixel units, below which two points are one."""

_ROUNDINGS = 32
"""Two points are one, too, within so many roundings of their squared lengths, from which the distance is computed."""

_PART = 2**24
"""Pixels of training images that are widened at a time, 134 MB in float64."""

_IMAGES = 256
"""Images that are compared with the training images at a time: 102 MB of distances to 50,000."""

_NEGLIGIBLE = 1e-20
"""Posterior weight below which a training image does not count in a covariance."""


def check_labels(labels: Int[Tensor, "n"], classes: int) -> list[int]:
    """Number of training images of each class.

    Raises:
        ValueError: a class has no training image, or a label is not below `classes`.
    """
    sizes: list[int] = torch.bincount(labels, minlength=classes).tolist()
    if len(sizes) > classes:
        raise ValueError(f"label {len(sizes) - 1} among {classes} classes; labels go from 0 to {classes - 1}")
    if min(sizes) == 0:
        raise ValueError(f"class {sizes.index(0)} has no training image")
    return sizes


def same_point(length: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
    """Squared distance below which a point is one of squared length `length`."""
    return (_ROUNDINGS * torch.finfo(length.dtype).eps * length).clamp(min=_SAME_POINT)


class EmpiricalDensity(ClassMixture):
    """The training set blurred with N(0, sigma² I), each class on its own training images.

    The score of a class is (D_c(x) - x)/sigma², D_c the posterior-weighted mean of its training images: the nearest
    neighbour of the class for sigma → 0, the class mean for sigma → ∞. That one knob spans the targets of
    Ganz et al. 2023 (arXiv 2207.11378).

    Args:
        images: training images, shape (n, c, h, w).
        labels: their classes; every class needs at least one image.
        classes: number of classes.

    Raises:
        ValueError: a class has no training image, or a label is not below `classes`.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, "n"], *, classes: int) -> None:
        order = labels.argsort(stable=True)
        self._points = images.flatten(1).double()[order]
        self._sizes = check_labels(labels, classes)
        self._excluding_self = False

    def placed(self, dtype: torch.dtype, device: torch.device) -> "EmpiricalDensity":
        """See `ClassMixture`."""
        other = copy.copy(self)
        other._points = self._points.to(device, dtype)
        return other

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "EmpiricalDensity":
        """See `ClassMixture`; every class needs two distinct points."""
        other = self.placed(dtype, device)
        other._excluding_self = True
        return other

    def _log_weights(self, x: Float[Tensor, "b c h w"], sigma: float) -> list[Float[Tensor, "b _"]]:
        """Log N(x; x_j, sigma² I) up to one constant, class by class."""
        x = flat_exact(x, self._points)
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self._points.T + self._points.square().sum(1)
        if self._excluding_self:
            squared = squared.masked_fill(squared < same_point(x.square().sum(1, keepdim=True)), torch.inf)
        return list((-squared / (2 * sigma**2)).split(self._sizes, dim=1))

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c), up to one constant; classes weigh as in the training set."""
        return torch.stack([w.logsumexp(dim=1) for w in self._log_weights(x, sigma)], dim=1)

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """(D_c(x) - x)/sigma² for every class."""
        weights = [w.softmax(dim=1) for w in self._log_weights(x, sigma)]
        points = self._points.split(self._sizes)
        denoised = torch.stack([w @ p for w, p in zip(weights, points, strict=True)], dim=1)
        return ((denoised - flat_exact(x, denoised)[:, None]) / sigma**2).unflatten(2, x.shape[1:])

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Covariance of the training images under their posterior weights at x."""
        weights = torch.cat(self._log_weights(x, sigma), dim=1).softmax(dim=1)
        return torch.stack([self._weighted_covariance(w) for w in weights])

    def _weighted_covariance(self, weights: Float[Tensor, "n"]) -> Float[Tensor, "d d"]:
        centred = self._points - weights @ self._points
        return centred.T @ (weights[:, None] * centred)


class StreamedEmpiricalDensity(ClassMixture):
    """`EmpiricalDensity` in bounded memory: the training images stay as they are, and are widened part by part.

    Distances are taken from the mean training image, which keeps |x|² - 2 x·p + |p|² from cancelling. It computes where
    the images lie, in float64; in float32 on devices that have no more.

    Args:
        images: training images, shape (n, c, h, w); they are not copied.
        labels: their classes; every class needs at least one image.
        classes: number of classes.

    Raises:
        ValueError: a class has no training image, or a label is not below `classes`.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, "n"], *, classes: int) -> None:
        self._sizes = check_labels(labels, classes)
        self._order = labels.argsort(stable=True)
        self._images = images.flatten(1)
        self._mean = self._images.mean(0, dtype=torch.float64)
        self._dtype, self._excluding_self = torch.float64, False

    def placed(self, dtype: torch.dtype, device: torch.device) -> "StreamedEmpiricalDensity":
        """See `ClassMixture`; the device is that of the images all the same."""
        other = copy.copy(self)
        other._dtype = dtype
        return other

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "StreamedEmpiricalDensity":
        """See `ClassMixture`; every class needs two distinct points."""
        other = self.placed(dtype, device)
        other._excluding_self = True
        return other

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c), up to one constant; classes weigh as in the training set."""
        return torch.cat([_LogJoint.apply(part, self, sigma) for part in self._centred(x).split(_IMAGES)])

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """See `pagbench.densities.scores.ScoreModel`."""
        if labels is None:
            return self._weighted(x, sigma, lambda log, _: log.softmax(1), torch.zeros(len(x), dtype=torch.long))
        return self._weighted(x, sigma, lambda log, own: log.masked_fill(~own, -torch.inf).softmax(1), labels)

    def log_odds_gradient(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """(D_y(x) - D_other(x))/sigma², D_other the denoiser of all other classes; see `ClassMixture`."""

        def signed(log: Tensor, own: Tensor) -> Tensor:
            mine, others = (log.masked_fill(away, -torch.inf).softmax(1) for away in (~own, own))
            return mine - others

        return self._weighted(x, sigma, signed, labels)

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """(D_c(x) - x)/sigma² for every class."""
        each = [self.score(x, sigma, torch.full((len(x),), c)) for c in range(len(self._sizes))]
        return torch.stack(each, dim=1)

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Covariance of the training images under their posterior weights at x."""
        product = self.covariance_product(x, sigma)
        identity = torch.eye(len(self._mean), dtype=self._dtype, device=x.device)
        return product(identity.expand(len(x), *identity.shape))

    @torch.no_grad()
    def covariance_product(
        self, x: Float[Tensor, "b c h w"], sigma: float
    ) -> Callable[[Float[Tensor, "b d m"]], Float[Tensor, "b d m"]]:
        """The function V ↦ Cov(x0 | x) V, which forms no d×d matrix."""
        points = self._centred(x)
        weights = self._log_weights(points, sigma).softmax(1)
        mean = self._sum(weights, points)

        def product(v: Float[Tensor, "b d m"]) -> Float[Tensor, "b d m"]:
            out = -mean[:, :, None] * (mean[:, None] @ v)
            for where, part in self._parts(points):
                counts = (weights[:, where] > _NEGLIGIBLE).any(0)
                near = part[counts]
                out += near.T @ (weights[:, where][:, counts, None] * (near @ v))
            return out

        return product

    def posterior_factor(self, x: Float[Tensor, "c h w"], sigma: float, largest: int) -> Float[Tensor, "m d"] | None:
        """A with AᵀA = Cov(x0 | x), one row per training image that counts; None where more than `largest` do."""
        points = self._centred(x[None])
        weights = self._log_weights(points, sigma).softmax(1)[0]
        (index,) = (weights > _NEGLIGIBLE).nonzero(as_tuple=True)
        if len(index) > largest:
            return None
        near = self._images[self._order[index.cpu()]].to(points) - self._mean.to(points)
        return weights[index].sqrt()[:, None] * (near - weights[index] @ near)

    def _centred(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        dtype = torch.float32 if x.device.type == "mps" else self._dtype
        return x.flatten(1).to(dtype) - self._mean.to(dtype).to(x.device)

    def _parts(self, like: Tensor) -> Iterator[tuple[slice, Float[Tensor, "m d"]]]:
        """Centred training images in the order of their classes, with their places."""
        mean = self._mean.to(like.dtype).to(like.device)
        start = 0
        for chosen in self._order.split(max(1, _PART // len(mean))):
            yield slice(start, start + len(chosen)), self._images[chosen].to(like.device).to(like.dtype).sub_(mean)
            start += len(chosen)

    def _log_weights(self, x: Float[Tensor, "b d"], sigma: float) -> Float[Tensor, "b n"]:
        """Log N(x; x_j, sigma² I) up to one constant."""
        length = x.square().sum(1, keepdim=True)
        out = x.new_empty(len(x), len(self._order))
        for where, part in self._parts(x):
            squared = length - 2 * x @ part.T + part.square().sum(1)
            if self._excluding_self:
                squared = squared.masked_fill(squared < same_point(length), torch.inf)
            out[:, where] = squared / (-2 * sigma**2)
        return out

    def _sum(self, weights: Float[Tensor, "b n"], like: Tensor) -> Float[Tensor, "b d"]:
        """Σ_j weights_j x_j of centred training images."""
        out = like.new_zeros(len(weights), len(self._mean))
        for where, part in self._parts(like):
            out.addmm_(weights[:, where], part)
        return out

    def _own(self, labels: Int[Tensor, "b"], device: torch.device) -> Bool[Tensor, "b n"]:
        """Which training images are of each label, (b, n)."""
        classes = torch.arange(len(self._sizes)).repeat_interleave(torch.tensor(self._sizes))
        return labels.to(device)[:, None] == classes.to(device)

    @torch.no_grad()
    def _weighted(
        self,
        x: Float[Tensor, "b c h w"],
        sigma: float,
        weigh: Callable[[Tensor, Tensor], Tensor],
        labels: Int[Tensor, "b"],
    ) -> Float[Tensor, "b c h w"]:
        """Σ_j w_j (x_j - x)/sigma², w made of log-weights and of which training images have the label."""
        found = []
        for points, own in zip(self._centred(x).split(_IMAGES), labels.split(_IMAGES), strict=True):
            weights = weigh(self._log_weights(points, sigma), self._own(own, points.device))
            found.append((self._sum(weights, points) - weights.sum(1, keepdim=True) * points) / sigma**2)
        return torch.cat(found).unflatten(1, x.shape[1:])


class _LogJoint(torch.autograd.Function):
    """Log p(x, c) whose backward pass streams the training images again, rather than keeping them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, density: StreamedEmpiricalDensity, sigma: float) -> Tensor:
        log = density._log_weights(x, sigma)
        joint = torch.stack([part.logsumexp(1) for part in log.split(density._sizes, dim=1)], dim=1)
        ctx.save_for_backward(x, joint)
        ctx.density, ctx.sigma = density, sigma
        return joint

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        """Σ_c g_c s(x|c) for the upstream gradient g."""
        x, joint = ctx.saved_tensors
        sizes = torch.tensor(ctx.density._sizes, device=x.device)
        g, joint = (values.repeat_interleave(sizes, dim=1) for values in (upstream[0], joint))
        weights = g * (ctx.density._log_weights(x, ctx.sigma) - joint).exp()
        total = weights.sum(1, keepdim=True)
        return (ctx.density._sum(weights, x) - total * x) / ctx.sigma**2, None, None


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


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> ClassMixture:
    """The density of the training split; it is streamed where it is large, and may lack classes of `samples`."""
    if isinstance(benchmark.dataset, SamplesCard):
        present, labels = train.labels.unique(return_inverse=True)
        return SomeClasses(EmpiricalDensity(train.images, labels, classes=len(present)), present, benchmark.classes)
    density = StreamedEmpiricalDensity if train.images.numel() > _RESIDENT else EmpiricalDensity
    return density(train.images, train.labels, classes=benchmark.classes)
