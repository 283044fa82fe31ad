"""What a run lacks and takes, before it is begun."""

import socket

import pytest
import torch
from commands import invoke

from pagbench import benchmarks
from pagbench.benchmarks import cost
from pagbench.cli import dry_run
from pagbench.models import registry
from pagbench.running import estimate
from pagbench.running.config import RunConfig

pytestmark = pytest.mark.usefixtures("short_runs")


@pytest.fixture(autouse=True)
def no_socket(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a socket was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))


def test_what_is_ready_gets_an_estimate_and_measures_nothing(tmp_path):
    done = invoke("run", "noise-0.6", "-b", "digits@1", "--limit", 20, "-r", tmp_path / "r", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "digits@1: its data and networks are here" in done.stdout
    assert "time: about" in done.stdout and "for 1 model and 20 images" in done.stdout
    assert "memory: about" in done.stdout and "missing" not in done.stdout
    assert not (tmp_path / "r").exists()


def test_all_that_is_missing_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(dry_run, "is_installed", lambda package: False)
    models = ["robustbench/cifar10/L2/Engstrom2019Robustness", "robustbench/cifar10/L2/Rice2020Overfitting"]
    done = invoke("run", *models, "digits/standard", "-b", "cifar10", "-r", tmp_path / "r", "--dry-run")
    assert done.exit_code == 2, done.output
    for part in (
        "missing: CIFAR-10, 170 MB",
        f"missing: robustbench, a package that {models[0]} and 1 more need",
        "$ pip install 'pagbench[robustbench]'",
        f"missing: 1 file of weights of {models[1]}, about 45 MB",
        f"$ pagbench fetch {' '.join(models)} --benchmark cifar10@2",
        "digits/standard: takes images of shape (1, 8, 8), cifar10@2 has (3, 32, 32)",
        "models: 3, of which 0 can be measured now",
    ):
        assert part in done.stdout, part
    assert "in one process" not in done.stdout


def test_weights_that_are_trained_again_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    done = invoke("run", "digits/noise-2.5.seed2", "-b", "digits@1", "--dry-run")
    assert done.exit_code == 2
    assert "missing: weights of digits/noise-2.5.seed2" in done.stdout and "$ pagbench train digits" in done.stdout


@pytest.mark.parametrize("limit", [20, None])
def test_the_estimate_adds_up_models_and_targets(limit, monkeypatch):
    """Where everything takes a second for 16 images: each model of them all, and the targets of them and partners."""

    def one_second(work, *arguments):
        work(*arguments)
        return 1.0

    monkeypatch.setattr(estimate, "_seconds", one_second)
    definition = benchmarks.load("digits@1")
    config = RunConfig(
        benchmark=definition, ids=definition.samples[:limit], device=torch.device("cpu"), seed=definition.seed
    )
    requests = registry.resolve(["digits/noise-0.6", "digits/standard"], definition)
    found = estimate.estimate(requests, 3, config)
    count = len(config.ids)
    with_partners = min(2 * count, len(definition.samples))
    assert found.seconds == pytest.approx((5 * count + with_partners) / 16)
    assert found.timed == ("digits/noise-0.6", "digits/standard") and found.images == 16 and found.memory > 0


def test_no_model_that_can_be_measured_gives_no_estimate():
    definition = benchmarks.load("digits@1")
    config = RunConfig(benchmark=definition, ids=definition.samples[:4], device=torch.device("cpu"), seed=0)
    assert estimate.estimate(registry.resolve("gaussians/standard", definition), 0, config) is None


def test_many_models_that_are_missing_are_a_line_and_a_command(tmp_path, monkeypatch):
    """What they take is as their operations were counted: those of one model are added up in `cost`."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path / "data"))
    pattern, one = "robustbench/cifar10/L2/*", "robustbench/cifar10/L2/Rice2020Overfitting"
    said = invoke("run", pattern, "-b", "cifar10", "--dry-run").stdout
    assert "missing: 21 files of weights of 21 models, about 8.1 GB" in said and "Rice2020" not in said
    assert f"$ pagbench fetch '{pattern}' --benchmark cifar10@2\n" in said and said.count("$ ") == 1
    assert "said of" not in said and "for 21 models that are not here and 1000 images" in said
    seconds = 3600 * cost.hours(cost.by_model()[one].operations + cost.targets("cifar10@2"))
    assert f"about {seconds:.0f} s on a GPU" in invoke("run", one, "-b", "cifar10", "--dry-run").stdout


def test_models_of_other_images_are_counted_in_one_line():
    done = invoke("run", "robustbench/cifar10/L2/*", "--dry-run")
    assert done.exit_code == 2 and len(done.stdout.splitlines()) == 3, done.stdout
    assert "21 models do not fit digits@2, as robustbench/cifar10/L2/Augustin2020Adversarial: takes" in done.stdout
