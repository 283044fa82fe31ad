"""The command that says which benchmarks are ready, what the others lack, and which folders and device runs use.

PyTorch is imported in one child process, which also looks at the benchmarks, so that its crash is a line of the report.
"""

import enum
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn

import typer

from pagbench.cli.options import OfflineOption, wrapped
from pagbench.errors import EXTRAS, PagbenchError, first_line, install_command, is_installed, printable
from pagbench.storage import cache

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark

_SHOWN = ("torch", "torchvision", "timm", "lpips", *EXTRAS)
"""Packages whose versions are shown."""
_BUILDERS = {"adm": "azula", "diffusers": "diffusers", "autoencoder-kl": "diffusers"}
"""Packages that build the published networks of a kind."""
_REINSTALL = "pip install --force-reinstall --no-deps pagbench"
_REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"
_STATES = ("ok", "note", "missing", "broken")
_WIDTH = 100
_LITTLE_SPACE = 10**9
_TIMEOUT = 120.0
"""Seconds: a cold disk takes a minute to give PyTorch."""


class Shape(enum.StrEnum):
    """How to print a report."""

    text = "text"
    json = "json"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: `ok`; `note`, worth knowing; `missing`, needed and not here; `broken`, here and of no use.
        name: what was looked at.
        messages: sentences about it.
        commands: that mend it, or fetch what is missing.
    """

    state: Literal["ok", "note", "missing", "broken"]
    name: str
    messages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def doctor(
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Look at this benchmark alone; name, or name@version.")
    ] = None,
    format: Annotated[Shape, typer.Option(help="text or json.")] = Shape.text,
    offline: OfflineOption = False,
) -> None:
    """Say what is installed, which device and folders runs use, which benchmarks are ready, and how to get the rest.

    Connects to nothing. Exits with 0 if a benchmark is ready to run and nothing is broken, with 1 otherwise.
    """
    probe = start_probe(benchmark)  # imports PyTorch while this process looks at the rest
    try:
        labels = labels_of(benchmark)
        installed, folders = list(packages()), list(check_folders())
        device, *checked = receive(probe, labels)
    finally:
        if probe is not None:
            probe.kill()
    checked.sort(key=lambda finding: _STATES.index(finding.state))
    sections = {"Installed": installed, "Device": [device], "Folders": folders, "Benchmarks": checked}
    ready = [finding.name for finding in checked if finding.state in ("ok", "note")]
    healthy = bool(ready) and all(finding.state != "broken" for section in sections.values() for finding in section)
    from pagbench import __version__

    about = f"pagbench {__version__}, Python {sys.version.split()[0]} ({sys.executable}), {sys.platform}"
    if format is Shape.json:
        report: dict[str, Any] = {"healthy": healthy, "ready": ready, "about": about, "versions": versions()}
        report |= {name.lower(): [asdict(finding) for finding in section] for name, section in sections.items()}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
        lines = [line for name, section in sections.items() for line in ("", name, *layout(section, width))]
        typer.echo("\n".join([*wrapped(about, width), *lines]))
    raise typer.Exit(0 if healthy else 1)


def labels_of(benchmark: str | None) -> list[str]:
    """The benchmarks to look at: all of them, or the one that is named."""
    from pagbench import benchmarks

    return benchmarks.names() if benchmark is None else [benchmarks.load(benchmark).label]


def layout(section: Sequence[Finding], width: int) -> Iterator[str]:
    """State, name and messages in columns; names without a message follow one another. Commands are not wrapped."""
    silent = [finding for finding in section if not finding.messages]
    column = max((len(finding.name) for finding in section if finding.messages), default=0)
    if silent:
        names = ", ".join(printable(finding.name) for finding in silent)
        yield from wrapped(f"  {silent[0].state:<9}{names}", width, " " * 9)
    margin = " " * (column + 13)
    for finding in section:
        start = f"  {finding.state:<9}{printable(finding.name):<{column}}  "
        for message in finding.messages:
            for line in wrapped(printable(message), width - len(margin)):
                yield start + line
                start = margin
        yield from (f"{margin}$ {command}" for command in finding.commands)


# Packages and folders, without PyTorch


def versions() -> dict[str, str | None]:
    """Versions of the packages that matter; None where one is not installed."""
    from importlib import metadata

    known: dict[str, str | None] = dict.fromkeys(_SHOWN)
    for name in _SHOWN:
        with suppress(metadata.PackageNotFoundError):
            known[name] = metadata.version(name)
    return known


def packages() -> Iterator[Finding]:
    """The versions, and what is missing."""
    known = versions()
    shown = ", ".join(f"{name} {version}" for name, version in known.items() if version)
    yield Finding("ok", "packages", (f"{shown}; `pip check` says whether they fit pagbench",))
    for name in (name for name, version in known.items() if version is None):
        if name in EXTRAS:
            yield Finding("note", name, ("not installed (optional)",), (install_command(name),))
        else:
            yield Finding("missing", name, ("not installed",), (f"pip install {name}",))


def check_folders() -> Iterator[Finding]:
    """Whether runs can write to their folders, and whether they may use the network. Nothing is left behind."""
    from pagbench.data import base

    results = os.environ.get("PAGBENCH_RESULTS") or "results"
    if "://" not in results:
        yield _folder("results", lambda: Path(results), "PAGBENCH_RESULTS")
    yield _folder("cache", cache.root, "PAGBENCH_CACHE")
    yield _folder("data sets", base.root, "PAGBENCH_DATA")
    yield _folder("temporary", lambda: Path(tempfile.gettempdir()), "TMPDIR", "broken")
    if cache.offline():
        message = "offline, by --offline or PAGBENCH_OFFLINE: `pagbench fetch` fetches nothing until that is taken away"
        yield Finding("note", "network", (message,))
    else:
        yield Finding("ok", "network", ("may be used by runs and by `pagbench fetch`; this command does not",))


def _folder(
    name: str, find: Callable[[], Path], variable: str, unwritable: Literal["note", "broken"] = "note"
) -> Finding:
    """One folder; of one that does not exist yet, the nearest above it is tried."""
    path: Path | None = None
    try:
        path = find()
        nearest = next(above for above in (path.absolute(), *path.absolute().parents) if above.exists())
        free = shutil.disk_usage(nearest).free
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(1 << 20))
            file.flush()
    except PagbenchError as error:
        return Finding(unwritable, name, (str(error),))
    except OSError as error:
        advice = f"make room, or set {variable} to a folder that can be written"
        return Finding(
            unwritable, name, (f"{path} cannot be written ({error.strerror or first_line(error)}): {advice}",)
        )
    message = f"{path}{'' if os.environ.get(variable) else f' (set {variable} for another)'}: {free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        return Finding("note", name, (f"{message}: make room, or set {variable}",))
    return Finding("ok", name, (message,))


# The child process: PyTorch, the device, the benchmarks


def start_probe(benchmark: str | None) -> "subprocess.Popen[bytes] | None":
    """Starts the process that prints one finding for the device and one for each benchmark; None where it cannot."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109 (joined as text)
    offline = {"PAGBENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-P", "-W", "ignore", "-c", f"import {__name__} as d; d.probe({benchmark!r})"]
    with suppress(OSError):
        return subprocess.Popen(
            command, env={**os.environ, **offline}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return None


def receive(probe: "subprocess.Popen[bytes] | None", labels: Sequence[str], timeout: float = _TIMEOUT) -> list[Finding]:
    """Findings on the device and the benchmarks; the end of the process is the finding on what it has not answered."""
    output, end = b"", "cannot be started"
    try:
        if probe is not None:
            output, _ = probe.communicate(timeout=timeout)
            code = probe.returncode
            end = f"has ended with {signal.Signals(-code).name if code < 0 else f'exit status {code}'}"
    except subprocess.TimeoutExpired as error:
        output, end = error.output or b"", f"does not end within {timeout:g} s"
    findings = []
    for line in output.splitlines():
        fields = json.loads(line)
        findings.append(Finding(fields["state"], fields["name"], tuple(fields["messages"]), tuple(fields["commands"])))
    message = f"the process that imports PyTorch and looks at benchmarks {end}"
    remedy = () if findings else (_REINSTALL_TORCH,)
    return findings + [Finding("broken", name, (message,), remedy) for name in ["auto takes", *labels][len(findings) :]]


def probe(benchmark: str | None) -> None:
    """The child: one line of JSON for the device and each benchmark, and nothing else on stdout."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("pagbench doctor connects to nothing")

    for owner, names in ((socket.socket, ("connect", "connect_ex")), (socket, ("getaddrinfo", "gethostbyname"))):
        for name in names:
            setattr(owner, name, refuse)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # packages print what they like
        steps: list[tuple[str, Callable[[], Finding]]] = [("auto takes", device)]
        steps += [(label, partial(readiness, label)) for label in labels_of(benchmark)]
        for name, step in steps:
            try:
                finding = step()
            except (Exception, SystemExit) as error:  # a third party's code may raise anything
                kind = "" if isinstance(error, PagbenchError) else f"{type(error).__name__}: "
                message = printable(f"{kind}{first_line(error)}")[:300]
                finding = Finding("broken", name, (message,), (_REINSTALL_TORCH,) if step is device else ())
            out.write(json.dumps(asdict(finding)) + "\n")
            out.flush()
        os._exit(0)  # what packages do at the end has no answer to give


def device() -> Finding:
    """The device that `auto` takes."""
    import torch

    from pagbench.models.devices import choose_device

    chosen = choose_device("auto").type
    driver = None
    with suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        driver = re.search(r"Kernel Module.*?\s(\d[\d.]+)", text)
    if chosen == "cuda":
        free, total = torch.cuda.mem_get_info()
        message = (
            f"cuda: {torch.cuda.get_device_name()}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free; CUDA "
            f"{torch.version.cuda}, driver {driver[1] if driver else 'unknown'}; {torch.cuda.device_count()} in all"
        )
        return Finding("ok", "auto takes", (message,))
    message = f"{chosen}; threads of PyTorch: {torch.get_num_threads()} (set OMP_NUM_THREADS for others)"
    if driver is None or chosen != "cpu":
        return Finding("ok", "auto takes", (message,))
    why = "is built without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) cannot use it"
    advice = f"NVIDIA's driver {driver[1]} is here, but PyTorch {why}: install PyTorch for your driver's CUDA"
    return Finding("note", "auto takes", (message, advice))


class Lack(NamedTuple):
    """What a benchmark lacks, the command that gets it, and whether a run cannot do without it."""

    message: str
    command: str = ""
    fatal: bool = True


def readiness(label: str) -> Finding:
    """Whether a benchmark can run, and what it lacks. Opens no socket, reads no picture, builds no network."""
    import torch  # noqa: F401 (no benchmark runs without it)

    from pagbench import benchmarks

    benchmark = benchmarks.load(label)
    lacks = list(_networks(benchmark))
    if (absent := benchmark.dataset.missing(benchmark.samples)) is not None:
        command = f"pagbench fetch --benchmark {benchmark.label}" if benchmark.dataset.facts.fetched else ""
        lacks.insert(0, Lack(absent, command))
    state: Any = "missing" if any(lack.fatal for lack in lacks) else "note" if lacks else "ok"
    messages = tuple(dict.fromkeys(lack.message for lack in lacks))
    return Finding(state, label, messages, tuple(dict.fromkeys(lack.command for lack in lacks if lack.command)))


def _package(name: str | None) -> Iterator[Lack]:
    """A package of an extra, where it is needed and missing."""
    if name is not None and not is_installed(name):
        yield Lack(f"{name} is not installed", install_command(name))


def _networks(benchmark: "Benchmark") -> Iterator[Lack]:
    """Score models, tangent spaces and the reference; a run goes on without the last, and fits what a recipe tells."""
    from pagbench.benchmarks import facts
    from pagbench.models import registry, sources
    from pagbench.storage import assets, downloads

    fetch = f"pagbench fetch --benchmark {benchmark.label}"
    sizes = {need.what.strip("`"): need.download for need in facts.of(benchmark).needs[1:]}
    second = None if benchmark.second is None else benchmark.second.score
    for card in dict.fromkeys(card for card in (benchmark.score, second, benchmark.manifold) if card is not None):
        yield from _package(_BUILDERS.get(card.kind))
        if card.weights is not None and not assets.find(card.weights).is_file():
            yield Lack(f"{card.weights}, a part of pagbench", _REINSTALL)
        files = downloads.files_of(card)
        if any(downloads.find(file) is None for file in files):
            name = card.repository or getattr(card, "architecture", None) or files[0].path
            size = f", {sizes[name]}" if name in sizes else ""
            home = os.path.commonpath([downloads.path_of(file).parent for file in files])
            yield Lack(f"{name}{size}, in {home}", fetch)
    reference = benchmark.reference
    if reference is not None:
        for lack in _package(sources.package(reference)):
            yield Lack(f"{lack.message}, which {reference} needs: without it no regimes", lack.command, fatal=False)
        files = downloads.files_of(registry.find(reference).card)
        if any(downloads.find(file) is None for file in files):
            size = sizes.get(reference, "").partition(";")[0] or "size unknown"
            yield Lack(f"{reference}, {size}: without it no regimes", fetch, fatal=False)
    if benchmark.manifold is not None and benchmark.manifold.recipe is not None:
        from pagbench.training import components

        fitted = components.recipe_folder(benchmark)
        if fitted is not None and not any(fitted.glob("*.safetensors")):
            takes = facts.fit_time(benchmark)
            yield Lack(f"its autoencoder, which the first run trains ({takes}), in {fitted}", fatal=False)
    if benchmark.score.recipe is not None:
        from pagbench.densities import mixture

        if not mixture.was_fitted(benchmark.score.recipe):
            takes = facts.fit_time(benchmark)
            yield Lack(f"its mixture, which the first run fits ({takes}), in {mixture.fits()}", fatal=False)
