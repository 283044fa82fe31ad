"""Devices: which one is used, and that it computes in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pagbench.errors import ContractError, first_line


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU.

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


@contextmanager
def single_precision() -> Iterator[None]:
    """Convolutions in full float32 on every device: cuDNN would otherwise round to 10 bits (TF32) on recent GPUs.

    Matrix products are in full float32 unless the user has asked PyTorch for less.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of a device or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # PyTorch's allocator of the CPU
