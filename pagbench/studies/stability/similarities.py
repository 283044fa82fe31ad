"""Similarities of a gradient with a target: each map is embedded once, whatever it is compared with."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor

from pagbench import geometry
from pagbench.measures import lpips
from pagbench.studies.stability.factors import Comparison, Normalisation, Similarity

Maps = Float[Tensor, "b c h w"]
Embedded = Tensor
"""Batch first; otherwise of any shape, the similarity's own."""


def embed(similarity: Similarity, maps: Maps) -> Embedded:
    """What is compared of each map; NaN where it vanishes or is not finite."""
    return _KINDS[similarity.comparison].embed(similarity, maps)


def compare(similarity: Similarity, a: Embedded, b: Embedded) -> Float[Tensor, "b"]:
    """Similarity of embedded maps, at most 1: that of a map with itself."""
    return _KINDS[similarity.comparison].compare(a, b)


class _Kind(NamedTuple):
    embed: Callable[[Similarity, Maps], Embedded]
    compare: Callable[[Embedded, Embedded], Float[Tensor, "b"]]


def _unit(v: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
    flat = v.flatten(1)
    return flat / flat.norm(dim=1, keepdim=True)


def _product(a: Float[Tensor, "b d"], b: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
    return (a * b).sum(dim=1).clamp(-1, 1)


def _blurred(x: Maps, std: float) -> Maps:
    """Blurred with a Gaussian, mirrored at the edges."""
    return x if std == 0 else torch.from_numpy(gaussian_filter(x.cpu().numpy(), (0, 0, std, std))).to(x)


def _magnitude_ranks(similarity: Similarity, maps: Maps) -> Float[Tensor, "b d"]:
    """Centred ranks, whose cosine is Spearman's rho."""
    ranks = rankdata(maps.abs().flatten(1).cpu().numpy(), axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    return _unit(torch.from_numpy(centred).to(maps))


def _structure(a: Maps, b: Maps) -> Float[Tensor, "b"]:
    """Mean SSIM over pixels and channels (Wang et al. 2004, IEEE TIP 13), maps in [-1, 1], edges mirrored."""
    similar = partial(
        structural_similarity, data_range=2.0, channel_axis=0, gaussian_weights=True, use_sample_covariance=False,
        win_size=1,  # of the mean, which then holds every pixel; the Gaussian's own window is 11 × 11
    )  # fmt: skip
    pairs = zip(a.double().cpu().numpy(), b.double().cpu().numpy(), strict=True)
    return torch.tensor([similar(x, y) for x, y in pairs]).to(a)


def _spectrum(similarity: Similarity, maps: Maps) -> Tensor:
    """Fourier coefficients times the roots of weights that add up to 1 in each ring of equal frequency, per map.

    Returns:
        Complex, shape (b, rings, c·h·w).
    """
    height, width = maps.shape[2:]
    down, across = np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width
    radius = np.rint(np.hypot(down[:, None], across[None]))
    rings = np.stack([radius == r for r in range(1, min(height, width) // 2 + 1)])
    member = torch.from_numpy(rings).to(maps.device)[None, :, None]
    inside = (torch.fft.fft2(maps)[:, None] * member).flatten(2)
    return inside / inside.norm(dim=2, keepdim=True)


def _coherence(a: Tensor, b: Tensor) -> Float[Tensor, "b"]:
    """|⟨A B*⟩|/√(⟨|A|²⟩⟨|B|²⟩) in each ring, averaged over rings: blind to sign, 0 to 1."""
    return (a * b.conj()).sum(dim=2).abs().mean(dim=1)


def normalised(maps: Maps, how: Normalisation) -> Maps:
    """Maps on one scale per image, in [-1, 1] but for the unit RMS; NaN where they vanish."""
    if how == "max-abs":
        return geometry.scale_to_unit_range(maps)
    flat = maps.flatten(1)
    if how == "unit RMS":
        return maps / flat.square().mean(dim=1).sqrt()[:, None, None, None]
    scale = 3 * flat.std(dim=1) if how == "3-std clip" else flat.abs().nan_to_num().quantile(0.995, dim=1)
    return (maps / scale[:, None, None, None]).clamp(-1, 1)


def _perceptual(similarity: Similarity, maps: Maps) -> Float[Tensor, "b f"]:
    scaled = normalised(maps, similarity.normalisation)
    bounded = similarity.normalisation != "unit RMS"
    return lpips.embed(scaled, side=similarity.side, backbone=similarity.backbone, bounded=bounded)


_KINDS: dict[Comparison, _Kind] = {
    "cosine": _Kind(lambda similarity, maps: _unit(_blurred(maps, similarity.blur)), _product),
    "lpips": _Kind(_perceptual, lambda a, b: 1 - lpips.distance(a, b)),
    "ssim": _Kind(lambda similarity, maps: geometry.scale_to_unit_range(maps), _structure),
    "spearman": _Kind(_magnitude_ranks, _product),
    "coherence": _Kind(_spectrum, _coherence),
}
