"""Images and gradients in a grid, and the gradients along a path, from the small maps in the results files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pagbench.reports.figures import canvas
from pagbench.studies import legend
from pagbench.studies.models import StudiedModel, Study
from pagbench.studies.paths import Path, Point, origin

_CELL, _GAP = 1.15, 0.2
_CLIP = 99.5
_FOOT = 0.5


def grid(rows: int, columns: int, *, title: float = 0.4, foot: float = 0.0) -> tuple[Figure, Any]:
    """Square cells of fixed size, laid out by hand: matplotlib's own layout takes longer than the rest.

    Args:
        rows: number of images.
        columns: number of maps, the image among them.
        title: room above, inches.
        foot: room below, inches.
    """
    width, height = _CELL * columns, (_CELL + _GAP) * rows + title + foot
    figure = canvas.NotebookFigure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=(_GAP + foot) / height, top=1 - title / height, wspace=0.06, hspace=0.2
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def show_image(axis: Any, image: NDArray[np.float32]) -> None:
    """An image in [0, 1], shape (c, h, w)."""
    axis.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])


def show_map(axis: Any, gradient: NDArray[np.float32], similarity: float) -> None:
    """A gradient, scaled to the 99.5 % quantile of its magnitude, with its cosine to the Bayes target below.

    In grey images, red raises the class and blue lowers it; in colour images, grey is zero.

    Args:
        axis: the cell.
        gradient: shape (c, h, w); NaN where not scored.
        similarity: in [-1, 1]; NaN where not scored.
    """
    scale = max(float(np.percentile(np.abs(gradient), _CLIP)), float(np.finfo(np.float32).tiny))
    scaled = np.nan_to_num(gradient / scale).clip(-1, 1).transpose(1, 2, 0)
    if scaled.shape[2] == 1:
        axis.imshow(scaled, cmap="RdBu_r", vmin=-1, vmax=1)
    else:
        axis.imshow((scaled + 1) / 2)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("not scored" if np.isnan(similarity) else f"{similarity:.2f}", fontsize=7, labelpad=2)


def models_shown(study: Study, paths: Sequence[Path]) -> list[StudiedModel]:
    """The models whose maps galleries need: the Bayes control, and the first training seed of each strength."""
    start = origin(study, study.make)
    points = [*([start] if start else []), *(point for path in paths for point in path.points)]
    return [study.bayes, *(point.models[0] for point in points)]


def draw(study: Study, path: Path) -> Figure | None:
    """One row per image; columns: image, Bayes control, then growing strength. Models without maps are left out.

    Returns:
        None where the Bayes control or all models of the path lack maps.
    """
    target, start = study.bayes.thumbnails, origin(study, study.make)
    points = [
        point for point in ([start] if start else []) + list(path.points) if point.models[0].thumbnails is not None
    ]
    if target is None or not any(point.strength for point in points):
        return None
    count, columns = len(target.sample_ids), 2 + len(points)
    figure, axes = grid(count, columns, title=0.62, foot=_FOOT)
    models = [study.bayes, *(point.models[0] for point in points)]
    for row in range(count):
        show_image(axes[row, 0], target.images[row])
        for axis, model in zip(axes[row, 1:], models, strict=True):
            _cell(axis, model, study.bayes, target.sample_ids[row])
    titles = ["image", "Bayes control", *(_title(point) for point in points)]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7.5)
    unit = legend.UNITS.get(path.family, "strength")
    figure.suptitle(
        f"{path.family}: {unit}", fontsize=9, fontweight="bold", y=1 - 0.06 / figure.get_figheight(), va="top"
    )
    canvas.write_caption(
        figure,
        f"{study.benchmark.label}: gradients of the log-odds of the true class, each divided by the 99.5 % quantile of "
        "its own magnitude and cut off at ±1. Below them: the cosine with the Bayes control's, on that image. "
        + (
            "Red pixels raise the class when they get lighter, blue ones lower it, white ones do neither."
            if study.benchmark.input_shape[0] == 1
            else "Grey is zero, and each channel is drawn in its own colour."
        ),
    )
    return figure


def _cell(axis: Any, model: StudiedModel, bayes: StudiedModel, sample: str) -> None:
    """A gradient with its cosine to the Bayes target: the measured one, else that of the two maps."""
    gradient = _gradient(model, sample)
    measured = model.rows.set_index("sample_id").get("alignment_cosine")
    if measured is not None and sample in measured.index:
        similarity = float(measured[sample])
    else:
        similarity = _cosine(gradient, _gradient(bayes, sample))
    show_map(axis, gradient, similarity)


def _gradient(model: StudiedModel, sample: str) -> NDArray[np.float32]:
    assert model.thumbnails is not None
    gradients = dict(zip(model.thumbnails.sample_ids, model.thumbnails.gradients, strict=True))
    return gradients.get(sample, np.full_like(model.thumbnails.gradients[0], np.nan))


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / length if length > 0 else np.nan


def _title(point: Point) -> str:
    regime = "" if point.regime is None else f"\n{legend.REGIMES[point.regime]}"
    return f"{point.strength:g}{regime}" if point.strength else f"0 (standard){regime}"
