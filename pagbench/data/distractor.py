"""Images beside a glyph that says nothing about their class: which pixels are signal is known for every image.

The signal-distractor experiment of Srinivas, Bordt & Lakkaraju 2023 (arXiv 2305.19101) after BlockMNIST, a digit and a
null block one above the other (Shah et al. 2021, arXiv 2102.12781). The glyphs here are pagbench's own.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages, Tensor
from pagbench.data.idx import IdxCard
from pagbench.errors import DataError

_SIDE = 28
_STROKE = 1.5
_EXTENT = 12
_AMBIGUOUS = 1e-6
"""Smallest difference of the halves' distances to the nearest glyph, as a fraction of the larger one."""


class DistractorCard(DatasetCard):
    """An image and a glyph that says nothing about its class, one above the other, side and glyph random.

    The signal-distractor experiment of arXiv 2305.19101 (after BlockMNIST, Shah et al. 2021, arXiv 2102.12781).
    """

    kind: Literal["distractor"]
    source: IdxCard
    seed: int

    @property
    def facts(self) -> DatasetFacts:
        """Those of the source."""
        return self.source.facts

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Those of the source."""
        return self.source.parts

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """The source, where it is missing."""
        return self.source.missing(ids)

    def load(self) -> LoadedImages:
        """Every image of the source with a glyph above or below it, in its order, shape (n, 1, 56, 28).

        Side and glyph are drawn for each image, uniformly and independently of each other and of the label.

        Raises:
            DataError: the source is missing or not what its card says.
        """
        images, labels, _ = self.source.load()
        above, glyph = (drawn.numpy() for drawn in _draws(self, len(labels)))
        pairs = np.stack([np.asarray(images), glyphs().numpy()[glyph]], axis=1)
        pairs[~above] = pairs[~above][:, ::-1]
        return LoadedImages(np.moveaxis(pairs, 1, 2).reshape(len(labels), 1, 2 * _SIDE, _SIDE), labels)


def glyphs() -> Float[Tensor, "g 1 28 28"]:
    """The distractors, pixels 0 or 1: a box with both diagonals, a ring, a plus, a diamond."""
    import torch

    rows, columns = np.abs(np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2)
    far, near = np.maximum(rows, columns), np.minimum(rows, columns)
    outline = _EXTENT - _STROKE
    drawn = [
        (np.abs(far - outline) <= _STROKE) | ((far - near <= 1) & (far <= outline)),
        np.abs(np.hypot(rows, columns) - outline) <= _STROKE,
        (near <= _STROKE) & (far <= _EXTENT),
        np.abs(rows + columns - outline) <= _STROKE,
    ]
    return torch.from_numpy(np.stack(drawn)[:, None].astype(np.float32))


def _draws(card: DistractorCard, count: int) -> tuple[Bool[Tensor, "n"], Int[Tensor, "n"]]:
    """Whether the signal is above, and the index of the glyph; an image's draw does not depend on `count`."""
    import torch

    uniform = torch.from_numpy(np.random.default_rng([card.seed, 0]).random((count, 2)))
    return uniform[:, 0] < 0.5, (uniform[:, 1] * len(glyphs())).long()


def signal_above(card: DistractorCard, count: int) -> Bool[Tensor, "n"]:
    """Which of the first `count` images were drawn with the signal in the upper half."""
    return _draws(card, count)[0]


def find_signal_above(images: Float[Tensor, "n c h2 w"], known: Float[Tensor, "g c h w"]) -> Bool[Tensor, "n"]:
    """Which images have their signal in the upper half, told from the pixels alone.

    The distractor is the half that is nearer to one of the glyphs; on images of the data set it is one, exactly.

    Args:
        images: two halves one above the other, h2 = 2h.
        known: the glyphs.

    Raises:
        DataError: both halves of an image are equally far from the glyphs.
    """
    import torch

    halves = torch.stack(images.chunk(2, dim=2), dim=1).flatten(2)
    # without matrix products, so that a glyph is exactly 0 away from itself
    away = torch.cdist(halves, known.flatten(1).to(halves), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=2)
    above = away[:, 0] > away[:, 1]
    ambiguous = (away[:, 0] - away[:, 1]).abs() <= _AMBIGUOUS * away.amax(dim=1)
    if ambiguous.any():
        raise DataError(
            f"image {int(ambiguous.nonzero()[0])} of {len(images)}: both halves are equally far from every glyph, "
            "expected one that is a glyph; give images of a distractor data set"
        )
    return above


def signals(images: Float[Tensor, "n c h2 w"], known: Float[Tensor, "g c h w"]) -> Float[Tensor, "n c h w"]:
    """The signal half of each image; see `find_signal_above`.

    Raises:
        DataError: both halves of an image are equally far from the glyphs.
    """
    upper, lower = images.chunk(2, dim=2)
    return upper.where(find_signal_above(images, known)[:, None, None, None], lower)
