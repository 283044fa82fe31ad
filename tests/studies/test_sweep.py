"""A path is trained and measured end to end, side by side or one by one, and goes on where it stopped."""

import multiprocessing
import os
import re
import signal

import pytest
import torch
from typer.testing import CliRunner

from pagbench import benchmarks, leaderboard
from pagbench.cli import app
from pagbench.errors import TrainingError
from pagbench.models.registry import find
from pagbench.studies import sweep
from pagbench.training import Recipe, TrainingPlan

pytestmark = pytest.mark.usefixtures("short_runs")

GAUSSIANS = benchmarks.load("gaussians")
TINY = Recipe(epochs=2, batch_size=64)


def plans(*strengths, family="noise"):
    return [TrainingPlan(GAUSSIANS, family, strength, recipe=TINY) for strength in strengths]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.12345,0.1", (0.12345, 0.1)),
        ("1e-4:10:6", (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)),
        ("1:2:2", (1.0, 2.0)),
        ("0.3", (0.3,)),
        ("3,1", (3.0, 1.0)),
        ("10:0.1:3", (10.0, 1.0, 0.1)),
    ],
)
def test_strengths_are_evenly_spaced_in_the_logarithm(text, expected):
    assert sweep.strengths(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "a:b:c", "1:2", "0:1:3", "1:10:1", "-1,2", "nan", "1:inf:3", "1:2:3:4", "1e-4:10:1000000000"]
)
def test_strengths_that_make_no_path_are_one_line(text):
    with pytest.raises(TrainingError, match=r"expected A:B:N .* or A,B,C; above 0"):
        sweep.strengths(text)


def test_a_failing_network_does_not_stop_the_others(tmp_path):
    wild = TrainingPlan(GAUSSIANS, "noise", 0.5, recipe=Recipe(epochs=1, learning_rate=1e30))
    found = sweep.train_all([*plans(0.1), wild, *plans(0.2)], tmp_path)
    assert [path.stem for path in found.cards] == ["noise-0.1", "noise-0.2"]
    assert len(found.failures) == 1
    assert re.match(r"noise-0.5: the loss became (nan|inf) by step \d+ of \d+; lower the strength", found.failures[0])
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["noise-0.1.yaml", "noise-0.2.yaml"]


@pytest.mark.parametrize("text", ["1:1.001:5", "3,1,3"])
def test_strengths_that_coincide_are_one_line(text):
    with pytest.raises(TrainingError, match="are not distinct"):
        sweep.strengths(text)


@pytest.mark.slow
def test_networks_trained_side_by_side_are_those_trained_one_by_one_though_a_process_is_killed(tmp_path, monkeypatch):
    attempt = sweep._attempt

    def fatal(plan, output, device, advance):
        if plan.strength == 0.2:
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(plan, output, device, advance)

    monkeypatch.setattr(sweep, "_attempt", fatal)
    seen = set()
    side = sweep.train_all(
        plans(0.1, 0.2, 0.3), tmp_path / "side", jobs=2, advance=lambda name, share: seen.add((name, share))
    )
    assert len(side.failures) == 1
    assert "noise-0.2: its process ended with code -9" in side.failures[0]
    one = sweep.train_all(plans(0.1, 0.3), tmp_path / "one")
    assert one.failures == []
    assert (
        [path.name for path in side.cards] == [path.name for path in one.cards] == ["noise-0.1.yaml", "noise-0.3.yaml"]
    )
    for a, b in zip(side.cards, one.cards, strict=True):
        assert find(str(a)).card.weights_sha256 == find(str(b)).card.weights_sha256
    assert {name for name, share in seen if share == 1} == {"noise-0.1", "noise-0.3"}


def test_an_interrupted_sweep_leaves_no_process_behind(tmp_path):
    long = [TrainingPlan(GAUSSIANS, "noise", s, recipe=Recipe(epochs=100_000, batch_size=64)) for s in (0.1, 0.2, 0.3)]

    def interrupt(name, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.train_all(long, tmp_path, jobs=2, advance=interrupt)
    assert multiprocessing.active_children() == []
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.slow
def test_a_sweep_measures_what_it_could_train(tmp_path):
    command = [
        "sweep", "gaussians", "--family", "gradient-norm", "--strengths", "1e-4,1e6", "--epochs", "20",
        "--recipe", "optimiser=sgd", "--recipe", "schedule=constant", "--recipe", "learning_rate=0.01",
        "--output", str(tmp_path / "cards"), "--results", str(tmp_path / "results"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "gradient-norm-1000000: the loss became" in done.stderr
    assert (tmp_path / "results/gaussians@1/trained/gaussians/gradient-norm-0.0001.parquet").exists()


@pytest.mark.parametrize("jobs", [0, -1, 10**6])
def test_jobs_out_of_range_are_one_line(jobs, tmp_path):
    with pytest.raises(TrainingError, match=r"jobs .+ is out of range"):
        sweep.train_all(plans(0.1), tmp_path, jobs=jobs)


def test_a_tiny_sweep_runs_end_to_end_and_again_without_training(tmp_path):
    torch.set_num_threads(1)
    command = [
        "sweep", "gaussians", "--family", "gradient-norm", "--strengths", "0.001:0.01:2", "--seeds", "2",
        "--epochs", "10", "--recipe", "batch_size=32", "--recipe", "learning_rate=0.01",
        "--output", str(tmp_path / "cards"), "--results", str(tmp_path / "results"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    names = ["gradient-norm-0.001", "gradient-norm-0.001.seed1", "gradient-norm-0.01", "gradient-norm-0.01.seed1"]
    assert sorted(path.stem for path in (tmp_path / "cards").glob("*.yaml")) == names
    board = leaderboard(tmp_path / "results", benchmark="gaussians")
    trained = board[board["model"].str.startswith("trained/gaussians/")]
    assert sorted(trained["strength"]) == [0.001, 0.001, 0.01, 0.01]
    assert set(trained["status"]) == {"ranked"}
    assert "trained/gaussians/gradient-norm-0.01.seed1" in done.output
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix != ".tmp" and path.is_file()}
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--family", "noise", "--strengths", "1:2"], ["strengths '1:2'", "expected A:B:N"]),
        (["--family", "nosie", "--strengths", "1,2"], ["unknown family 'nosie'", "noise"]),
        (["--family", "noise"], ["needs a strength above 0", "got None"]),
        (["--family", "noise", "--strengths", "1", "--recipe", "epochs"], ["--recipe 'epochs'", "KEY=VALUE"]),
        (["--family", "noise", "--strengths", "1", "--recipe", "speed=3"], ["--recipe 'speed=3'", "batch_size"]),
        (["--family", "noise", "--strengths", "1", "--recipe", "optimiser=adam"], ["optimiser=adam", "adamw"]),
        (["--family", "noise", "--strengths", "1", "--recipe", "batch_size=0"], ["batch_size=0", "greater than 0"]),
        (["--family", "noise", "--strengths", "1", "--recipe", "ema=1"], ["ema=1", "less than 1"]),
        (["--family", "smoothing", "--strengths", "1", "--draws", "3"], ["draws 3", "even number from 2"]),
    ],
)
def test_bad_options_of_a_sweep_are_one_line(options, parts, tmp_path):
    done = CliRunner().invoke(app, ["sweep", "gaussians", "--output", str(tmp_path), *options])
    assert done.exit_code == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    for part in parts:
        assert part in done.stderr
