"""Where rows come from: all that is needed to measure them again."""

import importlib.metadata
import platform
import re
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

import pagbench
from pagbench import columns, results
from pagbench.models.loading import LoadedModel
from pagbench.results.plain import as_lines
from pagbench.running.config import RunConfig
from pagbench.storage import global_state

_PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "lpips", "pandas", "pyarrow", "pyautoattack", "scikit-image",
    "scikit-learn",
)  # fmt: skip


@global_state.known()
def gather(model: LoadedModel, config: RunConfig) -> dict[str, Any]:
    """Provenance of a model's rows, as plain JSON values whose texts are lines, as readers want them."""
    document: dict[str, Any] = {
        "format": results.FORMAT,
        "revision": columns.REVISION,
        "fingerprint": list(model.fingerprint.outputs),
        "gradient_fingerprint": [None if row is None else list(row) for row in model.fingerprint.gradients],
        "real_fingerprint": None if model.fingerprint.real_outputs is None else list(model.fingerprint.real_outputs),
        "benchmark": config.benchmark.label,
        "benchmark_digest": config.benchmark.digest(),
        "card": model.card.model_dump(mode="json"),
        "behaviour": model.card.functional_hash(),
        "weights_sha256": model.weights_sha256,
        "seed": config.seed,
        "command": config.command,
        "precision": "float32",
        "numerics": global_state.numerics(),
        "started": config.started,
        **environment(config.device),
    }
    lines: dict[str, Any] = as_lines(document)
    return lines


def environment(device: torch.device) -> dict[str, Any]:
    """`versions` of packages, `commit` of the source, and `device`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"versions": dict(_versions()), "commit": _commit(), "device": f"{device.type} ({name})"}


def command() -> str:
    """The command line of this process, without keys that a URL may have in it."""
    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return re.sub(r"(://)[^/@\s]*@|\?[^\s']*", r"\1", line)


def now() -> str:
    """UTC, as 2026-11-23T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@cache
def _versions() -> dict[str, str]:
    """Versions of Python and of packages, whose metadata a process parses once."""
    versions = {"pagbench": pagbench.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):  # what only an extra brings
            versions[package] = importlib.metadata.version(package)
    return versions


@cache
def _commit() -> str | None:
    """Commit of the source that runs, where it runs from a checkout."""
    path = Path(__file__)
    git = ["git", "-C", str(path.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", path.name], check=True, capture_output=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
