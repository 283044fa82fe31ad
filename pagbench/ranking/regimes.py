"""The three regimes of robustness, judged between a benchmark's two anchors (after arXiv 2305.19101)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark, Thresholds

REGIMES = ("weak", "bayes-aligned", "excessive")
BOUNDARY = "boundary"
_TIE = 1e-9
"""Shares of images often differ by the very threshold; rounding must not decide then."""
Replicates = NDArray[np.float64]


class Anchored(NamedTuple):
    """Bootstrap replicates of what the regime rule reads, of one model or of an anchor.

    Attributes:
        tangent_energy: in [0, 1], shape (replicates,).
        on_response: at the benchmark's epsilon.
        accuracy: fraction.
        blur: the noise level at which the gradient is most like the Bayes classifier's, over the benchmark's own; None
            where the benchmark measures no profile.
    """

    tangent_energy: Replicates
    on_response: Replicates
    accuracy: Replicates
    blur: Replicates | None = None

    @classmethod
    def of(cls, replicates: Mapping[str, Replicates], benchmark: Benchmark) -> "Anchored":
        """What is read of a model's replicates, the estimates left out."""
        peak = replicates.get("alignment_peak_sigma")
        return cls(
            replicates["tangent_energy"][1:],
            replicates["on_response"][1:],
            replicates["accuracy"][1:],
            None if peak is None else peak[1:] / benchmark.sigma,
        )


class Verdict(NamedTuple):
    """A regime, or "boundary", with the bootstrap probability of each regime in the order of `REGIMES`."""

    regime: str
    probabilities: tuple[float, float, float]


def classify(model: Anchored, reference: Anchored, bayes: Anchored, thresholds: Thresholds) -> NDArray[np.int64]:
    """Regime of each replicate, as an index into `REGIMES`; -1 where a value it needs was not scored.

    With q = (τ - τ_ref)/(τ_Bayes - τ_ref), how far the gradient has gone from the unregularised reference's tangent
    energy to the Bayes classifier's, and r = R_on/R_on(Bayes): excessive if r < retention or the accuracy has dropped
    by more than `drop`; else weak if q < gain; else excessive if the gradient is most like that of the Bayes classifier
    of a world that is blurred more than the benchmark's, by more than the factor `blur`; else Bayes-aligned. Thresholds
    that are null are not asked.

    Args:
        model: replicates of the model.
        reference: of the unregularised anchor, on the same resampled images.
        bayes: of the Bayes control, on the same resampled images.
        thresholds: of the benchmark.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = (model.tangent_energy - reference.tangent_energy) / (bayes.tangent_energy - reference.tangent_energy)
    retention = model.on_response / bayes.on_response
    drop = reference.accuracy - model.accuracy
    excessive = drop > thresholds.drop + _TIE
    if thresholds.retention is not None:
        excessive |= retention < thresholds.retention
    blurred = np.zeros_like(excessive)
    if thresholds.blur is not None and model.blur is not None:
        blurred = model.blur > thresholds.blur
    known = ~np.isnan(retention + drop) & (excessive | ~np.isnan(gain))
    return np.where(known, np.where(excessive, 2, np.where(gain < thresholds.gain, 0, np.where(blurred, 2, 1))), -1)


def judge(model: Anchored, reference: Anchored, bayes: Anchored, thresholds: Thresholds) -> Verdict | None:
    """The regime whose bootstrap probability reaches the benchmark's confidence, else "boundary".

    Returns:
        None where there is nothing to judge between: the anchors' tangent energies are closer than the thresholds' gap,
        or in the wrong order, as where even the Bayes classifier's gradient leaves the manifold; or where most
        replicates lack a scored value.
    """
    gap = np.nanmean(bayes.tangent_energy - reference.tangent_energy)
    regimes = classify(model, reference, bayes, thresholds)
    known = regimes[regimes >= 0]
    if not gap >= thresholds.gap or 2 * len(known) < len(regimes):
        return None
    shares = tuple(float(np.mean(known == index)) for index in range(3))
    best = int(np.argmax(shares))
    regime = REGIMES[best] if shares[best] >= thresholds.confidence else BOUNDARY
    return Verdict(regime, (shares[0], shares[1], shares[2]))
