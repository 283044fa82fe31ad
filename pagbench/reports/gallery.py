"""Pictures of what models' gradients are (the paper's Figure 1), and of what one can make by following them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.densities import scores
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.reports.figures import canvas, gradients
from pagbench.running import targets
from pagbench.running.config import RunConfig
from pagbench.running.session import Session, guarded
from pagbench.storage import global_state

_TITLE_WIDTH = 18
_DPI = 110


@global_state.known()
def draw_made(
    models: Sequence[LoadedModel], benchmark: Benchmark, path: Path, *, measure: str, samples: int, device: torch.device
) -> Path:
    """Writes a PNG with one row per image: clean where there is such a one, before, and what each model makes of it.

    Generation has two rows per image, one for each start.

    Args:
        models: loaded models, one column each.
        benchmark: whose first samples are shown.
        path: the PNG.
        measure: of `pagbench.columns.ABILITIES`.
        samples: number of images.
        device: where to compute.

    Raises:
        ResultsError: the picture cannot be written.
    """
    ids = benchmark.samples[:samples]
    session = Session(RunConfig(benchmark=benchmark, ids=ids, device=device, seed=benchmark.seed))
    generated = []
    for model in models:
        with guarded(model.card.id, measure):
            generated.append(session.generated(model, ids, measure))
    before = {
        name.removeprefix("before_"): images for name, images in generated[0].items() if name.startswith("before_")
    }
    shown = [("image", generated[0]["clean"])] if "clean" in generated[0] else []
    tables = [
        [
            *shown,
            ("before", start),
            *((_name(model, benchmark), images[name]) for model, images in zip(models, generated, strict=True)),
        ]
        for name, start in before.items()
    ]
    figure, axes = gradients.grid(len(ids) * len(tables), len(tables[0]))
    for index, row in enumerate(axes):
        sample, table = divmod(index, len(tables))
        for axis, (title, images) in zip(row, tables[table], strict=True):
            gradients.show_image(axis, images[sample].clamp(0, 1).cpu().numpy())
            if index == 0:
                _set_title(axis, title)
    return canvas.save(figure, path, dpi=_DPI)


def _set_title(axis: Any, title: str) -> None:
    axis.set_title(textwrap.fill(title.replace("/", "/ "), _TITLE_WIDTH), fontsize=7)


def _name(model: LoadedModel, benchmark: Benchmark) -> str:
    return model.card.id.removeprefix(f"{benchmark.name}/")


@global_state.known()
def draw(
    models: Sequence[LoadedModel], benchmark: Benchmark, path: Path, *, samples: int, device: torch.device
) -> Path:
    """Writes a PNG with one row per image; the number under a gradient is its cosine with the Bayes target.

    Gradients of the log-odds of the true class, scaled per image to their 99.5 % largest magnitude; in grey images, red
    raises the class and blue lowers it; in colour images, grey is zero.

    Args:
        models: loaded models, one column each.
        benchmark: whose first samples are shown, one per class in turn.
        path: the PNG.
        samples: number of rows.
        device: where to compute.

    Raises:
        ResultsError: the picture cannot be written.
    """
    ids = benchmark.samples[:samples]
    session = Session(RunConfig(benchmark=benchmark, ids=ids, device=device, seed=benchmark.seed))
    splits = session.splits
    shown = splits.test.select(ids)
    target = targets.bayes_target(scores.load(benchmark, splits.train), benchmark, shown, device).float().cpu()
    images, labels = shown.images.to(device), shown.labels.to(device)
    listed = [("Bayes target", target)]
    for model in models:
        classifier = session.measured(model)
        with sampled(classifier, ids):
            gradient = geometry.log_odds_gradient(classifier, images, labels).gradient.cpu()
        listed.append((_name(model, benchmark), gradient))
    figure, axes = gradients.grid(len(ids), 1 + len(listed))
    for row in range(len(ids)):
        gradients.show_image(axes[row, 0], shown.images[row].numpy())
        for column, (_, maps) in enumerate(listed, start=1):
            similarity = float(geometry.cosine(maps[row : row + 1], target[row : row + 1])[0])
            gradients.show_map(axes[row, column], maps[row].numpy(), similarity)
    for axis, title in zip(axes[0], ["image", *(name for name, _ in listed)], strict=True):
        _set_title(axis, title)
    return canvas.save(figure, path, dpi=_DPI)
