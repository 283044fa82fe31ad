"""A picture of gradients: image, Bayes target, and the input gradient of each entrant (the paper's Figure 1)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pagbench import data, geometry, scores, targets
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError, first_line
from pagbench.models.loading import Entrant

_CELL, _GAP, _TITLE = 1.15, 0.2, 0.4
_CLIP = 99.5
_TITLE_WIDTH = 18


def draw(entrants: Sequence[Entrant], benchmark: Benchmark, path: Path, *, samples: int, device: torch.device) -> Path:
    """Writes a PNG with one row per image; the number under a gradient is its cosine with the Bayes target.

    Gradients of the log-odds of the true class, scaled per image to their 99.5 % largest magnitude; in grey images, red
    raises the class and blue lowers it; in colour images, grey is zero.

    Args:
        entrants: loaded entrants, one column each.
        benchmark: whose first samples are shown, one per class in turn.
        path: the PNG.
        samples: number of rows.
        device: where to compute.

    Raises:
        ResultsError: the picture cannot be written.
    """
    ids = benchmark.samples[:samples]
    splits = data.splits(benchmark)
    shown = splits.test.select(ids)
    target = targets.bayes_target(scores.load(benchmark, splits.train), benchmark.sigma, shown).float()
    images, labels = shown.images.to(device), shown.labels.to(device)
    columns = [("Bayes target", target)]
    for entrant in entrants:
        gradient = geometry.log_odds_gradient(entrant.classifier.to(device), images, labels).gradient.cpu()
        columns.append((entrant.card.id.removeprefix(f"{benchmark.name}/"), gradient))
    figure, axes = _grid(len(ids), 1 + len(columns))
    for row in range(len(ids)):
        _show_image(axes[row, 0], shown.images[row].numpy())
        for column, (_, maps) in enumerate(columns, start=1):
            similarity = float(geometry.cosine(maps[row : row + 1], target[row : row + 1])[0])
            _show_map(axes[row, column], maps[row].numpy(), similarity)
    for axis, title in zip(axes[0], ["image", *(name for name, _ in columns)], strict=True):
        axis.set_title(textwrap.fill(title.replace("/", "/ "), _TITLE_WIDTH), fontsize=7)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot write the picture ({first_line(error)}); give another --output") from None
    return path


def _grid(rows: int, columns: int) -> tuple[Figure, Any]:
    """Square cells of fixed size, laid out by hand: matplotlib's own layout takes longer than the rest."""
    width, height = _CELL * columns, (_CELL + _GAP) * rows + _TITLE
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=_GAP / height, top=1 - _TITLE / height, wspace=0.06, hspace=0.2
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show_image(axis: Any, image: NDArray[np.float32]) -> None:
    axis.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])


def _show_map(axis: Any, gradient: NDArray[np.float32], similarity: float) -> None:
    scale = max(float(np.percentile(np.abs(gradient), _CLIP)), float(np.finfo(np.float32).tiny))
    scaled = np.nan_to_num(gradient / scale).clip(-1, 1).transpose(1, 2, 0)
    if scaled.shape[2] == 1:
        axis.imshow(scaled, cmap="RdBu_r", vmin=-1, vmax=1)
    else:
        axis.imshow((scaled + 1) / 2)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("not scored" if np.isnan(similarity) else f"{similarity:.2f}", fontsize=7, labelpad=2)
