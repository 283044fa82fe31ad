"""What computes: device, cores, memory."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from pagbench.cli.diagnosis.findings import Finding

_DRIVER = Path("/proc/driver/nvidia/version")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MEMORY = Path("/proc/meminfo")


def device() -> dict[str, Any]:
    """The device that `auto` takes, and what to know of it, as a finding's fields. Imports torch.

    Raises:
        ContractError: the device that it should take refuses.
    """
    import torch

    from pagbench.models.devices import choose_device

    chosen = choose_device("auto")
    threads = f"threads of PyTorch: {torch.get_num_threads()} (set OMP_NUM_THREADS for others)"
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name, count = torch.cuda.get_device_name(), torch.cuda.device_count()
        memory = f"{decimal(free)} of {decimal(total)} free"
        versions = f"CUDA {torch.version.cuda}, driver {_driver() or 'unknown'}"
        told = [f"cuda: {name}, {memory}; {versions}; {count} in all"]
    else:
        told = [f"{chosen.type}; {threads}"]
    if chosen.type == "cpu" and _driver() is not None:
        why = "is built without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) cannot use it"
        told.append(f"NVIDIA's driver {_driver()} is here, but PyTorch {why}: install PyTorch for your driver's CUDA")
        return {"state": "note", "name": "auto takes", "told": told}
    return {"state": "ok", "name": "auto takes", "told": told}


def _driver() -> str | None:
    """Version of NVIDIA's driver on Linux."""
    with suppress(OSError):
        found = re.search(r"Kernel Module.*?\s(\d[\d.]+)", _DRIVER.read_text(encoding="utf-8"))
        return found and found[1]
    return None


def processor() -> Finding:
    """Cores that this process may use, and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("ok", "CPU", (", ".join([f"{cores} core{'s' * (cores > 1)}", *_memory()]),))


def _memory() -> Iterator[str]:
    totals = []
    with suppress(OSError, ValueError, AttributeError):
        totals.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # "max" where a container sets no limit
        totals.append(int(_LIMIT.read_text(encoding="utf-8")))
    if totals:
        yield f"{decimal(min(totals))} of memory"
    with suppress(OSError):
        free = re.search(r"MemAvailable:\s+(\d+) kB", _MEMORY.read_text(encoding="utf-8"))
        if free:
            yield f"{decimal(min(1024 * int(free[1]), *totals))} free"
