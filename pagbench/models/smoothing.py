"""Randomised smoothing: the classifier E softmax f(x + n) and, by differentiating it, its gradient."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pagbench import geometry

PASS = 2**18
"""Pixel values that one forward pass holds, where a single draw for the batch does not need more."""
_KEPT = 2**26
"""Noise values that are kept for the next forward pass of the same samples; more are drawn anew."""


class SmoothedNetwork(nn.Module):
    """Log of the Monte Carlo mean of softmax f(x + n), n ~ N(0, sigma² I) (Cohen et al. 2019, arXiv 1902.02918).

    Antithetic draws ±n that every call repeats: a deterministic, differentiable function whose exact gradient is the
    Monte Carlo estimate of the smoothed classifier's gradient, so that responses carry no sampling noise. The same
    draws serve every image; or, with `per_sample` and within `sampled`, each sample has draws of its own.

    Memory does not grow with the number of draws: they go through the network a few at a time, and where that takes
    several passes the backward pass computes each of them again instead of keeping them.

    Args:
        network: base network, pixels in [0, 1] → logits.
        input_shape: channels, height, width.
        sigma: standard deviation of the noise, pixel units.
        samples: draws, even.
        seed: of the draws.
        per_sample: whether a sample that is known by its id has draws of its own.
    """

    noise: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: tuple[int, int, int],
        *,
        sigma: float,
        samples: int,
        seed: int,
        per_sample: bool = False,
    ) -> None:
        super().__init__()
        half = torch.randn(samples // 2, *input_shape, generator=torch.Generator().manual_seed(seed))
        self.network = network
        self.sigma, self.seed, self.per_sample = sigma, seed, per_sample
        self.register_buffer("noise", sigma * torch.cat([half, -half]))
        self._ids: tuple[str, ...] = ()
        self._kept: Tensor | None = None

    @property
    def pairs(self) -> int:
        """Number of antithetic pairs."""
        return len(self.noise) // 2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Log-probabilities of the smoothed classifier.

        Raises:
            ValueError: within `sampled`, and the batch is not of its samples.
        """
        passes = self.passes(x)
        if len(passes) > 1 and torch.is_grad_enabled():
            sums = [
                checkpoint(self._log_sum, x, *span, use_reentrant=False, preserve_rng_state=False) for span in passes
            ]
        else:
            sums = [self._log_sum(x, *span) for span in passes]
        return torch.stack(sums).logsumexp(dim=0) - math.log(len(self.noise))

    def passes(self, x: Float[Tensor, "b c h w"]) -> list[tuple[int, int]]:
        """Which pairs go through the network together: first, and one past the last."""
        size = max(1, PASS // (2 * x.numel()))
        return [(start, min(start + size, self.pairs)) for start in range(0, self.pairs, size)]

    def noisy(self, x: Float[Tensor, "b c h w"], start: int, stop: int) -> Float[Tensor, "b n c h w"]:
        """Images with the noise of some pairs, n = 2 (stop - start): all +n, then all -n."""
        half = self._own(start, stop) if self._ids else self.noise[start:stop][None]
        if self._ids and len(x) != len(self._ids):
            raise ValueError(f"{len(x)} images, but draws for {len(self._ids)} samples")
        return x[:, None] + torch.cat([half, -half], dim=1)

    def _log_sum(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Log of the sum of probabilities over the draws of some pairs, shape (b, k)."""
        noisy = self.noisy(x, start, stop)
        log_probabilities: Tensor = self.network(noisy.flatten(0, 1)).log_softmax(dim=1)
        return log_probabilities.unflatten(0, noisy.shape[:2]).logsumexp(dim=1)

    def _own(self, start: int, stop: int) -> Tensor:
        """Half of the noise of some pairs of the present samples, shape (b, stop - start, c, h, w)."""
        if len(self._ids) * self.pairs * self.noise[0].numel() > _KEPT:
            return self._drawn(start, stop)
        if self._kept is None:
            self._kept = self._drawn(0, self.pairs)
        return self._kept[:, start:stop]

    def _drawn(self, start: int, stop: int) -> Tensor:
        shape = tuple(self.noise.shape[1:])
        drawn = torch.empty(len(self._ids), stop - start, *shape)
        for row, name in zip(drawn.numpy(), self._ids, strict=True):
            for half, pair in zip(row, range(start, stop), strict=True):
                geometry.generator(self.seed, "smoothing", name, pair).standard_normal(out=half, dtype="float32")
        return self.sigma * drawn.to(self.noise)

    def take(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """From here on batches are of these samples; none where no id is known. Returns the former ones."""
        former, self._ids, self._kept = self._ids, (ids if self.per_sample else ()), None
        return former


@contextmanager
def sampled(classifier: nn.Module, ids: Sequence[str]) -> Iterator[None]:
    """Within it every batch is of these samples, in this order, and each has its own draws if the network gives it any.

    Does nothing to classifiers that are not smoothed per sample. Outside it, and with no ids, they use the draws that
    all images share.
    """
    network = smoothed_network(classifier)
    if network is None:
        yield
        return
    former = network.take(tuple(ids))
    try:
        yield
    finally:
        network.take(former)


def smoothed_network(classifier: nn.Module) -> SmoothedNetwork | None:
    """The smoothed network that a classifier stands before; None where it is not smoothed."""
    network = getattr(classifier, "network", None)
    return network if isinstance(network, SmoothedNetwork) else None
