"""Whatever may fail in any way is tried in a child process, step by step, so that a crash is an answer, too.

A step is `import:<module>`, `device:` or `benchmark:<label>`. The child can connect to nothing.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pagbench.errors import first_line, printable

_PATIENCE = 120.0
"""Seconds for all steps of one child: a cold disk takes a minute to give PyTorch."""

_LONGEST = 300


@dataclass(frozen=True)
class Answer:
    """What a step returned, as JSON values, or in one line why it did not."""

    found: Any = None
    error: str | None = None


def ask(steps: Sequence[str], patience: float = _PATIENCE) -> dict[str, Answer]:
    """Answers to all steps; the step at which a child ends or hangs is answered by that, and another child goes on."""
    answers: dict[str, Answer] = {}
    while pending := [step for step in steps if step not in answers]:
        said, end = _child(pending, patience)
        answers |= dict(zip(pending, said, strict=False))
        if len(said) < len(pending):
            answers[pending[len(said)]] = Answer(error=end)
    return answers


def _child(steps: Sequence[str], patience: float) -> tuple[list[Answer], str]:
    """Answers until its end, and how it ended."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109 (joined as text)
    offline = {"PAGBENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-W", "ignore", "-m", __name__, *steps]
    try:
        done = subprocess.run(
            command, check=False, env={**os.environ, **offline, "PYTHONPATH": paths}, timeout=patience,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return list(_read(error.stdout or b"")), f"no end within {patience:g} s"
    except OSError as error:
        return [], f"no process can be started ({first_line(error)})"
    return list(_read(done.stdout)), _ending(done.returncode)


def _read(output: bytes) -> Iterator[Answer]:
    for line in output.splitlines():
        yield Answer(**json.loads(line))


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ends the process with exit status {code}"
    return f"it crashes the process ({signal.Signals(-code).name})"


def _main(steps: Sequence[str]) -> None:
    """The child: one line of JSON for each step, and nothing else on stdout."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever packages print
        _stay_inside()
        for step in steps:
            out.write(json.dumps(_tried(step)) + "\n")
            out.flush()
        out.flush()
        os._exit(0)  # what packages do at the end has no answer to give


def _tried(step: str) -> dict[str, Any]:
    kind, _, name = step.partition(":")
    try:
        return {"found": _STEPS[kind](name)}
    except (Exception, SystemExit) as error:  # a third party's code may raise anything
        return {"error": printable(f"{type(error).__name__}: {first_line(error)}")[:_LONGEST]}


def _stay_inside() -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("pagbench doctor connects to nothing")

    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname"):
        setattr(socket, name, refuse)


def _import(name: str) -> None:
    if name == "robustbench":
        from pagbench.models.sources.robustbench import importing

        importing.robustbench()
    else:
        importlib.import_module(name)


def _device(_: str) -> dict[str, Any]:
    from pagbench.cli.diagnosis import computing

    return computing.device()


def _benchmark(label: str) -> dict[str, Any]:
    from pagbench.cli.diagnosis import readiness

    return readiness.of(label)


_STEPS: dict[str, Callable[[str], Any]] = {"import": _import, "device": _device, "benchmark": _benchmark}

if __name__ == "__main__":
    _main(sys.argv[1:])
