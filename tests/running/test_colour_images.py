"""The whole path on colour images of CIFAR's size: from the photographs of packages to the published rows."""

import pytest

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.results.comparison import compare

MODELS = ("photographs/standard", "photographs/noise-1", "control/bayes")


@pytest.fixture(scope="module")
def measured():
    return pagbench.run(MODELS, benchmark="photographs@1", limit=16, anchors=False)


@pytest.mark.parametrize("model", MODELS)
def test_published_rows_are_measured_again(measured, model):
    """Density, targets, tangent spaces, networks with batch norm, profile and the paper's protocol."""
    definition = benchmarks.load("photographs@1")
    published = results.read(results.path_of(results.PUBLISHED, definition, model), columns.schema(definition)).rows
    again = measured[measured["entrant"] == model]
    some = published[published["sample_id"].isin(again["sample_id"])]
    assert len(some) == 16
    assert compare(some, again, definition).reason == ""


def test_a_robust_network_is_better_aligned_than_an_ordinary_one(measured):
    alignment = measured.groupby("entrant")["alignment_cosine"].mean()
    energy = measured.groupby("entrant")["tangent_energy"].mean()
    assert alignment["photographs/standard"] < alignment["photographs/noise-1"] < alignment["control/bayes"]
    assert energy["photographs/standard"] < 0.2 < energy["photographs/noise-1"]
