"""Galleries: what a model's gradients look like, a picture of its images, targets and gradients per benchmark."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.reports.site import painting
from pagbench.reports.site.painting import Tile
from pagbench.results.thumbnails import Thumbnails
from pagbench.studies.networks import Network, Study

_WORDS = {
    "best": "Best aligned",
    "median": "About the median",
    "worst": "Worst aligned",
    "first": "The benchmark's first images",
}


@dataclass(frozen=True)
class Row:
    """What a model does on one image.

    Attributes:
        kind: why it is shown: best, median or worst aligned, or first of the benchmark.
        sample: id of the image.
        label: its class; None where it was not measured.
        alignment: in the benchmark's ranking column; None where not scored.
        cosine: with the Bayes target; None where not scored.
        image: the image.
        target: the Bayes target; None where results have none.
        gradient: the model's gradient; None where not scored.
    """

    kind: str
    sample: str
    label: int | None
    alignment: float | None
    cosine: float | None
    image: Tile
    target: Tile | None
    gradient: Tile | None


@dataclass(frozen=True)
class Gallery:
    """All that is shown of a model on a benchmark.

    Attributes:
        model: its id.
        measure: short name of the benchmark's ranking column.
        rows: best, median and worst aligned images where results have them, then the first ones.
    """

    model: str
    measure: str
    rows: tuple[Row, ...]

    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows of each kind, after its name for people."""
        found = {kind: [row for row in self.rows if row.kind == kind] for kind in _WORDS}
        return [(_WORDS[kind], rows) for kind, rows in found.items() if rows]

    def sample(self, name: str) -> Row | None:
        """The row of one image; None where the gallery has none."""
        return next((row for row in self.rows if row.sample == name), None)


def gallery(study: Study, network: Network) -> Gallery | None:
    """The rows of a model's gallery, as templates show them; None where its results have no maps."""
    shown = _shown(study, network)
    if not shown:
        return None
    height, width = shown[0].image.shape[1:]
    cell = (height, width)
    rows_shown = network.rows[network.rows["sample_id"].isin({cells.sample for cells in shown})]
    measured = rows_shown.set_index("sample_id")[
        ["label", *({study.benchmark.alignment, "alignment_cosine"} & set(network.rows))]
    ].to_dict("index")
    path, whole = _path(study, network), painting.corner(len(shown), 3, cell)
    rows = []
    for number, cells in enumerate(shown):
        values = measured.get(cells.sample, {})
        tiles = [
            None if cell_map is None else Tile(path, *painting.corner(number, column, cell), width, height, whole, alt)
            for column, (cell_map, alt) in enumerate(zip(cells.maps, _alts(cells, values, network), strict=True))
        ]
        assert tiles[0] is not None
        alignment, cosine = (_finite(values.get(name)) for name in (study.benchmark.alignment, "alignment_cosine"))
        label = None if "label" not in values else int(values["label"])
        rows.append(Row(cells.kind, cells.sample, label, alignment, cosine, tiles[0], tiles[1], tiles[2]))
    return Gallery(network.card.id, measure(study.benchmark), tuple(rows))


def measure(benchmark: Benchmark) -> str:
    """Short name of the column that ranks: cosine, LPIPS, or the paper's."""
    name = benchmark.alignment
    return next((column.header for column in columns.BOARD_COLUMNS if column.name == name), "") or name.replace(
        "_", " "
    )


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """The pictures of all models that have maps, with their place below the site's folder."""
    for study in studies:
        for network in study.networks:
            shown = _shown(study, network)
            if shown:
                yield _path(study, network), painting.grid([cells.maps for cells in shown], images=1)


@dataclass(frozen=True)
class _Cells:
    """Image, target and gradient of one row, shape (c, h, w) each; None where there is none."""

    kind: str
    sample: str
    image: NDArray[np.float32]
    target: NDArray[np.float32] | None
    gradient: NDArray[np.float32] | None

    @property
    def maps(self) -> tuple[NDArray[np.float32] | None, ...]:
        return self.image, self.target, self.gradient


def _shown(study: Study, network: Network) -> list[_Cells]:
    """Gallery and first images; of these the Bayes control's gradients are the targets."""
    found = [] if network.gallery is None else _cells(network.gallery, {})
    if network.maps is not None:
        found += _cells(network.maps, _targets(study))
    return [cells for cells in found if cells.image.shape == found[0].image.shape]


def _cells(maps: Thumbnails, known: Mapping[str, NDArray[np.float32]]) -> list[_Cells]:
    own = {} if maps.targets is None else dict(zip(maps.sample_ids, maps.targets, strict=True))
    targets = {**known, **own}
    return [
        _Cells(kind, name, image, targets.get(name), gradient if np.isfinite(gradient).all() else None)
        for kind, name, image, gradient in zip(maps.kinds, maps.sample_ids, maps.images, maps.gradients, strict=True)
    ]


def _targets(study: Study) -> dict[str, NDArray[np.float32]]:
    bayes = next((network for network in study.networks if network.card.id == study.benchmark.bayes), None)
    if bayes is None or bayes.maps is None:
        return {}
    return dict(zip(bayes.maps.sample_ids, bayes.maps.gradients, strict=True))


def _path(study: Study, network: Network) -> str:
    return f"images/{study.benchmark.label}/{network.card.id}.png"


def _alts(cells: _Cells, values: Mapping[Any, float], network: Network) -> tuple[str, str, str]:
    image = f"Image {cells.sample}" + (f" of class {int(values['label'])}" if "label" in values else "")
    cosine = _finite(values.get("alignment_cosine"))
    said = "" if cosine is None else f"; its cosine with the Bayes target is {cosine:.2f}"
    return (
        image,
        f"Bayes target at image {cells.sample}",
        f"Gradient of {network.card.id} at image {cells.sample}{said}",
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
