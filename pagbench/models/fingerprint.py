"""A few numbers that tell networks apart whose weights and cards are the same, by outputs and by input gradients."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.models.classifier import Classifier
from pagbench.models.devices import is_out_of_memory

_OUTPUTS = 10
_DIRECTIONS = 4


class Fingerprint(NamedTuple):
    """What a classifier does with some images.

    Attributes:
        outputs: the first logits of each image, one image after the other.
        gradients: for each image, products of its input gradient with random directions; None where it has none: it
            vanishes, is not finite, or the backward pass fails.
        real_outputs: the first logits of some of the benchmark's images, which have what noise has not, as pixels of
            exactly 0; None where its images are not here. Their gradients are left out: ties of equal pixels, as
            before a max-pool, are broken differently on other devices.
    """

    outputs: tuple[float, ...]
    gradients: tuple[tuple[float, ...] | None, ...]
    real_outputs: tuple[float, ...] | None = None


def take(
    classifier: Classifier, images: Float[Tensor, "b c h w"], real: Float[Tensor, "r c h w"] | None = None
) -> Fingerprint:
    """The fingerprint of a classifier on images of noise, and on some real ones.

    The gradient is that of the log-odds after all logits are scaled to at most 1, so that every class has a part in it,
    however confident the network is. Each image has a label of its own.

    Raises:
        torch.OutOfMemoryError: memory does not hold the images.
    """
    with torch.no_grad():
        logits = classifier(images)
        seen = None if real is None else tuple(classifier(real)[:, :_OUTPUTS].flatten().tolist())
    scale = (
        (logits - logits.mean(1, keepdim=True)).abs().amax(1, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)
    )
    labels = torch.arange(len(images), device=images.device) * logits.shape[1] // len(images)
    try:
        found = geometry.log_odds_gradient(lambda x: classifier(x) / scale, images, labels).gradient
    except Exception as error:  # a third party's backward pass may raise anything; a check will say so
        if is_out_of_memory(error):
            raise
        found = torch.full_like(images, torch.nan)
    drawn = [
        geometry.generator(0, "fingerprint", str(i)).standard_normal(images[0].numel()) for i in range(_DIRECTIONS)
    ]
    products = found.flatten(1).double().cpu() @ torch.from_numpy(np.stack(drawn)).T
    gradients = [tuple(row.tolist()) if row.isfinite().all() else None for row in products]
    return Fingerprint(tuple(logits[:, :_OUTPUTS].flatten().tolist()), tuple(gradients), seen)
