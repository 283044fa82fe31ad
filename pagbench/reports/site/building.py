"""Builds the site from a results folder: every page, its data and its pictures."""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from pagbench import benchmarks, results
from pagbench.errors import ResultsError
from pagbench.reports.site import (
    about,
    boards,
    comparison,
    downloads,
    home,
    made,
    manifest,
    measures,
    methods,
    models,
    origins,
    pictures,
    sensitivities,
)
from pagbench.reports.site.rendering import Page, render
from pagbench.storage import files
from pagbench.studies import networks
from pagbench.studies.networks import Study

_DAY = re.compile(r"20\d\d-[01]\d-[0-3]\d(?=T)")


def build(folder: Path, output: Path) -> list[Path]:
    """Writes the site; files of an older one that are no longer part of it are removed, and no others.

    Args:
        folder: results, as `pagbench.run` fills it; of every benchmark that it has.
        output: the site's folder.

    Returns:
        The files, as written.

    Raises:
        ResultsError: no results, damaged ones, the output cannot be written, or holds files of someone else in its way.
    """
    return write(read(folder), output)


def write(studies: Sequence[Study], output: Path) -> list[Path]:
    """Writes the site of these studies; see `build`.

    Raises:
        ResultsError: the output cannot be written, or holds files of someone else in its way.
    """
    written = contents(studies)
    if (foreign := manifest.foreign(output, written)) is not None:
        raise ResultsError(f"{foreign}: is there already, and is no file of an earlier site; give another --output")
    gone = manifest.leftovers(output, written)
    # the manifest first: what a killed build leaves is known to the next one
    for path, content in {manifest.PLACE: manifest.content(written), **written}.items():
        files.write(output / path, content)
    for file in gone:
        _remove(file, output)
    return [output / path for path in written]


def contents(studies: Sequence[Study]) -> dict[str, bytes]:
    """Every file of the site by its path, but for the manifest; the same bytes from the same results."""
    measured = newest(studies)
    written = {page.path: render(page, measured).encode() for page in pages(studies)}
    for contents_of in (pictures.files, made.files, comparison.files):
        written |= dict(contents_of(studies))
    written |= dict(assets())
    return written | {file.path: file.content for shown in studies for file in downloads.files(shown)}


def newest(studies: Sequence[Study]) -> str:
    """Day of the newest measurement, as 2026-11-23; empty where no results file names one."""
    networks = [network for shown in studies for network in shown.networks]
    said = [str(run.get("started")) for network in networks for run in (network.provenance, *origins.recorded(network))]
    return max((found[0] for text in said if (found := _DAY.match(text))), default="")


def _remove(file: Path, root: Path) -> None:
    """Removes a file, and the folders that it leaves empty."""
    try:
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
    except OSError as error:
        raise ResultsError(f"{file}: cannot remove it ({error.strerror}); it is no longer part of the site") from None


def read(folder: Path) -> list[Study]:
    """The studies of all benchmarks that the folder has results of.

    Raises:
        ResultsError: it has none, or a file is damaged.
    """
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    measured = [definition for definition in definitions if results.has_results(folder, definition)]
    if not measured:
        raise ResultsError(f"{folder}: no results to show; run `pagbench run`, or give another --results folder")
    return [networks.read_study(folder, definition) for definition in measured]


def pages(studies: Sequence[Study]) -> Iterator[Page]:
    """Every page of the site."""
    yield home.page(studies)
    for shown in studies:
        yield boards.page(shown)
        yield comparison.page(shown)
        if (found := sensitivities.page(shown)) is not None:
            yield found
    shown_labels = {shown.benchmark.label for shown in studies}
    for label in benchmarks.names():
        if label not in shown_labels:
            yield about.page(benchmarks.load(label))
    yield from models.pages(studies)
    yield measures.page()
    yield methods.page()


def assets() -> Iterator[tuple[str, bytes]]:
    """Styles and scripts, with their place below the site's folder."""
    for file in sorted(
        resources.files("pagbench.reports.site").joinpath("assets").iterdir(), key=lambda file: file.name
    ):
        yield f"assets/{file.name}", file.read_bytes()
