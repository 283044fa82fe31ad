"""Figures drawn from the Parquet files of a results folder alone: no data set, no network, no torch."""

import json
from collections.abc import Callable
from pathlib import Path

from pagbench.benchmarks import Benchmark
from pagbench.reports.figures import canvas, gradients, path_charts, scatter, summary
from pagbench.storage import files
from pagbench.studies import correlations, networks, paths

__all__ = ["draw_all"]

_LISTED = 6


def draw_all(
    results_folder: str | Path,
    benchmark: Benchmark,
    output: str | Path,
    *,
    on_warning: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Draws the paths of regularisation, off-manifold robustness against alignment, and gradients along the paths.

    Writes `paths` and `scatter` as PNG and PDF, `architectures` likewise where more than one architecture has paths,
    `gradients-<family>.png` where the results hold gradient maps, and the numbers behind them as `summary.json`.

    Args:
        results_folder: as `pagbench.run` fills it.
        benchmark: which of its benchmarks.
        output: folder for the files.
        on_warning: called with a line on what could not be drawn.

    Returns:
        The files, as written.

    Raises:
        ResultsError: no results, too few for a path or a correlation, damaged ones, or the folder cannot be written.
    """
    study = networks.read(Path(results_folder), benchmark)
    study.check_bayes()
    main, others = paths.main_paths(study), paths.other_paths(study)
    correlated = correlations.correlations(study)
    without_maps = [network for network in gradients.networks_shown(study, main) if network.maps is None]
    folder, written = Path(output), list[Path]()
    with canvas.style():
        figures = {"paths": path_charts.draw(study, main), "scatter": scatter.draw(study, correlated)}
        if others:
            figures["architectures"] = path_charts.draw_architectures(study, main, others)
        for name, figure in figures.items():
            written += [canvas.save(figure, folder / f"{name}.{kind}") for kind in ("png", "pdf")]
        for path in main:
            if (gallery := gradients.draw(study, path)) is not None:
                written.append(canvas.save(gallery, folder / f"gradients-{path.family.replace('/', '-')}.png"))
    numbers = summary.numbers(study, main, others, correlated, without_maps)
    text = json.dumps(numbers, indent=1, ensure_ascii=False) + "\n"
    written.append(files.write(folder / "summary.json", text))
    if without_maps:
        names = [network.card.id for network in without_maps]
        more = f" and {len(names) - _LISTED} more (summary.json names them)" if len(names) > _LISTED else ""
        on_warning(
            f"no gradient maps of {', '.join(names[:_LISTED])}{more}: their results are older than the maps; "
            "measure again with `pagbench run --overwrite`"
        )
    return written
