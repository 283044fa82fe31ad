"""The page that compares networks of a benchmark, and the bootstrap replicates it takes differences of.

All statistics are the leaderboard's own: a browser only subtracts replicates, which are paired over networks, and takes
quantiles.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench.columns import Column
from pagbench.ranking import eligibility
from pagbench.reports.site import abilities, made, pictures, standing
from pagbench.reports.site.rendering import Page, embedded
from pagbench.results.thumbnails import FIRST
from pagbench.studies.networks import Network, Study

_LEVELS = 4094
"""Steps between the least and the largest replicate; one more code stands for those without a value."""
_CELLS = ("image", "target", "gradient")
_ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def page(study: Study) -> Page:
    """The page `compare/<label>.html`."""
    benchmark = study.benchmark
    known = standing.documented(benchmark)
    setting = {
        "label": benchmark.label,
        "images": len(benchmark.samples),
        "statistics": [
            {"name": name, "header": _header(known[name]), "better": known[name].higher_is_better}
            | {"unit": known[name].unit, "summary": known[name].summary}
            for name in statistics(study)
        ],
        "networks": {name: refusal(study, study.named(name)) for name in study.board["model"]},
        "chosen": chosen(study),
        "tasks": tasks(study),
    }
    content = {
        "benchmark": benchmark,
        "setting": setting,
        "measure": pictures.measure(benchmark),
        "followed": abilities.count(benchmark),
        "classes": made.classes(study),
    }
    return Page(f"compare/{benchmark.label}.html", "compare.html.j2", f"Compare on {benchmark.title}", content)


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """A script for each network that can be compared, with its place: `data/replicates/<label>/<id>.js`."""
    for study in studies:
        for network in study.networks:
            if network.paired:
                place = f"data/replicates/{study.benchmark.label}/{network.card.id}.js"
                yield place, f"pagbench.compare({embedded(content(study, network))});\n".encode()


def statistics(study: Study) -> list[str]:
    """The columns that are compared: those that a page shows first."""
    return [name for name in (*standing.KEYS, *abilities.COLUMNS) if name in study.board]


def _header(column: Column) -> str:
    return abilities.COLUMNS.get(column.name, column.header)


def tasks(study: Study) -> list[dict[str, Any]]:
    """What gradients were followed for, with the images that are the same for all networks."""
    measured = [
        task for task in abilities.TASKS if any(abilities.is_measured(network, task) for network in study.networks)
    ]
    return [
        {"name": task.name, "title": task.title, "told": task.told}
        | {"around": [[line.words, asdict(line.tile)] for line in abilities.around(study, task) if line.tile]}
        for task in measured
    ]


def chosen(study: Study) -> list[str]:
    """What the page compares unless it is asked to: the reference, as the baseline, and the best of the others."""
    able = [name for name in study.board["model"] if (network := study.named(name)) is not None and network.paired]
    baseline = [name for name in able if name == study.benchmark.reference]
    return [*baseline, *(name for name in able if name not in baseline)][:2]


def refusal(study: Study, network: Network | None) -> str | None:
    """Why a network cannot be compared, as the end of a sentence; None where it can."""
    if network is None or network.paired:
        return None
    images, measured = len(study.benchmark.samples), len(network.rows)
    if measured < images:
        return f"it was measured on {measured} of the {images} images"
    return f"it was measured with the noise of another seed, {network.provenance['seed']}"


def content(study: Study, network: Network) -> dict[str, Any]:
    """What a browser needs of one network: values as on the leaderboard, and their replicates as codes."""
    replicates = {name: network.replicates[name] for name in statistics(study) if name in network.replicates}
    return {
        "id": network.card.id,
        "summary": standing.summary(study, network),
        "meaningful": eligibility.has_result(network.status),
        "scored": int(study.entries[network.card.id]["n_scored"]),
        "values": {
            name: [bound if math.isfinite(bound) else None for bound in study.interval(network.card.id, name)]
            for name in statistics(study)
        },
        "replicates": {name: coded(values[1:]) for name, values in replicates.items()},
        "pictures": shown(study, network),
        "made": followed(study, network),
    }


def followed(study: Study, network: Network) -> dict[str, Any]:
    """The images that the network's gradient makes, by task; null where it leads nowhere, absent where not measured."""
    measured = [task for task in abilities.TASKS if abilities.is_measured(network, task)]
    lines = {task.name: abilities.line(study, network, task) for task in measured}
    return {name: None if tile is None else asdict(tile) for name, tile in lines.items()}


def shown(study: Study, network: Network) -> list[dict[str, Any]]:
    """The network's gallery on the benchmark's first images, which all results have, as cells of its picture."""
    found = pictures.gallery(study, network)
    rows = [] if found is None else [row for row in found.rows if row.kind == FIRST]
    return [
        {"sample": row.sample, "alignment": row.alignment}
        | {name: None if (cell := getattr(row, name)) is None else asdict(cell) for name in _CELLS}
        for row in rows
    ]


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
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = float(values[known].min()), float(values[known].max())
    step = (high - low) / _LEVELS
    codes = np.full(len(values), _LEVELS + 1)
    codes[known] = np.rint((values[known] - low) / step) if step > 0 else 0
    return [low, step, "".join(_ALPHABET[np.stack([codes // 64, codes % 64], axis=1)].ravel())]
