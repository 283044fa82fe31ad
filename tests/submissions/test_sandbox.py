"""The process that reads a submission's files: what it may use, and what ends it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pagbench.submissions import sandbox
from pagbench.submissions.sandbox import Limits, SandboxError

ON_LINUX = pytest.mark.skipif(not sandbox.COMPLETE, reason="only time is limited on this system")
SMALL = Limits(seconds=20, memory=1 << 29)


@pytest.fixture(autouse=True)
def _functions(monkeypatch):
    here, package = Path(__file__).parents[1] / "helpers", Path(sandbox.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{here}:{package}")


def called(function, *arguments, limits=SMALL):
    return list(sandbox.run(f"hostile:{function}", *map(str, arguments), limits=limits))


def reason(function, *arguments, limits=SMALL):
    with pytest.raises(SandboxError) as refused:
        called(function, *arguments, limits=limits)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path, monkeypatch):
    """Someone may unpack a submission with a `ctypes.py` beside it, and check it from there."""
    for name in ("ctypes", "json", "signal"):
        (tmp_path / f"{name}.py").write_text("open('canary', 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert called("environment")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("function", ["sleeps", "computes"])
def test_what_does_not_return_is_stopped(function):
    assert reason(function, limits=Limits(seconds=2)) == "stopped after 2 s"


@ON_LINUX
def test_what_eats_memory_is_stopped():
    assert reason("eats") == "stopped: it needs more than 0.5 GiB of memory"


@pytest.mark.parametrize("function", ["floods", "speaks_long"])
def test_what_says_too_much_is_stopped(function):
    assert reason(function) == "stopped: it says too much"


def test_only_what_is_yielded_is_heard():
    assert called("prints") == ["said"]


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@ON_LINUX
def test_where_the_system_allows_it_there_is_no_network_at_all(port):
    probe = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({sandbox._NEW_NETWORK}) != 0)"
    if subprocess.run([sys.executable, "-c", probe], check=False).returncode:
        pytest.skip("this system lets no process have a network of its own")
    assert called("connects", port) == [False]


@ON_LINUX
def test_nothing_of_size_is_written(tmp_path):
    assert "File too large" in reason("writes", tmp_path / "large")
    assert (tmp_path / "large").stat().st_size <= 1 << 16


def test_a_crash_and_an_exception_are_one_line():
    assert reason("crashes") == "crashed (SIGABRT)"
    assert reason("fails") == "first line"


def test_tokens_are_not_handed_on(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    (names,) = called("environment")
    assert {"PAGBENCH_OFFLINE", "PYTHONPATH"} <= set(names)
    assert not {name for name in names if "TOKEN" in name}
