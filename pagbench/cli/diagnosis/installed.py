"""Packages: which are installed, in which version, and whether they can be imported."""

from collections.abc import Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement

from pagbench.cli.diagnosis.findings import Finding
from pagbench.cli.diagnosis.probing import Answer

OPTIONAL = {"ray": "optional: spreads a run over machines"}
"""Packages that pagbench takes where they are, with what they are for."""

_MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage", "scikit-learn": "sklearn"}
"""Where the module is not called as the package is."""

_TOLD = ("torch", "torchvision", "timm", "robustbench", "diffusers", "azula", "lpips", "ray")
"""Packages whose versions are told even where nothing is wrong."""

_NOT_IMPORTED = ("foolbox",)
"""Packages of which pagbench reads files alone."""


def requirements() -> list[Requirement]:
    """What the installed pagbench says that it needs."""
    found = map(Requirement, metadata.requires("pagbench") or ())
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def modules() -> dict[str, str]:
    """Modules to import, by package: what is needed and installed, and what is optional and installed."""
    names = [*(one.name for one in requirements() if one.name not in _NOT_IMPORTED), *OPTIONAL]
    return {name: _MODULES.get(name, name.replace("-", "_")) for name in names if _version(name) is not None}


def examine(answers: Mapping[str, Answer]) -> tuple[Finding, ...]:
    """What is wrong with packages, each on its own line, after one line with those that are well.

    Args:
        answers: of the import of each of `modules`, by package.
    """
    findings = [*_needed(answers), *_optional(answers)]
    well = [found.name for found in findings if found.state == "ok"]
    told = [f"{name} {_version(name)}" for name in _TOLD if name in well]
    listed = Finding("ok", "packages", (f"{', '.join(told)}, and {len(well) - len(told)} others",))
    return (listed, *(found for found in findings if found.state != "ok"))


def versions() -> dict[str, str]:
    """Of all packages that are needed or optional, where they are installed."""
    names = [*(one.name for one in requirements()), *OPTIONAL]
    return {name: version for name in names if (version := _version(name)) is not None}


def _needed(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    for one in requirements():
        version, asked = _version(one.name), f"{one.name}{one.specifier}"
        if version is None:
            yield Finding("missing", one.name, ("not installed",), (f"pip install '{asked}'",))
        elif not one.specifier.contains(version, prereleases=True):
            told = (f"version {version}, needed is {one.specifier}",)
            yield Finding("broken", one.name, told, (f"pip install '{asked}'",))
        else:
            yield _imported(one.name, answers, f"pip install --force-reinstall '{asked}'")


def _optional(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    for name, use in OPTIONAL.items():
        if _version(name) is None:
            yield Finding("note", name, (f"not installed ({use})",), (f"pip install {name}",))
        else:
            yield _imported(name, answers, f"pip install --force-reinstall {name}")


def _imported(name: str, answers: Mapping[str, Answer], remedy: str) -> Finding:
    error = answers[name].error if name in answers else None
    if error is None:
        return Finding("ok", name)
    return Finding("broken", name, (f"version {_version(name)} cannot be imported: {error}",), (remedy,))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
