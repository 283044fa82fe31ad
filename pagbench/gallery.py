"""A picture of gradients: image, Bayes target, and the input gradient of each entrant (the paper's Figure 1)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pagbench import data, geometry, targets
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.models.loading import Entrant

_CELL = 1.15
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
    found = targets.compute(benchmark, data.splits(benchmark), ids, seed=benchmark.seed, device=device)
    batch = found.batch(ids)
    columns = [("Bayes target", batch.target)]
    for entrant in entrants:
        gradient = geometry.log_odds_gradient(entrant.classifier.to(device), batch.images, batch.labels).gradient
        columns.append((entrant.card.id.removeprefix(f"{benchmark.name}/"), gradient))
    figure = Figure(figsize=(_CELL * (1 + len(columns)), (_CELL + 0.18) * len(ids) + 0.4), layout="constrained")
    axes = figure.subplots(len(ids), 1 + len(columns), squeeze=False)
    for row in range(len(ids)):
        _show_image(axes[row, 0], batch.images[row].cpu().numpy())
        for column, (_, maps) in enumerate(columns, start=1):
            similarity = float(geometry.cosine(maps[row : row + 1], batch.target[row : row + 1])[0])
            _show_map(axes[row, column], maps[row].cpu().numpy(), similarity)
    for axis, title in zip(axes[0], ["image", *(name for name, _ in columns)], strict=True):
        axis.set_title(textwrap.fill(title.replace("/", "/ "), _TITLE_WIDTH), fontsize=7)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write the picture ({error.strerror or error}); give another --output"
        ) from None
    return path


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
