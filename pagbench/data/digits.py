"""scikit-learn's handwritten digits (UCI, Alpaydin & Kaynak 1998): 1,797 grey images of 8×8 pixels."""

import hashlib
from typing import Literal

import numpy as np

from pagbench.cards import Sha256
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages
from pagbench.errors import DataError


class DigitsCard(DatasetCard):
    """scikit-learn's 1,797 handwritten digits, 8×8, pixels / 16."""

    kind: Literal["digits"]
    sha256: Sha256
    """Of the float32 pixels followed by the int64 labels, C order."""

    @property
    def facts(self) -> DatasetFacts:
        """Carried by scikit-learn."""
        return DatasetFacts(
            "scikit-learn's digits",
            size="none (scikit-learn carries them)",
            license="CC BY 4.0",
            cite="E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning "
            "Repository, doi:10.24432/C50P49.",
        )

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """One, in scikit-learn's order."""
        return (("load_digits", 1797),)

    def load(self) -> LoadedImages:
        """The images in scikit-learn's order, shape (1797, 1, 8, 8).

        Raises:
            DataError: scikit-learn ships other pixels than the card's hash says.
        """
        from sklearn.datasets import load_digits

        raw = load_digits()
        images = (raw.images / 16).astype(np.float32)[:, None]
        labels = raw.target.astype(np.int64)
        digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        if digest != self.sha256:
            raise DataError(
                f"digits: sha256 {digest[:12]}… of the pixels, expected {self.sha256[:12]}…; reinstall scikit-learn"
            )
        return LoadedImages(images, labels)
