"""What `pagbench run --dry-run` says: all that a run lacks, and about what it takes. Opens no socket."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from pagbench.cli.doctor import Lack, readiness
from pagbench.errors import ContractError, install_command, is_installed, printable
from pagbench.storage import cache

if TYPE_CHECKING:
    from pagbench.models.registry import Request
    from pagbench.running.config import RunConfig

_GB = 1e9
_FETCH = "pagbench fetch "


def show(requests: "Sequence[Request]", config: "RunConfig") -> bool:
    """Prints it; returns whether the run can start."""
    from pagbench.benchmarks import facts

    with cache.going_offline():
        finding = readiness(config.benchmark.label)
        lacks = [Lack(message) for message in finding.messages] if finding.state != "ok" else []
        ready = finding.state in ("ok", "note")
        state = "its data and networks are here" if ready else "missing"
        typer.echo(f"{config.benchmark.label}: {state}")
        _print(lacks, finding.commands)
        missing = {request.card.id: list(_lacks(request, config)) for request in requests}
        complete = [request for request in requests if not missing[request.card.id]]
        typer.echo(f"models: {len(requests)}, of which {len(complete)} can be measured here")
        found = [lack for several in missing.values() for lack in several]
        commands = dict.fromkeys(lack.command for lack in found if lack.command)
        fetched = [command.removeprefix(_FETCH) for command in commands if command.startswith(_FETCH)]
        others = [command for command in commands if not command.startswith(_FETCH)]
        _print(found, others + ([f"{_FETCH}{' '.join(fetched)}"] if fetched else []))
        known = facts.of(config.benchmark)
        for line in _cost(complete, len(requests) - len(complete), config) if ready and complete else ():
            typer.echo(line)
        typer.echo(f"said of {config.benchmark.label}: time: {known.time.rstrip('.')}; memory: {known.memory}")
    return ready and not found


def _print(lacks: Sequence[Lack], commands: Sequence[str]) -> None:
    for lack in dict.fromkeys(lack.message for lack in lacks):
        typer.echo(f"  missing: {printable(lack)}")
    for command in commands:
        typer.echo(f"  $ {command}")


def _lacks(request: "Request", config: "RunConfig") -> Iterator[Lack]:
    """What one model lacks."""
    from rich import filesize

    from pagbench.models import sources
    from pagbench.models.loading import check_shapes
    from pagbench.storage import downloads

    card = request.card
    name = card.smoothing.around if card.smoothing is not None and card.smoothing.around else card.id
    try:
        check_shapes(card, config.benchmark, request.origin)
    except ContractError as error:
        yield Lack(str(error))
    package = sources.package(name) if card.loader == "source" else None
    if package is not None and not is_installed(package):
        yield Lack(f"{package}, a package that {card.id} needs", install_command(package))
    files = [file for file in downloads.files_of(card) if downloads.find(file) is None]
    if files:
        sizes = [file.size for file in files if file.size is not None]
        size = filesize.decimal(sum(sizes)) if len(sizes) == len(files) else "size unknown"
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        yield Lack(f"{count} of weights of {card.id}, {size}", f"{_FETCH}{name}")
    if request.network is None and card.weights is not None and not request.has_weights:
        how = "" if card.training_command is None else f"{card.training_command} --prefix {card.id.rpartition('/')[0]}"
        yield Lack(f"weights of {card.id}{', under embargo' * bool(card.embargo)}", how)


def _cost(requests: "Sequence[Request]", others: int, config: "RunConfig") -> Iterator[str]:
    """Time and memory, from a few images."""
    from pagbench import results
    from pagbench.running.estimate import estimate

    named = {request.card.id for request in requests}
    measured = [name for name in config.benchmark.anchors if name not in named]
    if config.published is not None:
        measured = [n for n in measured if not results.path_of(config.published, config.benchmark, n).is_file()]
    found = estimate(requests, others + len(measured), config)
    if found is None:
        yield "time: no estimate, for no model can be measured here"
        return
    minutes = found.seconds / 60
    took = f"{minutes:.0f} minutes" if minutes >= 2 else f"{max(1, found.seconds):.0f} s"
    where = "of the GPU" if config.device.type == "cuda" else "of this process"
    total = len(requests) + others + len(measured)
    models = "1 model" if total == 1 else f"{total} models"
    yield (
        f"time: about {took} on {config.device.type} in one process for {models} and {len(config.ids)} images, "
        f"without loading, checks and --measures (from {found.images} images of {', '.join(found.timed)})"
    )
    yield f"memory: about {found.memory / _GB:.1f} GB {where} with {found.images} images at a time"
