"""The columns of a benchmark's table: what each is, how it is written, and what chance would give."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.columns import Column
from pagbench.ranking import eligibility
from pagbench.reports import glossary
from pagbench.studies import baselines
from pagbench.studies.baselines import Baseline
from pagbench.studies.networks import Study

Kind = Literal["number", "text", "regime"]

CARD_COLUMNS = (
    Column("architecture", "", None, "Architecture of the network, as its card says.", "architecture"),
    Column("dataset", "", None, "The data set that it was trained on, as its card says.", "trained on"),
)  # fmt: skip
"""What a card says of a model, and the board does not."""

_ALWAYS = ("rank", "model", "control", "status")
"""Every row shows them, in columns or in its place."""
_NOT_FIRST = (
    "family", "strength", "temperature", "alignment_lpips_chance", "verification",
    "denoising_psnr_0.25", "denoising_psnr_1", "inpainting_recognised",
)  # fmt: skip
"""They have a header, but are not shown until asked for: names, the row of chance levels, marks and other columns say
most of it."""
_MEAN = "Mean of the per-sample column."
_MODEL = "Model"
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Alignment": ("alignment",),
    "Predictions": ("accuracy", "nll", "confidence", "temperature"),
    "Following the gradient: generation": ("generation_",),
    "Following the gradient: denoising": ("denoising_",),
    "Following the gradient: in-painting": ("inpainting_",),
    "Regime": ("regime", "p_"),
    "Tangent space": ("tangent_", "gradient_"),
    "Responses": ("on_", "off_", "log_ratio"),
    "Paper's protocol": ("paper_",),
    "Attacks and certificates": ("adversarial_", "pgd", "certified_", "average_certified", "partial_"),
    "Sampling of smoothed models": ("smoothed_",),
}
"""Prefixes of the names of columns that stand together; the others tell what the model is."""
_ORDER = (_MODEL, *_GROUPS)
_CHANCE_PER_NETWORK = ("alignment_lpips", "alignment_cosine", "alignment_second")
_MAX_DECIMALS = 6


@dataclass(frozen=True)
class Shown:
    """A column as the page shows it.

    Attributes:
        column: name, unit, direction and definition.
        group: what it stands with in the list of columns.
        kind: a number, a text, or the regime, which has its probability beside it.
        default: whether it is shown until the reader chooses.
        decimals: digits behind the point; None for numbers without an interval, which are written as they are.
        chance: what guessing, or a random direction, gives; None where there is no such level.
        chance_column: the column that has it, where it is each network's own.
        anchor: its place on the page of measures; None for what that page does not define.
        levels: what doing nothing, real images and other methods have, where it is held against those.
    """

    column: Column
    group: str
    kind: Kind
    default: bool
    decimals: int | None
    chance: float | None
    chance_column: str | None
    anchor: str | None
    levels: tuple[Baseline, ...]

    @property
    def summary(self) -> str:
        """What it is, and the levels that it is held against."""
        return f"{self.column.summary} For comparison: {self.told}." if self.told else self.column.summary

    @property
    def told(self) -> str:
        """The levels in words; empty where there are none."""
        return ", ".join(f"{level.words} {level.value:.3f}" for level in self.levels)

    @property
    def name(self) -> str:
        """Of the column."""
        return self.column.name

    @property
    def header(self) -> str:
        """The short name, or the plain one in words."""
        return self.column.header or self.name.replace("_", " ")

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return {True: "↑", False: "↓", None: ""}[self.column.higher_is_better]

    @property
    def better(self) -> str:
        """The same in words."""
        return {True: "higher is better", False: "lower is better", None: ""}[self.column.higher_is_better]


def shown(board: pd.DataFrame, study: Study) -> list[Shown]:
    """Every documented column that says something of models, beside rank and model, in the table's order.

    Args:
        board: the study's leaderboard, with the columns of `CARD_COLUMNS`.
        study: whose benchmark defines the columns, and what chance gives.
    """
    benchmark = study.benchmark
    defined = {column.name for group in glossary.groups() for column in group.columns}
    hidden = {*_ALWAYS, *baselines.baseline_columns(board)}
    found = [
        Shown(
            column=column,
            group=_group(column.name),
            kind=_kind(column.name, board),
            default=_default(column, benchmark),
            decimals=_decimals(column.name, board),
            chance=baselines.chance(study, column.name),
            chance_column=f"{column.name}_chance" if column.name in _CHANCE_PER_NETWORK else None,
            anchor=_anchor(column.name, defined),
            levels=tuple(baselines.every(board, column.name)),
        )
        for column in documented(benchmark)
        if column.name in board and column.name not in hidden and not board[column.name].isna().all()
    ]
    return sorted(found, key=lambda column: _ORDER.index(column.group))


def documented(benchmark: Benchmark) -> list[Column]:
    """Of the board, of cards, and means of per-sample columns that the board has no sentence on; each name once."""
    measures = [*benchmark.measures, *columns.OPTIONAL]
    samples = {column.name: column for column in columns.sample_columns(benchmark, measures)}
    listed = [*columns.BOARD_COLUMNS, *CARD_COLUMNS, *columns.optional_board_columns(benchmark), *samples.values()]
    named: dict[str, Column] = {}
    for column in listed:
        named.setdefault(column.name, _defined(column, samples.get(column.name)))
    return [column for column in named.values() if not column.name.endswith(("_low", "_high"))]


def _defined(column: Column, sample: Column | None) -> Column:
    """A column of the board whose summary is the definition of what it is a mean of."""
    if sample is None or column.summary not in (_MEAN, sample.summary):
        return column
    unit, direction = column.unit or sample.unit, column.higher_is_better
    return Column(column.name, unit, direction, f"Mean over images: {sample.summary}", column.header, sample.reference)


def _group(name: str) -> str:
    return next((group for group, prefixes in _GROUPS.items() if name.startswith(prefixes)), _MODEL)


def _kind(name: str, board: pd.DataFrame) -> Kind:
    if name == "regime":
        return "regime"
    dtype = board[name].dtype
    return "number" if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) else "text"


def _default(column: Column, benchmark: Benchmark) -> bool:
    """Whether it has a header and says what no other default does: `alignment` is the ranking column, corrected."""
    return bool(column.header) and column not in CARD_COLUMNS and column.name not in (*_NOT_FIRST, benchmark.alignment)


def _decimals(name: str, board: pd.DataFrame) -> int | None:
    """As many as the typical uncertainty is worth: one or two of its digits, by the rule of the Particle Data Group."""
    if name.startswith("p_") or name == "regime_probability":
        return 2
    if f"{name}_low" not in board:
        return None
    meaningful = board[board["status"].map(eligibility.has_result)]
    halves = ((meaningful[f"{name}_high"] - meaningful[f"{name}_low"]) / 2).to_numpy(float)
    halves = halves[np.isfinite(halves) & (halves > 0)]
    return decimals(float(np.median(halves))) if halves.size else 3


def decimals(uncertainty: float) -> int:
    """Decimals of a value with this uncertainty: two of its digits count below 35, one from there on; at most 6.

    >>> decimals(0.0152), decimals(0.0602), decimals(2.4), decimals(41.0)
    (3, 2, 1, 0)
    """
    exponent = int(np.floor(np.log10(uncertainty)))
    leading = round(uncertainty / 10.0 ** (exponent - 2))
    digits = 1 if leading < 355 or leading >= 950 else 0
    places = digits - exponent - (1 if leading >= 950 else 0)
    return int(np.clip(places, 0, _MAX_DECIMALS))


def _anchor(name: str, defined: Collection[str]) -> str | None:
    """The longest defined name that this one begins with: responses and attacks are defined once for all lengths."""
    return max((one for one in defined if name == one or name.startswith(f"{one}_")), key=len, default=None)
