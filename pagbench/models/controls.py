"""Controls: classifiers that bound the columns of every benchmark. They never take a rank."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.densities import scores
from pagbench.errors import UnknownNameError
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


def _bayes(benchmark: Benchmark, card: ModelCard) -> nn.Module:
    return BayesClassifier(scores.load_mixture(benchmark, data.splits(benchmark).train), benchmark.sigma)


def _sign_flipped(benchmark: Benchmark, card: ModelCard) -> nn.Module:
    return SignFlipped(_bayes(benchmark, card))


def _random_init(benchmark: Benchmark, card: ModelCard) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(card.seed or 0)
        return architectures.build("small-cnn", benchmark.input_shape, benchmark.classes)


def _constant(benchmark: Benchmark, card: ModelCard) -> nn.Module:
    return Constant(benchmark.classes)


CONTROLS: dict[str, Callable[[Benchmark, ModelCard], nn.Module]] = {
    "bayes": _bayes,
    "sign-flipped": _sign_flipped,
    "random-init": _random_init,
    "constant": _constant,
}


def build(card: ModelCard, benchmark: Benchmark) -> nn.Module:
    """Builds a control for one benchmark.

    Raises:
        UnknownNameError: no such control.
    """
    name = card.architecture or ""
    if name not in CONTROLS:
        raise UnknownNameError("control", name, CONTROLS)
    return CONTROLS[name](benchmark, card)
