"""Denoising: whether the way to a class leads from a noisy image towards the clean one."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor, nn

from pagbench import geometry
from pagbench.columns import NOISE_LEVELS
from pagbench.measures.context import MeasureContext
from pagbench.measures.following import Ascent, Followed, follow

STEPS = 10
_SHARE = 0.1
"""Of the noise's length, how far an image may go: what a class says of a noisy image is a small part of the noise."""
_TV_WEIGHT = 0.75
"""Of the total-variation filter, in standard deviations of the noise: about the best on images not measured."""
_WINDOW, _SMALLEST_WINDOW = 7, 3
_HALF_A_GREY_LEVEL = (1 / 510) ** 2


class Quality(NamedTuple):
    """How close images are to the clean ones.

    Attributes:
        psnr: peak signal-to-noise ratio, dB, of a peak of 1; errors below half a grey level count as that.
        ssim: mean structural similarity (Wang et al. 2004), windows of 7×7 or the largest odd size that fits; NaN for
            sides below 3.
    """

    psnr: Float[Tensor, "b"]
    ssim: Float[Tensor, "b"]


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """Gains in PSNR and SSIM over the noisy image at each level; NaN where the gradient is not scored there."""
    context.release()
    found: dict[str, Float[Tensor, "b"]] = {}
    clean, labels = context.batch.images, context.batch.labels
    for level in NOISE_LEVELS:
        noisy, sigma = add_noise(context, level), level * context.benchmark.sigma
        before = context.judge.once(("noisy", level, *context.key), quality, noisy, clean)
        for suffix, towards in (("", predicted(context.classifier, noisy)), ("_label", labels)):
            made = denoise(context.classifier, noisy, towards, sigma)
            gains = _gains(f"denoising_%s{suffix}_{level:g}", quality(made.images, clean), before)
            found |= {name: gain.where(made.scored, torch.nan) for name, gain in gains.items()}
        for name, after in context.judge.once(
            ("anchors", level, *context.key), _anchors, context, noisy, sigma
        ).items():
            found |= _gains(f"denoising_%s_{name}_{level:g}", after, before)
    return found


def _anchors(context: MeasureContext, noisy: Tensor, sigma: float) -> dict[str, Quality]:
    clean, denoised = context.batch.images, context.judge.denoised(noisy, sigma, context.batch.labels)
    return {"tv": quality(total_variation(noisy, sigma), clean), "denoiser": quality(denoised, clean)}


def pictures(context: MeasureContext) -> dict[str, Float[Tensor, "b c h w"]]:
    """Noisy images of the middle level, `before_denoising`, what the gradient makes of them, and the clean ones."""
    level = NOISE_LEVELS[1]
    noisy = add_noise(context, level)
    towards = predicted(context.classifier, noisy)
    made = denoise(context.classifier, noisy, towards, level * context.benchmark.sigma)
    return {"denoising": made.images, "before_denoising": noisy, "clean": context.batch.images}


def add_noise(context: MeasureContext, level: float) -> Float[Tensor, "b c h w"]:
    """The batch's images with Gaussian noise of a level, in shares of the benchmark's sigma; unclipped."""
    shape = context.batch.images.shape[1:]
    noise = [
        geometry.generator(context.seed, f"denoising/{level:g}", name).standard_normal(shape)
        for name in context.batch.ids
    ]
    return context.batch.images + level * context.benchmark.sigma * torch.from_numpy(np.stack(noise)).to(
        context.batch.images
    )


def denoise(classifier: nn.Module, noisy: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"], sigma: float) -> Followed:
    """Follows the gradient from noisy images, unclipped, a tenth of the noise's expected length and no further.

    For any path δ(x) that sees the noisy image x only, the expected change of the squared error is
    ‖δ‖² - 2 δ·(D(x) - x), D the mean of clean images given x (by Tweedie's formula; Efron 2011): a gradient denoises as
    far as it points where the denoiser does.

    Args:
        classifier: pixels in [0, 1] → logits.
        noisy: images.
        labels: classes whose log-odds are raised.
        sigma: standard deviation of the noise, pixel units.
    """
    epsilon = _SHARE * sigma * noisy[0].numel() ** 0.5
    return follow(classifier, noisy, labels, Ascent(epsilon, STEPS, epsilon / STEPS), clip=False)


@torch.no_grad()
def predicted(classifier: nn.Module, x: Float[Tensor, "b c h w"]) -> Int[Tensor, "b"]:
    """The classes that the classifier itself finds."""
    return torch.as_tensor(classifier(x)).argmax(dim=1)


def total_variation(x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Total-variation denoising (Chambolle 2004), scikit-image's; its weight follows the noise's standard deviation."""
    filtered = [denoise_tv_chambolle(one, _TV_WEIGHT * sigma, channel_axis=0) for one in x.double().cpu().numpy()]
    return torch.from_numpy(np.stack(filtered)).to(x)


def quality(x: Float[Tensor, "b c h w"], clean: Float[Tensor, "b c h w"]) -> Quality:
    """PSNR and SSIM of images against the clean ones."""
    return Quality(psnr((x - clean).square().flatten(1).mean(1)), _ssim(x, clean))


def psnr(squared_error: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Peak signal-to-noise ratio of mean squared errors, dB, of a peak of 1.

    >>> psnr(torch.tensor([0.01, 0.0]))
    tensor([20.0000, 54.1514])
    """
    return -10 * squared_error.clamp(min=_HALF_A_GREY_LEVEL).log10()


def _ssim(x: Float[Tensor, "b c h w"], clean: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    side = min(_WINDOW, *x.shape[2:])
    if side < _SMALLEST_WINDOW:
        return torch.full_like(x[:, 0, 0, 0], torch.nan)
    window = side - (side + 1) % 2
    pairs = zip(x.double().cpu().numpy(), clean.double().cpu().numpy(), strict=True)
    found = [structural_similarity(a, b, win_size=window, data_range=1.0, channel_axis=0) for a, b in pairs]
    return torch.tensor(found).to(x)


def _gains(name: str, after: Quality, before: Quality) -> dict[str, Float[Tensor, "b"]]:
    return {name % what: new - old for what, new, old in zip(Quality._fields, after, before, strict=True)}
