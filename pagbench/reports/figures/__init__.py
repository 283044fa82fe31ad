"""Figures drawn from the Parquet files of a results folder alone: no data set, no model, no torch."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pagbench.benchmarks import Benchmark
from pagbench.ranking.statistics import Interval
from pagbench.reports.figures import canvas, gradients, path_charts, profiles, scatter
from pagbench.storage import files
from pagbench.studies import correlations, paths
from pagbench.studies.correlations import Correlation
from pagbench.studies.models import StudiedModel, Study, read_study
from pagbench.studies.paths import Point, origin, point

__all__ = ["draw_all"]

_LISTED = 6

Numbers = dict[str, Any]


def draw_all(
    results_folder: str | Path,
    benchmark: Benchmark,
    output: str | Path,
    *,
    on_warning: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Draws the paths of regularisation, off-manifold robustness against alignment, and gradients along the paths.

    Writes `paths` and `scatter` as PNG and PDF, `profiles` likewise where alignment was measured at several noise
    levels, `architectures` where more than one architecture has paths, `gradients-<family>.png` where the results hold
    gradient maps, and the numbers behind them as `summary.json`.

    Args:
        results_folder: as `pagbench.run` fills it.
        benchmark: which of its benchmarks.
        output: folder for the files.
        on_warning: called with a line on what could not be drawn, and on each file that cannot be used.

    Returns:
        The files, as written.

    Raises:
        ResultsError: no results, too few for a path or a correlation, damaged ones, or the folder cannot be written.
    """
    study = read_study(Path(results_folder), benchmark, on_warning)
    study.check_bayes()
    main, others = paths.main_paths(study), paths.other_paths(study)
    correlated = correlations.correlations(study)
    without_thumbnails = [model for model in gradients.models_shown(study, main) if model.thumbnails is None]
    folder, written = Path(output), list[Path]()
    with canvas.style():
        figures = {"paths": path_charts.draw(study, main), "scatter": scatter.draw(study, correlated)}
        if benchmark.sigmas:
            figures["profiles"] = profiles.draw(study, main)
        if others:
            figures["architectures"] = path_charts.draw_architectures(study, main, others)
        for name, figure in figures.items():
            written.append(canvas.save_palette(figure, folder / f"{name}.png"))
            written.append(canvas.save(figure, folder / f"{name}.pdf"))
        for path in main:
            if (gallery := gradients.draw(study, path)) is not None:
                file = folder / f"gradients-{path.family.replace('/', '-')}.png"
                if benchmark.input_shape[0] == 1:
                    written.append(canvas.save_palette(gallery, file, colours=256))
                else:
                    written.append(canvas.save(gallery, file))
    numbers = _numbers(study, main, others, correlated, without_thumbnails)
    text = json.dumps(numbers, indent=1, ensure_ascii=False) + "\n"
    written.append(files.write(folder / "summary.json", text))
    if without_thumbnails:
        names = [model.card.id for model in without_thumbnails]
        more = f" and {len(names) - _LISTED} more (summary.json names them)" if len(names) > _LISTED else ""
        on_warning(
            f"no gradient maps of {', '.join(names[:_LISTED])}{more}: their results are older than the maps; "
            "measure again with `pagbench run --overwrite`"
        )
    return written


def _numbers(
    study: Study,
    main: Sequence[paths.Path],
    others: Sequence[paths.Path],
    correlated: Mapping[str, Mapping[str, Correlation]],
    without_thumbnails: Sequence[StudiedModel],
) -> Numbers:
    """Paths, correlations, captions, and what was left out; null where a number is not defined.

    Returns:
        `benchmark`, `epsilon`, `architecture`, `activation`, `bayes`, `standard`, `paths`, `other_paths`,
        `correlations`, `captions`, `left_out` (model: reason) and `without_maps`.
    """
    architecture, activation = study.make
    start = origin(study, study.make)
    drawn = {model.card.id for model in study.drawn}
    reasons = {model.card.id: model.status for model in study.models if not model.card.control}
    return {
        "benchmark": study.benchmark.label,
        "epsilon": study.benchmark.epsilon,
        "architecture": architecture,
        "activation": activation,
        "bayes": _point(point(0.0, [study.bayes], study))["values"],
        "standard": None if start is None else _point(start),
        "paths": {path.family: [_point(part) for part in path.points] for path in main},
        "other_paths": [_other(path, study) for path in others],
        "correlations": {
            column: {
                name: {**_interval(part.rho), "networks": part.models, "families": part.families}
                for name, part in parts.items()
            }
            for column, parts in correlated.items()
        },
        "captions": {"paths": path_charts.caption(study, main), "scatter": scatter.caption(study)},
        "left_out": {name: reason for name, reason in sorted(reasons.items()) if name not in drawn},
        "without_maps": [model.card.id for model in without_thumbnails],
    }


def _other(path: paths.Path, study: Study) -> Numbers:
    architecture, activation = path.make
    start = origin(study, path.make)
    return {
        "family": path.family,
        "architecture": architecture,
        "activation": activation,
        "standard": None if start is None else _point(start),
        "points": [_point(part) for part in path.points],
    }


def _point(part: Point) -> Numbers:
    return {
        "strength": part.strength,
        "seeds": len(part.models),
        "models": [model.card.id for model in part.models],
        "regime": part.regime,
        "values": {name: _interval(interval) for name, interval in part.values.items()},
    }


def _interval(interval: Interval) -> Numbers:
    return {name: None if math.isnan(bound) else bound for name, bound in interval._asdict().items()}
