"""The pages of models: one each, with all benchmarks it was measured on, and where it stands among the others.

Scales and histograms are SVG in the page: to draw them, Observable Plot would need 0.5 MB of scripts, and scripts that
are switched on; matplotlib's SVG of one histogram is as large as the whole page.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench import columns
from pagbench.benchmarks import facts
from pagbench.columns import Column
from pagbench.ranking import eligibility
from pagbench.ranking.joining import ON_TARGET
from pagbench.ranking.profile import bound
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import abilities, board_columns, origins, pictures, profiles
from pagbench.reports.site.board_columns import KEYS, Described, Measured
from pagbench.reports.site.rendering import Page, number
from pagbench.studies import paths
from pagbench.studies.models import StudiedModel, Study, shown_columns

WIDTH = 300.0
"""Of a scale, in its own units."""
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 240.0, 80.0
_MARGIN = 6
_BINS = 24
_OUTER = 0.005


@dataclass(frozen=True)
class Scale:
    """One measure of a model between landmarks, drawn on a line.

    Attributes:
        measured: the model's.
        landmarks: chance, the reference and the Bayes control, as text.
        span: of the interval, positions on the line from 0 to `WIDTH`; None where the model has no value.
        at: position of the value.
        marks: positions of chance, the reference and the Bayes control.
        others: positions of all ranked models.
    """

    measured: Measured
    landmarks: tuple[str, ...]
    span: tuple[float, float] | None
    at: float | None
    marks: tuple[float | None, ...]
    others: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A median on the axis of a histogram: of the model itself or of an anchor."""

    kind: str
    """own, reference or bayes; names its style."""
    label: str
    value: str
    at: float


@dataclass(frozen=True)
class Histogram:
    """Values of one column over images.

    Attributes:
        column: what is counted.
        bars: an SVG path in a box of `HISTOGRAM_WIDTH` by `HISTOGRAM_HEIGHT`.
        low: left end of the axis, as text.
        high: right end.
        marks: medians.
        scored: how many images have a value.
    """

    column: Column
    bars: str
    low: str
    high: str
    marks: tuple[Mark, ...]
    scored: int

    @property
    def description(self) -> str:
        """The picture in words."""
        medians = ", ".join(f"{mark.label} {mark.value}" for mark in self.marks)
        return f"Histogram of {self.column.name} over {self.scored} images from {self.low} to {self.high}. {medians}."


def pages(studies: Sequence[Study]) -> Iterator[Page]:
    """The pages `models/<id>.html`, by id."""
    measured = defaultdict[str, list[tuple[Study, StudiedModel]]](list)
    for study in studies:
        for model in study.models:
            measured[model.card.id].append((study, model))
    described = {study.benchmark.label: board_columns.describe(study) for study in studies}
    sources = {s.benchmark.label: [facts.citation(), *facts.of(s.benchmark).sources] for s in studies}
    for name, models in sorted(measured.items()):
        models.sort(key=lambda pair: (pair[0].benchmark.name, -pair[0].benchmark.version))  # the newest edition first
        card = models[0][1].card
        content = {
            "card": card,
            "facts": origins.card(card),
            "parts": [_part(study, model, described[study.benchmark.label]) for study, model in models],
            "bibtex": origins.bibtex(card),
            "model_citation": origins.citation(card),
            "sources": dict.fromkeys(source for study, _ in models for source in sources[study.benchmark.label]),
        }
        yield Page(f"models/{name}.html", "model.html.j2", name, content)


def _part(study: Study, model: StudiedModel, described: Mapping[str, Described]) -> dict[str, Any]:
    """What a page shows of one benchmark."""
    return {
        "study": study,
        "label": study.benchmark.label,
        "model": model,
        "row": study.entry(model.card.id),
        "summary": summary(study, model),
        "scales": scales(study, model, described),
        "measures": measures(study, model, described),
        "gallery": pictures.gallery(study, model),
        "profile": profiles.of_model(study, model),
        "abilities": abilities.abilities(study, model, described),
        "followed": abilities.count(study.benchmark),
        "classes": abilities.classes(study),
        "steps": _steps(study, model, described),
        "histograms": histograms(study, model),
        "commands": origins.commands(study, model),
        "record": origins.record(study, model),
        "runs": origins.runs(model),
        "versions": origins.versions,
    }


def summary(study: Study, model: StudiedModel) -> str:
    """The rank with its interval, the alignment, the regime, in one sentence; or why there is no rank.

    Of a network that shares its row with others of its recipe rank and regime are the row's, the alignment its own.
    """
    return _summary(study, model, study.entry(model.card.id), study.interval(model.card.id, "alignment"))


def row_summary(study: Study, model: StudiedModel) -> str:
    """The same of a row of the board, by its first network; the alignment is that of the mean over its networks."""
    name = model.card.id
    return _summary(study, model, study.entries[name], study.row_interval(name, "alignment"))


def _summary(study: Study, model: StudiedModel, row: Mapping[str, Any], alignment: Interval) -> str:
    sentence = model.status[:1].upper() + model.status[1:]
    if not eligibility.has_result(model.status):
        return f"{sentence}."
    if study.benchmark.no_target:
        accuracy = " ".join(filter(None, board_columns.texts(study.interval(model.card.id, "accuracy"))))
        seconds = row["seconds_per_image"]
        took = "" if seconds is None else f", {seconds:.3g} s per image"
        return f"{sentence}. Accuracy {accuracy}{took}."
    rank, low, high = row["rank"], row["rank_low"], row["rank_high"]
    ranked = study.ranked_beside(row)
    if rank is None:
        rank_text = f"{sentence}, without a rank"
    elif ranked == 1:
        rank_text = "The only ranked model"
    else:
        apart = " of those trained on the target" if row.get("track") == ON_TARGET else ""
        place = f"ranks {low} to {high} are possible" if low != high else "no other rank is possible"
        rank_text = f"Rank {rank} of {ranked}{apart} ({place} at 95 % confidence)"
    value = " ".join(filter(None, board_columns.texts(alignment)))
    regime = f"; regime {row['regime']}, probability {row['regime_probability']:.2f}" if row["regime"] else ""
    target = " It was trained on the benchmark's own target." if model.card.trained_on_target else ""
    shared = len(row.get("networks") or ())
    of_recipe = f", shared by the {shared} networks of its recipe" if shared > 1 else ""
    return f"{rank_text}{of_recipe}: alignment {value}{regime}.{target}"


def measures(study: Study, model: StudiedModel, described: Mapping[str, Described]) -> list[Measured]:
    """Every measured column of the leaderboard that says something of the model, in the leaderboard's order."""
    names = [
        name for name in map(str, study.board) if f"{name}_low" in study.board and name != "rank" and name in described
    ]
    intervals = {name: study.interval(model.card.id, name) for name in names if not described[name].is_level}
    found = {
        name: board_columns.measured(described[name].column, interval)
        for name, interval in intervals.items()
        if math.isfinite(interval.value)
    }
    ends = {name: bound(name, intervals[name], study.benchmark.sigmas) for name in found}
    return [one._replace(value=ends[name], interval="") if ends[name] else one for name, one in found.items()]


def _steps(
    study: Study, model: StudiedModel, described: Mapping[str, Described]
) -> list[tuple[str, StudiedModel, list[Measured]]]:
    """The models next to one on its path, and itself: which they are, and their first measures."""
    if study.benchmark.no_target:
        return []
    near = paths.neighbours(study, model)
    first = study.is_standard(model)
    steps = [("weaker", other) for other in near.weaker] + [("this model", model)]
    steps += [("other training seed", other) for other in near.siblings]
    steps += [("first of its family" if first else "stronger", other) for other in near.stronger]
    names = [name for name in KEYS if name in study.board]
    return [
        (step, other, [board_columns.measured(described[n].column, study.interval(other.card.id, n)) for n in names])
        for step, other in steps
        if len(steps) > 1
    ]


def scales(study: Study, model: StudiedModel, described: Mapping[str, Described]) -> list[Scale]:
    """The first measures of a page, each on its line."""
    return [_scale(study, model, described[name]) for name in KEYS if name in study.board]


def _scale(study: Study, model: StudiedModel, described: Described) -> Scale:
    column = described.column
    own = study.interval(model.card.id, column.name)
    landmarks = board_columns.landmarks(study, described)
    others = study.ranked_values[column.name]
    finite = [value for value in (*own, *landmarks, *others) if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)

    def position(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)

    span = position(own.low), position(own.high)
    return Scale(
        measured=board_columns.measured(column, own),
        landmarks=tuple(number(value) for value in landmarks),
        span=None if span[0] is None or span[1] is None else (span[0], span[1]),
        at=position(own.value),
        marks=tuple(position(value) for value in landmarks),
        others=tuple(sorted({at for value in others if (at := position(value)) is not None})),
    )


def histograms(study: Study, model: StudiedModel) -> list[Histogram]:
    """Of the measures that a page shows first and of what they are made of; those with a value on some image."""
    known = {column.name: column for column in columns.sample_columns(study.benchmark)}
    scored = {name: _scored(model, name) for name in shown_columns(study.benchmark) if name in model.rows}
    return [_histogram(study, model, known[name], values) for name, values in scored.items() if len(values)]


def _scored(model: StudiedModel, name: str) -> NDArray[np.float64]:
    values = model.rows[name].to_numpy(np.float64)
    return values[np.isfinite(values)]


def _histogram(study: Study, model: StudiedModel, column: Column, values: NDArray[np.float64]) -> Histogram:
    medians = [("own", "median", float(np.median(values)))]
    anchors = (
        ("reference", "unregularised", study.reference),
        ("bayes", "Bayes control", study.named(study.benchmark.bayes)),
    )
    for kind, label, anchor in anchors:
        if anchor is not None and anchor is not model and len(scored := _scored(anchor, column.name)):
            medians.append((kind, label, float(np.median(scored))))
    first, last = (float(end) for end in np.quantile(values, [_OUTER, 1 - _OUTER]))
    if last <= first:
        first, last = first - 0.5, last + 0.5
    ends = [first, last, *(median for _, _, median in medians)]
    low, high = min(ends), max(ends)

    def position(value: float) -> float:
        return HISTOGRAM_WIDTH * (value - low) / (high - low)

    marks = tuple(Mark(kind, label, f"{median:.3g}", round(position(median), 1)) for kind, label, median in medians)
    counts, edges = np.histogram(np.clip(values, first, last), bins=_BINS, range=(first, last))
    tops = HISTOGRAM_HEIGHT * (1 - counts / max(1, counts.max()))
    steps = "".join(f"V{top:.4g}H{position(edge):.4g}" for top, edge in zip(tops, edges[1:], strict=True))
    bars = f"M{position(edges[0]):.4g} {HISTOGRAM_HEIGHT:g}{steps}V{HISTOGRAM_HEIGHT:g}Z"
    return Histogram(column, bars, f"{low:.3g}", f"{high:.3g}", marks, len(values))
