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
NO_ALIGNMENT = "no result: its alignment is no number, for that by chance is 1"
"""Of a model whose images are all scored; it would take the ranks of all others with it."""
NO_TEMPERATURE = (
    "no result: no temperature calibrates its outputs, for on the calibration images none is wrong, or the classes are "
    "told apart no better than by chance"
)
"""Of a model on a benchmark that measures calibrated outputs."""
MIN_RESPONSE = 10 * float(np.finfo(np.float32).eps)


class Evidence(NamedTuple):
    """What decides whether a model takes a rank.

    Attributes:
        control: whether it is one.
        seed: of the noise.
        images: measured.
        unscored: images without an alignment.
        no_result: why its numbers mean nothing; None where they do.
        preflight: its pre-flight card, where there is one.
        verification: what a rerun of some rows says of them, where there was one.
    """

    control: bool
    seed: int
    images: int
    unscored: int
    no_result: str | None
    preflight: Preflight | None
    verification: Verification | None


def evidence(
    rows: pd.DataFrame, benchmark: Benchmark, preflight: Preflight | None, verification: Verification | None
) -> Evidence:
    """What the rows of one model say, with its pre-flight card and its verification."""
    unscored = int(rows[benchmark.alignment].isna().sum())
    control, seed = bool(rows["control"].iloc[0]), int(rows["seed"].iloc[0])
    no_result = _no_result(rows, benchmark, unscored, None if control else preflight)
    return Evidence(control, seed, len(rows), unscored, no_result, preflight, verification)


def status(model: Evidence, benchmark: Benchmark, board_seed: int) -> str:
    """`ranked`, or why not: a control, no meaningful, a partial, doubtful or refuted result, another seed, no target.

    Args:
        model: what is known of it.
        benchmark: the definition.
        board_seed: noise seed of the anchors; other seeds are not paired with them.
    """
    reason = model.no_result
    if reason is None and model.verification is not None and model.verification.verdict == "refuted":
        reason = f"{model.verification.summary()}: {model.verification.reason}"
    if model.control:
        return f"control; {reason}" if reason else "control"
    return reason or _no_rank(model, benchmark, board_seed) or RANKED


def _no_rank(model: Evidence, benchmark: Benchmark, board_seed: int) -> str | None:
    if benchmark.no_target:
        return no_rank(benchmark)
    if model.seed != board_seed:
        return f"noise seed {model.seed}, the board's is {board_seed}"
    if model.images < len(benchmark.samples):
        return f"partial: {model.images} of {len(benchmark.samples)} images"
    if model.unscored:
        cause = _cause(model.preflight, "gradients")
        return f"incomplete: the gradient is zero or not finite on {model.unscored} of {model.images} images{cause}"
    if model.preflight is not None and model.preflight.costs_the_rank:
        return f"doubtful: {model.preflight.summary()}"
    return None


def no_rank(benchmark: Benchmark) -> str:
    """The status of every model on a benchmark whose data define no target."""
    return f"no rank: {benchmark.no_target}"


def has_result(status: str) -> bool:
    """Whether the model's numbers mean something, ranked or not."""
    return not status.removeprefix("control; ").startswith("no result")


def _cause(preflight: Preflight | None, *names: str) -> str:
    """What the first of these pre-flight checks that is flagged has found."""
    flagged = {check.name: check for check in preflight.flags} if preflight is not None else {}
    first = next((flagged[name] for name in names if name in flagged), None)
    return "" if first is None else f" (pre-flight: {first.found}; {first.advice})"


def _no_result(rows: pd.DataFrame, benchmark: Benchmark, unscored: int, preflight: Preflight | None) -> str | None:
    if benchmark.no_target:
        return None  # it gives no results to anybody
    return _no_outputs(rows, benchmark) or _no_gradient(rows, unscored, preflight)


def _no_outputs(rows: pd.DataFrame, benchmark: Benchmark) -> str | None:
    """Why the outputs mean nothing; None where they do."""
    n, correct = len(rows), int(rows["correct"].sum())
    chance = float(np.unique(rows["label"], return_counts=True)[1].max() / n)
    if binomial_tail(correct, n, chance) >= SIGNIFICANCE:
        return f"no result: accuracy {correct / n:.3f} is not above chance {chance:.3f}"
    if benchmark.epsilon and rows[epsilon_name("on_response", benchmark.epsilon)].mean() <= MIN_RESPONSE:
        return "no result: the output does not react to its input beyond rounding"
    if benchmark.gradient == "calibrated" and rows["temperature"].isna().any():
        return NO_TEMPERATURE
    return None


def _no_gradient(rows: pd.DataFrame, unscored: int, preflight: Preflight | None) -> str | None:
    """Why the gradient means nothing; None where it does."""
    n = len(rows)
    if n - unscored < MIN_SCORED * n:
        cause = _cause(preflight, "gradients")
        return f"no result: the gradient is zero or not finite on {unscored} of {n} images{cause}"
    unfaithful = float((rows["gradient_faithful"] == 0).mean())
    if unfaithful > MAX_UNFAITHFUL and not (preflight is not None and preflight.has_kinks):
        cause = _cause(preflight, "precision", "derivatives")
        return f"no result: the gradient is not that of the outputs on {unfaithful:.0%} of the images{cause}"
    return None
