"""Pictures of what models' gradients are (the paper's Figure 1), and of what one can make by following them."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from pagbench import benchmarks, columns, geometry
from pagbench.benchmarks import Benchmark
from pagbench.densities import scores
from pagbench.errors import ContractError, PagbenchError, UnknownNameError
from pagbench.models import devices, registry
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.reports.figures.gradients import grid, show_image, show_map
from pagbench.running import targets
from pagbench.running.config import RunConfig
from pagbench.running.session import Session, guarded
from pagbench.storage import global_state

_TITLE_WIDTH = 18


@global_state.known()
def gradients(
    models: nn.Module | str | Path | Iterable[Any] | Mapping[str, Any] = (),
    benchmark: str | Benchmark = "digits",
    samples: int = 8,
    *,
    task: str | None = None,
    device: str = "auto",
) -> Figure:
    """Draws images, the Bayes targets there, and models' input gradients: a grid with one row per image.

    Gradients are of the log-odds of the true class, scaled per image to their 99.5 % largest magnitude. The number
    under one is its cosine with the Bayes target. In grey images, red raises the class and blue lowers it; in colour
    images, grey is zero. A notebook shows the figure, and `figure.savefig("gradients.png")` writes it.

    Args:
        models: as for `pagbench.run`; none for all trained models that are shipped for the benchmark.
        benchmark: name, `name@version`, or a definition; its first samples are shown.
        samples: number of images.
        task: draw what is made by following the gradients instead: generation, denoising or inpainting.
        device: auto, cpu, cuda, mps.

    >>> gradients([network, "digits/standard"], samples=4)  # doctest: +SKIP

    Raises:
        PagbenchError: a model or a setting is wrong, or a network fails.
    """
    definition = benchmarks.load(benchmark)
    if task is not None and task not in columns.ABILITIES:
        raise UnknownNameError("task", task, columns.ABILITIES)
    if not isinstance(samples, Integral) or samples < 1:
        raise ContractError(f"samples {samples!r} is out of range; expected a whole number from 1")
    chosen = devices.choose_device(device)
    requests = registry.resolve(models, definition)
    if isinstance(models, Sequence) and not models:
        requests = [request for request in requests if not request.card.control]
    if task is not None and not requests:
        raise ContractError(f"{definition.label}: no trained model is shipped for it; name some, as control/bayes")
    try:
        loaded = [request.load(definition) for request in requests]
    except PagbenchError as error:
        raise error from None  # it names the line of the network's code
    ids = definition.samples[:samples]
    if task is None:
        return _draw_gradients(loaded, definition, ids, chosen)
    return _draw_made(loaded, definition, ids, chosen, task)


def _draw_made(
    models: Sequence[LoadedModel], benchmark: Benchmark, ids: tuple[str, ...], device: torch.device, measure: str
) -> Figure:
    """One row per image: clean where there is such a one, before, and what each model makes of it.

    Generation has two rows per image, one for each start.
    """
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
    figure, axes = grid(len(ids) * len(tables), len(tables[0]))
    for index, row in enumerate(axes):
        sample, table = divmod(index, len(tables))
        for axis, (title, images) in zip(row, tables[table], strict=True):
            show_image(axis, images[sample].clamp(0, 1).cpu().numpy())
            if index == 0:
                _set_title(axis, title)
    return figure


def _set_title(axis: Any, title: str) -> None:
    lines = textwrap.fill(title.replace("/", "/ "), _TITLE_WIDTH)  # broken behind slashes, too
    axis.set_title(lines.replace("/ ", "/"), fontsize=7)


def _name(model: LoadedModel, benchmark: Benchmark) -> str:
    return model.card.id.removeprefix(f"{benchmark.name}/")


def _draw_gradients(
    models: Sequence[LoadedModel], benchmark: Benchmark, ids: tuple[str, ...], device: torch.device
) -> Figure:
    session = Session(RunConfig(benchmark=benchmark, ids=ids, device=device, seed=benchmark.seed))
    splits = session.splits
    shown = splits.test.select(ids)
    target = targets.bayes_target(scores.load(benchmark, splits.train), benchmark, shown, device).float().cpu()
    images, labels = shown.images.to(device), shown.labels.to(device)
    listed = [("Bayes target", target)]
    for model in models:
        with guarded(model.card.id):
            classifier = session.measured(model)
            with sampled(classifier, ids):
                gradient = geometry.log_odds_gradient(classifier, images, labels).gradient.cpu()
        listed.append((_name(model, benchmark), gradient))
    figure, axes = grid(len(ids), 1 + len(listed))
    for row in range(len(ids)):
        show_image(axes[row, 0], shown.images[row].numpy())
        for column, (_, maps) in enumerate(listed, start=1):
            similarity = float(geometry.cosine(maps[row : row + 1], target[row : row + 1])[0])
            show_map(axes[row, column], maps[row].numpy(), similarity)
    for axis, title in zip(axes[0], ["image", *(name for name, _ in listed)], strict=True):
        _set_title(axis, title)
    return figure
