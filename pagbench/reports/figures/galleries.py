"""Gradients along a path, from the small maps in the results files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pagbench.reports.figures import cells, panels
from pagbench.studies import legend
from pagbench.studies.networks import Network, Study
from pagbench.studies.paths import Path, Point, origin

_FOOT = 0.5


def shown(study: Study, paths: Sequence[Path]) -> list[Network]:
    """The networks whose maps galleries need: the Bayes control, and the first training seed of each strength."""
    start = origin(study, study.make)
    points = [*([start] if start else []), *(point for path in paths for point in path.points)]
    return [study.bayes, *(point.networks[0] for point in points)]


def draw(study: Study, path: Path) -> Figure | None:
    """One row per image; columns: image, Bayes control, then growing strength. Networks without maps are left out.

    Returns:
        None where the Bayes control or all networks of the path lack maps.
    """
    target, start = study.bayes.maps, origin(study, study.make)
    points = [point for point in ([start] if start else []) + list(path.points) if point.networks[0].maps is not None]
    if target is None or not any(point.strength for point in points):
        return None
    count, columns = len(target.sample_ids), 2 + len(points)
    figure, axes = cells.grid(count, columns, title=0.62, foot=_FOOT)
    networks = [study.bayes, *(point.networks[0] for point in points)]
    for row in range(count):
        cells.show_image(axes[row, 0], target.images[row])
        for axis, network in zip(axes[row, 1:], networks, strict=True):
            _cell(axis, network, study.bayes, target.sample_ids[row])
    titles = ["image", "Bayes control", *(_title(point) for point in points)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7.5)
    unit = legend.UNITS.get(path.family, "strength")
    figure.suptitle(
        f"{path.family}: {unit}", fontsize=9, fontweight="bold", y=1 - 0.06 / figure.get_figheight(), va="top"
    )
    panels.write_caption(figure, _caption(study))
    return figure


def _cell(axis: Any, network: Network, bayes: Network, sample: str) -> None:
    """A gradient with its cosine to the Bayes target: the measured one, else that of the two maps."""
    gradient = _gradient(network, sample)
    measured = network.rows.set_index("sample_id").get("alignment_cosine")
    if measured is not None and sample in measured.index:
        similarity = float(measured[sample])
    else:
        similarity = _cosine(gradient, _gradient(bayes, sample))
    cells.show_map(axis, gradient, similarity)


def _gradient(network: Network, sample: str) -> NDArray[np.float32]:
    assert network.maps is not None
    place = network.maps.sample_ids.index(sample) if sample in network.maps.sample_ids else None
    return np.full_like(network.maps.gradients[0], np.nan) if place is None else network.maps.gradients[place]


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / length if length > 0 else np.nan


def _title(point: Point) -> str:
    regime = "" if point.regime is None else f"\n{legend.REGIMES[point.regime]}"
    return f"{point.strength:g}{regime}" if point.strength else f"0 (standard){regime}"


def _caption(study: Study) -> str:
    return (
        f"{study.benchmark.label}: gradients of the log-odds of the true class, each scaled to its largest values; "
        "below them the cosine with the Bayes control's. In grey images red raises the class and blue lowers it."
    )
