"""Controls: classifiers that bound the columns of every benchmark. They never take a rank.

`pagbench.models.registry.CONTROLS` names the functions that build them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.densities import scores
from pagbench.models import architectures


class BayesClassifier(nn.Module):
    """The Bayes classifier of the blurred data: logits log p_sigma(x, c). Its log-odds gradient is the Bayes target.

    Args:
        density: class densities.
        sigma: noise level, pixel units.
    """

    def __init__(self, density: scores.ClassMixture, sigma: float) -> None:
        super().__init__()
        self._density, self._sigma = density, sigma

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Log p_sigma(x, c), centred so that single precision keeps the differences."""
        joint = self._density.log_joint(x, self._sigma)
        known = joint.isfinite()  # a class without training images has probability 0
        mean = joint.where(known, 0).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True)
        return (joint - mean).to(x.dtype).to(x.device)


class SignFlipped(nn.Module):
    """The same outputs as a network, the opposite input gradient: f(2·stop(x) - x)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """The network's outputs at x."""
        out: Tensor = self.network(2 * x.detach() - x)
        return out


class Constant(nn.Module):
    """The same logits for every image, with a gradient that is exactly zero."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._classes = classes

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Equal logits."""
        return 0 * x.flatten(1).sum(1, keepdim=True).expand(-1, self._classes)


def bayes(benchmark: Benchmark, card: ModelCard) -> BayesClassifier:
    """`control/bayes`, the upper anchor."""
    return BayesClassifier(scores.load_mixture(benchmark, data.splits(benchmark).train), benchmark.sigma)


def sign_flipped(benchmark: Benchmark, card: ModelCard) -> SignFlipped:
    """`control/sign-flipped`, the Bayes classifier with the opposite gradient."""
    return SignFlipped(bayes(benchmark, card))


def random_init(benchmark: Benchmark, card: ModelCard) -> nn.Module:
    """`control/random-init`, an untrained network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(card.seed or 0)
        return architectures.build("small-cnn", benchmark.input_shape, benchmark.classes)


def constant(benchmark: Benchmark, card: ModelCard) -> Constant:
    """`control/constant`, which sees nothing."""
    return Constant(benchmark.classes)
