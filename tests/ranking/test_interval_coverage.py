"""The small version of benchmarks/interval_coverage.py: intervals hold their truths about as often as they say."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pagbench.ranking import statistics

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import interval_coverage as study


@pytest.fixture(scope="module")
def cosine():
    return study.population("alignment_cosine", 2, "digits@1")


@pytest.fixture(scope="module")
def mirrored(cosine):
    """All classes alike; and a target that is easy to agree with takes from its predecessor's chance level as much."""
    classes = [cosine.own[cosine.labels == label].mean(axis=0) for label in range(10)]
    own = cosine.own - np.array(classes)[cosine.labels] + np.mean(classes, axis=0)
    slope = -1 / (1 - own.mean(axis=0))
    return replace(cosine, own=own, rest=0 * own, start=-slope * own.mean(axis=0), slope=slope, alike=0 * slope)


def aligned(found, weigh, **options):
    return study.coverage_of_alignment(found, 250, 120, weigh, rounds=True, **options).mean()


def test_intervals_of_alignment_hold_it(cosine):
    assert 0.91 < aligned(cosine, study.blocks) < 0.99


def test_images_that_are_drawn_one_by_one_fail_where_neighbours_depend_on_each_other(mirrored):
    together, alone = (aligned(mirrored, weigh) for weigh in (study.blocks, study.one_by_one))
    assert 0.91 < together < 0.99
    assert alone < 0.89


@pytest.mark.parametrize("images", [250, 1000])
def test_simultaneous_ranks_hold_where_all_are_tied(cosine, images):
    """With normal instead of Student's bands they hold in six of seven samples, or fewer."""
    now, _ = study.ranks_held(study.tied(cosine, images), images, 60, study.blocks, study.rank)
    assert now.mean() > 0.88


@pytest.mark.parametrize("world", study.WORLDS, ids=lambda world: world.name)
def test_correlations_hold_over_a_few_families(world):
    assert study.spearman_held(world, 4, 200, study.left_out)[0].mean() > 0.89


def test_correlations_did_not_hold_where_families_were_drawn_whole():
    assert study.spearman_held(study.WORLDS[1], 4, 60, study.drawn_whole)[0].mean() < 0.85


def test_a_tau_that_is_nearly_one_has_no_interval_and_one_of_a_half_has():
    low, high = (study.taus(share, 250, 10, label="digits@1") for share in (4.0, 0.02))
    assert low.truth < 0.85 < high.truth
    assert low.made.all() and low.held.mean() > 0.7
    assert not high.made.any()


def test_a_network_and_its_rounded_copy_share_a_rank_and_did_not(cosine):
    assert study.twins_alike(cosine, 250, 30, study.rank).mean() == 1
    assert study.twins_alike(cosine, 250, 30, study.rank_of_old).mean() < 0.5


@pytest.mark.parametrize("shift", [1e-5, -1e-4, 3e-4])
def test_a_constant_difference_below_rounding_settles_nothing(shift):
    drawn = np.random.default_rng(0).normal(0.6, 0.01, 500)
    found = statistics.difference(drawn + shift, drawn)
    assert not found.settled and found.p > 0.05
    assert statistics.difference(drawn + 100 * abs(shift) + 1e-3, drawn).settled
    assert statistics.rank_intervals(np.stack([drawn, drawn + shift], axis=1), units=100).tolist() == [[1, 2], [1, 2]]
