"""A picture of gradients: image, Bayes target, and the input gradient of each entrant (the paper's Figure 1)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch

from pagbench import data, geometry, scores, targets
from pagbench.benchmarks import Benchmark
from pagbench.figures import canvas, cells
from pagbench.models.loading import Entrant
from pagbench.models.smoothing import sampled

_TITLE_WIDTH = 18
_DPI = 110


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
    target = targets.bayes_target(scores.load(benchmark, splits.train), benchmark, shown, device).float().cpu()
    images, labels = shown.images.to(device), shown.labels.to(device)
    columns = [("Bayes target", target)]
    for entrant in entrants:
        with sampled(entrant.classifier, ids):
            gradient = geometry.log_odds_gradient(entrant.classifier.to(device), images, labels).gradient.cpu()
        columns.append((entrant.card.id.removeprefix(f"{benchmark.name}/"), gradient))
    figure, axes = cells.grid(len(ids), 1 + len(columns))
    for row in range(len(ids)):
        cells.show_image(axes[row, 0], shown.images[row].numpy())
        for column, (_, maps) in enumerate(columns, start=1):
            similarity = float(geometry.cosine(maps[row : row + 1], target[row : row + 1])[0])
            cells.show_map(axes[row, column], maps[row].numpy(), similarity)
    for axis, title in zip(axes[0], ["image", *(name for name, _ in columns)], strict=True):
        axis.set_title(textwrap.fill(title.replace("/", "/ "), _TITLE_WIDTH), fontsize=7)
    return canvas.save(figure, path, dpi=_DPI)
