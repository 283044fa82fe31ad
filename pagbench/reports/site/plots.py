"""The plots of a benchmark's page: the values that they draw, and what they show in words.

The words are for readers who do not see the plots, and a summary for those who do.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pagbench.errors import ResultsError
from pagbench.ranking import eligibility
from pagbench.ranking.profile import PEAK_SIGMA, bound
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import profiles
from pagbench.reports.site.rendering import address
from pagbench.studies import baselines, correlations, legend, paths
from pagbench.studies.legend import rounded
from pagbench.studies.models import StudiedModel, Study
from pagbench.studies.paths import Path, Point, StrengthAxis, strength_axis

QUANTITIES = {
    "alignment": "alignment",
    "accuracy": "accuracy",
    "tangent_energy": "tangent energy",
    "log_ratio": "log off/on",
    "on_response": "on-manifold response",
    "off_response": "off-manifold response",
}
"""Columns of the leaderboard that the plots show, with their names on axes."""
PROFILE = {"alignment_peak": "alignment at sigma*", "alignment_peak_sigma": "sigma*"}
"""The same of benchmarks with a profile."""
SCATTERS = {
    "ratio": ("log_ratio", "alignment"),
    "accuracy": ("accuracy", "alignment"),
    "responses": ("on_response", "off_response", "log_ratio"),
    "peak": ("accuracy", "alignment_peak"),
}
"""Columns that a point of each plot of all models needs; without a log ratio a response is no more than rounding."""
BAYES, CONTROLS = "Bayes control", "other controls"
"""Groups beside the families."""

Json = dict[str, Any]


def content(study: Study) -> Json:
    """What the section shows, under `plots`: payload, which plots there are, words, who lacks a point, the anchors."""
    drawn = payload(study)
    models = [model["values"].keys() for model in drawn["models"] if not model["control"]]
    first = [model for model in drawn["models"] if drawn["groups"][model["group"]]["shown"]]
    has = {name: any(set(columns) <= measured for measured in models) for name, columns in SCATTERS.items()}
    drawn_ids = {model["model"] for model in drawn["models"]}
    shown = {
        "payload": drawn,
        "has": has | {name: bool(drawn[name]) for name in ("paths", "progress", "profiles", "noise")},
        "undated": [model.card.id for model in _shown(study) if not model.card.control and model.card.date is None],
        "words": words(study),
        "missing": {
            name: [model["model"] for model in first if not set(columns) <= model["values"].keys()]
            for name, columns in SCATTERS.items()
        },
        "left_out": [model.card.id for model in study.models if model.card.id not in drawn_ids],
        "anchors": (study.benchmark.reference, study.benchmark.bayes) if study.anchors else None,
    }
    return {"plots": shown}


def payload(study: Study) -> Json:
    """Everything that is drawn, as plain JSON values.

    Returns:
        `quantities` (column: name), `groups` (families, then controls: `name`, `light` and `dark` colour, `shown` at
        first), `models` (by group, strength and seed), `paths` (see `_path`), `progress` (see `progress`), `bayes` (the
        control's id) and `chance` (column: level). Values are [estimate, low, high] by column, null at an end that is
        open; a column without an estimate is absent. `bounds` of a model are texts by column, in the place of its
        value and interval. Of a benchmark with a profile also `profiles` (see `_profile`), `bayes_profile` (the
        control's line) and `noise` (the groups whose strength is a noise level); `sigma` is the benchmark's.
    """
    groups = _groups(study)
    order = {group["name"]: index for index, group in enumerate(groups)}
    models = [_model(model, study, order) for model in _shown(study)]
    models.sort(key=lambda model: (model["group"], model["strength"] or 0, model["model"]))
    measured = {n: label for n, label in (QUANTITIES | PROFILE).items() if any(n in e["values"] for e in models)}
    laid_out = [(path, strength_axis(path, paths.origin(study, path.make))) for path in paths.every_path(study)]
    drawn = [(path, scale) for path, scale in laid_out if len(scale.points) > 1]
    followed = [line for path, scale in drawn if (line := _profile(path, scale, order, study))]
    noisy = {order[path.family] for path, _ in drawn if path.family in legend.NOISE_FAMILIES}
    return {
        "quantities": measured,
        "groups": groups,
        "models": models,
        "paths": [_path(path, scale, order, study) for path, scale in drawn],
        "sigma": study.benchmark.sigma,
        "profiles": followed,
        "bayes_profile": profiles.of_bayes(study),
        "noise": sorted(noisy) if followed else [],
        "progress": progress(study),
        "bayes": study.benchmark.bayes,
        "chance": {name: level for name in measured if (level := baselines.chance(study, name)) is not None},
    }


def progress(study: Study) -> dict[str, list[Json]]:
    """How the best ranked model so far has moved, by day of publication or submission.

    A model whose card has no date is left out: the day on which it was measured says nothing of when it was made.

    Returns:
        For `alignment` and `accuracy`, each day on which a model was better than all before: `date`, `model`, `value`.
        Empty where fewer than two models have a date.
    """
    dated = sorted((m for m in _shown(study) if m.card.date and not m.card.control), key=lambda m: str(m.card.date))
    if len(dated) < 2:
        return {}
    steps: dict[str, list[Json]] = {"alignment": [], "accuracy": []}
    for name, best in steps.items():
        for model in (model for model in dated if model.status == eligibility.RANKED):
            value = study.interval(model.card.id, name).value
            if not best or value > best[-1]["value"]:
                if best and best[-1]["date"] == model.card.date:
                    best.pop()
                best.append({"date": model.card.date, "model": model.card.id, "value": value})
        for step in best:
            step["value"] = rounded(step["value"])
    return steps


def _shown(study: Study) -> list[StudiedModel]:
    """Models with a meaningful result, and all controls, of which some are there because they have none."""
    return [model for model in study.models if model.card.control or eligibility.has_result(model.status)]


def _group_of(model: StudiedModel, study: Study) -> str:
    if not model.card.control:
        return model.card.family
    return BAYES if model.card.id == study.benchmark.bayes else CONTROLS


def _groups(study: Study) -> list[Json]:
    """Families in alphabetical order after the one without regularisation, then controls.

    Controls other than Bayes are hidden at first: a gradient of the wrong sign would stretch every axis.
    """
    names = {_group_of(model, study) for model in _shown(study)}
    light, dark = (
        legend.family_colours(names - {BAYES, CONTROLS}, study.standard, palette, "var(--text)")
        for palette in (legend.ON_LIGHT, legend.ON_DARK)
    )
    families = [{"name": name, "light": light[name], "dark": dark[name], "shown": True} for name in light]
    ink = {"light": "var(--text)", "dark": "var(--text)"}
    return families + [{"name": name, **ink, "shown": name == BAYES} for name in (BAYES, CONTROLS) if name in names]


def _model(model: StudiedModel, study: Study, order: Mapping[str, int]) -> Json:
    card = model.card
    regime = study.entry(card.id)["regime"]
    found = {n: study.interval(card.id, n) for n in (*QUANTITIES, *PROFILE) if n in study.board}
    bounds = {name: bound(name, interval, study.benchmark.sigmas) for name, interval in found.items()}
    return {
        "model": card.id,
        "page": address(f"models/{card.id}.html"),
        "group": order[_group_of(model, study)],
        "control": bool(card.control),
        "date": card.date,
        "strength": card.strength,
        "make": " ".join(filter(None, model.make)),
        "regime": regime if isinstance(regime, str) else None,
        "values": _values(found),
        "bounds": {name: text for name, text in bounds.items() if text},
    }


def _path(path: Path, scale: StrengthAxis, order: Mapping[str, int], study: Study) -> Json:
    """A path from its weakest point: its group, its axis, and whether it is of the reference's architecture."""
    points = [
        {
            "strength": point.strength,
            "place": rounded(float(position)),
            "regime": point.regime,
            "models": [model.card.id for model in point.models],
            "values": _values({n: point.values[n] for n in (*QUANTITIES, *PROFILE) if n in point.values}),
        }
        for point, position in zip(scale.points, scale.positions, strict=True)
    ]
    return {
        "group": order[path.family],
        "usual": path.make == study.make,
        "make": " ".join(filter(None, path.make)),
        "unit": legend.UNITS.get(path.family, "strength"),
        "edges": [rounded(float(edge)) for edge in scale.edges],
        "points": points,
    }


def _profile(path: Path, scale: StrengthAxis, order: Mapping[str, int], study: Study) -> Json | None:
    """Alignment against sigma, a line for each strength of a path; None where there is no profile."""
    nothing = Interval(math.nan, math.nan, math.nan)
    lines = [
        {"strength": point.strength, "points": points}
        for point in scale.points
        if (points := profiles.curve(study, lambda name, point=point: point.values.get(name, nothing)))  # type: ignore[misc]
    ]
    if not lines:
        return None
    make = " ".join(filter(None, path.make))
    return {"group": order[path.family], "usual": path.make == study.make, "make": make, "lines": lines}


def _values(intervals: Mapping[str, tuple[float, float, float]]) -> dict[str, list[float | None]]:
    """Estimate, low and high by column; columns without an estimate are left out."""
    return {name: [rounded(part) for part in parts] for name, parts in intervals.items() if math.isfinite(parts[0])}


def words(study: Study) -> dict[str, list[str]]:
    """Sentences by plot: `ratio`, `accuracy`, `responses`, `paths` and `progress`; an empty list for nothing."""
    return {
        "ratio": list(_correlated(study, "log_ratio", "log off/on and alignment")),
        "accuracy": list(_correlated(study, "accuracy", "accuracy and alignment")),
        "responses": list(_sides(study)),
        "paths": list(_along(study)),
        "progress": list(_best_so_far(study)),
        "peak": list(_correlated(study, "accuracy", "accuracy and alignment at sigma*", "alignment_peak")),
        "profiles": list(_peaks(study)),
    }


def _correlated(study: Study, column: str, meaning: str, other: str = "alignment") -> Iterator[str]:
    """Spearman's rho of a column and alignment, over all ranked models and the accurate ones."""
    if column not in study.board or other not in study.board:
        return
    try:
        table = correlations.points(study)
    except ResultsError:
        yield f"Fewer than three ranked models: no correlation of {meaning}."
        return
    parts = correlations.over_parts(table, column, other)
    yield f"Spearman's rank correlation of {meaning}, ranked models: {parts['all'].text}."
    if parts["accurate"].models < parts["all"].models:
        best = "best model's" if study.reference is None else "reference's"
        share = f"at least {correlations.ACCURATE:.0%} of the {best} accuracy"
        yield f"Those with {share}: {parts['accurate'].text}."


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
    long = [course for course in courses.values() if len(course) > 2]
    inside = [_peak(course) for course in long if _peak(course) not in (course[0], course[-1])]
    aligned = sum(peak.regime == "bayes-aligned" for peak in inside)
    regime = f", and {aligned} of these peaks are Bayes-aligned" if study.anchors and inside else ""
    if long:
        yield f"In {len(inside)} of {len(long)} paths alignment is highest between the two ends{regime}."
    for family, course in courses.items():
        peak = _peak(course)
        stations = [course[0], *([peak] if peak not in (course[0], course[-1]) else []), course[-1]]
        steps = [f"{'highest, ' if point is peak else ''}{_at(point)}" for point in stations]
        yield f"{family}: alignment {'; '.join(steps)}."


def _peaks(study: Study) -> Iterator[str]:
    """Where alignment is highest, along each path of the reference's architecture."""
    for path in paths.every_path(study):
        known = [point for point in path.points if "alignment_peak_sigma" in point.values]
        if path.make == study.make and known:
            steps = [
                f"{bound(PEAK_SIGMA, peak, study.benchmark.sigmas) or _with_bounds(peak)} at strength "
                f"{point.strength:g}"
                for point in known
                for peak in [point.values["alignment_peak_sigma"]]
            ]
            yield f"{path.family}: sigma* {'; '.join(steps)}."


def _best_so_far(study: Study) -> Iterator[str]:
    """Each day on which a ranked model was better than all before."""
    for name, steps in progress(study).items():
        listed = [f"{step['date']} {step['model']} ({legend.number(step['value'])})" for step in steps]
        yield f"Best {name} so far: {', '.join(listed) or 'no dated model is ranked'}."


def _peak(course: Sequence[Point]) -> Point:
    return max(course, key=lambda point: point.values["alignment"].value)


def _with_bounds(found: Interval) -> str:
    return f"{legend.number(found.value)} {legend.bounds(found.low, found.high)}"


def _at(point: Point) -> str:
    regime = "" if point.regime is None else f" ({legend.REGIMES[point.regime]})"
    return f"{_with_bounds(point.values['alignment'])} at strength {point.strength:g}{regime}"
