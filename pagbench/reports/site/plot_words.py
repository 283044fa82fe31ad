"""What the plots show, in words: for readers who do not see them, and as a summary for those who do."""

from collections.abc import Iterator, Sequence

from pagbench.errors import ResultsError
from pagbench.ranking import eligibility
from pagbench.studies import correlations, legend, paths
from pagbench.studies.networks import Study
from pagbench.studies.paths import Point

_SHORT = 2
_FEW_FAMILIES = 5


def words(study: Study) -> dict[str, list[str]]:
    """Sentences by plot: `ratio`, `accuracy`, `responses` and `paths`; an empty list where there is nothing to say."""
    return {
        "ratio": list(_correlated(study, "log_ratio", "log off/on and alignment")),
        "accuracy": list(_correlated(study, "accuracy", "accuracy and alignment")),
        "responses": list(_sides(study)),
        "paths": list(_along(study)),
    }


def _correlated(study: Study, column: str, meaning: str) -> Iterator[str]:
    """Spearman's rho of a column and alignment, over all ranked networks and the accurate ones."""
    if column not in study.board:
        return
    try:
        table = correlations.points(study)
    except ResultsError:
        yield f"Fewer than three ranked models: no correlation of {meaning}."
        return
    found = correlations.over_parts(table, column, "alignment", study.benchmark.seed)
    few = "; with so few families the interval is too short" if found["all"].families < _FEW_FAMILIES else ""
    yield f"Spearman's rank correlation of {meaning}, ranked models: {found['all'].said()}{few}."
    if found["accurate"].networks < found["all"].networks:
        best = "best model's" if study.reference is None else "reference's"
        share = f"at least {correlations.ACCURATE:.0%} of the {best} accuracy"
        yield f"Those with {share}: {found['accurate'].said()}."


def _sides(study: Study) -> Iterator[str]:
    """How many models react less off the manifold than on it, and how many more, beyond their intervals."""
    if "log_ratio" not in study.board:
        return
    ranked = study.board[study.board["status"] == eligibility.RANKED]
    if ranked.empty:
        return
    less, more = int((ranked["log_ratio_high"] < 0).sum()), int((ranked["log_ratio_low"] > 0).sum())
    yield (
        f"Of {len(ranked)} ranked models {less} react less off the manifold than on it, {more} react more, and "
        f"{len(ranked) - less - more} cannot be told (by the 95 % interval of log off/on)."
    )


def _along(study: Study) -> Iterator[str]:
    """The course of alignment along each path of the reference's architecture, and how many peak inside."""
    start = paths.origin(study, study.make)
    first = [start] if start else []
    courses = {
        path.family: [*first, *path.points]
        for path in paths.every_path(study)
        if path.make == study.make and len(first) + len(path.points) > 1
    }
    if not courses:
        return
    long = [course for course in courses.values() if len(course) > _SHORT]
    inside = [_peak(course) for course in long if _peak(course) not in (course[0], course[-1])]
    aligned = sum(peak.regime == "bayes-aligned" for peak in inside)
    regime = f", and {aligned} of these peaks are Bayes-aligned" if study.anchors and inside else ""
    if long:
        yield f"In {len(inside)} of {len(long)} paths alignment is highest between the two ends{regime}."
    for family, course in courses.items():
        yield f"{family}: {_told(course)}."


def _peak(course: Sequence[Point]) -> Point:
    return max(course, key=lambda point: point.values["alignment"].value)


def _told(course: Sequence[Point]) -> str:
    """Alignment at both ends and at the peak."""
    peak = _peak(course)
    stations = [course[0], *([peak] if peak not in (course[0], course[-1]) else []), course[-1]]
    said = [f"{'highest, ' if point is peak else ''}{_at(point)}" for point in stations]
    return "alignment " + "; ".join(said)


def _at(point: Point) -> str:
    found = point.values["alignment"]
    regime = "" if point.regime is None else f" ({legend.REGIMES[point.regime]})"
    interval = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")
    return f"{interval} at strength {point.strength:g}{regime}"
