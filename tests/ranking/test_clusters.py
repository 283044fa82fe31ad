"""Intervals over more than images: training seeds, and families as clusters."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr, t

from pagbench.ranking.resampling import means, resample
from pagbench.ranking.statistics import clustered_spearman, interval, over_seeds, student_quantile


def replicates_of(seeds, images, *, seed_spread, image_spread=0.3, draws=1500, seed=0):
    """Bootstrap replicates over images of each training seed's mean; image effects are shared by the seeds."""
    rng = np.random.default_rng(seed)
    effects = image_spread * rng.standard_normal((images, 1))
    values = effects + seed_spread * rng.standard_normal((1, seeds))
    return means(resample(np.arange(images), seed=seed, replicates=draws), values)


def test_one_seed_gives_the_bootstrap_over_images():
    found = replicates_of(1, 60, seed_spread=1.0)
    assert (over_seeds(list(found.T), seed=3) == found[:, 0]).all()


def test_equal_seeds_give_the_bootstrap_over_images():
    found = replicates_of(3, 60, seed_spread=0.0)
    np.testing.assert_allclose(over_seeds(list(found.T), seed=3), found[:, 0], atol=1e-12)


def test_two_level_variance_is_that_of_the_images_and_of_the_seeds():
    seeds, images = 8, 200
    found = replicates_of(seeds, images, seed_spread=0.1, draws=4000)
    drawn = over_seeds(list(found.T), seed=1)
    assert drawn[0] == pytest.approx(found[0].mean())
    expected = found[1:, 0].var() + found[0].var() / seeds
    assert drawn[1:].var() == pytest.approx(expected, rel=0.1)


def test_two_level_intervals_cover_the_mean_over_all_seeds_where_image_intervals_do_not():
    covered = []
    for trial in range(150):
        found = replicates_of(10, 100, seed_spread=0.3, draws=300, seed=trial)
        both, images = interval(over_seeds(list(found.T), seed=trial + 1)), interval(found.mean(axis=1))
        covered.append([both.low <= 0 <= both.high, images.low <= 0 <= images.high])
    with_seeds, without = np.mean(covered, axis=0)
    assert with_seeds > 0.85
    assert without < with_seeds - 0.1


def test_a_seed_without_an_estimate_is_left_out():
    found = replicates_of(2, 40, seed_spread=1.0)
    found[:, 1] = np.nan
    np.testing.assert_allclose(interval(over_seeds(list(found.T), seed=0))[0], found[0, 0])
    assert np.isnan(over_seeds([np.full(11, np.nan)], seed=0)).all()


def clustered(rng, clusters=8, size=6, slope=0.0, between=1.0):
    """Points whose clusters move both coordinates by independent amounts."""
    names = np.repeat([f"family-{i}" for i in range(clusters)], size)
    centres = np.repeat(rng.standard_normal((2, clusters)), size, axis=1)
    x, noise = between * centres + rng.standard_normal((2, clusters * size))
    return x, slope * x + noise, names.tolist()


@pytest.mark.parametrize("ties", [False, True])
def test_the_estimate_is_spearmans(ties):
    x, y, names = clustered(np.random.default_rng(0), slope=-1.0)
    if ties:
        x, y = x.round(), y.round()
    assert clustered_spearman(x, y, names).value == pytest.approx(spearmanr(x, y).statistic)


@pytest.mark.parametrize("sizes", [[6, 6, 6, 6], [4, 5, 9], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_the_interval_is_that_of_the_jackknife_over_clusters(sizes):
    rng = np.random.default_rng(len(sizes))
    names = np.repeat([f"family-{i}" for i in range(len(sizes))], sizes)
    x = rng.standard_normal(len(names))
    y = 0.5 * x + rng.standard_normal(len(names))
    found, g = clustered_spearman(x, y, names.tolist()), len(sizes)
    without = np.array([spearmanr(x[names != name], y[names != name]).statistic for name in np.unique(names)])
    variance = (g - 1) / g * ((np.arctanh(without) - np.arctanh(without).mean()) ** 2).sum()
    reach = t.ppf(0.975, g - 1) * np.sqrt(variance)
    centre = np.arctanh(spearmanr(x, y).statistic)
    assert found[1:] == pytest.approx((np.tanh(centre - reach), np.tanh(centre + reach)))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30, 101, 5000])
def test_the_quantile_of_t_is_scipys(freedom):
    assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("names", ["aaaaaaaa", "aaaabbbb", "abababab"])
def test_one_or_two_clusters_have_no_interval(names):
    x = np.random.default_rng(7).standard_normal((2, 8))
    found = clustered_spearman(*x, list(names))
    assert np.isfinite(found.value) and np.isnan(found[1:]).all()


@pytest.mark.parametrize("y", [[1, 2, 3, 4, 5, 6], [-1, -2, -3, -4, -5, -6], [2, 1, 3, 4, 5, 6]])
def test_a_correlation_that_is_all_there_is_to_one_side_has_no_interval(y):
    """Also where it is 1 without one of the clusters: Fisher's z has no end there."""
    found = clustered_spearman(np.arange(6.0), np.array(y, float), ["a", "a", "b", "b", "c", "c"])
    assert np.isfinite(found.value) and np.isnan(found[1:]).all()


def test_intervals_cover_where_points_of_a_cluster_are_alike_and_those_of_single_points_do_not():
    rng, covered = np.random.default_rng(2), []
    for _ in range(150):
        x, y, names = clustered(rng, clusters=10, between=2.0)
        alone = [str(index) for index in range(len(x))]
        found = [clustered_spearman(x, y, by) for by in (names, alone)]
        covered.append([part.low <= 0 <= part.high for part in found])
    whole, single = np.mean(covered, axis=0)
    assert whole > 0.85
    assert single < 0.75


def test_the_sign_follows_and_order_does_not_matter():
    x, y, names = clustered(np.random.default_rng(3), slope=-2.0)
    found = clustered_spearman(x, y, names)
    assert found.low <= found.value <= found.high < 0
    order = np.random.default_rng(4).permutation(len(x))
    shuffled = clustered_spearman(x[order], y[order], [names[index] for index in order])
    assert shuffled == pytest.approx(found)
    assert clustered_spearman(x, -y, names).value == pytest.approx(-found.value)


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([1, 2], [1, 2]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, np.nan, np.inf], [1, 2, 3, 4])],
)
def test_degenerate_points_have_no_correlation(x, y):
    found = clustered_spearman(np.array(x, float), np.array(y, float), ["a", "b", "c", "d"][: len(x)])
    assert np.isnan(found).all()


def test_a_single_cluster_has_no_interval():
    found = clustered_spearman(np.arange(5.0), np.arange(5.0) ** 2, ["a"] * 5)
    assert found.value == pytest.approx(1)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_unknown_values_are_left_out_with_their_cluster():
    x, y, names = clustered(np.random.default_rng(6), slope=1.0)
    some = clustered_spearman(x[:-6], y[:-6], names[:-6])
    x[-6:] = np.nan
    assert clustered_spearman(x, y, names) == pytest.approx(some)


def test_the_partial_correlation_is_that_of_what_ranks_leave_unexplained():
    rng = np.random.default_rng(6)
    z = rng.standard_normal(60)
    x, y = z + rng.standard_normal(60), 2 * z + rng.standard_normal(60)
    names = [str(index // 6) for index in range(60)]
    ranks = [rankdata(part) for part in (x, y, z)]
    design = np.stack([np.ones(60), ranks[2]], axis=1)
    left = [part - design @ np.linalg.lstsq(design, part, rcond=None)[0] for part in ranks[:2]]
    found = clustered_spearman(x, y, names, given=z)
    assert found.value == pytest.approx(np.corrcoef(*left)[0, 1])
    assert found.low < 0 < found.high
    assert clustered_spearman(x, y, names).low > 0.2
    assert np.isnan(clustered_spearman(x, y, names, given=x).value)
