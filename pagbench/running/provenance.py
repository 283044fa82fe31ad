"""Where rows come from: everything that one needs to measure them again."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import pagbench
from pagbench import columns, geometry, results
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset
from pagbench.models.batches import retry_on_oom
from pagbench.models.classifier import Classifier
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.results import thumbnails

Targeting = Callable[[Dataset], Tensor]
"""Bayes targets of some images, shape (n, c, h, w)."""

_PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "lpips", "pandas", "pyarrow", "pyautoattack", "scikit-image",
    "scikit-learn",
)  # fmt: skip


def gather(model: LoadedModel, benchmark: Benchmark, *, seed: int, device: torch.device) -> dict[str, Any]:
    """Provenance of a model's rows, as plain JSON values."""
    return {
        "format": results.FORMAT,
        "revision": columns.REVISION,
        "fingerprint": list(model.fingerprint),
        "benchmark": benchmark.label,
        "benchmark_digest": benchmark.digest(),
        "card": model.card.model_dump(mode="json"),
        "behaviour": model.card.functional_hash(),
        "weights_sha256": model.weights_sha256,
        "seed": seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "precision": "float32",
        "started": now(),
        **environment(device),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """What computes: `versions` of packages, the source's `commit`, the `device`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": {"pagbench": pagbench.__version__, "python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in _PACKAGES if _is_installed(package)},
        "commit": _commit(),
        "device": f"{device.type} ({name})",
    }


def _is_installed(package: str) -> bool:
    """False for what only an extra brings."""
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def now() -> str:
    """UTC, as 2026-11-23T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def gradient_maps(
    model: LoadedModel,
    shown: Dataset,
    *,
    device: torch.device,
    batch_size: int,
    target: Targeting | None = None,
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Pixels and log-odds gradients of a few images, as plain JSON values, for thumbnails.

    Args:
        model: whose gradients.
        shown: the images.
        device: where to compute.
        batch_size: images at a time; fewer where memory does not hold them.
        target: gives their Bayes targets; None to leave these out.
        kinds: why each image is shown; see `pagbench.results.thumbnails`.
    """
    classifier = model.classifier.to(device)

    def drawn(size: int) -> Tensor:
        return torch.cat([_gradient(classifier, part, device) for part in shown.chunks(size)])

    gradients = retry_on_oom(batch_size, drawn)
    targets = None if target is None else target(shown).float().cpu().numpy()
    return thumbnails.encode(shown.ids, shown.images.numpy(), gradients.numpy(), targets=targets, kinds=kinds)


def gallery(
    model: LoadedModel,
    rows: pd.DataFrame,
    test: Dataset,
    column: str,
    *,
    target: Targeting,
    device: torch.device,
    batch_size: int,
) -> dict[str, Any] | None:
    """Maps of the samples where a model is aligned best, about the median, and worst; None where none is scored.

    Args:
        model: whose gradients.
        rows: its own, in the benchmark's order.
        test: the benchmark's images.
        column: the benchmark's alignment.
        target: gives Bayes targets.
        device: where to compute.
        batch_size: images at a time.
    """
    chosen = thumbnails.extremes(rows, column)
    if not chosen:
        return None
    shown = test.select([name for _, name in chosen])
    kinds = [kind for kind, _ in chosen]
    return gradient_maps(model, shown, device=device, batch_size=batch_size, target=target, kinds=kinds)


def _gradient(classifier: Classifier, part: Dataset, device: torch.device) -> Tensor:
    with sampled(classifier, part.ids):
        return geometry.log_odds_gradient(classifier, part.images.to(device), part.labels.to(device)).gradient.cpu()


@cache
def _commit() -> str | None:
    """Commit of the source that runs, where it runs from a checkout."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
