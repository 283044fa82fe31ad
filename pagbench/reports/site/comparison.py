"""The page that compares models of a benchmark, and the bootstrap replicates it takes differences of.

All statistics are the leaderboard's own: a browser only subtracts replicates, which are paired over models, and takes
quantiles.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench.ranking import eligibility
from pagbench.reports.site import abilities, board_columns, models, pictures, profiles
from pagbench.reports.site.rendering import Page, embedded
from pagbench.results.thumbnails import FIRST
from pagbench.studies import legend
from pagbench.studies.models import StudiedModel, Study

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Characters of six bits each, as in base64."""
_LEVELS = 4094
"""Steps between the least and the largest replicate; one more code stands for those without a value."""
_COLOURS = [*zip(legend.ON_LIGHT, legend.ON_DARK, strict=True)]
"""Of the lines of compared models, on light and on dark screens; the baseline's is the text's."""
_CELLS = ("image", "target", "gradient")


def page(study: Study) -> Page:
    """The page `compare/<label>.html`."""
    benchmark = study.benchmark
    known = {column.name: column for column in board_columns.documented(benchmark)}
    setting = {
        "label": benchmark.label,
        "images": len(benchmark.samples),
        "statistics": [
            {
                "name": name,
                "header": abilities.COLUMNS.get(name, known[name].header),
                "better": known[name].higher_is_better,
                "unit": known[name].unit,
                "summary": known[name].summary,
            }
            for name in statistics(study)
        ],
        "networks": {name: _refusal(study, study.named(name)) for name in (*study.entries, *study.row_of)},
        "chosen": chosen(study),
        "tasks": _tasks(study),
        "profile": None if benchmark.sigmas is None else {"sigma": benchmark.sigma, "colours": _COLOURS},
    }
    content = {
        "benchmark": benchmark,
        "setting": setting,
        "measure": pictures.measure(benchmark),
        "followed": abilities.count(benchmark),
        "classes": abilities.classes(study),
    }
    return Page(f"compare/{benchmark.label}.html", "compare.html.j2", f"Compare on {benchmark.title}", content)


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """A script for each model that can be compared, with its path: `data/replicates/<label>/<id>.js`."""
    for study in studies:
        for model in study.models:
            if model.paired and not study.benchmark.no_target:
                path = f"data/replicates/{study.benchmark.label}/{model.card.id}.js"
                yield path, f"pagbench.compare({embedded(_content(study, model))});\n".encode()


def statistics(study: Study) -> list[str]:
    """The columns that are compared: those that a page shows first."""
    return [name for name in (*board_columns.KEYS, *abilities.COLUMNS) if name in study.board]


def _tasks(study: Study) -> list[dict[str, Any]]:
    """What gradients were followed for, with the images that are the same for all models."""
    return [
        {"name": task.name, "title": task.title, "description": task.description}
        | {"around": [[line.label, asdict(line.tile)] for line in abilities.lines_before(study, task) if line.tile]}
        for task in abilities.TASKS
        if any(abilities.is_measured(model, task) for model in study.models)
    ]


def chosen(study: Study) -> list[str]:
    """What the page compares unless it is asked to: the reference, as the baseline, and the best of the others."""
    paired = {model.card.id for model in study.models if model.paired}
    names = [name for name in study.board["model"] if name in paired]
    return sorted(names, key=lambda name: name != study.benchmark.reference)[:2]


def _refusal(study: Study, model: StudiedModel | None) -> str | None:
    """Why a model cannot be compared, as the end of a sentence; None where it can."""
    if model is None or model.paired:
        return None
    images, measured = len(study.benchmark.samples), len(model.rows)
    if measured < images:
        return f"it was measured on {measured} of the {images} images"
    return f"it was measured with the noise of another seed, {model.provenance['seed']}"


def _content(study: Study, model: StudiedModel) -> dict[str, Any]:
    """What a browser needs of one model: values as on the leaderboard, and their replicates as codes.

    `made` has the images that the model's gradient makes, by task: null where it leads nowhere, absent where it was
    not measured.
    """
    name = model.card.id
    is_row = name in study.entries
    replicates = study.replicates(model) if is_row else model.replicates
    gallery = pictures.gallery(study, model)
    tasks = [task for task in abilities.TASKS if abilities.is_measured(model, task)]
    lines = {task.name: abilities.generated_line(study, model, task) for task in tasks}
    compared = statistics(study)
    interval_of = partial(study.row_interval if is_row else study.interval, name)
    return {
        "id": name,
        "summary": models.row_summary(study, model) if is_row else models.summary(study, model),
        "meaningful": eligibility.has_result(model.status),
        "scored": int(study.entry(name)["n_scored"]),
        "values": {
            column: [bound if math.isfinite(bound) else None for bound in interval_of(column)] for column in compared
        },
        "replicates": {column: coded(replicates[column][1:]) for column in compared if column in replicates},
        "profile": profiles.curve(study, interval_of),
        "highest": None if study.benchmark.sigmas is None else profiles.highest(study, interval_of),
        "pictures": [
            {"sample": row.sample, "alignment": row.alignment}
            | {part: None if (tile := getattr(row, part)) is None else asdict(tile) for part in _CELLS}
            for row in (() if gallery is None else gallery.rows)
            if row.kind == FIRST
        ],
        "made": {task: None if tile is None else asdict(tile) for task, tile in lines.items()},
    }


def coded(values: NDArray[np.float64]) -> list[Any] | None:
    """Replicates as numbers of 12 bits, two characters of base64 each.

    Args:
        values: shape (replicates,); NaN where there is none.

    Returns:
        The least value, the step between codes, and the codes; None where no replicate has a value. A value is
        `least + code * step`; the code 4095 stands for none.

    >>> coded(np.array([1.0, 3.0, np.nan, 2.0]))
    [1.0, 0.0004885197850512946, 'AA/+//f/']
    """
    finite = np.isfinite(values)
    if not finite.any():
        return None
    low, high = float(values[finite].min()), float(values[finite].max())
    step = (high - low) / _LEVELS
    codes = np.full(len(values), _LEVELS + 1)
    codes[finite] = np.rint((values[finite] - low) / step) if step > 0 else 0
    characters = np.frombuffer(ALPHABET.encode(), np.uint8)[np.stack([codes // 64, codes % 64], axis=1)]
    return [low, step, characters.tobytes().decode()]
