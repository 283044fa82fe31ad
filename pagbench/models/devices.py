"""What computes: the device, its memory, and how many images go through a network at a time."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError, first_line
from pagbench.storage import global_state

T = TypeVar("T")

_PIXELS = 2**16
"""Pixel values of a first batch, 64 images of 32×32: larger ones leave the caches of a CPU, and get no cheaper."""
_FIRST = (4, 256)
_LARGEST = 4096
_SHARE = 0.4
"""Of the free memory of a device, that a batch may take before the next is twice as large."""


@global_state.known()
def choose_device(name: str) -> torch.device:
    """The device that a user names; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ContractError: the device does not exist here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ContractError(
            f"device {name!r} is not usable here ({first_line(error)}); expected auto, cpu, cuda or mps"
        ) from None
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of a device or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # PyTorch's allocator of the CPU


class BatchSize:
    """Images at a time: a start, doubled on a GPU while memory allows, halved where memory runs out. Changes no row.

    Args:
        start: the first batch; None for one that fits the benchmark's images.
        benchmark: whose images they are.
        device: whose memory counts.
        growing: whether it may grow; by default where no start is given.
    """

    def __init__(
        self, start: int | None, benchmark: Benchmark, device: torch.device, *, growing: bool | None = None
    ) -> None:
        smallest, largest = _FIRST
        self.size = start or min(largest, max(smallest, _PIXELS // benchmark.dimension))
        self._device = device
        self._ceiling = _LARGEST if (start is None if growing is None else growing) else self.size

    def parts(self, ids: Sequence[str], work: Callable[[Sequence[str]], T]) -> Iterator[T]:
        """Yields what the work returns for each part of the samples; a part too large for memory is done in halves.

        Raises:
            torch.OutOfMemoryError: memory does not hold one image.
        """
        start = 0
        while start < len(ids):
            part = ids[start : start + self.size]
            before = self._allocated()
            try:
                result = work(part)
            except Exception as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                self.size = self._ceiling = len(part) // 2
            else:
                start += len(part)
                if len(part) == self.size:
                    self._grow(before)
                yield result
                continue
            gc.collect()  # outside of the handler, whose traceback holds the tensors
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _grow(self, before: int) -> None:
        used = self._peak() - before
        if 0 < used < _SHARE * self._free() and 2 * self.size <= self._ceiling:
            self.size *= 2

    def _allocated(self) -> int:
        """Bytes in use on a CUDA device, whose peak is counted from now on; 0 on others."""
        if self._device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self._device)
        return torch.cuda.memory_allocated(self._device)

    def _peak(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0

    def _free(self) -> int:
        free: int = torch.cuda.mem_get_info(self._device)[0]
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)


def retry_on_oom(size: int, work: Callable[[int], T]) -> T:
    """Returns what the work returns with so many images at a time, or with half as many until memory holds them."""
    while True:
        try:
            return work(size)
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        size //= 2
