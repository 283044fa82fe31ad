"""Randomised smoothing: the classifier E softmax f(x + n) and, by differentiating it, its gradient."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SmoothedNetwork(nn.Module):
    """Log of the Monte Carlo mean of softmax f(x + n), n ~ N(0, sigma² I) (Cohen et al. 2019, arXiv 1902.02918).

    The same antithetic draws ±n serve every image and every call: a deterministic, differentiable function whose exact
    gradient is the Monte Carlo estimate of the smoothed classifier's gradient, so that responses carry no sampling
    noise.

    Args:
        network: base network, pixels in [0, 1] → logits.
        input_shape: channels, height, width.
        sigma: standard deviation of the noise, pixel units.
        samples: draws, even.
        seed: of the draws.
    """

    noise: Tensor

    def __init__(
        self, network: nn.Module, input_shape: tuple[int, int, int], *, sigma: float, samples: int, seed: int
    ) -> None:
        super().__init__()
        half = torch.randn(samples // 2, *input_shape, generator=torch.Generator().manual_seed(seed))
        self.network = network
        self.register_buffer("noise", sigma * torch.cat([half, -half]))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Log-probabilities of the smoothed classifier."""
        noisy = (x[:, None] + self.noise).flatten(0, 1)
        log_probabilities = self.network(noisy).log_softmax(dim=1).unflatten(0, (len(x), -1))
        return log_probabilities.logsumexp(dim=1) - math.log(len(self.noise))
