"""What `docs/reference/cost.md` adds up is what the code does."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pagbench import benchmarks
from pagbench.benchmarks import cost as sums

DOCS = Path(__file__).parent.parent.parent / "docs"


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def cost():
    before = list(sys.path)
    yield module("cost")
    sys.path[:] = before


def test_the_page_is_rendered_from_the_tables(cost):
    page = cost.cost_page
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "stale: python docs/cost.py page"


@pytest.mark.parametrize(
    ("label", "models"), [("cifar10@2", 1), pytest.param("cifar100@2", 1, marks=pytest.mark.slow), ("imagenet@1", 2)]
)
def test_passes_are_those_that_a_run_makes(cost, label, models):
    """On 256 images, the fewest that the pre-flight card looks at in full; targets are computed once for all models."""
    unit = next(row for row in sums.read(sums.UNITS) if row["benchmark"] == label)
    images, calibration = 256, 8 if int(unit["calibration"]) else 0
    found = cost.cost_units.run(label, images, calibration, side=8, models=models)
    once = calibration * float(unit["forward_calibration"]) + float(unit["forward_once"])
    told = "pagbench/benchmarks/cost/units.csv is stale: run python docs/cost.py units, then page"
    assert found.forward == models * (images * float(unit["forward"]) + once), told
    assert found.backward == models * (images * float(unit["backward"]) + float(unit["backward_once"])), told
    assert found.score == images * float(unit["score_target"]), told
    assert found.lpips == images * (models * float(unit["lpips"]) + float(unit["lpips_target"])), told


@pytest.mark.parametrize("label", ["cifar10@2", "cifar100@2", "imagenet@1"])
def test_targets_are_kept_once_for_all_models(cost, label):
    assert cost.cost_units.kept(benchmarks.load(label)), "docs/cost_page.py says so, and counts them once"


def test_operations_of_a_convolution_are_known(cost):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.SiLU()).requires_grad_(False)
    found = cost._passes(network, (3, 8, 8), "cpu")
    assert found["forward"] == found["backward"] == 2 * 4 * 3 * 9 * 64
    assert found["saved"] == 4 * (3 + 4) * 64  # what goes into either, in float32; the weights are the network's own


def test_operations_of_a_model_are_those_of_the_table(cost):
    name = "cifar10/Linf/Sehwag2021Proxy_R18"
    row = next(row for row in sums.read(sums.MODELS) if row["id"] == name)
    assert {key: str(value) for key, value in cost.count(name).items()} == row


def test_hours_are_operations_over_throughput():
    one = sums.costs()[0]
    assert sums.hours(one.operations, 50.0) == pytest.approx(one.operations / 50 / 3600)
    models, unit = sums.read(sums.MODELS)[0], sums.read(sums.UNITS)[0]
    forward = 1000 * float(unit["forward"]) + 1000 + float(unit["forward_once"])
    backward = 1000 * float(unit["backward"]) + float(unit["backward_once"])
    own = forward * int(models["forward"]) + backward * int(models["backward"])
    assert one.operations - one.others == pytest.approx(own / 1e12)


def test_targets_are_added_once(cost):
    units = sums.read(sums.UNITS)
    lpips = sum(int(unit["images"]) * int(unit["lpips_flops"]) for unit in units)
    scores = 9 * 5000 * int(units[-1]["score_flops"])  # of its class and of eight others, on `imagenet@1` alone
    assert sums.targets() == pytest.approx((lpips + scores) / 1e12)
    whole = sum(one.operations for one in sums.costs()) + sums.targets()
    assert f"| {whole / 1000:,.0f} | {sums.hours(whole):,.1f} |" in cost.cost_page.totals(25.0).splitlines()[-1]


def test_every_model_has_a_row_that_says_whether_it_was_counted():
    from pagbench.models.sources import robustbench

    rows = sums.read(sums.MODELS)
    assert [f"robustbench/{row['id']}" for row in rows] == list(robustbench.names())
    assert all(row["forward"] or row["where"].startswith("not counted: ") for row in rows)
    assert torch.tensor([int(row["parameters"] or 1) for row in rows]).min() > 0
    assert sums.MODELS.stat().st_size < 40_000
