"""Who takes a rank, and the reason where an entrant does not."""

import numpy as np
import pandas as pd
from scipy.special import bdtrc

from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.preflight import Preflight
from pagbench.verification import Verification

RANKED = "ranked"
SIGNIFICANCE = 1e-3
MIN_SCORED = 0.95
MAX_UNFAITHFUL = 0.05
MIN_RESPONSE = 10 * float(np.finfo(np.float32).eps)


def status(
    rows: pd.DataFrame,
    benchmark: Benchmark,
    board_seed: int,
    preflight: Preflight | None = None,
    verification: Verification | None = None,
) -> str:
    """`ranked`, or why not: a control, part of the samples, another seed, no meaningful, a doubtful, a refuted result.

    Args:
        rows: of one entrant.
        benchmark: the definition.
        board_seed: noise seed of the anchors; other seeds are not paired with them.
        preflight: the entrant's pre-flight card, where there is one.
        verification: what a rerun of some rows has found, where there was one.
    """
    reason = _no_result(rows, benchmark) or _refuted(verification)
    if rows["control"].iloc[0]:
        return f"control; {reason}" if reason else "control"
    return reason or _no_rank(rows, benchmark, board_seed, preflight) or RANKED


def _refuted(verification: Verification | None) -> str | None:
    if verification is None or verification.verdict == "verified":
        return None
    return f"{verification.summary()}: {verification.reason}"


def _no_rank(rows: pd.DataFrame, benchmark: Benchmark, board_seed: int, preflight: Preflight | None) -> str | None:
    seed = int(rows["seed"].iloc[0])
    if seed != board_seed:
        return f"noise seed {seed}, the board's is {board_seed}"
    if len(rows) < len(benchmark.samples):
        return f"partial: {len(rows)} of {len(benchmark.samples)} images"
    unscored = int(rows[benchmark.alignment].isna().sum())
    if unscored:
        return f"incomplete: the gradient vanishes on {unscored} of {len(rows)} images"
    if preflight is not None and preflight.costs_the_rank:
        return f"doubtful: {preflight.summary()}"
    return None


def has_result(status: str) -> bool:
    """Whether the entrant's numbers mean something, ranked or not."""
    return "no result" not in status


def _no_result(rows: pd.DataFrame, benchmark: Benchmark) -> str | None:
    n, correct = len(rows), int(rows["correct"].sum())
    chance = float(rows["label"].value_counts(normalize=True).max())
    if bdtrc(correct - 1, n, chance) >= SIGNIFICANCE:
        return f"no result: accuracy {correct / n:.3f} is not above chance {chance:.3f}"
    if benchmark.epsilon and rows[epsilon_name("on_response", benchmark.epsilon)].mean() <= MIN_RESPONSE:
        return "no result: the output does not react to its input beyond rounding"
    scored = int(rows[benchmark.alignment].notna().sum())
    if scored < MIN_SCORED * n:
        return f"no result: the gradient vanishes on {n - scored} of {n} images"
    unfaithful = float((rows["gradient_faithful"] == 0).mean())
    if unfaithful > MAX_UNFAITHFUL:
        return f"no result: the gradient is not that of the outputs on {unfaithful:.0%} of the images"
    return None
