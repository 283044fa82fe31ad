"""Alignment against the sigma of the target, as pages draw it: lines, and what they show in words."""

import math
from collections.abc import Callable
from typing import Any

from pagbench.columns import sigma_name
from pagbench.ranking.profile import PEAK_SIGMA, bound
from pagbench.ranking.statistics import Interval
from pagbench.studies import legend
from pagbench.studies.legend import rounded
from pagbench.studies.models import StudiedModel, Study

Json = dict[str, Any]
Curve = list[list[float | None]]
"""A point for each sigma: sigma, value, low and high."""

OWN, BAYES = "own", "bayes"
"""Kinds of lines on the page of a model; they name its colours."""


def curve(study: Study, interval_of: Callable[[str], Interval]) -> Curve:
    """The alignment at every sigma of a benchmark that has a value.

    Args:
        study: of the benchmark.
        interval_of: value and bounds of a column of the leaderboard; NaN where there is none.
    """
    found = [(sigma, interval_of(sigma_name("alignment_profile", sigma))) for sigma in study.benchmark.sigmas or ()]
    return [
        [sigma, *(rounded(bound) for bound in interval)] for sigma, interval in found if math.isfinite(interval.value)
    ]


def of_model(study: Study, model: StudiedModel) -> Json | None:
    """What the page of a model draws: its own line and the Bayes control's; None where it has no profile.

    Returns:
        `sigma`, the benchmark's; `lines`, each with `name`, `kind` and `points`; `said`, what they show in words.
    """
    own = _curve_of(study, model)
    if not own:
        return None
    lines = [{"name": "this model", "kind": OWN, "points": own}]
    bayes = study.named(study.benchmark.bayes)
    if bayes is not None and bayes is not model and (points := _curve_of(study, bayes)):
        lines.append({"name": "Bayes control", "kind": BAYES, "points": points})
    return {"sigma": study.benchmark.sigma, "lines": lines, "said": words(study, model, own)}


def of_bayes(study: Study) -> Curve:
    """The Bayes control's line; empty where there is none."""
    bayes = study.named(study.benchmark.bayes)
    return [] if bayes is None else _curve_of(study, bayes)


def _curve_of(study: Study, model: StudiedModel) -> Curve:
    return curve(study, lambda name: study.interval(model.card.id, name))


def highest(study: Study, interval_of: Callable[[str], Interval]) -> str:
    """How high a line is, and where; the end of a sentence. Arguments as for `curve`."""
    peak, sigma = interval_of("alignment_peak"), interval_of(PEAK_SIGMA)
    at_end = bound(PEAK_SIGMA, sigma, study.benchmark.sigmas)
    place = f"= {legend.number(sigma.value)} {legend.bounds(sigma.low, sigma.high)}"
    if at_end:
        place = f"{at_end}, for alignment may rise beyond what was measured"
    return f"{legend.number(peak.value)} {legend.bounds(peak.low, peak.high)}, at sigma* {place}"


def words(study: Study, model: StudiedModel, points: Curve) -> str:
    """Where a model's line is highest, and its values at all sigmas, in two sentences."""
    place = highest(study, lambda name: study.interval(model.card.id, name))
    listed = ", ".join(f"{legend.number(value)} at {at:g}" for at, value, _, _ in points)
    return (
        f"Alignment is highest, {place}; the benchmark's sigma is {study.benchmark.sigma:g}. Along the line: {listed}."
    )
