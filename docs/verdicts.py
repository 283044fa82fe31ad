"""The paper's claims with a verdict for each benchmark, and what each path shows."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from study import row, rule, text

from pagbench.ranking.profile import PEAK_SIGMA, bound, within
from pagbench.ranking.statistics import clustered_spearman, interval
from pagbench.studies.models import StudiedModel, Study

Array = NDArray[np.float64]
_ORDER = {"weak": 0, "bayes-aligned": 1, "excessive": 2}
_SURE = 0.95
_FEWEST = 4
"""Strengths, no regularisation among them, below which a path shows no rise and fall."""
_ON_TARGET = "score-matching"
"""The family that is trained on scores of the training set: no witness of what regularisation does by itself."""


class Point(NamedTuple):
    """A strength of a path: a row of the board, replicates of which cover images and training seeds.

    Attributes:
        strength: of the regularisation; 0 without it.
        row: id of the board's row.
        model: one of the networks of the row.
    """

    strength: float
    row: str
    model: StudiedModel


def paths(study: Study) -> dict[str, list[Point]]:
    """The rows of the reference's make by family, from no regularisation to the strongest; short paths are left out."""
    points: dict[str, dict[float, Point]] = {}
    for model in study.drawn:
        if model.make == study.make:
            strength = 0.0 if study.is_standard(model) else model.card.strength or 0.0
            name = study.row_of.get(model.card.id, model.card.id)
            points.setdefault(model.card.family, {}).setdefault(strength, Point(strength, name, model))
    start = points.pop(study.standard, {})
    whole = {family: sorted((start | path).values(), key=lambda p: p.strength) for family, path in points.items()}
    return {family: path for family, path in sorted(whole.items()) if len(path) >= _FEWEST}


def _witnesses(study: Study) -> dict[str, list[Point]]:
    """Paths that say what regularisation does by itself."""
    return {family: path for family, path in paths(study).items() if family != _ON_TARGET}


def claims(studies: Sequence[Study]) -> str:
    """Each claim with what every data set says of it, as Markdown."""
    lines = [row(["claim", *(f"`{study.benchmark.label}`" for study in studies)]), rule(1 + len(studies))]
    for claim, judged in _CLAIMS.items():
        lines.append(row([claim, *(judged(study) for study in studies)]))
    return "\n".join(lines) + "\n"


def profiles(study: Study) -> str:
    """Regime, accuracy, alignment, and the noise level where it is highest, along each path; as Markdown.

    The unregularised network, with which every path begins, has one row.
    """
    lines = [row(["recipe", "regime", "accuracy", "alignment", "best at sigma"]), rule(5)]
    along = list(_witnesses(study).values())
    for point in [*along[0], *(point for path in along[1:] for point in path[1:])]:
        found, sigmas = study.replicates(point.model), study.benchmark.sigmas or ()
        at_end = bound(PEAK_SIGMA, within(interval(found[PEAK_SIGMA]), sigmas), sigmas)
        sigma = at_end or text(found[PEAK_SIGMA], digits=2)
        values = (f"{found['accuracy'][0]:.2f}", text(found["alignment"], digits=2), sigma)
        lines.append(row([point.row.rpartition("/")[2], _regime(study, point), *values]))
    return "\n".join(lines) + "\n"


def luck(study: Study) -> str:
    """How many orders of two networks images tell, and how many of these another training seed could turn round.

    The variance between seeds is that of all recipes with several networks, pooled; two networks differ by retraining
    alone by less than Student's t times the root of twice that, in 95 % of cases.
    """
    groups: dict[tuple[str, float | None, tuple[str, str]], list[float]] = {}
    for model in study.drawn:
        group = (model.card.family, model.card.strength, model.make)
        groups.setdefault(group, []).append(float(model.replicates["alignment"][0]))
    several = [np.array(group) for group in groups.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    pooled = math.sqrt(sum(float(group.var() * len(group)) for group in several) / freedom)
    retrained = float(student.ppf((1 + _SURE) / 2, freedom)) * math.sqrt(2) * pooled
    models = sorted(study.drawn, key=lambda model: -float(model.replicates["alignment"][0]))
    clear = lucky = 0
    for first, second in combinations(models, 2):
        found = interval(first.replicates["alignment"] - second.replicates["alignment"])
        if found.low > 0:
            clear += 1
            lucky += found.value < math.hypot(retrained, (found.high - found.low) / 2)
    pairs = len(models) * (len(models) - 1) // 2
    return (
        f"Of {pairs:,} pairs of networks the images tell {clear:,} apart. Another training seed moves the difference "
        f"of two networks by up to {retrained:.3f} (pooled over {len(several)} recipes). So {lucky} of these orders "
        "may be the luck of a seed.\n"
    )


def _regime(study: Study, point: Point) -> str:
    return str(study.entries[point.row]["regime"] or "–")


def _along(study: Study, path: Sequence[Point], name: str) -> Array:
    """Replicates of a quantity along a path, one column for each strength."""
    return np.stack([study.replicates(point.model)[name] for point in path], axis=1)


def _count(verdicts: dict[str, bool]) -> str:
    """Of how many families something holds, and which are the others."""
    others = [family for family, holds in verdicts.items() if not holds]
    word = "holds" if not others else "in part" if len(others) < len(verdicts) / 2 else "no"
    return f"**{word}**: {len(verdicts) - len(others)} of {len(verdicts)} families" + (
        f" (not {', '.join(others)})" if 0 < len(others) < len(verdicts) else ""
    )


def _in_order(study: Study) -> str:
    """Regimes come one after another, each of the three somewhere."""
    verdicts = {}
    for family, path in _witnesses(study).items():
        levels = [_ORDER[found] for found in (_regime(study, point) for point in path) if found in _ORDER]
        verdicts[family] = levels == sorted(levels) and set(levels) == {0, 1, 2}
    return _count(verdicts)


def _inside(study: Study) -> str:
    """The peak lies inside the path in nearly all replicates."""
    verdicts = {}
    for family, path in _witnesses(study).items():
        best = _along(study, path, "alignment").argmax(axis=1)[1:]
        verdicts[family] = float(np.mean((best > 0) & (best < len(path) - 1))) >= _SURE
    return _count(verdicts)


def _peak(study: Study, path: Sequence[Point]) -> int:
    return int(_along(study, path, "alignment")[0].argmax())


def _aligned_at_the_peak(study: Study) -> str:
    return _count(
        {
            family: _regime(study, path[_peak(study, path)]) == "bayes-aligned"
            for family, path in _witnesses(study).items()
        }
    )


def _accuracy_lost(study: Study) -> str:
    parts, sure = [], {}
    for family, path in _witnesses(study).items():
        accuracy = _along(study, path, "accuracy")
        lost = interval(accuracy[:, 0] - accuracy[:, _peak(study, path)])
        parts.append(lost.value)
        sure[family] = lost.low > 0
    return f"{_count(sure)}; {min(parts):.2f} to {max(parts):.2f} lost"


def _costs_accuracy(study: Study, point: Point) -> bool:
    """Whether a row is excessive for the accuracy that it loses, whatever its sigma*."""
    thresholds, reference = study.benchmark.thresholds, study.reference
    assert thresholds is not None and reference is not None
    lost = study.replicates(reference)["accuracy"][0] - study.replicates(point.model)["accuracy"][0]
    return _regime(study, point) == "excessive" and bool(lost > thresholds.drop)


def _blurred(study: Study) -> str:
    """The first row that is excessive by its accuracy is aligned best at more noise than the best Bayes-aligned row.

    Rows that are excessive by sigma* alone would make the claim true by definition. A sigma* that lies beyond the grid
    does not make it true: at the grid's end it is too near to the other one.
    """
    if study.benchmark.sigmas is None:
        return "not measured"
    verdicts, shares = {}, []
    for family, path in _witnesses(study).items():
        excessive = [point for point in path if _costs_accuracy(study, point)]
        aligned = [point for point in path if _regime(study, point) == "bayes-aligned"]
        if not excessive or not aligned:  # nothing to compare
            continue
        best = aligned[_peak(study, aligned)]
        sigmas = [study.replicates(point.model)["alignment_peak_sigma"] for point in (best, excessive[0])]
        verdicts[family] = interval(np.log(sigmas[1]) - np.log(sigmas[0])).low > 0
        peaks = _along(study, path, "alignment_peak")[0]
        shares.append(study.replicates(excessive[0].model)["alignment_peak"][0] / peaks.max())
    if not verdicts:
        return "no path has a Bayes-aligned recipe and one that loses accuracy"
    kept = " to ".join(dict.fromkeys(f"{share:.2f}" for share in (min(shares), max(shares))))
    return f"{_count(verdicts)}; the first such row keeps {kept} of the highest alignment of its path"


def _correlation(first: str, second: str, sign: int) -> Callable[[Study], str]:
    def judged(study: Study) -> str:
        chosen = {study.row_of.get(model.card.id, model.card.id): model for model in study.drawn}.values()
        chosen = [model for model in chosen if model.card.family != _ON_TARGET]
        if not all(second in study.replicates(model) for model in chosen):
            return "not measured"
        x, y = (np.array([study.replicates(model)[name][0] for model in chosen]) for name in (first, second))
        rho = clustered_spearman(x, y, [model.card.family for model in chosen])
        word = "holds" if sign * rho.low > 0 < sign * rho.high else "not shown"
        rows = study.benchmark.ranking or "networks"
        return f"**{word}**: {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}], {len(chosen)} {rows}"

    return judged


_CLAIMS: dict[str, Callable[[Study], str]] = {
    "the three regimes come in their order along a path": _in_order,
    "alignment rises and falls: its peak is inside the path (95 % of replicates)": _inside,
    "the peak lies in the Bayes-aligned regime": _aligned_at_the_peak,
    "the peak costs accuracy": _accuracy_lost,
    "the more robust off the manifold, the better aligned (rho with log off/on)": _correlation(
        "alignment", "log_ratio", -1
    ),
    "the same for infinitesimal steps": _correlation("alignment", "log_ratio_infinitesimal", -1),
    "off-manifold robust gradients lie on the manifold (rho of tangent energy and log off/on)": _correlation(
        "tangent_energy", "log_ratio", -1
    ),
    "another density ranks alike (rho with the diffusion model's target)": _correlation(
        "alignment", "alignment_second_corrected", 1
    ),
    "perceptual distance ranks alike (rho with LPIPS)": _correlation("alignment", "alignment_lpips_corrected", 1),
    "beyond the paper: models that lose accuracy match the target of a more blurred world": _blurred,
}
