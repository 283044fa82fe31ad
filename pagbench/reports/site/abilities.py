"""What one can do by following a model's gradient: values, images of it and of others, and who does it best."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pagbench.benchmarks import Benchmark
from pagbench.columns import ABILITIES, NOISE_LEVELS, Column, samples_of
from pagbench.ranking import eligibility, statistics
from pagbench.reports.site import made, standing
from pagbench.reports.site.painting import Tile
from pagbench.reports.site.standing import Measured
from pagbench.studies import baselines
from pagbench.studies.networks import Network, Study

_LEVEL = NOISE_LEVELS[1]


class Task(NamedTuple):
    """One thing that a gradient is followed for.

    Attributes:
        name: of its images.
        title: for people.
        told: what is done, in one sentence.
        before: what the images were, in a word or two.
        columns: of the leaderboard, with a short name each.
        clean: whether there is an image that all this should come back to.
    """

    name: str
    title: str
    told: str
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
        "network itself finds there, a tenth of the noise's length.",
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
    "generation_noise_recognised": "generates the most recognisable images out of noise",
    "generation_noise_kid": "generates those nearest to real images by KID",
    f"denoising_psnr_{_LEVEL:g}": "denoises best",
    "inpainting_psnr": "in-paints best",
}


class Value(NamedTuple):
    """A column between what it is held against, as text."""

    words: str
    measured: Measured
    landmarks: tuple[str, ...]
    """Of doing nothing, the reference and the Bayes control."""
    others: tuple[str, ...]
    """What real images and other methods have."""


class Line(NamedTuple):
    """Images beside each other.

    Attributes:
        words: what they are; the id of a network.
        model: whether it is a network's id.
        tile: None where its gradient leads nowhere.
    """

    words: str
    model: bool
    tile: Tile | None


class Shown(NamedTuple):
    """A task as the page of a network shows it."""

    task: Task
    values: tuple[Value, ...]
    lines: tuple[Line, ...]
    scored: bool
    """Whether the network has a result."""


class Leader(NamedTuple):
    """The ranked model that is the best by a column.

    Attributes:
        model: its id.
        does: what it does best, as the end of a sentence.
        value: how well, with the unit.
        against: what real images or another method have; empty where nothing is known.
        indistinct: how many others cannot be told apart from it, at 95 % by simultaneous comparisons.
    """

    model: str
    does: str
    value: str
    against: str
    indistinct: int


def count(benchmark: Benchmark) -> int:
    """Images that abilities are measured on."""
    return len(samples_of(benchmark, ABILITIES[0]))


def of(study: Study, network: Network) -> list[Shown]:
    """The tasks that a model was measured by."""
    known = standing.documented(study.benchmark)
    return [_shown(study, network, task, known) for task in TASKS if is_measured(network, task)]


def is_measured(network: Network, task: Task) -> bool:
    """Whether a model has rows of a task, with values or without."""
    return any(column in network.rows for column in task.columns)


def line(study: Study, network: Network, task: Task) -> Tile | None:
    """The images that a model's gradient makes; None where it has no result."""
    alt = f"{task.title} by {network.card.id}; classes {_listed(made.classes(study))}"
    return made.line(study, network, task.name, alt) if _is_scored(study, network, task) else None


def around(study: Study, task: Task) -> list[Line]:
    """The images before the gradient was followed, and the clean ones, where they are known."""
    wanted = [(task.before, f"before_{task.name}"), *([("clean image", "clean")] if task.clean else [])]
    found = [(words, made.line(study, made.holder(study, name), name, words)) for words, name in wanted]
    return [Line(words, False, tile) for words, tile in found if tile is not None]


def leading(study: Study) -> dict[str, Any]:
    """What `_leaders.html.j2` shows."""
    return {"leaders": leaders(study)}


def leaders(study: Study) -> list[Leader]:
    """Who leads in each ability that ranked models were measured by."""
    known = standing.documented(study.benchmark)
    found = []
    for name, does in _LEADS.items():
        column = known[name]
        drawn = {n.card.id: n.replicates[name] for n in study.networks if _competes(n, name)}
        if drawn:
            values = np.stack([v if column.higher_is_better else -v for v in drawn.values()], axis=1)
            best = int(values[0].argmax())
            model, worst = list(drawn)[best], statistics.rank_intervals(values)[best, 1]
            interval = study.interval(model, name)
            value = f"{standing.shown(column, interval).value} {column.unit}".strip()
            against = _against(study, name, min(2, standing.decimals(interval)))[:1]
            found.append(Leader(model, does, value, "".join(against), int(worst) - 1))
    return found


def _competes(network: Network, name: str) -> bool:
    has = network.status == eligibility.RANKED and name in network.replicates
    return has and bool(np.isfinite(network.replicates[name]).all())


def _shown(study: Study, network: Network, task: Task, known: Mapping[str, Column]) -> Shown:
    others = [study.named(study.benchmark.bayes), study.reference]
    beside = [one for one in others if one is not None and one is not network and is_measured(one, task)]
    lines = [*around(study, task)]
    lines += [Line(one.card.id, True, line(study, one, task)) for one in (*beside, network)]
    values = tuple(_value(study, network, known[name], words) for name, words in task.columns.items())
    return Shown(task, values, tuple(lines), _is_scored(study, network, task))


def _value(study: Study, network: Network, column: Column, words: str) -> Value:
    name = column.name
    nothing = baselines.nothing(study.board, name)
    anchors = [
        study.interval(one, name).value if one in study.entries and one is not None else math.nan
        for one in (study.benchmark.reference, study.benchmark.bayes)
    ]
    landmarks = tuple(standing.plain(value) for value in (math.nan if nothing is None else nothing, *anchors))
    measured = standing.shown(column, study.interval(network.card.id, name))
    return Value(words, measured, landmarks, tuple(_against(study, name)))


def _against(study: Study, name: str, digits: int = 3) -> list[str]:
    return [f"{level.words} {standing.plain(level.value, digits)}" for level in baselines.others(study.board, name)]


def _is_scored(study: Study, network: Network, task: Task) -> bool:
    return any(math.isfinite(study.interval(network.card.id, column).value) for column in task.columns)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
