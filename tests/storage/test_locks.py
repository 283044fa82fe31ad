"""File systems without locks, as some network ones: they are served as URLs are, and it is said before any work."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import light
import numpy as np
import pytest
from mirror import Mirror

import pagbench
from pagbench import columns, results
from pagbench.cards import RemoteFile
from pagbench.errors import ResultsError
from pagbench.results import Result, StoragePath, Store
from pagbench.running import target_files
from pagbench.running.session import Session
from pagbench.storage import downloads
from pagbench.storage.files import can_lock, file_lock

pytestmark = pytest.mark.usefixtures("short_runs")

SMALL = light.benchmark(12)
NONE = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]


@pytest.fixture
def answer(monkeypatch):
    """Lets `flock` fail with an error number."""

    def fail(number):
        def flock(file, operation):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    return fail


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=folder, anchors=False)
    return results.read(results.path_of(folder, SMALL, "a"), columns.schema(SMALL))


def part(whole, first, last):
    plain = {name: value for name, value in whole.document.items() if name not in ("maps", "gallery", "runs")}
    return Result(whole.rows.iloc[first:last].reset_index(drop=True), plain)


@pytest.mark.parametrize("number", NONE)
def test_a_lock_that_cannot_be_had_is_said_and_leaves_no_file(tmp_path, answer, number):
    assert can_lock(tmp_path)
    with file_lock(tmp_path / ".lock") as locked:
        assert locked
    answer(number)
    assert not can_lock(tmp_path)
    with file_lock(tmp_path / ".lock") as locked, StoragePath.parse(tmp_path).lock() as too:
        assert not locked and not too
    assert not list(tmp_path.iterdir())


def test_another_error_is_one(tmp_path, answer):
    answer(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), file_lock(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("number", [NONE[0], *(pytest.param(number, marks=pytest.mark.slow) for number in NONE[1:])])
def test_a_run_says_it_first_and_keeps_its_rows(whole, tmp_path, answer, monkeypatch, number):
    answer(number)
    told, measured = [], Session.rows

    def rows(*arguments):
        told.append("measures")
        return measured(*arguments)

    monkeypatch.setattr(Session, "rows", rows)
    options = {"benchmark": SMALL, "results": tmp_path, "anchors": False, "on_warning": told.append, "batch_size": 4}
    pagbench.run({"a": light.Linear(1)}, limit=8, **options)
    assert len(told) == 2 and "its file system has no locks" in told[0] and told[1] == "measures"
    assert "\n" not in told[0] and str(tmp_path) in told[0]
    assert len(results.read_all(tmp_path, SMALL)[0].rows) == 8
    assert not (tmp_path / "digits@1" / "a.parquet").exists(), "written when it is complete, and not before"
    light.assert_same_rows(pagbench.run({"a": light.Linear(1)}, **options), whole.rows)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.parquet"]


def test_a_folder_with_locks_is_not_spoken_of(tmp_path):
    told = []
    pagbench.run(
        {"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path, anchors=False, limit=2, on_warning=told.append
    )
    assert not told and (tmp_path / "digits@1" / "a.parquet").exists()


def test_two_runs_at_once_lose_no_row_and_write_none_twice(whole, tmp_path, answer):
    answer(errno.ENOLCK)
    place, failures = tmp_path / "digits@1" / "a.parquet", []

    def fill(starts, size):
        store = Store(place, SMALL)
        try:
            for start in starts:
                store.add(part(whole, start, start + size))
                store.merge({})
                assert set(whole.rows["sample_id"][start : start + size]) <= set(store.load().rows["sample_id"])
        except Exception as error:
            failures.append(error)

    plans = [(np.random.default_rng(size).permutation(np.arange(0, 12, size)), size) for size in (2, 3, 4)]
    threads = [threading.Thread(target=fill, args=plan) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store = Store(place, SMALL)
    store.merge({})
    assert not store.shards() and store.load().rows[list(whole.rows)].equals(whole.rows)


@pytest.mark.slow
def test_locks_that_go_away_while_it_measures_cost_nothing(whole, tmp_path, answer, monkeypatch):
    measured = Session.rows

    def rows(*arguments):
        answer(errno.ENOLCK)
        return measured(*arguments)

    monkeypatch.setattr(Session, "rows", rows)
    found = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path, anchors=False)
    light.assert_same_rows(found, whole.rows)


def test_a_damaged_file_is_mended_without_locks(whole, tmp_path, answer):
    answer(errno.EOPNOTSUPP)
    path = results.path_of(tmp_path, SMALL, "a")
    results.write(path, whole, columns.schema(SMALL))
    path.write_bytes(path.read_bytes()[:-9])
    told = []
    options = {"benchmark": SMALL, "results": tmp_path, "anchors": False, "on_warning": told.append}
    light.assert_same_rows(pagbench.run({"a": light.Linear(1)}, **options), whole.rows)
    assert len(told) == 2 and "its rows are measured again" in told[1]


@pytest.mark.parametrize("number", [errno.ENOLCK, pytest.param(errno.ENOSYS, marks=pytest.mark.slow)])
def test_targets_and_downloads_are_kept_without_locks(tmp_path, answer, monkeypatch, number):
    answer(number)
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(target_files, "folder", lambda: tmp_path / "targets")
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, anchors=False, limit=4)
    assert list((tmp_path / "targets").rglob("*.targets"))
    with Mirror() as server:
        content = bytes(4000)
        url = server.serve("/file.bin", content)
        path = downloads.get(RemoteFile(path="smoothing/file.bin", mirrors=(url,), sha256=sha256(content).hexdigest()))
        server.shutdown()
    assert path.read_bytes() == content and downloads.records()["smoothing/file.bin"].size == len(content)
    assert [found.name for found in path.parent.iterdir()] == ["file.bin"]


def test_a_folder_that_cannot_be_written_is_still_refused(tmp_path, answer):
    answer(errno.ENOLCK)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write results there"):
        pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path / "file", anchors=False)


WITHOUT = """
#include <errno.h>
#include <stdlib.h>
int flock(int file, int operation) { errno = atoi(getenv("WITHOUT_LOCKS")); return -1; }
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc: a library without flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.parametrize("executor", ["local", "local:2"])
def test_the_command_and_its_workers_do_without_locks(tmp_path, number, executor):
    (tmp_path / "without.c").write_text(WITHOUT)
    library = tmp_path / "without.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "without.c"], check=True)
    folder = tmp_path / "results"
    command = [sys.executable, "-m", "pagbench", "run", "digits/standard", "control/bayes", "--limit", "130"]
    done = subprocess.run(
        [*command, "--results", str(folder), "--executor", executor],
        env={**os.environ, "LD_PRELOAD": str(library), "WITHOUT_LOCKS": str(number), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, cwd=Path(pagbench.__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has no locks") == 1
    assert {len(result.rows) for result in results.read_all(folder, pagbench.benchmarks.load("digits@1"))} == {130}
