"""The small version of benchmarks/bending.py: what a result owes to more than predictions, and which checks see it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pagbench
from pagbench import geometry
from pagbench.results.preflight import Preflight

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bending as study

pytestmark = pytest.mark.usefixtures("short_runs")

IMAGES = 12
SCALED = "times 1 + another network's log-odds of that class, if above 0"
ADDED, TURNED, STORED = "5 added to the largest", "turned by 5° to Bayes", "onto the target at measured images"
FORCED = "another network's logits, own class"


@pytest.fixture(scope="module")
def known():
    return study.Known(study.LABEL, "digits/standard")


@pytest.fixture(scope="module")
def made(known):
    """Changed networks by the name of the change."""
    names = ("none", "tanh(z/10)", "another network's", SCALED, ADDED, TURNED, STORED, FORCED)
    return {change.name: change.make(known) for change in study.CHANGES if change.name in names}


@pytest.fixture(scope="module")
def run(made, short_runs):
    """Their rows, by an id for each."""
    ids = {name: f"bent/{index}" for index, name in enumerate(made)}
    models = {ids[name]: network for name, network in made.items()}
    rows = pagbench.run(models, benchmark=study.LABEL, limit=IMAGES, anchors=False, on_warning=lambda _: None)
    named = rows.assign(entrant=rows["entrant"].map({value: name for name, value in ids.items()}))
    cards = {name: Preflight.model_validate(rows.attrs["preflight"][ids[name]]) for name in made}
    return {name: own.reset_index(drop=True) for name, own in named.groupby("entrant")}, cards


@pytest.fixture(scope="module")
def rows(run):
    return run[0]


@pytest.fixture(scope="module")
def preflights(run):
    return run[1]


def aligned(rows, name):
    return rows[name]["alignment_cosine"].mean()


def test_all_of_them_keep_the_predictions(made, known, rows):
    for name, network in made.items():
        assert study.agreement(network, known) == 1, name
        assert (rows[name]["correct"] == rows["none"]["correct"]).all(), name


def test_a_constant_where_the_class_is_moves_the_temperature_alone(known, made, rows):
    assert abs(aligned(rows, ADDED) - aligned(rows, "none")) < 0.03
    assert not np.allclose(rows[ADDED]["temperature"], rows["none"]["temperature"], rtol=0.05)
    images, labels = known.images[:IMAGES], known.splits.test.labels[:IMAGES]
    plain, added = (geometry.log_odds_gradient(made[name], images, labels) for name in ("none", ADDED))
    right = plain.logits.argmax(1) == labels
    assert right.sum() > 8
    torch.testing.assert_close(added.gradient[right], plain.gradient[right], atol=1e-4, rtol=1e-3)


def test_other_functions_of_the_logits_have_other_gradients_and_their_size_is_known(rows, preflights):
    assert aligned(rows, "tanh(z/10)") < aligned(rows, "none") - 0.1
    assert aligned(rows, SCALED) > aligned(rows, "none") + 0.05
    for name in ("tanh(z/10)", SCALED):
        assert rows[name]["gradient_faithful"].mean() >= 0.95 and not preflights[name].flags


def test_another_networks_gradient_is_found_on_every_image(rows, preflights):
    assert aligned(rows, "another network's") > aligned(rows, "none") + 0.05
    assert (rows["another network's"]["gradient_faithful"] == 0).all()
    assert preflights["another network's"].costs_the_rank


def test_a_gradient_turned_a_little_passes_the_rows_and_costs_the_rank(rows, preflights):
    assert aligned(rows, TURNED) > aligned(rows, "none") + 0.03
    assert rows[TURNED]["gradient_faithful"].mean() >= 0.95
    assert [(check.name, check.kind) for check in preflights[TURNED].flags] == [("derivatives", "foreign")]
    assert preflights[TURNED].costs_the_rank and not preflights["none"].costs_the_rank


@pytest.mark.parametrize(("name", "least"), [(TURNED, 0.5), ("another network's", 0.5), ("none", 0), (FORCED, 0)])
def test_differences_along_the_target_find_foreign_gradients_alone(known, made, rows, name, least):
    found = study.along_target(made[name], known, float(rows[name]["temperature"].iloc[0]))
    assert found > least if least else found < 0.05


@pytest.mark.parametrize(("name", "gain"), [(FORCED, 0.15), (STORED, 0.3)])
def test_no_check_sees_what_truly_has_its_gradient(rows, preflights, name, gain):
    """As docs/explanation/bending.md says; where a check comes to see it, the page has to change."""
    assert aligned(rows, name) > aligned(rows, "none") + gain
    assert rows[name]["gradient_faithful"].mean() >= 0.95 and not preflights[name].flags


def test_what_a_change_is_made_of_is_left_as_it_was(known):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = [value.clone() for value in network.parameters()]
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    study.Turned.apply(x, network, network, 0.1).sum().backward()
    assert all(
        value.grad is None and torch.equal(value, old) for value, old in zip(network.parameters(), before, strict=True)
    )
