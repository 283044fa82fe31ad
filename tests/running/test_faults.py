"""What is thrown at a run, and that nothing is lost of it: `docs/reference/faults.md` lists these tests and others."""

import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import light
import pytest
import torch

import pagbench
from pagbench import data, results
from pagbench.models import devices
from pagbench.models.devices import BatchSize
from pagbench.running import target_files, targets
from pagbench.running.runner import RunError

pytestmark = pytest.mark.usefixtures("short_runs")

SMALL = light.benchmark()


def run(networks, folder, benchmark=SMALL, **options):
    return pagbench.run(networks, benchmark=benchmark, results=folder, anchors=False, **options)


@pytest.fixture(scope="module")
def rows():
    return run({"a": light.Linear(1)}, None)


@pytest.fixture(scope="module")
def data_at_hand():
    """What a forked process then has already."""
    data.splits(SMALL)


@pytest.mark.parametrize("most", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_at_random_points_lose_no_finished_row(tmp_path, most):
    """Every time the rows that there were are still there, none is damaged, and in the end they are all the same."""
    few = light.benchmark(12)
    rows = run({"a": light.Linear(1)}, None, few)  # a forked process then has the data already
    fork = multiprocessing.get_context("fork")  # a new PyTorch for each of them would take minutes
    draw, seconds, kills, finished = random.Random(0), 1.0, 0, 0
    folder = tmp_path / "0"
    while kills < most:
        process = fork.Process(target=run, args=({"a": light.Linear(1)}, folder, few), kwargs={"batch_size": 3})
        started = time.monotonic()
        process.start()
        process.join(draw.uniform(0.05, 1.2) * seconds)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
            seconds = max(0.2, time.monotonic() - started)
        kept = results.store_of(folder, few, "a").load()
        count = 0 if kept is None else len(kept.rows)
        assert count >= finished and count % 3 == 0
        finished = count
        if count == len(few.samples):
            light.assert_same_rows(kept.rows, rows)
            folder, finished = tmp_path / str(kills), 0
    light.assert_same_rows(run({"a": light.Linear(1)}, folder, few), rows)


def test_two_runs_on_one_folder_write_every_row_once(rows, tmp_path, data_at_hand):
    fork = multiprocessing.get_context("fork")
    networks = {"a": light.Linear(1), "b": light.Linear(2)}
    both = [
        fork.Process(target=run, args=(networks, tmp_path), kwargs={"batch_size": size, "limit": limit})
        for size, limit in ((2, None), (3, None), (5, 20))
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    kept = results.store_of(tmp_path, SMALL, "a").load()
    assert list(kept.rows["sample_id"]) == list(SMALL.samples)
    found = run(networks, tmp_path)
    light.assert_same_rows(found[found["entrant"] == "a"], rows)
    assert sorted(path.name for path in tmp_path.rglob("*.parquet")) == ["a.parquet", "b.parquet"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own; mounting one needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(rows, small_disk):
    with pytest.raises(
        RunError, match=r"cannot write results \(.*[Nn]o space left.*\); finished batches are kept"
    ) as caught:
        run({"a": light.Linear(1)}, small_disk, batch_size=2)
    assert len(str(caught.value).splitlines()) == 1
    kept = results.store_of(small_disk, SMALL, "a").load()
    assert 0 < len(kept.rows) < 24, "some batches had room"
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    light.assert_same_rows(run({"a": light.Linear(1)}, small_disk), rows)
    assert not [path for path in small_disk.rglob("*") if path.name.endswith(".tmp")]


def test_a_full_folder_for_temporary_files_is_not_needed(rows, small_disk, tmp_path, monkeypatch):
    (small_disk / "filler").write_bytes(b"0" * 2**15)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").write_bytes(b"0" * 2**16)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    light.assert_same_rows(run({"a": light.Linear(1)}, tmp_path / "results"), rows)
    light.assert_same_rows(run({"a": light.Linear(1)}, None), rows)


def test_a_full_disk_for_targets_costs_time_alone(rows, small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(target_files, "folder", lambda: small_disk)
    monkeypatch.setattr(target_files.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**40))
    light.assert_same_rows(run({"a": light.Linear(1)}, tmp_path), rows)


def test_clocks_that_jump_change_nothing(rows, tmp_path, monkeypatch):
    """Forwards and backwards by years at every look, and files from the future."""
    draw, real = random.Random(0), time.time
    monkeypatch.setattr(time, "time", lambda: real() + draw.choice((-1, 1)) * 1e8)
    monkeypatch.setattr(time, "gmtime", lambda *_: time.localtime(1e9 * draw.random()))
    run({"a": light.Linear(1)}, tmp_path, limit=10, batch_size=3)
    for path in tmp_path.rglob("*.parquet"):
        os.utime(path, (4e9, 4e9))
    light.assert_same_rows(run({"a": light.Linear(1)}, tmp_path, batch_size=4), rows)


def test_memory_that_runs_out_halves_the_batch_and_loses_none(rows, tmp_path, monkeypatch):
    sizes = []
    parts = BatchSize.parts

    def watched(self, ids, work):
        for found in parts(self, ids, work):
            sizes.append(len(found))
            yield found

    monkeypatch.setattr(BatchSize, "parts", watched)
    found = run({"a": light.Crowded(1, after=1)}, tmp_path, batch_size=16)
    light.assert_same_rows(found, rows)
    assert set(sizes) == {4} and sum(sizes) == 24, "sixteen were too many, and eight"


def test_no_memory_for_one_image_is_one_line(tmp_path):
    class Never(light.Linear):
        def forward(self, x):
            self.calls += 1
            if self.calls > 100:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.layer(x.flatten(1))

    with pytest.raises(RunError, match=r"a: out of memory with one image at a time while it is measured") as caught:
        run({"a": Never(1)}, tmp_path, batch_size=8)
    assert "\n" not in str(caught.value)


class FakeGpu(BatchSize):
    """A device whose memory a batch takes by the image."""

    def __init__(self, room, each):
        super().__init__(None, SMALL, torch.device("cpu"))
        self.size, self.room, self.each, self.seen = 8, room, each, 0

    def work(self, ids):
        self.seen = len(ids) * self.each
        if self.seen > self.room:
            raise torch.OutOfMemoryError
        return list(ids)

    def _peak(self):
        return self.seen

    def _free(self):
        return self.room


@pytest.mark.parametrize(("room", "largest"), [(1e9, 64), (2000, 64), (500, 32), (50, 4)])
def test_a_batch_grows_while_memory_allows_and_no_image_is_left_out(room, largest):
    """Ten bytes an image: the next batch is twice as large while this one took less than two fifths of the memory."""
    gpu = FakeGpu(room, 10)
    ids = [str(i) for i in range(200)]
    parts = list(gpu.parts(ids, gpu.work))
    assert [name for part in parts for name in part] == ids
    assert max(map(len, parts)) <= room / 10
    assert max(map(len, parts)) >= largest


def test_a_batch_that_the_user_names_does_not_grow():
    size = BatchSize(16, SMALL, torch.device("cpu"))
    size._peak, size._free = lambda: 1, lambda: 2**40
    assert [len(part) for part in size.parts([str(i) for i in range(40)], list)] == [16, 16, 8]


@pytest.mark.parametrize(("dimension", "size"), [(64, 256), (1024, 64), (3072, 21), (150_528, 4)])
def test_the_first_batch_fits_the_images(dimension, size):
    side = SMALL.model_copy(update={"input_shape": (1, 1, dimension)})
    assert BatchSize(None, side, torch.device("cpu")).size == size == max(4, min(256, devices._PIXELS // dimension))


def test_nan_on_one_image_costs_that_model_alone(rows, tmp_path):
    poison = data.splits(SMALL).test.images[7]

    class Poisoned(light.Linear):
        def forward(self, x):
            bad = (x == poison).flatten(1).all(1, keepdim=True)
            return torch.where(bad, torch.nan, self.layer(x.flatten(1)))

    networks = {"bad": Poisoned(2), "a": light.Linear(1)}
    with pytest.raises(RunError, match=r"^bad: NaN or infinite outputs") as caught:
        run(networks, tmp_path, batch_size=4)
    light.assert_same_rows(caught.value.rows, rows)


def test_targets_on_disk_that_are_damaged_are_computed_again(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(target_files, "folder", lambda: tmp_path / "targets")
    run({"a": light.Linear(1)}, None)
    files = list((tmp_path / "targets").rglob("*.targets"))
    assert files
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    light.assert_same_rows(run({"a": light.Linear(1)}, None), rows)
    files[0].write_bytes(b"short")
    light.assert_same_rows(run({"a": light.Linear(1)}, None), rows)


def test_targets_on_disk_serve_later_runs_and_other_benchmarks_do_not_meet_them(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(target_files, "folder", lambda: tmp_path / "targets")
    run({"a": light.Linear(1)}, None)
    before = sorted(Path(tmp_path / "targets").rglob("*.targets"))

    def computed(*_):
        raise RuntimeError("targets were computed again")

    monkeypatch.setattr(targets.Computation, "__call__", computed)
    light.assert_same_rows(run({"a": light.Linear(1)}, None), rows)
    assert sorted(Path(tmp_path / "targets").rglob("*.targets")) == before
    other = SMALL.model_copy(update={"sigma": 0.8})
    with pytest.raises(RunError, match="computed again"):
        pagbench.run({"a": light.Linear(1)}, benchmark=other, anchors=False)
    with pytest.raises(RunError, match="computed again"):
        run({"a": light.Linear(1)}, None, seed=5)
