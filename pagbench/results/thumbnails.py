"""Small maps that a results file carries: images, its model's gradients there, and Bayes targets. No torch."""

import base64
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench.errors import ResultsError, first_line

Array = NDArray[np.float32]

COUNT = 4
"""How many of a benchmark's first samples get a map."""
EACH = 2
"""How many of the best, median and worst aligned samples get one."""
KINDS = ("best", "median", "worst")
FIRST = "first"
MADE = 6
"""How many images each file shows that were made by following its model's gradient."""
_MAX_SIDE = 64
_GREYS = 31
_CLIP = 0.995


@dataclass(frozen=True)
class Maps:
    """Images and gradients of one model.

    Attributes:
        sample_ids: of the images.
        images: pixels in [0, 1], shape (n, c, h, w).
        gradients: of the log-odds of the true class, in [-1, 1]: each divided by the 99.5 % quantile of its magnitude
            and clipped; NaN where the gradient is not scored; shape (n, c, h, w).
        targets: Bayes targets, in [-1, 1] as the gradients are, same shape; None where the file has none.
        kinds: why each sample is shown: best, median or worst aligned, or first of the benchmark.
    """

    sample_ids: tuple[str, ...]
    images: Array
    gradients: Array
    targets: Array | None
    kinds: tuple[str, ...]


class Made(NamedTuple):
    """Images that were made by following a gradient, or that were there before.

    Attributes:
        sample_ids: of the images.
        images: pixels in [0, 1], shape (n, c, h, w).
    """

    sample_ids: tuple[str, ...]
    images: Array


def extremes(rows: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """The samples that a gallery shows, each after its kind: two best aligned, two around the median, two worst.

    Of equal values the earlier row counts as the better one. A model with few rows has the same sample in two kinds.

    Args:
        rows: of one model, in the benchmark's order.
        column: what alignment is; NaN where not scored.

    >>> rows = pd.DataFrame({"sample_id": list("abcdef"), "cosine": [0.1, 0.6, np.nan, 0.3, 0.6, 0.2]})
    >>> extremes(rows, "cosine")
    [('best', 'b'), ('best', 'e'), ('median', 'e'), ('median', 'd'), ('worst', 'a'), ('worst', 'f')]
    """
    ordered = rows.set_index("sample_id")[column].dropna().sort_values(ascending=False, kind="stable").index
    middle = max(0, (len(ordered) - EACH) // 2)
    chosen = (ordered[:EACH], ordered[middle : middle + EACH], ordered[::-1][:EACH])
    return [(kind, str(name)) for kind, names in zip(KINDS, chosen, strict=True) for name in names]


def encode(
    sample_ids: Sequence[str],
    images: Array,
    gradients: Array,
    *,
    targets: Array | None = None,
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Plain JSON values: pixels as bytes, gradients as signed bytes, compressed, in base64; sides above 64 averaged.

    Args:
        sample_ids: n ids.
        images: pixels in [0, 1], shape (n, c, h, w).
        gradients: in any unit, shape (n, c, h, w); not finite where not scored.
        targets: Bayes targets there, in any unit, same shape.
        kinds: why each sample is shown; all are the benchmark's first by default.

    Returns:
        `sample_ids`, `shape` (c, h, w), `images` (one string) and `gradients` (one string per image, null where the
        gradient is not scored); `targets` as the gradients, and `kinds`, where they are given.
    """
    pixels = np.rint(255 * np.clip(_reduced(images), 0, 1)).astype(np.uint8)
    content = {
        "sample_ids": list(sample_ids),
        "shape": list(pixels.shape[1:]),
        "images": _packed(pixels),
        "gradients": [_signed_bytes(gradient) for gradient in _reduced(gradients)],
    }
    if targets is not None:
        content["targets"] = [_signed_bytes(target) for target in _reduced(targets)]
    if kinds is not None:
        content["kinds"] = list(kinds)
    return content


def decode(content: Any, model: str) -> Maps | None:
    """What `encode` has written; None where a results file has none.

    Raises:
        ResultsError: the content is damaged.
    """
    if content is None:
        return None
    with _reading(model):
        ids, shape = _identity(content)
        kinds = tuple(content.get("kinds", [FIRST] * len(ids)))
        if len(kinds) != len(ids) or not {FIRST, *KINDS} >= set(kinds):
            raise ValueError(f"kinds {kinds}"[:80])
        pixels = (_unpacked(content["images"], (len(ids), *shape), np.uint8) / 255).astype(np.float32)
        targets = None if content.get("targets") is None else _stacked(content["targets"], (len(ids), *shape))
        return Maps(ids, pixels, _stacked(content["gradients"], pixels.shape), targets, kinds)


def encode_made(sample_ids: Sequence[str], images: Mapping[str, Array]) -> dict[str, Any]:
    """Plain JSON values of images by name, in 32 levels of grey or of each colour, as `encode` packs them.

    Args:
        sample_ids: n ids.
        images: pixels in [0, 1], clipped to it, shape (n, c, h, w), by what they are.
    """
    pixels = {name: np.rint(_GREYS * np.clip(_reduced(made), 0, 1)).astype(np.uint8) for name, made in images.items()}
    shape = next(iter(pixels.values())).shape[1:]
    return {
        name: {"sample_ids": list(sample_ids), "shape": list(shape), "images": _packed(p)} for name, p in pixels.items()
    }


def decode_made(content: Any, model: str) -> dict[str, Made]:
    """What `encode_made` has written; nothing where a results file has none.

    Raises:
        ResultsError: the content is damaged.
    """
    with _reading(model):
        return {str(name): _made(found) for name, found in (content or {}).items()}


def reduced_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, height and width of the pictures of images of a shape.

    >>> reduced_shape((3, 224, 112))
    (3, 64, 32)
    """
    height, width = (max(1, round(side * min(1.0, _MAX_SIDE / max(shape[1:])))) for side in shape[1:])
    return shape[0], height, width


def join_made(contents: Sequence[Any], model: str) -> dict[str, Any]:
    """All images that several results files of a model have by `encode_made`, encoded still; None counts as none.

    Raises:
        ResultsError: a content is damaged.
    """
    with _reading(model):
        return {str(name): found for content in contents for name, found in (content or {}).items()}


def _made(content: Any) -> Made:
    ids, shape = _identity(content)
    return Made(ids, (_unpacked(content["images"], (len(ids), *shape), np.uint8) / _GREYS).astype(np.float32))


def _identity(content: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    ids, shape = tuple(map(str, content["sample_ids"])), tuple(map(int, content["shape"]))
    if len(ids) > _MAX_SIDE or len(shape) != 3 or not all(0 < side <= _MAX_SIDE for side in shape):
        raise ValueError(f"{len(ids)} maps of shape {shape}")
    return ids, shape


@contextmanager
def _reading(model: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise ResultsError(
            f"{model}: the pictures in its results file are damaged ({first_line(error)}); run again with --overwrite"
        ) from None


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def _unpacked(text: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """The values; not more of them than the shape has, whatever the text would unpack to."""
    content = zlib.decompressobj().decompress(base64.b64decode(text), math.prod(shape) + 1)
    return np.frombuffer(content, dtype).reshape(shape)


def _signed_bytes(gradient: Array) -> str | None:
    if not np.isfinite(gradient).all():
        return None
    scale = max(float(np.quantile(np.abs(gradient), _CLIP)), float(np.finfo(np.float32).tiny))
    return _packed(np.rint(127 * np.clip(gradient / scale, -1, 1)).astype(np.int8))


def _stacked(texts: Sequence[str | None], shape: tuple[int, ...]) -> Array:
    if len(texts) != shape[0]:
        raise ValueError(f"{len(texts)} maps of {shape[0]} images")
    return np.stack([_from_signed_bytes(text, shape[1:]) for text in texts])


def _from_signed_bytes(text: str | None, shape: tuple[int, ...]) -> Array:
    if text is None:
        return np.full(shape, np.nan, np.float32)
    return (_unpacked(text, shape, np.int8) / 127).astype(np.float32)


def _reduced(images: Array) -> Array:
    """Area averages, so that no side is longer than 64."""
    height, width = images.shape[2:]
    _, *smaller = reduced_shape((1, height, width))
    if smaller == [height, width]:
        return images
    rows, columns = (_area_weights(side, new) for side, new in zip((height, width), smaller, strict=True))
    reduced: Array = (rows @ images @ columns.T).astype(np.float32)
    return reduced


def _area_weights(size: int, reduced: int) -> NDArray[np.float64]:
    """Share of each old pixel in each new one, shape (reduced, size); rows sum to 1."""
    edges = np.linspace(0, size, reduced + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float64] = overlap.clip(min=0) * (reduced / size)
    return weights
