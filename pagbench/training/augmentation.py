"""Augmentations: the same random shift and flip for an image and for its target."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Augmentation = Literal["none", "crop-flip"]


def _same(batch: Any, generator: torch.Generator) -> Any:
    return batch


def _crop_flip(batch: Any, generator: torch.Generator) -> Any:
    images, labels, target = batch
    moved = shift_and_flip([part for part in (images, target) if part is not None], generator)
    return moved[0], labels, None if target is None else moved[1]


def shift_and_flip(parts: list[Float[Tensor, "b c h w"]], generator: torch.Generator) -> list[Float[Tensor, "b c h w"]]:
    """Shifts each image by up to an eighth of its side, zeros moving in, and flips every other one from left to right.

    Args:
        parts: tensors that belong to the same images; all move alike.
        generator: on the parts' device.
    """
    b, _, h, w = parts[0].shape
    device = parts[0].device
    reach = torch.tensor([w // 8, h // 8], device=device)
    shift = (torch.rand(b, 2, generator=generator, device=device) * (2 * reach + 1)).floor() - reach
    flip = 1 - 2 * torch.randint(2, (b,), generator=generator, device=device)
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = flip.to(theta), 1
    theta[:, :, 2] = 2 * shift / torch.tensor([w, h], device=device)
    grid = nn.functional.affine_grid(theta, [b, 1, h, w], align_corners=False)
    return [nn.functional.grid_sample(part, grid, mode="nearest", align_corners=False) for part in parts]


AUGMENTATIONS: dict[str, Callable[[Any, torch.Generator], Any]] = {"none": _same, "crop-flip": _crop_flip}
