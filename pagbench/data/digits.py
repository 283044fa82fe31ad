"""scikit-learn's handwritten digits (UCI, Alpaydin & Kaynak 1998): 1,797 grey images of 8×8 pixels."""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import DigitsCard
from pagbench.errors import DataError


def load(card: DigitsCard) -> tuple[Float[Tensor, "n 1 8 8"], Int[Tensor, "n"]]:
    """Pixels in [0, 1] and labels, in scikit-learn's order.

    Raises:
        DataError: scikit-learn ships other pixels than the card's hash says.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = (raw.images / 16).astype(np.float32)[:, None]
    labels = raw.target.astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if digest != card.sha256:
        raise DataError(
            f"digits: sha256 {digest[:12]}… of the pixels, expected {card.sha256[:12]}…; reinstall scikit-learn"
        )
    return torch.from_numpy(images), torch.from_numpy(labels)
