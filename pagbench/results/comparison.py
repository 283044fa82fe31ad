"""Whether rows that were measured again are those of a results file. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.columns import Column
from pagbench.results.thumbnails import Thumbnails

TOLERANCE = 1e-3
"""Of a value, plus of its column's root mean square over the compared rows.

Rounding to 11 significant bits, as of published values, takes up to 4.9e-4 of a value: reruns of all published models
differ by 3.8e-4 of that sum at most. Noise of 1e-6 on every pixel, ten times float32's, adds 3e-5.
"""

FEW = 0.02
"""Share of the compared rows, at least one, that may differ by more, up to `KINK` times as much.

Where rounding carries a ReLU over its kink, the gradient jumps: noise of 1e-5 on every pixel moves 1 to 3 % of the rows
of ReLU networks by up to fifteen times the tolerance. An edit that hides there changes a mean by less than .001.
"""

KINK = 20.0

PICTURE = 0.1
"""Of a picture's norm, that may differ: values are rounded to 1/127 of the largest, and kinks move some."""

ROUNDING = 2.0**-23
"""A difference that is always tolerated: that of float32 next to 1, where a confident network's probabilities lie.

Where all drawn images are such, the column's root mean square is rounding itself, and would be held against rounding.
"""


@dataclass(frozen=True)
class Comparison:
    """What a comparison of reported and measured rows says.

    Attributes:
        reason: which values differ, where and by how much; empty where none does beyond what is tolerated.
        worst_column: the column with the largest difference; of the first that differs, where some differ.
        worst_difference: that difference in units of what is tolerated; above 1 without a reason only on few rows.
    """

    reason: str
    worst_column: str = ""
    worst_difference: float = 0.0


def compare(
    reported: pd.DataFrame, measured: pd.DataFrame, benchmark: Benchmark, tolerance: float = TOLERANCE
) -> Comparison:
    """Compares rows of the same samples.

    Identity and nulls must agree. A measured value may differ by tolerance times the sum of its magnitude and its
    column's, or by `ROUNDING`, on few rows by more (`FEW`, `KINK`). On these few `gradient_faithful`, which has a
    threshold, may differ, and `correct` where the label's probability is the largest within the tolerance and no more
    than a half: a tie.

    Args:
        reported: rows of a results file.
        measured: rows measured now, of some of its samples.
        benchmark: the definition.
        tolerance: as above.
    """
    ids = list(measured["sample_id"])
    reported, measured = (rows.set_index("sample_id").reindex(ids) for rows in (reported, measured))
    differences = list(_identities(reported, measured))
    worst = ("", 0.0)
    for column in columns.sample_columns(benchmark):
        excess = _excess(column, reported, measured, tolerance)
        largest = float(excess.max(initial=0))
        worst = max(worst, (column.name, largest), key=lambda entry: entry[1])
        few = max(1, int(FEW * len(ids)))
        if largest > KINK or (excess > 1).sum() > few:
            differences.append(_describe(column, reported, measured, excess))
    more = f"; {len(differences) - _SHOWN} more columns differ" if len(differences) > _SHOWN else ""
    return Comparison("; ".join(differences[:_SHOWN]) + more, worst[0], min(worst[1], _MOST))


def compare_images(reported: Thumbnails, measured: Thumbnails) -> str:
    """Which of the pictures that a results file carries are not those of its network; empty where all are.

    Args:
        reported: of a results file.
        measured: of the same samples, made now.
    """
    kinds = ("images", "gradients", "targets")
    for kind in kinds:
        theirs, ours = getattr(reported, kind), getattr(measured, kind)
        if theirs is None or ours is None:
            continue
        for sample, a, b in zip(reported.sample_ids, np.nan_to_num(theirs), np.nan_to_num(ours), strict=True):
            if np.linalg.norm(a - b) > PICTURE * np.linalg.norm(b):
                return f"its picture of the {kind} of sample {sample} is another"
    return ""


_SHOWN = 3
_MOST = 1e6
"""Largest difference that a record keeps: a null against a value has no size."""


def _identities(reported: pd.DataFrame, measured: pd.DataFrame) -> Iterator[str]:
    for name in columns.IDENTITY:
        if name not in measured:
            continue  # the sample ids, which are the index
        same = (reported[name] == measured[name]) | (reported[name].isna() & measured[name].isna())
        if not same.all():
            sample = same.index[~same.to_numpy()][0]
            values = f"claimed {reported[name][sample]} and rerun {measured[name][sample]}"
            yield f"{name} differs on {(~same).sum()} of {len(measured)} samples (sample {sample}: {values})"


def _excess(column: Column, reported: pd.DataFrame, measured: pd.DataFrame, tolerance: float) -> NDArray[np.float64]:
    """Difference of each row in units of what is tolerated; infinite for a null against a value."""
    theirs, ours = reported[column.name].to_numpy(float), measured[column.name].to_numpy(float)
    nulls, both = np.isnan(theirs) | np.isnan(ours), np.isnan(theirs) & np.isnan(ours)
    if column.binary:
        excess = np.where(nulls | (theirs == ours), 0.0, _flip(column, measured, tolerance))
    else:
        scored = ours[~np.isnan(ours)]
        scale = np.abs(ours) + (float(np.sqrt(np.mean(scored**2))) if len(scored) else 0.0)
        difference = np.abs(np.where(nulls, 0.0, theirs - ours))
        excess = difference / np.maximum(tolerance * np.where(nulls, 1.0, scale), ROUNDING)
    return np.where(nulls & ~both, np.inf, excess)


def _flip(column: Column, measured: pd.DataFrame, tolerance: float) -> NDArray[np.float64] | float:
    """What 0 instead of 1 counts as, or 1 instead of 0."""
    if column.name == "gradient_faithful":
        return KINK
    if column.name == "correct":
        label, largest = np.exp(-measured["nll"].to_numpy(float)), measured["confidence"].to_numpy(float)
        tie = (largest - label <= tolerance * label) & (label <= (1 + tolerance) / 2)
        return np.where(tie, KINK, np.inf)
    return np.inf


def _describe(column: Column, reported: pd.DataFrame, measured: pd.DataFrame, excess: NDArray[np.float64]) -> str:
    """Which column differs on how many samples, and the worst of them."""
    worst = int(excess.argmax())
    theirs, ours = (float(rows[column.name].iloc[worst]) for rows in (reported, measured))
    size = f", {excess[worst]:.0f} times what is tolerated" if np.isfinite(excess[worst]) else ""
    values = " and rerun ".join("null" if np.isnan(value) else f"{value:.4g}" for value in (theirs, ours))
    count, sample = int((excess > 1).sum()), measured.index[worst]
    return f"{column.name} differs on {count} of {len(measured)} samples (sample {sample}: claimed {values}{size})"
