"""What fewer draws cost is what intervals of fewer draws show."""

import itertools

import numpy as np
import pytest
import torch

from pagbench import benchmarks, data
from pagbench.benchmarks import validation as evidence
from pagbench.benchmarks.validation import Passes, Spread, fewest
from pagbench.errors import PagbenchError
from pagbench.models import loading, registry
from pagbench.ranking import resampling, statistics
from pagbench.running.config import RunConfig
from pagbench.running.session import Session
from pagbench.studies import passes, validation

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def edition():
    return benchmarks.load("digits@2")


@pytest.fixture(scope="module")
def images(edition):
    return data.splits(edition).test.select(edition.samples[:60])


@pytest.fixture(scope="module")
def found(edition, images):
    return passes.measure(edition, data.splits(edition), images, CPU)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_variance_of_fewer_draws_is_its_mean_over_all_choices_of_them(count):
    """Also for draws that are not independent: here those of an image sum to 1."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(6, 0.3), size=4)
    values = shares * rng.gamma(1, size=(4, 1))
    spread = passes.spread_of("x", torch.from_numpy(values))
    chosen = list(itertools.combinations(range(6), count))
    means = np.stack([values[:, list(each)].mean(1) for each in chosen], axis=1)
    every = list(itertools.product(range(len(chosen)), repeat=4)) if len(chosen) < 10 else None
    if every is None:  # the draws of different images are independent, so that only their own variance counts
        variance = values.mean(1).var(ddof=1) + means.var(axis=1).mean()
    else:
        variance = np.mean([means[range(4), list(pick)].var(ddof=1) for pick in every])
    assert (spread.widening(count) + 1) ** 2 == pytest.approx(variance / values.mean(1).var(ddof=1))
    assert spread.widening(6) == 0


@pytest.mark.parametrize(("within", "count"), [(0.5, 1), (4.0, 1), (4.0, 2), (30.0, 4)])
def test_intervals_of_fewer_draws_are_wider_by_as_much(within, count):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((4000, 1)) + np.sqrt(within) * rng.standard_normal((4000, 8))
    drawn = resampling.resample(np.arange(4000) // 4, seed=0, replicates=2000)

    def width(draws):
        means = resampling.means(drawn, values[:, :draws].mean(1, keepdims=True))[:, 0]
        _, low, high = statistics.interval(means)
        return high - low

    spread = passes.spread_of("x", torch.from_numpy(values))
    assert 1 + spread.widening(count) == pytest.approx(width(count) / width(8), rel=0.08)


def test_the_fewest_draws_are_enough_for_every_column():
    calm = Spread(column="a", draws=8, between=1.0, within=0.1)
    wild = Spread(column="b", draws=8, between=1.0, within=3.0)
    assert (fewest([calm]), fewest([wild]), fewest([calm, wild])) == (1, 6, 6)
    assert wild.widening(5) > 0.1 >= wild.widening(6)


def test_the_variances_are_those_of_the_rows(found, edition, images, short_runs):
    """The measure draws as many directions as the definition takes: other ones, of the same distribution."""
    model = loading.load(registry.find(edition.reference), edition)
    few = edition.model_copy(update={"measures": ("response", "jacobian"), "sigmas": None})
    session = Session(RunConfig(benchmark=few, ids=images.ids, device=CPU, seed=0))
    (rows,) = session.rows(model, images.ids)
    for name, column in (("on_response", "on_response_1"), ("off_response", "off_response_1")):
        (spread,) = [row for row in found.responses if row.column == name]
        expected = spread.between + spread.within * (1 / edition.directions - 1 / 8)
        assert rows[column].var() == pytest.approx(expected, rel=0.25)
    for name in ("on_jacobian", "off_jacobian"):
        (spread,) = [row for row in found.jacobian if row.column == name]
        assert rows[name].var() == pytest.approx(spread.between * (1 + spread.widening(edition.probes)) ** 2, rel=0.7)


def test_draws_are_those_that_there_is_room_for(found):
    assert [row.column for row in found.responses] == ["on_response", "off_response", "log_ratio"]
    assert {row.draws for row in found.responses} == {8}
    assert {row.draws for row in found.jacobian} == {9}
    sphere = benchmarks.load("sphere@1")
    splits = data.splits(sphere)
    narrow = passes.measure(sphere, splits, splits.test.select(sphere.samples[:20]), CPU)
    assert {row.draws for row in narrow.responses} == {6}


def test_what_does_not_scatter_has_no_row():
    assert passes.spread_of("x", torch.ones(5, 3)) is None
    assert passes.spread_of("x", torch.rand(5, 1)) is None
    assert passes.spread_of("x", torch.full((5, 3), torch.nan)) is None
    assert passes.spread_of("x", torch.rand(5, 3)) is not None


def test_a_reference_that_is_not_here_is_not_fetched(edition, images, monkeypatch):
    missing = edition.model_copy(update={"reference": "madrylab/resnet18-l2-eps0"})
    with pytest.raises(PagbenchError):
        passes.measure(missing, data.splits(edition), images, CPU)
    none = edition.model_copy(update={"reference": None})
    assert passes.measure(none, data.splits(edition), images, CPU) is None


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (5, "the definition takes 5, which makes that of b 13% wider"),
        (6, "takes 6, which is enough"),
        (None, "no smaller"),
    ],
)
def test_the_rule_says_whether_the_definition_obeys(taken, said):
    spreads = (
        Spread(column="a", draws=8, between=1.0, within=0.1), Spread(column="b", draws=8, between=1.0, within=3.6),
    )  # fmt: skip
    known = Passes(model="m", images=3, responses=spreads, directions=4, jacobian=spreads, probes=taken)
    published = evidence.published("digits@2").model_copy(update={"passes": known})
    rule = evidence.rules(published)[-1]
    assert rule.startswith("probes by rule: 6, the smallest number that keeps every interval within 10% of that of 8")
    assert said in rule


def test_a_validation_goes_on_without_the_reference(edition, images, monkeypatch):
    missing = edition.model_copy(update={"reference": "madrylab/resnet18-l2-eps0"})
    known, why = validation._passes(missing, data.splits(edition), images, CPU, lambda doing: None)
    assert known is None
    assert why[0].startswith("passes of madrylab/resnet18-l2-eps0: ") and len(why) == 1
