"""How good a density is at images that it has not seen: its denoiser, and its class posterior, under noise."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.data import Dataset
from pagbench.densities.scores import ClassMixture, ScoreModel

_PART = 64
"""Images that are denoised together."""

_CPU = torch.device("cpu")


class NoisyClasses(NamedTuple):
    """What a density's Bayes classifier says of noisy images."""

    nll: Float[Tensor, "n"]
    """-log p_sigma(y|x + n), nats."""
    correct: Float[Tensor, "n"]
    """1 where the likeliest class is the label."""


def _noisy(
    data: Dataset, sigma: float, seed: int, device: torch.device
) -> Iterator[tuple[Dataset, Float[Tensor, "b c h w"]]]:
    """Parts of the images with noise that depends on the seed and on each image's id, the same for every sigma.

    The noisy images lie on the device, in float64 where it has that.
    """
    for part in data.chunks(_PART):
        shape = part.images.shape[1:]
        drawn = [
            torch.from_numpy(geometry.generator(seed, "held out", name).standard_normal(shape)) for name in part.ids
        ]
        noisy = part.images + sigma * torch.stack(drawn)
        yield part, noisy.to(torch.float32 if device.type == "mps" else noisy.dtype).to(device)


@torch.no_grad()
def denoising_error(
    score: ScoreModel, data: Dataset, sigma: float, seed: int = 0, device: torch.device = _CPU
) -> Float[Tensor, "n"]:
    """‖D(x + n) - x‖² per image, n of variance sigma², D(z) = z + sigma² s(z) (Tweedie's formula; Efron 2011).

    The posterior mean of the true density has the least expectation of all functions, so that the lower of two is the
    better estimate of the density at that sigma.

    Args:
        score: whose denoiser, without labels.
        data: images that it was not fitted to.
        sigma: noise level, pixel units.
        seed: of the noise; candidates that are compared share it.
        device: where to compute; what is returned lies on the CPU.
    """
    return (denoised(score, data, sigma, seed, device) - data.images).flatten(1).square().sum(1)


@torch.no_grad()
def denoised(
    score: ScoreModel, data: Dataset, sigma: float, seed: int = 0, device: torch.device = _CPU
) -> Float[Tensor, "n c h w"]:
    """D(x + n) of each image; arguments as for `denoising_error`."""
    parts = [noisy + sigma**2 * score.score(noisy, sigma).to(noisy) for _, noisy in _noisy(data, sigma, seed, device)]
    return torch.cat(parts).cpu()


@torch.no_grad()
def noisy_classes(
    density: ClassMixture, data: Dataset, sigma: float, seed: int = 0, device: torch.device = _CPU
) -> NoisyClasses:
    """The class posterior where it is defined, at x + n; arguments as for `denoising_error`."""
    nll, correct = [], []
    for part, noisy in _noisy(data, sigma, seed, device):
        log = density.log_joint(noisy, sigma).log_softmax(1).cpu()
        nll.append(-log.gather(1, part.labels[:, None])[:, 0])
        correct.append((log.argmax(1) == part.labels).to(nll[-1]))
    return NoisyClasses(torch.cat(nll), torch.cat(correct))
