"""Targets on disk: what all models share is computed once, and kept by the hash of all that fixes it."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache as once
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.storage import cache
from pagbench.storage.files import file_lock, replacing

ROOM = 40 * 2**30
"""Bytes that the targets of a benchmark may take on disk; those of a larger one are computed again by every run."""

_PACKAGE = Path(__file__).parent.parent.parent
_ROOMS = ("data", "densities", "measures", "running/targets", "geometry.py")
_DIGEST = 32


class TargetFiles:
    """Files of the targets of some samples each. What is damaged, or cannot be written, is computed again.

    Args:
        benchmark: the definition.
        seed: of noise and permutation.
        device: where they are computed; another kind rounds in other ways.
        networks: hashes of the networks behind the targets.
        size: bytes of one image's targets, for the room on disk.
    """

    def __init__(
        self, benchmark: Benchmark, *, seed: int, device: torch.device, networks: Mapping[str, Any], size: int
    ) -> None:
        fixed = [benchmark.digest(), seed, device.type, torch.__version__, _code(), networks]
        name = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:32]
        self._folder = folder() / f"{benchmark.label}-{name}"
        self._needed = size * len(benchmark.samples)
        self._trusted: set[Path] = set()

    def place(self, ids: Sequence[str], fingerprint: str) -> Path:
        """The file of the targets of these samples, of images with that fingerprint."""
        name = hashlib.sha256(json.dumps([*ids, fingerprint]).encode()).hexdigest()
        return self._folder / f"{name[:32]}.targets"

    def read(self, path: Path) -> dict[str, Tensor] | None:
        """The targets in a file, on the CPU; None where they are not kept, or damaged when they are first read."""
        try:
            content = path.read_bytes()
            digest, tensors = content[:_DIGEST], content[_DIGEST:]
            if path not in self._trusted and hashlib.sha256(tensors).digest() != digest:
                return None
            found: dict[str, Tensor] = load(tensors)
        except (OSError, SafetensorError):
            return None
        self._trusted.add(path)  # a run reads it once for each model
        return found

    @contextmanager
    def alone(self, path: Path) -> Iterator[None]:
        """Within, no other process computes the targets of this file: it waits, and finds them."""
        with ExitStack() as stack:
            if not path.exists() and self._room(path):
                with suppress(OSError):  # then it is computed here, too
                    stack.enter_context(file_lock(path.with_suffix(".lock")))
            yield

    def _room(self, path: Path) -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return self._needed <= min(ROOM, _free(path.parent) / 2)
        except OSError:
            return False

    def write(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Keeps targets, where there is room."""
        if not self._room(path):
            return
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        with suppress(OSError), replacing(path) as temporary:  # a full disk costs time and nothing else
            temporary.write_bytes(hashlib.sha256(content).digest() + content)


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def folder() -> Path:
    """Where they lie; it may be deleted at any time."""
    return cache.root() / "targets"


@once
def _code() -> str:
    """Hash of the code that computes targets, so that no change of it meets older ones."""
    found = hashlib.sha256()
    for room in _ROOMS:
        path = _PACKAGE / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()
