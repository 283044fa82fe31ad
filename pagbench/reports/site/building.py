"""Builds the site from a results folder: every page, its data and its pictures, and a manifest of them.

The manifest names the files of a build with their hashes, so that the next build into the same folder replaces and
removes its own files, and nobody else's.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pagbench import benchmarks, results
from pagbench.errors import ResultsError, warn
from pagbench.reports import export
from pagbench.reports.site import (
    abilities,
    benchmark,
    choice,
    comparison,
    home,
    models,
    origins,
    pictures,
    reference,
    sensitivity,
    table,
    wanted,
)
from pagbench.reports.site.rendering import Page, render
from pagbench.reports.site.table import Download
from pagbench.results.folders import OnWarning
from pagbench.results.plain import is_plausible
from pagbench.storage import files
from pagbench.studies import legend
from pagbench.studies.models import Study, read_study

MANIFEST = "assets/manifest.json"


class _Manifest(BaseModel):
    files: dict[str, str]


def build(folder: Path, output: Path, on_warning: OnWarning = warn) -> list[Path]:
    """Writes the site; files of an older one that are no longer part of it are removed, and no others.

    Args:
        folder: results, as `pagbench.run` fills it; of every benchmark that it has.
        output: the site's folder.
        on_warning: called with a line for each file that is damaged or somebody else's, and left out.

    Returns:
        The files, as written.

    Raises:
        ResultsError: no results that can be used, the output cannot be written, or holds files of someone else in its
            way.
    """
    return write(read(folder, on_warning), output)


def read(folder: Path, on_warning: OnWarning | None = None) -> list[Study]:
    """The studies of all benchmarks that the folder has results of.

    Args:
        folder: of results.
        on_warning: as for `build`; None to raise the first.

    Raises:
        ResultsError: it has none, or a file is damaged and nobody is told.
    """
    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    measured = [definition for definition in definitions if results.has_results(folder, definition)]
    if not measured:
        raise ResultsError(f"{folder}: no results to show; run `pagbench run`, or give another --results folder")
    studies = []
    for definition in measured:
        try:
            studies.append(read_study(folder, definition, on_warning))
        except results.NoResultsError as error:
            if on_warning is None:
                raise
            on_warning(str(error))
    if not studies:
        raise ResultsError(f"{folder}: no results of any benchmark can be used; run `pagbench run` into another folder")
    return studies


def write(studies: Sequence[Study], output: Path) -> list[Path]:
    """Writes the site of these studies; see `build`.

    Raises:
        ResultsError: the output cannot be written, or holds files of someone else in its way.
    """
    written = contents(studies)
    if (blocking := foreign_file(output, written)) is not None:
        raise ResultsError(f"{blocking}: is there already, and is no file of an earlier site; give another --output")
    outdated = leftovers(output, written)
    # the manifest first: what a killed build leaves is known to the next one
    for path, content in {MANIFEST: manifest(written), **written}.items():
        files.write(output / path, content)
    for file in outdated:
        _remove(file, output)
    return [output / path for path in written]


def contents(studies: Sequence[Study]) -> dict[str, bytes]:
    """Every file of the site by its path, but for the manifest; the same bytes from the same results."""
    measured = newest(studies)
    downloads = {study.benchmark.label: table.downloads(study) for study in studies}
    written = {page.path: render(page, measured).encode() for page in _pages(studies, downloads)}
    for contents_of in (pictures.files, abilities.files, comparison.files):
        written |= dict(contents_of(studies))
    written |= dict(badges(studies))
    written |= dict(assets())
    listed = (benchmark.splits_file(benchmarks.load(label)) for label in benchmarks.names())
    written |= {file.path: file.content for file in listed if file is not None}
    return written | {file.path: file.content for listed in downloads.values() for file in listed}


def newest(studies: Sequence[Study]) -> str:
    """Day of the newest measurement, as 2026-11-23; empty where no results file names one that has come."""
    measured = [model for study in studies for model in study.models]
    started = [str(run.get("started")) for n in measured for run in (n.provenance, *origins.recorded_runs(n))]
    return max((text[:10] for text in started if is_plausible(text)), default="")


def _pages(studies: Sequence[Study], downloads: Mapping[str, Sequence[Download]]) -> Iterator[Page]:
    yield home.page(studies)
    yield choice.page(studies)
    for study in studies:
        yield benchmark.page(study, downloads[study.benchmark.label])
        if not study.benchmark.no_target:
            yield comparison.page(study)
        if (page := sensitivity.page(study)) is not None:
            yield page
    for label in benchmarks.names():
        if label not in downloads:
            yield benchmark.page_without_results(benchmarks.load(label))
    yield from models.pages(studies)
    yield wanted.page(studies)
    yield reference.measures()
    yield reference.methods()


def badges(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """A badge of every model, `badges/<label>/<id>`, as a picture and for shields.io."""
    for study in studies:
        for model in study.models:
            name, row = model.card.id, study.entry(model.card.id)
            badge = export.badge(export.Standing(study.benchmark, row, study.ranked_beside(row)))
            yield f"badges/{study.benchmark.label}/{name}.svg", badge.to_svg().encode()
            yield f"badges/{study.benchmark.label}/{name}.json", badge.to_json().encode()


def assets() -> Iterator[tuple[str, bytes]]:
    """Styles and scripts, with their path below the site's folder."""
    folder = resources.files("pagbench.reports.site").joinpath("assets")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        yield f"assets/{file.name}", file.read_bytes()
    yield "assets/colours.css", _colours().encode()


def _colours() -> str:
    """The colours of regimes as custom properties, `--regime-weak` and so on, as figures have them."""
    light, dark = (
        " ".join(f"--regime-{name}: {colours[scheme]};" for name, colours in legend.REGIME_COLOURS.items())
        for scheme in (0, 1)
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def manifest(written: Mapping[str, bytes]) -> bytes:
    """The manifest of these files: the sha256 of each by its path; the manifest itself is not among them."""
    hashes = {path: hashlib.sha256(written[path]).hexdigest() for path in sorted(written)}
    return (json.dumps({"files": hashes}, indent=0) + "\n").encode()


def leftovers(output: Path, written: Collection[str]) -> list[Path]:
    """Files of the build before that are no part of this one, and that nobody has changed since.

    A manifest that is missing or damaged names none. A path in it that leads out of the folder, straight or by a link,
    is passed over.

    Args:
        output: the site's folder.
        written: paths of this build, below it.
    """
    before = _read_manifest(output)
    outdated = sorted(before.keys() - set(written))
    return [output / path for path in outdated if _is_unchanged(output, path, before[path])]


def foreign_file(output: Path, written: Mapping[str, bytes]) -> Path | None:
    """A file in the way of this build that no build has written; None where there is none.

    Args:
        output: the site's folder.
        written: contents of this build by path; a file that holds the same already is not in the way.
    """
    before = _read_manifest(output)
    if not before and (output / MANIFEST).is_file():
        return output / MANIFEST  # damaged, or of some other application
    unknown = (path for path in written if path not in before and (output / path).is_file())
    return next((output / path for path in unknown if _content(output / path) != written[path]), None)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_manifest(output: Path) -> dict[str, str]:
    try:
        return _Manifest.model_validate_json((output / MANIFEST).read_bytes()).files
    except (OSError, ValidationError):
        return {}


def _is_unchanged(output: Path, path: str, sha256: str) -> bool:
    try:
        file = (output / path).resolve(strict=True)
        inside = file.is_relative_to(output.resolve()) and file == output.resolve() / path
        return inside and hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    except (OSError, ValueError):  # gone already, no file, or no path at all
        return False


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
