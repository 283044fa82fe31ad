"""What models and benchmarks need from elsewhere, and how large it is. No torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pagbench.cli.tables import aligned
from pagbench.errors import printable

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.cards import Card, RemoteFile


_GB = 10**9


class Download(NamedTuple):
    """A file that is fetched.

    Attributes:
        owner: id of the model, or label of the benchmark, that needs it.
        license: of the file.
        file: what its card says.
        path: where it lies; None where it is not here.
        size: bytes; None where they are unknown.
        counted: whether the size is counted from the network's parameters, four bytes for each.
    """

    owner: str
    license: str
    file: "RemoteFile"
    path: Path | None
    size: int | None
    counted: bool = False


def downloads_of(card: "Card", owner: str, license: str = "") -> list[Download]:
    """The files of a model or a benchmark."""
    from pagbench.benchmarks import cost
    from pagbench.storage import downloads

    files, known = downloads.files_of(card), cost.by_model().get(owner)
    found = []
    for file in files:
        path = downloads.find(file)
        size = file.size if path is None else path.stat().st_size
        counted = size is None and known is not None and len(files) == 1
        found.append(Download(owner, license, file, path, known.weights if known and counted else size, counted))
    return found


def total_size(downloads: Sequence[Download]) -> str:
    """The size of files together, in words, as far as it is known."""
    from rich import filesize

    known = [one.size for one in downloads if one.size is not None]
    if not known:
        return "size unknown"
    about, unknown = any(one.counted for one in downloads), len(downloads) - len(known)
    size = filesize.decimal(sum(known), precision=0 if about and sum(known) < _GB else 1)
    return f"{'about ' * about}{size}{f', and {unknown} of unknown size' if unknown else ''}"


def listed(models: Sequence[str], benchmark: "Benchmark | None") -> str:
    """What models, and a benchmark with its anchors, need: path, size, whether it is there, mirrors, licence.

    Raises:
        PagbenchError: no such model.
    """
    from pagbench.models import registry

    anchors = () if benchmark is None else benchmark.anchors
    cards = [registry.find(name).card for name in dict.fromkeys([*models, *anchors])]
    found = [one for card in cards for one in downloads_of(card, card.id, card.license or "licence unknown")]
    if benchmark is not None:
        found += downloads_of(benchmark, benchmark.label)
    rows = [_row(one) for one in found]
    missing = [*_missing(found)]
    if benchmark is not None and (facts := benchmark.dataset.facts).place:
        absent = benchmark.dataset.missing(benchmark.samples) is not None
        place, publisher = facts.place.split("`")[1], "its publisher" * facts.fetched
        rows.append((benchmark.label, place, facts.size, _state(absent=absent), publisher, facts.license))
        missing += [f"{facts.what}, {facts.size}"] * absent
    if not rows:
        return "nothing to fetch"
    return "\n".join([aligned(rows), f"missing: {'; '.join(missing)}" if missing else "all are here"])


def _state(*, absent: bool) -> str:
    return "missing" if absent else "present"


def _row(one: Download) -> tuple[str, ...]:
    from pagbench.storage import downloads

    place = printable(str(one.path or downloads.path_of(one.file)))
    mirrors = ", ".join((one.file.archive or one.file).mirrors) or "no mirror"
    return one.owner, place, total_size([one]), _state(absent=one.path is None), mirrors, one.license


def _missing(found: Sequence[Download]) -> Iterator[str]:
    """How many files are not here, and their size."""
    absent = list({one.file: one for one in found if one.path is None}.values())
    if absent:
        count = "1 file" if len(absent) == 1 else f"{len(absent)} files"
        yield f"{count}, {total_size(absent)}"
