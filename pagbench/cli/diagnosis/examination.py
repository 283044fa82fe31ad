"""The examination: which steps a child process is asked, and what becomes of its answers."""

import platform
import sys
from collections.abc import Mapping, Sequence

import pagbench
from pagbench import benchmarks
from pagbench.cli.diagnosis import computing, folders, installed, probing
from pagbench.cli.diagnosis.findings import Finding, Report, Section
from pagbench.cli.diagnosis.probing import Answer
from pagbench.storage import assets

_DEVICE = "device:"
_LPIPS = "alexnet_features.safetensors"


def examine(benchmark: str | None = None) -> Report:
    """Looks at packages, device, folders and benchmarks; connects to nothing, and raises nothing for what is broken.

    Args:
        benchmark: the only one to look at, by name or name@version; all by default.

    Raises:
        UnknownNameError: no such benchmark.
    """
    labels = benchmarks.names() if benchmark is None else [benchmarks.load(benchmark).label]
    modules = installed.modules()
    imports = {name: f"import:{module}" for name, module in modules.items()}
    asked = [f"benchmark:{label}" for label in labels]
    answers = probing.ask([*imports.values(), _DEVICE, *asked])
    packages = installed.examine({name: answers[step] for name, step in imports.items()})
    return Report(
        about=f"pagbench {pagbench.__version__}, Python {platform.python_version()} ({sys.executable}), "
        f"{platform.system()} {platform.machine()}",
        versions=installed.versions(),
        sections=(
            Section("Installed", (*packages, *_lpips())),
            Section("Device", (_finding("auto takes", answers[_DEVICE]), computing.processor())),
            Section("Folders", folders.examine()),
        ),
        benchmarks=Section("Benchmarks", _benchmarks(labels, answers)),
    )


def _lpips() -> tuple[Finding, ...]:
    """The weights of LPIPS's network, which are a part of pagbench."""
    path = assets.find(_LPIPS)
    if path.is_file():
        return (Finding("ok", "LPIPS", (f"its network's weights are in {path.parent}",)),)
    return (Finding("broken", "LPIPS", (f"{_LPIPS} is not in {assets.FOLDER}: install pagbench anew",)),)


def _benchmarks(labels: Sequence[str], answers: Mapping[str, Answer]) -> tuple[Finding, ...]:
    """Those that can run first."""
    found = [_finding(label, answers[f"benchmark:{label}"]) for label in labels]
    order = ["ok", "note", "missing", "broken"]
    return tuple(sorted(found, key=lambda finding: order.index(finding.state)))


def _finding(name: str, answer: Answer) -> Finding:
    if answer.error is not None:
        return Finding("broken", name, (answer.error,))
    fields = answer.found
    return Finding(fields["state"], fields["name"], tuple(fields["told"]), tuple(fields.get("commands", ())))
