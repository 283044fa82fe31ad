"""What one can do by following a model's gradient: values, images of it and of others, and who does it best."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.columns import NOISE_LEVELS
from pagbench.ranking import eligibility, resampling, statistics
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import board_columns, pictures
from pagbench.reports.site.board_columns import Described, Measured
from pagbench.reports.site.pictures import Tile, Values
from pagbench.reports.site.rendering import number
from pagbench.results.thumbnails import GENERATED
from pagbench.studies.baselines import Baseline
from pagbench.studies.models import StudiedModel, Study

_LEVEL = NOISE_LEVELS[1]
_IMAGES = tuple(dict.fromkeys(name for measure in columns.ABILITIES for name in columns.MEASURES[measure].images))
"""What a picture may show, in the order of its lines."""


class Task(NamedTuple):
    """One thing that a gradient is followed for.

    Attributes:
        name: of its images.
        title: for people.
        description: what is done, in one sentence.
        before: what the images were, in a word or two.
        columns: of the leaderboard, with a short name each.
        clean: whether there is an image that all this should come back to.
    """

    name: str
    title: str
    description: str
    before: str
    columns: Mapping[str, str]
    clean: bool = False


TASKS = (
    Task(
        "generation",
        "Generated from the class's Gaussian",
        "A draw from the Gaussian that is fitted to a class follows the gradient towards that class.",
        "start",
        {"generation_kid": "KID"},
    ),
    Task(
        "generation_noise",
        "Generated from noise",
        "Noise around the mean image follows the gradient towards a class.",
        "start",
        {"generation_noise_recognised": "recognised", "generation_noise_kid": "KID"},
    ),
    Task(
        "denoising",
        "Denoised",
        f"An image with noise of {_LEVEL:g} of the benchmark's sigma follows the gradient towards the class that the "
        "model itself finds there, a tenth of the noise's length.",
        "noisy image",
        {f"denoising_psnr_{_LEVEL:g}": "gain"},
        clean=True,
    ),
    Task(
        "inpainting",
        "In-painted",
        "An image whose missing patch is filled with the mean colour of the rest follows the gradient towards its "
        "class.",
        "patch missing",
        {"inpainting_psnr": "gain"},
        clean=True,
    ),
)
COLUMNS = {column: f"{task.title}: {words}" for task in TASKS for column, words in task.columns.items()}
"""Columns that pages show first, with their names for people."""
_LEADS = {
    "generation_noise_recognised": ("generates the most recognisable images out of noise", "generates out of noise"),
    "generation_noise_kid": ("generates those nearest to real images by KID", "generates what is near to real images"),
    f"denoising_psnr_{_LEVEL:g}": ("denoises best", "denoises"),
    "inpainting_psnr": ("in-paints best", "in-paints"),
}  # fmt: skip
"""What the best model by a column does, and what nobody does where the best is hardly better than doing nothing."""
_WORTH = 0.1
"""Share of the way from doing nothing to another method that a gradient has to go, or it does not do the thing."""


class Value(NamedTuple):
    """A column between what it is held against, as text."""

    name: str
    measured: Measured
    landmarks: tuple[str, ...]
    """Of doing nothing, the reference and the Bayes control."""
    others: tuple[str, ...]
    """What real images and other methods have."""


class Line(NamedTuple):
    """Images beside each other.

    Attributes:
        label: what they are; the id of a model.
        is_model: whether it is a model's id.
        tile: None where its gradient leads nowhere.
    """

    label: str
    is_model: bool
    tile: Tile | None


class Ability(NamedTuple):
    """A task as the page of a model shows it."""

    task: Task
    values: tuple[Value, ...]
    lines: tuple[Line, ...]
    scored: bool
    """Whether the model has a result."""


class Leader(NamedTuple):
    """The ranked model that is the best by a column.

    Attributes:
        model: its id.
        does: what it does best, as the end of a sentence; what nobody does, where `shortfall` says why.
        value: how well, with the unit.
        against: what doing nothing and another method have; empty where neither is known.
        indistinct: how many others cannot be told apart from it, at 95 % by simultaneous comparisons.
        shortfall: why even the best does not do it, as the end of a sentence; empty where it does.
    """

    model: str
    does: str
    value: str
    against: str
    indistinct: int
    shortfall: str


def count(benchmark: Benchmark) -> int:
    """Images that abilities are measured on."""
    return len(columns.samples_of(benchmark, columns.ABILITIES[0]))


def classes(study: Study) -> list[int]:
    """The class of each image of a line, for the samples that were measured."""
    return [study.labels[sample] for sample in study.benchmark.samples[:GENERATED] if sample in study.labels]


def is_measured(model: StudiedModel, task: Task) -> bool:
    """Whether a model has rows of a task, with values or without."""
    return any(column in model.rows for column in task.columns)


def abilities(study: Study, model: StudiedModel, described: Mapping[str, Described]) -> list[Ability]:
    """The tasks that a model was measured by.

    Args:
        study: of the benchmark.
        model: the model.
        described: the study's columns.
    """
    beside = [study.named(study.benchmark.bayes), study.reference]
    shown = []
    for task in TASKS:
        if is_measured(model, task):
            compared = [one for one in beside if one is not None and one is not model and is_measured(one, task)]
            lines = [*lines_before(study, task)]
            lines += [Line(one.card.id, True, generated_line(study, one, task)) for one in (*compared, model)]
            values = tuple(_value(study, model, described[name], words) for name, words in task.columns.items())
            shown.append(Ability(task, values, tuple(lines), _is_scored(study, model, task)))
    return shown


def _value(study: Study, model: StudiedModel, described: Described, words: str) -> Value:
    measured = board_columns.measured(described.column, study.interval(model.card.id, described.column.name))
    landmarks = tuple(number(value) for value in board_columns.landmarks(study, described))
    return Value(words, measured, landmarks, tuple(_with_value(level) for level in described.others))


def _with_value(level: Baseline, digits: int = 3) -> str:
    return f"{level.words} {number(level.value, digits)}"


def _is_scored(study: Study, model: StudiedModel, task: Task) -> bool:
    return any(math.isfinite(study.interval(model.card.id, column).value) for column in task.columns)


def leaders(study: Study, described: Mapping[str, Described]) -> list[Leader]:
    """Who leads in each ability that ranked models were measured by."""
    listed, units = [], resampling.count(len(study.benchmark.samples), study.benchmark.classes)
    for name, (does, done) in _LEADS.items():
        column = described[name].column
        replicates = {
            model.card.id: study.replicates(model)[name]
            for model in study.models
            if model.status == eligibility.RANKED
            and model.card.id in study.entries
            and name in study.replicates(model)
            and np.isfinite(study.replicates(model)[name]).all()
        }
        if replicates:
            values = np.stack([v if column.higher_is_better else -v for v in replicates.values()], axis=1)
            best = int(values[0].argmax())
            model, worst = list(replicates)[best], statistics.rank_intervals(values, units=units)[best, 1]
            interval = study.row_interval(model, name)
            value = f"{board_columns.texts(interval)[0]} {column.unit}".strip()
            digits = min(2, board_columns.interval_decimals(interval))
            levels = [level for level in described[name].levels if level not in described[name].others]
            against = ", ".join(_with_value(level, digits) for level in [*levels, *described[name].others[:1]])
            shortfall = _shortfall(described[name], interval)
            listed.append(Leader(model, done if shortfall else does, value, against, int(worst) - 1, shortfall))
    return listed


def _shortfall(described: Described, best: Interval) -> str:
    """Why the best value of a column is hardly better than doing nothing; empty where it is better."""
    if described.chance is None:
        return ""
    sign = 1 if described.column.higher_is_better else -1
    if min(sign * best.low, sign * best.high) <= sign * described.chance:
        return "it is not told apart from doing nothing"
    gain = sign * (best.value - described.chance)
    method = next(
        (level for level in described.others if gain < _WORTH * sign * (level.value - described.chance)), None
    )
    return "" if method is None else f"that is less than a tenth of what {method.words} gains"


def lines_before(study: Study, task: Task) -> Iterator[Line]:
    """The images before the gradient was followed, and the clean ones, where they are known."""
    for label, name in ((task.before, f"before_{task.name}"), *([("clean image", "clean")] if task.clean else [])):
        candidates = (study.named(study.benchmark.bayes), *study.models)
        holder = next((one for one in candidates if one is not None and name in _lines(study, one)), None)
        if holder is not None and (tile := image_line(study, holder, name, label)) is not None:
            yield Line(label, False, tile)


def generated_line(study: Study, model: StudiedModel, task: Task) -> Tile | None:
    """The images that a model's gradient makes; None where it has no result."""
    alt = f"{task.title} by {model.card.id}; classes {', '.join(map(str, classes(study)))}"
    return image_line(study, model, task.name, alt) if _is_scored(study, model, task) else None


def image_line(study: Study, model: StudiedModel, name: str, alt: str) -> Tile | None:
    """Images of one name beside each other, those of the benchmark's first samples; None where there are none.

    Args:
        study: of the benchmark.
        model: whose results file has them.
        name: of the images, as the measure declares them.
        alt: what they show, in words.
    """
    lines = _lines(study, model)
    if name not in lines:
        return None
    height, width = _size(lines[name])
    x, y = pictures.corner(list(lines).index(name), 0, (height, width))
    whole = pictures.corner(len(lines), len(lines[name]), (height, width))
    return Tile(_path(study, model), x, y, whole[0] - 2 * pictures.GAP, height, whole, alt)


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """A picture for each model that has such images, a line for each name; with its path below the site's folder."""
    for study in studies:
        for model in study.models:
            if lines := _lines(study, model):
                yield _path(study, model), pictures.grid(list(lines.values()), images=GENERATED)


def _lines(study: Study, model: StudiedModel) -> dict[str, list[Values | None]]:
    """Lines by name, one cell for each of the benchmark's first samples; those of the first line's size."""
    lines: dict[str, list[Values | None]] = {}
    for name in _IMAGES:
        if name in model.made:
            images = dict(zip(model.made[name].sample_ids, model.made[name].images, strict=True))
            cells = [images.get(sample) for sample in study.benchmark.samples[:GENERATED]]
            if any(cell is not None for cell in cells) and _size(cells) == _size(next(iter(lines.values()), cells)):
                lines[name] = cells
    return lines


def _size(cells: Sequence[Values | None]) -> tuple[int, int]:
    """Height and width of the first image."""
    height, width = next(cell.shape[1:] for cell in cells if cell is not None)
    return height, width


def _path(study: Study, model: StudiedModel) -> str:
    return f"images/{study.benchmark.label}+made/{model.card.id}.png"
