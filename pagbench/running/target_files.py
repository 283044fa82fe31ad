"""Targets on disk: each file is named by the hash of everything that fixes its content."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache as cached
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.storage import cache
from pagbench.storage.files import file_lock, open_regular, replacing

LARGEST = 40 * 2**30
"""Bytes that the targets of a benchmark may take on disk; those of a larger one are computed again by every run."""

_PACKAGE = Path(__file__).parent.parent
_ROOMS = (
    "data",
    "densities",
    "measures",
    "running/targets.py",
    "running/target_files.py",
    "geometry.py",
    "storage/global_state.py",
)
"""The code that computes targets: a change of it makes older files useless."""

_DIGEST = 32


class TargetFiles:
    """Files of the targets of some samples each. What is damaged, or cannot be written, is computed again.

    Args:
        benchmark: the definition.
        seed: of noise and permutation.
        device: where they are computed; another kind rounds in other ways.
        networks: hashes of the networks behind the targets.
        size: bytes of one image's targets, to know whether the disk holds all of them.
    """

    def __init__(
        self, benchmark: Benchmark, *, seed: int, device: torch.device, networks: Mapping[str, Any], size: int
    ) -> None:
        fixed = [benchmark.digest(), seed, device.type, torch.__version__, _code(), networks]
        name = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:32]
        self._folder = folder() / f"{benchmark.label}-{name}"
        self._needed = size * len(benchmark.samples)
        self._trusted: set[Path] = set()

    def path(self, ids: Sequence[str], fingerprint: str) -> Path:
        """The file of the targets of these samples, whose images have that fingerprint."""
        name = hashlib.sha256(json.dumps([*ids, fingerprint]).encode()).hexdigest()
        return self._folder / f"{name[:32]}.targets"

    def read(self, path: Path) -> dict[str, Tensor] | None:
        """The targets in a file, on the CPU; None where there is no file, or it is damaged when it is first read."""
        try:
            with open_regular(path) as file:
                content = file.read()
            digest, tensors = content[:_DIGEST], content[_DIGEST:]
            if path not in self._trusted and hashlib.sha256(tensors).digest() != digest:
                return None
            loaded: dict[str, Tensor] = load(tensors)
        except (OSError, SafetensorError):
            return None
        self._trusted.add(path)  # a run reads it once for each model
        return loaded

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Within, no other process computes the targets of this file: it waits, and then reads them."""
        with ExitStack() as stack:
            if not path.exists() and self._fits(path):
                with suppress(OSError):  # without a lock two processes may compute the same
                    stack.enter_context(file_lock(path.with_suffix(".lock")))
            yield

    def _fits(self, path: Path) -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return self._needed <= min(LARGEST, shutil.disk_usage(path.parent).free / 2)
        except OSError:
            return False

    def write(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Keeps targets, where there is room."""
        if not self._fits(path):
            return
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        with suppress(OSError), replacing(path) as temporary:  # a full disk costs the time to compute them again
            temporary.write_bytes(hashlib.sha256(content).digest() + content)


def folder() -> Path:
    """The folder of all targets; it may be deleted at any time."""
    return cache.root() / "targets"


@cached
def _code() -> str:
    """Hash of the code that computes targets."""
    code = hashlib.sha256()
    for room in _ROOMS:
        path = _PACKAGE / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            code.update(file.read_bytes())
    return code.hexdigest()
