"""Small maps that a results file carries: the first images, and its entrant's gradients there. No torch."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench.errors import ResultsError, first_line

Array = NDArray[np.float32]

COUNT = 4
"""How many of a benchmark's first samples get a map."""
_MAX_SIDE = 64
_CLIP = 0.995


@dataclass(frozen=True)
class Maps:
    """Images and gradients of one entrant.

    Attributes:
        sample_ids: of the images.
        images: pixels in [0, 1], shape (n, c, h, w).
        gradients: of the log-odds of the true class, in [-1, 1]: each divided by the 99.5 % quantile of its magnitude
            and clipped; NaN where the gradient is not scored; shape (n, c, h, w).
    """

    sample_ids: tuple[str, ...]
    images: Array
    gradients: Array


def encode(sample_ids: Sequence[str], images: Array, gradients: Array) -> dict[str, Any]:
    """Plain JSON values: pixels as bytes, gradients as signed bytes, compressed, in base64; sides above 64 averaged.

    Args:
        sample_ids: n ids.
        images: pixels in [0, 1], shape (n, c, h, w).
        gradients: in any unit, shape (n, c, h, w); not finite where not scored.

    Returns:
        `sample_ids`, `shape` (c, h, w), `images` (one string) and `gradients` (one string per image, null where the
        gradient is not scored).
    """
    pixels = np.rint(255 * np.clip(_reduced(images), 0, 1)).astype(np.uint8)
    return {
        "sample_ids": list(sample_ids),
        "shape": list(pixels.shape[1:]),
        "images": _packed(pixels),
        "gradients": [_signed_bytes(gradient) for gradient in _reduced(gradients)],
    }


def decode(content: Any, entrant: str) -> Maps | None:
    """What `encode` has written; None where a results file has none.

    Raises:
        ResultsError: the content is damaged.
    """
    if content is None:
        return None
    try:
        ids, shape = tuple(map(str, content["sample_ids"])), tuple(map(int, content["shape"]))
        pixels = np.frombuffer(_unpacked(content["images"]), np.uint8).reshape(len(ids), *shape)
        gradients = [_from_signed_bytes(text, shape) for text in content["gradients"]]
        return Maps(ids, (pixels / 255).astype(np.float32), np.stack(gradients).reshape(pixels.shape))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ResultsError(
            f"{entrant}: the gradient maps in its results file are damaged ({first_line(error)}); "
            "run again with --overwrite"
        ) from None


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _signed_bytes(gradient: Array) -> str | None:
    if not np.isfinite(gradient).all():
        return None
    scale = max(float(np.quantile(np.abs(gradient), _CLIP)), float(np.finfo(np.float32).tiny))
    return _packed(np.rint(127 * np.clip(gradient / scale, -1, 1)).astype(np.int8))


def _from_signed_bytes(text: str | None, shape: tuple[int, ...]) -> Array:
    if text is None:
        return np.full(shape, np.nan, np.float32)
    return (np.frombuffer(_unpacked(text), np.int8).reshape(shape) / 127).astype(np.float32)


def _reduced(images: Array) -> Array:
    """Area averages, so that no side is longer than 64."""
    height, width = images.shape[2:]
    factor = min(1.0, _MAX_SIDE / max(height, width))
    if factor == 1:
        return images
    rows, columns = (_area_weights(side, max(1, round(side * factor))) for side in (height, width))
    reduced: Array = (rows @ images @ columns.T).astype(np.float32)
    return reduced


def _area_weights(size: int, reduced: int) -> NDArray[np.float64]:
    """Share of each old pixel in each new one, shape (reduced, size); rows sum to 1."""
    edges = np.linspace(0, size, reduced + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float64] = overlap.clip(min=0) * (reduced / size)
    return weights
