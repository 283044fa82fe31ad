"""Units of work in other processes: the rows are those of one process, whatever happens to a worker."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import light
import pandas as pd
import psutil
import pytest
import torch
import yaml
from typer.testing import CliRunner

import pagbench
from pagbench.cli import app
from pagbench.errors import ContractError
from pagbench.models import registry
from pagbench.running import executors, interrupts, workers
from pagbench.running.config import Share
from pagbench.running.interrupts import Stopped
from pagbench.running.runner import RunError

pytestmark = pytest.mark.usefixtures("short_preflight")

SMALL = light.benchmark(160)


def run(models, folder, **options):
    return pagbench.run(models, benchmark=SMALL, results=folder, anchors=False, **{"batch_size": 32, **options})


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Of two networks, measured in this process."""
    return run({"a": light.Linear(1), "b": light.Linear(2)}, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("local", executors.SerialExecutor), ("local:2", executors.ProcessExecutor), ("ray", executors.RayExecutor)],
)
def test_an_executor_is_named_by_one_word(name, kind):
    assert isinstance(executors.find(name), kind)


@pytest.mark.parametrize("name", ["slurm", "local:0", "local:x", "local:10000", "locale", ""])
def test_another_word_is_refused_in_one_line(name):
    with pytest.raises(ContractError, match="expected local") as caught:
        executors.find(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/2/3", "a/b", "-1/2"])
def test_a_shard_that_is_none_is_refused(shard, tmp_path):
    with pytest.raises(ContractError, match="expected i/n"):
        run("digits/standard", tmp_path, shard=shard)


@pytest.mark.parametrize(("images", "shares"), [(1000, 3), (1000, 1), (7, 3), (2, 5), (10_000, 64)])
def test_shares_part_the_samples(images, shares):
    ids = [str(i) for i in range(images)]
    parts = [Share(number, shares).select(ids) for number in range(1, shares + 1)]
    assert [name for part in parts for name in part] == ids
    assert max(map(len, parts)) <= images / shares + 64


def test_shards_fill_one_folder_in_any_order_and_the_last_one_merges(rows, tmp_path):
    networks = {"a": light.Linear(1), "b": light.Linear(2)}
    for number in (2, 3, 1):
        assert not list(tmp_path.rglob("*/a.parquet"))
        found = run(networks, tmp_path, shard=f"{number}/3")
    light.assert_same_rows(found, rows)
    assert {path.name for path in tmp_path.rglob("*.parquet")} == {"a.parquet", "b.parquet"}


def test_shards_do_not_overwrite():
    with pytest.raises(ContractError, match="do not go together"):
        pagbench.run("digits/standard", shard="1/2", overwrite=True)


def test_workers_give_the_rows_of_one_process(rows, tmp_path):
    before = torch.get_num_threads()
    found = run({"a": light.Linear(1), "b": light.Linear(2)}, tmp_path, executor="local:2")
    light.assert_same_rows(found, rows)
    assert torch.get_num_threads() == before
    assert not list(tmp_path.rglob(".*.parts"))


def test_each_worker_has_its_share_of_the_cores():
    def begin(number, send):
        return lambda task: (number, torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"])

    with workers.Pool(begin, 2) as pool:
        pool.submit(1)
        ((_, event),) = list(pool.events())
    assert event.result == (0, max(1, workers.cores() // 2), "PASSIVE")


def test_an_error_that_no_task_should_raise_is_told_and_the_worker_goes_on():
    def begin(number, send):
        def do(task):
            if task == 1:
                raise ZeroDivisionError("one\nof two lines")
            return os.getpid()

        return do

    with workers.Pool(begin, 1) as pool:
        for task in (0, 1, 2):
            pool.submit(task)
        events = dict(pool.events())
    assert events[1] == workers.Failed("ZeroDivisionError: one")
    assert events[0].result == events[2].result


PARENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import light
from pagbench.running import workers

def begin(number, send):
    def do(task):
        send(os.getpid())
        light.Locks().fault(None)
    return do

if __name__ == "__main__":
    with workers.Pool(begin, 1) as pool:
        pool.submit(0)
        for task, event in pool.events():
            print(event.message, flush=True)
"""


@pytest.mark.slow
def test_workers_end_with_their_parent_whatever_they_are_at(tmp_path):
    """Also one whose call never comes back."""
    (tmp_path / "main.py").write_text(PARENT)
    command = [sys.executable, tmp_path / "main.py", Path(light.__file__).parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(timeout=20)


def faulty(tmp_path):
    """The card of a checkpoint that lacks its end."""
    request = registry.find("digits/standard")
    card, path = request.card, request.path
    weights = tmp_path / "cut-off.safetensors"
    weights.write_bytes((path.parent / card.weights).read_bytes()[:-1000])
    file = tmp_path / "cut-off.yaml"
    fields = card.model_dump(mode="json", exclude_none=True) | {"id": "cut-off", "weights": weights.name}
    file.write_text(yaml.safe_dump({name: value for name, value in fields.items() if name != "weights_sha256"}))
    return file


def test_one_corrupt_checkpoint_among_many_loses_no_other(tmp_path):
    networks = [registry.from_module(light.Linear(seed), f"net-{seed}", SMALL) for seed in range(7)]
    with pytest.raises(RunError, match=r"cut-off.*(truncated|damaged|incomplete|header)") as caught:
        run([*networks[:3], faulty(tmp_path), *networks[3:]], tmp_path / "results", limit=4)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(caught.value.rows.groupby("entrant").size()) == [4] * 7


TROUBLE = {
    "raises": (light.Raises(1, after=160), r"raises: fails while it is measured .*third party's own words"),
    "dies": (light.Dies(1, after=1), r"dies: its worker died 1 times without finishing a batch \(SIGKILL"),
    "sleeps": (light.Sleeps(1, after=160), r"sleeps: no batch in 5 s, so it is given up; finished batches are kept"),
    "locks": (light.Locks(1, after=160), r"locks: did not come back in 5 s and was ended"),
}
"""Networks that fail after contract and pre-flight, in one of their batches of 32, and what becomes of them."""


def test_workers_that_raise_hang_or_die_lose_nothing_of_the_others(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "_GRACE", (1.0, 1.0))
    monkeypatch.setattr(executors, "_TRIES", 1)
    networks = {"a": light.Linear(1), **{name: network for name, (network, _) in TROUBLE.items()}, "b": light.Linear(2)}
    with pytest.raises(RunError) as caught:
        run(networks, tmp_path, executor="local:2", timeout=5)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(TROUBLE)
    for name, (_, message) in TROUBLE.items():
        assert pd.Series(lines).str.contains(message).sum() == 1, (name, lines)
    light.assert_same_rows(caught.value.rows, rows)


def test_a_worker_that_is_killed_in_mid_run_costs_a_batch_and_no_row(rows, tmp_path):
    network = light.Dies(1, after=1)
    network.once = tmp_path / "dead"
    found = run({"a": network}, tmp_path / "results", executor="local:2")
    assert network.once.exists()
    light.assert_same_rows(found, rows[rows["entrant"] == "a"])


@pytest.mark.slow
def test_a_leak_takes_more_workers_and_no_row(rows, tmp_path, monkeypatch):
    """Each worker ends when it has taken more than its share; what it has finished is kept, and the next goes on."""

    monkeypatch.setattr(executors, "_MEMORY_SHARE", 2 * 3e8 / psutil.virtual_memory().total)
    started, start = [], workers.Pool._start_worker
    monkeypatch.setattr(workers.Pool, "_start_worker", lambda pool: started.append(1) or start(pool))
    found = run({"a": light.Leaks(1, after=1)}, tmp_path, executor="local:2", batch_size=16)
    light.assert_same_rows(found.assign(entrant="a"), rows[rows["entrant"] == "a"])
    assert len(started) >= 3


def test_a_network_of_a_file_is_sent_to_workers_by_its_value(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        return x.flatten(1)[:, :10]\n\ndef make():\n    return Net()\n"
    )
    found = run(f"{tmp_path / 'nets.py'}:make", tmp_path / "results", executor="local:2", limit=4)
    assert len(found) == 4


def test_units_of_a_model_that_has_failed_are_not_tried(tmp_path, monkeypatch):
    """Several units of one network that raises: those that had not begun are dropped."""
    network, many, dropped = light.Raises(1, after=100), light.benchmark(360), []
    drop = workers.Pool.drop
    monkeypatch.setattr(workers.Pool, "drop", lambda pool, chosen: dropped.append(drop(pool, chosen)) or dropped[-1])
    with pytest.raises(RunError, match="third party's own words") as caught:
        pagbench.run({"bad": network}, benchmark=many, results=tmp_path / "r", anchors=False, executor="local:2")
    assert len(str(caught.value).splitlines()) == 1
    assert sum(map(len, dropped)) >= 2


def test_a_network_that_wants_to_end_the_program_ends_nothing(rows, tmp_path):
    networks = {"quits": light.Quits(1, after=160), "b": light.Linear(2)}
    with pytest.raises(RunError, match=r"quits: fails while it is measured") as caught:
        run(networks, tmp_path)
    light.assert_same_rows(caught.value.rows, rows[rows["entrant"] == "b"])


@pytest.mark.slow
def test_workers_of_a_script_without_a_guard_say_so(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\nimport light, pagbench\n"
        "pagbench.run({'a': light.Linear()}, limit=2, anchors=False, results=sys.argv[2], executor='local:1')\n"
    )
    command = [sys.executable, tmp_path / "script.py", Path(light.__file__).parent, tmp_path / "results"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode and "a script needs `if __name__" in done.stderr.splitlines()[-1]


def test_the_command_ends_with_the_signals_exit_code_and_a_second_one_acts_at_once(tmp_path, short_preflight):
    code = Path(light.__file__).read_text() + "\ndef make():\n    return Interrupted(1, after=160)\n"
    (tmp_path / "net.py").write_text(code)
    options = ["-b", "digits@1", "--limit", "40", "--batch-size", "8", "-r", str(tmp_path)]
    done = CliRunner().invoke(app, ["run", f"{tmp_path / 'net.py'}:make", *options])
    assert done.exit_code == 128 + signal.SIGINT
    assert done.stderr.splitlines()[-1].startswith("error: stopped by SIGINT; finished batches are kept")
    before = signal.getsignal(signal.SIGINT)
    with interrupts.listening(interrupts.CancelToken()) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT and signal.getsignal(signal.SIGINT) == before


def test_what_cannot_be_sent_is_told_in_one_line(tmp_path):
    network = light.Linear(1)
    network.guard = threading.Lock()
    with pytest.raises(ContractError, match=r"mine: cannot be sent to another process .*--executor local") as caught:
        run({"mine": network}, tmp_path, executor="local:2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_its_batch_and_it_goes_on_later(rows, tmp_path, number):
    network = light.Interrupted(1, after=160)
    network.signal = number
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped by {signal.Signals(number).name}; finished") as caught:
        run({"a": network}, tmp_path)
    assert caught.value.number == number and signal.getsignal(number) == before
    parts = list(tmp_path.rglob("*.parquet"))
    assert len(parts) >= 1 and all(len(pd.read_parquet(path)) == 32 for path in parts), "whole batches alone"
    network.after = 10**9
    light.assert_same_rows(run({"a": network}, tmp_path), rows[rows["entrant"] == "a"])


def test_a_signal_reaches_workers_which_finish_their_batch(rows, tmp_path):
    def interrupt():
        while not list(tmp_path.rglob("*.parquet")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    networks = {"a": light.Linear(1), "b": light.Linear(2)}
    with pytest.raises(Stopped, match="stopped by SIGINT"):
        run(networks, tmp_path, executor="local:2", batch_size=2)
    thread.join()
    assert multiprocessing.active_children() == []
    sizes = [len(pd.read_parquet(path)) for path in tmp_path.rglob("*.parquet")]
    assert sizes and set(sizes) == {2}
    light.assert_same_rows(run(networks, tmp_path), rows)


def test_a_hang_that_python_sees_ends_in_this_process_too(rows, tmp_path):
    with pytest.raises(RunError, match=r"slow: no batch in 1 s, so it is given up") as caught:
        run({"slow": light.Sleeps(1, after=160), "b": light.Linear(2)}, tmp_path, timeout=1)
    light.assert_same_rows(caught.value.rows, rows[rows["entrant"] == "b"])


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_no_time_at_all_is_refused(timeout):
    with pytest.raises(ContractError, match="expected seconds above 0"):
        pagbench.run("digits/standard", timeout=timeout)
