"""Who takes a rank, and the reason where a model does not."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.ranking.statistics import binomial_tail
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification

RANKED = "ranked"
SIGNIFICANCE = 1e-3
MIN_SCORED = 0.95
MAX_UNFAITHFUL = 0.05
MIN_RESPONSE = 10 * float(np.finfo(np.float32).eps)


class Evidence(NamedTuple):
    """What a model's rows say of its eligibility.

    Attributes:
        control: whether it is one.
        seed: of the noise.
        images: measured.
        unscored: images without an alignment.
        no_result: why its numbers mean nothing; None where they do.
    """

    control: bool
    seed: int
    images: int
    unscored: int
    no_result: str | None


def evidence(rows: pd.DataFrame, benchmark: Benchmark) -> Evidence:
    """Of the rows of one model."""
    unscored = int(rows[benchmark.alignment].isna().sum())
    control, seed = bool(rows["control"].iloc[0]), int(rows["seed"].iloc[0])
    return Evidence(control, seed, len(rows), unscored, _no_result(rows, benchmark, unscored))


def status(
    found: Evidence,
    benchmark: Benchmark,
    board_seed: int,
    preflight: Preflight | None = None,
    verification: Verification | None = None,
) -> str:
    """`ranked`, or why not: a control, part of the samples, another seed, no meaningful, a doubtful, a refuted result.

    Args:
        found: what the model's rows say.
        benchmark: the definition.
        board_seed: noise seed of the anchors; other seeds are not paired with them.
        preflight: the model's pre-flight card, where there is one.
        verification: what a rerun of some rows has found, where there was one.
    """
    reason = found.no_result or _refuted(verification)
    if found.control:
        return f"control; {reason}" if reason else "control"
    return reason or _no_rank(found, benchmark, board_seed, preflight) or RANKED


def _refuted(verification: Verification | None) -> str | None:
    if verification is None or verification.verdict == "verified":
        return None
    return f"{verification.summary()}: {verification.reason}"


def _no_rank(found: Evidence, benchmark: Benchmark, board_seed: int, preflight: Preflight | None) -> str | None:
    if found.seed != board_seed:
        return f"noise seed {found.seed}, the board's is {board_seed}"
    if found.images < len(benchmark.samples):
        return f"partial: {found.images} of {len(benchmark.samples)} images"
    if found.unscored:
        return f"incomplete: the gradient vanishes on {found.unscored} of {found.images} images"
    if preflight is not None and preflight.costs_the_rank:
        return f"doubtful: {preflight.summary()}"
    return None


def has_result(status: str) -> bool:
    """Whether the model's numbers mean something, ranked or not."""
    return "no result" not in status


def _no_result(rows: pd.DataFrame, benchmark: Benchmark, unscored: int) -> str | None:
    n, correct = len(rows), int(rows["correct"].sum())
    chance = float(np.unique(rows["label"], return_counts=True)[1].max() / n)
    if binomial_tail(correct, n, chance) >= SIGNIFICANCE:
        return f"no result: accuracy {correct / n:.3f} is not above chance {chance:.3f}"
    if benchmark.epsilon and rows[epsilon_name("on_response", benchmark.epsilon)].mean() <= MIN_RESPONSE:
        return "no result: the output does not react to its input beyond rounding"
    if n - unscored < MIN_SCORED * n:
        return f"no result: the gradient vanishes on {unscored} of {n} images"
    unfaithful = float((rows["gradient_faithful"] == 0).mean())
    if unfaithful > MAX_UNFAITHFUL:
        return f"no result: the gradient is not that of the outputs on {unfaithful:.0%} of the images"
    return None
