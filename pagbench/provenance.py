"""Where rows come from: everything that one needs to measure them again."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pagbench
from pagbench import columns, geometry, maps, results
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset
from pagbench.models.classifier import Classifier
from pagbench.models.loading import Entrant
from pagbench.models.smoothing import sampled

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "lpips", "pandas", "pyarrow", "pyautoattack", "scikit-learn")


def gather(entrant: Entrant, benchmark: Benchmark, *, seed: int, device: torch.device) -> dict[str, Any]:
    """Provenance of an entrant's rows, as plain JSON values."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "format": results.FORMAT,
        "revision": columns.REVISION,
        "fingerprint": list(entrant.fingerprint),
        "benchmark": benchmark.label,
        "benchmark_digest": benchmark.digest(),
        "card": entrant.card.model_dump(mode="json"),
        "behaviour": entrant.card.behaviour(),
        "weights_sha256": entrant.weights_sha256,
        "seed": seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": {"pagbench": pagbench.__version__, "python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in _PACKAGES},
        "commit": _commit(),
        "device": f"{device.type} ({name})",
        "precision": "float32",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def gradient_maps(entrant: Entrant, shown: Dataset, *, device: torch.device, batch_size: int) -> dict[str, Any]:
    """Pixels and log-odds gradients of a few images, as plain JSON values (`pagbench.maps`), for pictures."""
    classifier = entrant.classifier.to(device)
    gradients = [_gradient(classifier, part, device) for part in shown.chunks(batch_size)]
    return maps.encode(shown.ids, shown.images.numpy(), torch.cat(gradients).numpy())


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
