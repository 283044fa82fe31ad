"""What a column of an ability is held against: doing nothing, real images, other methods; the same for all models."""

import math
import re
from typing import NamedTuple

import pandas as pd

_NOTHING = "doing nothing"
_SOURCES = {
    r"(generation(?:_noise)?_(?:recognised|kid|off_data|nearest)|inpainting_recognised)": {_NOTHING: r"\1_chance"},
    r"generation(?:_noise)?_(recognised|off_data|nearest)": {"real images": r"generation_\1_ceiling"},
    r"denoising_(psnr|ssim)(?:_label)?_([\d.]+)": {
        "a total-variation filter": r"denoising_\1_tv_\2",
        "the score's denoiser": r"denoising_\1_denoiser_\2",
    },
    "inpainting_psnr": {"the score's denoiser": "inpainting_psnr_ceiling"},
    "inpainting_recognised": {"real images": "inpainting_recognised_ceiling"},
}
"""Columns that hold a level, by its name for people, of the columns of a pattern."""
_GAIN = re.compile(r"denoising_(psnr|ssim)(_label)?_[\d.]+|inpainting_psnr")


class Level(NamedTuple):
    """A value that a column is held against, and what has it."""

    words: str
    value: float


def nothing(board: pd.DataFrame, column: str) -> float | None:
    """What a column of an ability has where nothing is done, as for a start or a noisy image; None of other columns."""
    if _GAIN.fullmatch(column):
        return 0.0
    return _value(board, _sources(column).get(_NOTHING))


def others(board: pd.DataFrame, column: str) -> list[Level]:
    """What real images or other methods have; nothing of columns that are of no ability.

    Args:
        board: a leaderboard.
        column: of it.
    """
    found = {words: _value(board, name) for words, name in _sources(column).items() if words != _NOTHING}
    return [Level(words, value) for words, value in found.items() if value is not None]


def of(board: pd.DataFrame, column: str) -> list[Level]:
    """All that a column is held against: doing nothing first."""
    value = nothing(board, column)
    return [*([] if value is None else [Level(_NOTHING, value)]), *others(board, column)]


def columns(board: pd.DataFrame) -> set[str]:
    """The leaderboard's columns that are levels of others, and say nothing of a model."""
    return {name for column in board for name in _sources(str(column)).values() if name in board}


def _sources(column: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern, sources in _SOURCES.items():
        if (match := re.fullmatch(pattern, column)) is not None:
            found |= {words: match.expand(name) for words, name in sources.items()}
    return found


def _value(board: pd.DataFrame, name: str | None) -> float | None:
    """All models' own, which agree but for rounding and for measures that were taken in part."""
    value = math.nan if name not in board else float(board[name].median())
    return value if math.isfinite(value) else None
