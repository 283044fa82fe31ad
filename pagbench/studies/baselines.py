"""What a column of the leaderboard is compared with: chance, doing nothing, real images, other methods."""

import math
import re
from typing import NamedTuple

import pandas as pd

from pagbench.studies.models import Study

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
"""Names of baselines and the columns that hold them, for the ability columns that a pattern matches."""
_GAIN = re.compile(r"denoising_(psnr|ssim)(_label)?_[\d.]+|inpainting_psnr")


class Baseline(NamedTuple):
    """A value that a column is compared with, the same for all models, and what has it."""

    words: str
    value: float


def chance(study: Study, column: str) -> float | None:
    """What a model that always names the commonest class has, or a gradient that knows nothing of the image.

    Of an ability, what there is before any gradient is followed.

    Args:
        study: of the benchmark.
        column: of its leaderboard.

    Returns:
        The same for all models; None where there is no such value, as of the paper's own alignment.
    """
    benchmark = study.benchmark
    if column == "accuracy":
        labels = max((model.rows["label"] for model in study.models), key=len, default=None)
        return 1 / benchmark.classes if labels is None else float(labels.value_counts(normalize=True).max())
    if column == "tangent_energy" and benchmark.rank:
        return benchmark.rank / benchmark.dimension
    if column.endswith("_corrected") or (column == "alignment" and not benchmark.by_paper):
        return 0.0
    return nothing(study.board, column)


def nothing(board: pd.DataFrame, column: str) -> float | None:
    """What an ability's column has where nothing is done, as for a start or a noisy image; None of other columns."""
    if _GAIN.fullmatch(column):
        return 0.0
    return _value(board, _sources(column).get(_NOTHING))


def others(board: pd.DataFrame, column: str) -> list[Baseline]:
    """What real images or other methods have; empty for columns that are of no ability.

    Args:
        board: a leaderboard.
        column: of it.
    """
    values = {words: _value(board, name) for words, name in _sources(column).items() if words != _NOTHING}
    return [Baseline(words, value) for words, value in values.items() if value is not None]


def every(board: pd.DataFrame, column: str) -> list[Baseline]:
    """All baselines of a column, doing nothing first."""
    value = nothing(board, column)
    return [*([] if value is None else [Baseline(_NOTHING, value)]), *others(board, column)]


def baseline_columns(board: pd.DataFrame) -> set[str]:
    """The leaderboard's columns that are baselines of others, and say nothing of a model."""
    return {name for column in board for name in _sources(str(column)).values() if name in board}


def _sources(column: str) -> dict[str, str]:
    matched: dict[str, str] = {}
    for pattern, sources in _SOURCES.items():
        if (match := re.fullmatch(pattern, column)) is not None:
            matched |= {words: match.expand(name) for words, name in sources.items()}
    return matched


def _value(board: pd.DataFrame, name: str | None) -> float | None:
    """All models' own, which agree but for rounding and for measures that were taken in part."""
    value = math.nan if name not in board else float(board[name].median())
    return value if math.isfinite(value) else None
