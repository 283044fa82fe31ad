"""Figures drawn from the Parquet files of a results folder alone: no data set, no network, no torch."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pagbench.benchmarks import Benchmark
from pagbench.reports.figures import architectures, canvas, galleries, path_charts, scatter, summary
from pagbench.storage import files
from pagbench.studies import correlations, networks, paths
from pagbench.studies.networks import Network, Study

__all__ = ["draw_all"]

_NAMED = 6


def draw_all(
    results_folder: str | Path,
    benchmark: Benchmark,
    output: str | Path,
    *,
    tell: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Draws the paths of regularisation, off-manifold robustness against alignment, and gradients along the paths.

    Writes `paths` and `scatter` as PNG and PDF, `architectures` likewise where more than one architecture has paths,
    `gradients-<family>.png` where the results hold gradient maps, and the numbers behind them as `summary.json`.

    Args:
        results_folder: as `pagbench.run` fills it.
        benchmark: which of its benchmarks.
        output: folder for the files.
        tell: called with a line on what could not be drawn.

    Returns:
        The files, as written.

    Raises:
        ResultsError: no results, too few for a path or a correlation, damaged ones, or the folder cannot be written.
    """
    study = networks.read_study(Path(results_folder), benchmark)
    study.check_bayes()
    main, others = paths.main_paths(study), paths.other_paths(study)
    found = correlations.correlations(study)
    without = [network for network in galleries.shown(study, main) if network.maps is None]
    folder, written = Path(output), list[Path]()
    with canvas.style():
        drawn = {"paths": path_charts.draw(study, main), "scatter": scatter.draw(study, found)}
        if others:
            drawn["architectures"] = architectures.draw(study, main, others)
        for name, figure in drawn.items():
            written += [canvas.save(figure, folder / f"{name}.{kind}") for kind in ("png", "pdf")]
        written += _galleries(study, main, folder)
    numbers = summary.numbers(study, main, others, found, without)
    text = json.dumps(numbers, indent=1, ensure_ascii=False) + "\n"
    written.append(files.write(folder / "summary.json", text))
    if without:
        tell(_missing(without))
    return written


def _galleries(study: Study, main: Sequence[paths.Path], folder: Path) -> list[Path]:
    written = []
    for path in main:
        figure = galleries.draw(study, path)
        if figure is not None:
            written.append(canvas.save(figure, folder / f"gradients-{path.family.replace('/', '-')}.png"))
    return written


def _missing(without: Sequence[Network]) -> str:
    names = [network.card.id for network in without]
    more = f" and {len(names) - _NAMED} more (summary.json names them)" if len(names) > _NAMED else ""
    return (
        f"no gradient maps of {', '.join(names[:_NAMED])}{more}: their results are older than the maps; "
        "measure again with `pagbench run --overwrite`"
    )
