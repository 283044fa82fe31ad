"""What `pagbench run --dry-run` says: all that a run lacks, and about what it takes. Opens no socket."""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import typer

from pagbench.cli.doctor import readiness
from pagbench.cli.downloads import Download, downloads_of, total_size
from pagbench.errors import ContractError, install_command, is_installed, printable
from pagbench.storage import cache

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.models.registry import Request
    from pagbench.running.config import RunConfig

_GB = 1e9
_LISTED = 8
"""Models that lack the same which are listed by name; of more the number is given."""
_FETCH = "pagbench fetch "


class _Lack(NamedTuple):
    """What a model lacks.

    Attributes:
        request: the model.
        misfit: why it cannot be measured on the benchmark, after which nothing else is looked for; empty where it can.
        package: that it needs and that is not installed.
        files: to be fetched.
        weights: whether those that its card names are not here, and nobody has them to fetch.
    """

    request: "Request"
    misfit: str = ""
    package: str | None = None
    files: Sequence[Download] = ()
    weights: bool = False


def show(requests: "Sequence[Request]", config: "RunConfig", named: Sequence[str] = ()) -> bool:
    """Prints it; returns whether the run can start.

    Args:
        requests: the models.
        config: the run.
        named: the models as the user named them.
    """
    with cache.going_offline():
        finding = readiness(config.benchmark.label)
        ready = finding.state in ("ok", "note")
        typer.echo(f"{config.benchmark.label}: {'its data and networks are here' if ready else 'missing'}")
        _print(finding.messages if finding.state != "ok" else ())
        lacks = [lack for lack in (_lack(request, config.benchmark) for request in requests) if any(lack[1:])]
        incomplete = [lack.request for lack in lacks]
        complete = [request for request in requests if request not in incomplete]
        typer.echo(f"models: {len(requests)}, of which {len(complete) if ready else 0} can be measured now")
        _print(_missing(lacks, config.benchmark))
        for command in _commands(lacks, finding.commands, named, config.benchmark):
            typer.echo(f"  $ {command}")
        for line in _takes(complete if ready else (), incomplete if ready else requests, lacks, config):
            typer.echo(line)
    return ready and not lacks


def _print(missing: "Sequence[str] | Iterator[str]") -> None:
    for line in missing:
        typer.echo(f"  missing: {printable(line)}")


def _lack(request: "Request", benchmark: "Benchmark") -> _Lack:
    """What one model lacks."""
    from pagbench.models import sources
    from pagbench.models.loading import check_shapes

    card = request.card
    try:
        check_shapes(card, benchmark, request.origin)
    except ContractError as error:
        return _Lack(request, str(error))
    package = sources.package(_network(request)) if card.loader == "source" else None
    return _Lack(
        request,
        package=None if package is None or is_installed(package) else package,
        files=[one for one in downloads_of(card, _network(request)) if one.path is None],
        weights=request.network is None and card.weights is not None and not request.has_weights,
    )


def _network(request: "Request") -> str:
    """The id of a model, or of the one that is smoothed."""
    smoothing = request.card.smoothing
    return smoothing.around if smoothing is not None and smoothing.around else request.card.id


def _missing(lacks: Sequence[_Lack], benchmark: "Benchmark") -> Iterator[str]:
    """A line for each thing that a model lacks, or one for all where many lack it."""
    misfits = [lack.misfit for lack in lacks if lack.misfit]
    if len(misfits) > _LISTED:
        misfits = [f"{len(misfits)} models do not fit {benchmark.label}, as {misfits[0]}"]
    yield from misfits
    packages: dict[str, list[str]] = {}
    for lack in lacks:
        if lack.package is not None:
            packages.setdefault(lack.package, []).append(lack.request.card.id)
    for package, (first, *others) in packages.items():
        rest = f" and {len(others)} more need" if others else " needs"
        yield f"{package}, a package that {first}{rest}"
    fetched = [lack for lack in lacks if lack.files]
    if len(fetched) > _LISTED:
        files = list({one.file: one for lack in fetched for one in lack.files}.values())
        yield f"{len(files)} files of weights of {len(fetched)} models, {total_size(files)}"
    else:
        for lack in fetched:
            count = "1 file" if len(lack.files) == 1 else f"{len(lack.files)} files"
            yield f"{count} of weights of {lack.request.card.id}, {total_size(lack.files)}"
    trained = [lack.request.card for lack in lacks if lack.weights]
    if len(trained) > _LISTED:
        yield f"weights of {len(trained)} models, as {trained[0].id}"
    else:
        yield from (f"weights of {card.id}{', under embargo' * bool(card.embargo)}" for card in trained)


def _commands(
    lacks: Sequence[_Lack], of_benchmark: Sequence[str], named: Sequence[str], benchmark: "Benchmark"
) -> Iterator[str]:
    """What gets all that is missing: what is fetched, by one command."""
    yield from (command for command in of_benchmark if not command.startswith(_FETCH))
    yield from dict.fromkeys(install_command(lack.package) for lack in lacks if lack.package is not None)
    trained = [lack.request.card for lack in lacks if lack.weights]
    for card in trained[:_LISTED]:
        if card.training_command is not None:
            yield f"{card.training_command} --prefix {card.id.rpartition('/')[0]}"
    models = [shlex.quote(name) for name in _fetched([lack.request for lack in lacks if lack.files], named, benchmark)]
    data = [f"--benchmark {benchmark.label}"] if any(command.startswith(_FETCH) for command in of_benchmark) else []
    if models or data:
        yield _FETCH + " ".join([*models, *data])


def _fetched(requests: "Sequence[Request]", named: Sequence[str], benchmark: "Benchmark") -> Iterator[str]:
    """Models whose files are fetched, by the user's names for them where there are some."""
    from pagbench.models import registry

    known = registry.names()
    left = {
        str(request.path) if request.path is not None and request.card.id not in known else _network(request)
        for request in requests
    }
    for name in named:
        if meant := left.intersection(registry.expand(name, benchmark.data_name)):
            yield name
            left -= meant
    yield from sorted(left)


def _takes(
    here: "Sequence[Request]", elsewhere: "Sequence[Request]", lacks: Sequence[_Lack], config: "RunConfig"
) -> Iterator[str]:
    """Time and memory: of models that are here from a few images, of others as their operations were counted."""
    from pagbench.benchmarks import cost, facts

    misfits = [lack.request for lack in lacks if lack.misfit]
    elsewhere = [request for request in elsewhere if request not in misfits]
    costs = cost.by_model() if config.benchmark.label in cost.LABELS else {}
    counted = [costs[request.card.id].operations for request in elsewhere if request.card.id in costs]
    if here:
        yield from _cost(here, len(elsewhere) - len(counted), config)
    if counted:
        share = len(config.ids) / len(config.benchmark.samples)
        took = _duration(3600 * cost.hours(share * (sum(counted) + cost.targets(config.benchmark.label))))
        yield (
            f"time: about {took} on a GPU that sustains {cost.TFLOPS:g} TFLOP/s for {_models(len(counted))} that "
            f"{'is' if len(counted) == 1 else 'are'} not here and {len(config.ids)} images (operations counted, see "
            "docs/reference/cost.md)"
        )
    if elsewhere and not here and not counted:
        known = facts.of(config.benchmark)
        yield f"said of {config.benchmark.label}: time: {known.time.rstrip('.')}; memory: {known.memory}"


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:.0f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{max(1, seconds):.0f} s"


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
    where = "of the GPU" if config.device.type == "cuda" else "of this process"
    models = _models(len(requests) + others + len(measured))
    timed = ", ".join(found.timed) if len(found.timed) <= _LISTED else _models(len(found.timed))
    yield (
        f"time: about {_duration(found.seconds)} on {config.device.type} in one process for {models} and "
        f"{len(config.ids)} images, without loading, checks and --measures (from {found.images} images of {timed})"
    )
    yield f"memory: about {found.memory / _GB:.1f} GB {where} with {found.images} images at a time"
