"""Images beside a distractor that is independent of their class: the exact score, and the signal's pixels."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard, ScoreCard
from pagbench.data import Dataset, distractor
from pagbench.densities import mixture
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.scores import ClassMixture, ScoreModel
from pagbench.storage import assets


class SignalDistractor(ClassMixture):
    """Signal and distractor one above the other, either way up, blurred with N(0, sigma² I).

    p(x|c) = ½ p_S(upper half|c) p_D(lower half) + ½ p_S(lower half|c) p_D(upper half), so that

    - ∇ log p(x|c) in a half is the signal's class score there, weighted with the probability that the signal is there,
      plus the distractor's score, weighted with the probability that it is;
    - where the side is certain, the Bayes gradient s(x|y) - s(x) vanishes on the distractor, which says nothing about
      the class (Srinivas, Bordt & Lakkaraju 2023, arXiv 2305.19101).

    Args:
        signal: p_S, of half an image; its classes are those of the whole.
        distractor: p_D, of half an image; its classes, if it has several, count as one.
    """

    def __init__(self, signal: ClassMixture, distractor: ClassMixture) -> None:
        self._signal, self._distractor = signal, distractor
        self.weights_sha256: str | None = getattr(signal, "weights_sha256", None)

    def rounded(self, sigma: float) -> float:
        """The noise level that is used for sigma: every one is."""
        return sigma

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "SignalDistractor":
        """See `ClassMixture`; an image is left out of the signals, while distractors are few and repeat."""
        return SignalDistractor(self._signal.leaving_one_out(dtype, device), self._distractor.placed(dtype, device))

    def _log_parts(self, x: Float[Tensor, "b c h2 w"], sigma: float) -> Float[Tensor, "b 2 classes"]:
        """Log p(x, c, side), signal above first."""
        halves = torch.cat(x.chunk(2, dim=2))
        signal = self._signal.log_joint(halves, sigma).unflatten(0, (2, len(x)))
        distractor = self._distractor.log_joint(halves, sigma).logsumexp(dim=1).unflatten(0, (2, len(x)))
        return (signal + distractor.flip(0)[..., None]).transpose(0, 1) - math.log(2)

    def side_posterior(self, x: Float[Tensor, "b c h2 w"], sigma: float) -> Float[Tensor, "b 2"]:
        """Probability that the signal is above, and that it is below."""
        return self._log_parts(x, sigma).logsumexp(dim=2).softmax(dim=1)

    def log_joint(self, x: Float[Tensor, "b c h2 w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c), up to one constant where signal or distractor are given up to one."""
        return self._log_parts(x, sigma).logsumexp(dim=1)

    def class_scores(self, x: Float[Tensor, "b c h2 w"], sigma: float) -> Float[Tensor, "b classes c h2 w"]:
        """Scores of both halves under either side, weighted with the sides' posterior given the class."""
        halves = torch.cat(x.chunk(2, dim=2))
        signal = self._signal.class_scores(halves, sigma).unflatten(0, (2, len(x)))
        distractor = self._distractor.score(halves, sigma).unflatten(0, (2, len(x)))[:, :, None]
        above, below = self._log_parts(x, sigma).softmax(dim=1)[..., None, None, None].unbind(dim=1)
        upper = above * signal[0] + below * distractor[0]
        lower = below * signal[1] + above * distractor[1]
        return torch.cat([upper, lower], dim=3)

    def posterior_covariance(self, x: Float[Tensor, "b c h2 w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Mixture over the sides of block-diagonal covariances: given the side, the halves are independent."""
        halves = torch.cat(x.chunk(2, dim=2))
        parts = (self._signal, self._distractor)
        means = [part.denoise(halves, sigma).flatten(1).unflatten(0, (2, len(x))) for part in parts]
        spreads = [part.posterior_covariance(halves, sigma).unflatten(0, (2, len(x))) for part in parts]
        sides = self.side_posterior(x, sigma)
        mean = torch.stack([torch.cat([means[s][0], means[1 - s][1]], dim=1) for s in (0, 1)], dim=1)
        spread = torch.stack([_block_diagonal(spreads[s][0], spreads[1 - s][1]) for s in (0, 1)], dim=1)
        second = spread + mean[..., None] * mean[:, :, None]
        average = torch.einsum("bs,bsd->bd", sides, mean)
        covariance = torch.einsum("bs,bsde->bde", sides, second) - average[:, :, None] * average[:, None]
        order = _pixel_order(x)
        return covariance[:, order][:, :, order]


def _block_diagonal(a: Float[Tensor, "b m m"], b: Float[Tensor, "b m m"]) -> Float[Tensor, "b d d"]:
    zero = torch.zeros_like(a)
    return torch.cat([torch.cat([a, zero], dim=2), torch.cat([zero, b], dim=2)], dim=1)


def _pixel_order(x: Float[Tensor, "b c h2 w"]) -> Int[Tensor, "d"]:
    """Where each pixel of an image stands once its upper half is put before its lower one, channels and all."""
    index = torch.arange(x[0].numel()).reshape(x.shape[1:])
    return torch.cat([half.flatten() for half in index.chunk(2, dim=1)]).argsort()


class Mask:
    """The pixels of the signal half, of a signal and a distractor one above the other (arXiv 2305.19101).

    Along the manifold is then "on the signal", off the manifold "on the distractor": the tangent energy is the share of
    the gradient's energy on the signal, and the on- over the off-manifold response the relative noise robustness.

    Args:
        glyphs: the distractors, by which the signal half is told from the pixels.
    """

    def __init__(self, glyphs: Float[Tensor, "g c h w"]) -> None:
        self._glyphs, self.rank = glyphs, glyphs[0].numel()

    def tangent_basis(self, x: Float[Tensor, "b c h2 w"]) -> Float[Tensor, "b d k"]:
        """Unit vectors of the signal's pixels, k = d/2; see `pagbench.densities.manifolds.Manifold`.

        In float32, since 0 and 1 need no more and a basis of 56×28 pixels takes 4.9 MB an image.

        Raises:
            DataError: both halves of an image are equally far from the glyphs.
        """
        above = distractor.find_signal_above(x, self._glyphs)[:, None, None]
        index = torch.arange(x[0].numel()).reshape(x.shape[1:])
        upper, lower = (half.flatten() for half in index.chunk(2, dim=1))
        every = torch.eye(len(index.flatten()), device=x.device)
        return every[:, upper].where(above, every[:, lower])


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> SignalDistractor:
    """The density of the training split's signals beside the glyphs; of a card with weights, these are the signals'."""
    glyphs = distractor.glyphs()
    signal: ClassMixture
    if card.weights is not None:
        signal = mixture.read(assets.find(card.weights), card.weights_sha256)
    else:
        signals = distractor.signals(train.images, glyphs)
        signal = EmpiricalDensity(signals, train.labels, classes=benchmark.classes)
    return SignalDistractor(signal, EmpiricalDensity(glyphs, torch.zeros(len(glyphs), dtype=torch.long), classes=1))


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> Mask:
    """The pixels of the signal."""
    return Mask(distractor.glyphs())
