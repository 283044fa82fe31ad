"""A class-conditional diffusion model as a score model: diffusers' UNet behind EDM preconditioning."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import ScoreCard
from pagbench.data import Dataset
from pagbench.densities.network import NetworkScore, given_labels
from pagbench.errors import WeightsError, import_extra
from pagbench.storage import assets, weights

_NOISE_SCALE = 1000.0
"""Diffusers embeds time steps of 0 to 1000; EDM's log(sigma)/4 is brought to that range."""


class Denoiser(nn.Module):
    """D(x, sigma, class) on [-1, 1]: skip·x + out·F(in·x, log(sigma)/4, class) (Karras et al. 2022, arXiv 2206.00364).

    One network for all classes and none: the label `classes` stands for "any class".

    Args:
        input_shape: channels, height, width; the sides divisible by 2 once per level but the first.
        classes: number of classes.
        channels: of each level, multiples of 8.
        data_std: standard deviation of the pixels on [-1, 1].

    Raises:
        ValueError: a side or a number of channels does not divide.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, channels: tuple[int, ...], data_std: float
    ) -> None:
        super().__init__()
        factor = 2 ** (len(channels) - 1)
        if any(side % factor for side in input_shape[1:]) or any(count % 8 for count in channels):
            raise ValueError(f"sides {input_shape[1:]} must be divisible by {factor} and channels {channels} by 8")
        diffusers = import_extra("diffusers")  # slow to import
        self.unet: Any = diffusers.UNet2DModel(
            sample_size=input_shape[1:],
            in_channels=input_shape[0],
            out_channels=input_shape[0],
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * len(channels),
            up_block_types=("UpBlock2D",) * len(channels),
            add_attention=False,
            norm_num_groups=8,
            num_class_embeds=classes + 1,
        )
        self.classes, self.data_std = classes, data_std
        self.config: dict[str, Any] = {
            "input_shape": list(input_shape), "classes": classes, "channels": list(channels), "data_std": data_std,
        }  # fmt: skip

    def forward(
        self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, "b"], labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """Denoised images, [-1, 1].

        Args:
            x: noisy images on [-1, 1].
            sigma: noise level of each image, in the same units.
            labels: classes; `classes` for none.
        """
        total = (sigma.square() + self.data_std**2)[:, None, None, None]
        s = sigma[:, None, None, None]
        raw = self.unet(x / total.sqrt(), _NOISE_SCALE * sigma.log() / 4, class_labels=labels).sample
        out: Tensor = self.data_std**2 / total * x + s * self.data_std / total.sqrt() * raw
        return out


class DiffusionScore(NetworkScore):
    """Score of a trained denoiser, without labels that of the null label; see `pagbench.densities.scores.ScoreModel`.

    Args:
        denoiser: on [-1, 1]; it is put in eval mode and frozen.
        weights_sha256: of its file.
    """

    def __init__(self, denoiser: Denoiser, weights_sha256: str | None = None) -> None:
        super().__init__(denoiser, tuple(denoiser.config["input_shape"]), weights_sha256)
        self._classes = denoiser.classes

    def _rounded(self, sigma: float) -> float:
        return sigma

    def _clean(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b c h w"]:
        levels = torch.full((len(x),), sigma, device=x.device, dtype=x.dtype)
        given = given_labels(labels, x, conditional=True, null_label=self._classes)
        out: Tensor = self._network(x, levels, given)
        return out


def read(path: Path, sha256: str | None) -> DiffusionScore:
    """Builds the score model from a file that `pagbench fit` has written.

    Raises:
        WeightsError: the file is missing, altered, or no diffusion model's.
    """
    config = weights.read_metadata(path, "diffusion")
    try:
        shape, channels = tuple(config["input_shape"]), tuple(config["channels"])
        denoiser = Denoiser(shape, config["classes"], channels, config["data_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not a diffusion model's configuration ({error}); fit it anew") from None
    weights.load_into(denoiser, weights.read(path, sha256), str(path))
    return DiffusionScore(denoiser, sha256)


def edm_loss(
    denoiser: Denoiser, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"], generator: torch.Generator
) -> Tensor:
    """Weighted denoising error at a log-normal noise level per image (Karras et al. 2022, table 1, on [-1, 1]).

    The levels are larger than there (mean -.8 and deviation 1.4 of the logarithm instead of -1.2 and 1.2), since the
    score is wanted at large ones.

    One label in five is replaced by the null label, so that the same network learns the score of all data.
    """
    device = x.device
    sigma = torch.exp(1.4 * torch.randn(len(x), generator=generator, device=device) - 0.8)
    dropped = torch.rand(len(x), generator=generator, device=device) < 0.2
    clean = 2 * x - 1
    noisy = clean + sigma[:, None, None, None] * torch.randn(x.shape, generator=generator, device=device)
    denoised = denoiser(noisy, sigma, labels.where(~dropped, denoiser.classes))
    weight = (sigma.square() + denoiser.data_std**2) / (sigma * denoiser.data_std).square()
    return (weight[:, None, None, None] * (denoised - clean).square()).mean()


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> DiffusionScore:
    """The score model of the card's file; see `read`."""
    assert card.weights is not None  # by the card's validation
    return read(assets.find(card.weights), card.weights_sha256)
