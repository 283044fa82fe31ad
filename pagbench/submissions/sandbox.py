"""Runs a function in a process with little time, little memory, no network, and next to nothing to write. No torch.

The function is pagbench's own; what it reads is untrusted. The limits are those of Linux; elsewhere only the time is
limited, and `COMPLETE` is false.
"""

import ctypes
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pagbench.errors import PagbenchError, first_line

COMPLETE = sys.platform == "linux"
"""Whether memory, files and network are limited too."""

_KEPT = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PAGBENCH_CACHE", "PAGBENCH_DATA", "PATH",
    "PYTHONPATH", "SYSTEMROOT", "TMPDIR", "VIRTUAL_ENV",
)  # fmt: skip
"""Of the environment; tokens and the like are not handed on."""
_LINES, _LINE = 1_000, 16_384
_MAPPED = 16 * 2**30
"""Address space beside the data: libraries and the file that is read."""
_WRITTEN = 2**16
"""Bytes of any file: libraries try whether they could."""
_MEMORY_STATUS, _FAILED_STATUS = 71, 70
_NEW_NETWORK = 0x10000000 | 0x40000000
"""CLONE_NEWUSER | CLONE_NEWNET of Linux's sched.h."""


class SandboxError(PagbenchError):
    """What ended the process before the function returned, in a few words."""


@dataclass(frozen=True)
class Limits:
    """What the process may use.

    Attributes:
        seconds: on the clock; all cores together may compute as long.
        memory: bytes of data.
    """

    seconds: int = 600
    memory: int = 8 * 2**30


def run(function: str, *arguments: str, limits: Limits) -> Iterator[Any]:
    """What `module:function` yields, as JSON takes it, one by one, while it runs in a process of its own.

    Raises:
        SandboxError: it takes too long or too much memory, crashes, fails, or yields too much.
    """
    # -P: a module that lies in the working folder, beside the submission perhaps, is not imported
    command = [sys.executable, "-P", "-m", __name__, str(limits.seconds), str(limits.memory), function, *arguments]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    quiet = {"PAGBENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, env=kept | quiet, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:  # fmt: skip
        clock = threading.Timer(limits.seconds, _kill, [child])
        clock.start()
        try:
            assert child.stdout is not None
            yield from _parsed(child.stdout)
            status = child.wait()
        finally:
            late = not clock.is_alive()
            clock.cancel()
            if child.returncode is None:
                _kill(child)
    if late:
        raise SandboxError(f"stopped after {limits.seconds} s")
    if status != 0:
        raise SandboxError(_reason(status, limits))


def _parsed(stream: Any) -> Iterator[Any]:
    for number, line in enumerate(iter(lambda: stream.readline(_LINE), b"")):
        if number == _LINES or len(line) == _LINE:
            raise SandboxError("stopped: it says too much")
        if not line.endswith(b"\n"):  # it was ended within a line
            return
        content = json.loads(line)
        if "failed" in content:
            raise SandboxError(content["failed"])
        yield content["value"]


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """Ends the process and whatever it has started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except (ProcessLookupError, PermissionError):  # it has ended
        return


def _reason(status: int, limits: Limits) -> str:
    killed = -status == getattr(signal, "SIGKILL", None)  # by the system itself, where memory is short
    if status == _MEMORY_STATUS or killed:
        return f"stopped: it needs more than {limits.memory / 2**30:.3g} GiB of memory"
    if -status == getattr(signal, "SIGXCPU", None):
        return f"stopped after {limits.seconds} s of computing"
    return f"crashed ({signal.Signals(-status).name if status < 0 else f'status {status}'})"


def _main(seconds: int, memory: int, function: str, *arguments: str) -> int:
    """The process itself: limits first, then what reads untrusted files."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # only what the function yields is received
    _limit(seconds, memory)
    try:
        module, _, name = function.partition(":")
        values: Iterable[Any] = getattr(importlib.import_module(module), name)(*arguments)
        for value in values:
            _send(out, {"value": value})
    except Exception as error:  # a hostile file may make a library raise anything
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "bad_alloc" in str(error):
            return _MEMORY_STATUS
        _send(out, {"failed": first_line(error)[:2_000]})
        return _FAILED_STATUS
    return 0


def _send(out: io.TextIOBase | Any, content: dict[str, Any]) -> None:
    out.write(json.dumps(content) + "\n")
    out.flush()


def _limit(seconds: int, memory: int) -> None:
    if not COMPLETE:
        return
    import resource

    computing = seconds * (os.cpu_count() or 1)
    for limit, value in (
        (resource.RLIMIT_CPU, computing),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, memory + _MAPPED),
        (resource.RLIMIT_FSIZE, _WRITTEN),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    ctypes.CDLL(None).unshare(_NEW_NETWORK)  # a network without a way out, where the system allows it


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
