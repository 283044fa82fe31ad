"""Intervals cover, rank intervals hold simultaneously, regimes come out right along a ridge path of known regimes."""

import numpy as np
import pytest

from pagbench import benchmarks
from pagbench.ranking import resampling, statistics
from pagbench.ranking.regimes import BOUNDARY, REGIMES, Anchored, classify, judge
from pagbench.ranking.resampling import means, resample
from pagbench.ranking.statistics import interval, rank_intervals, resampling_weights
from pagbench.studies.theory import ridge

WEAK, ALIGNED, EXCESSIVE = range(3)


def skewed_responses(rng, shape):
    """Values like L1 responses of a classifier: in [0, 2], most of them small, mean 0.4."""
    return 2 * rng.beta(0.5, 2.0, size=shape)


def alone(images, **options):
    """Drawings of images that are blocks of their own."""
    return resample(np.arange(images), **options)


def test_intervals_cover_the_mean_of_skewed_responses():
    values = skewed_responses(np.random.default_rng(0), (200, 3000))
    replicates = means(alone(200, seed=0, replicates=1000), values)
    found = np.array([interval(column) for column in replicates.T])
    covered = (found[:, 1] <= 0.4) & (found[:, 2] >= 0.4)
    assert 0.92 < covered.mean() < 0.97


def test_intervals_narrow_with_the_square_root_of_the_number_of_images():
    rng, widths = np.random.default_rng(1), []
    for n in (100, 400):
        replicates = means(alone(n, seed=0, replicates=2000), skewed_responses(rng, (n, 50)))
        found = np.array([interval(column) for column in replicates.T])
        widths.append((found[:, 2] - found[:, 1]).mean())
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)


def test_resampling_weights_are_drawings_with_replacement_after_the_sample_itself():
    weights = resampling_weights(50, seed=3, replicates=400)
    assert weights.shape == (401, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights[0] == 1).all()
    counts = weights[1:]
    assert (counts == counts.round()).all()
    # a count of draws is binomial with variance 1 - 1/n
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.05)


def test_resampling_weights_depend_on_the_seed_alone():
    assert (resampling_weights(20, seed=1, replicates=5) == resampling_weights(20, seed=1, replicates=5)).all()
    assert (resampling_weights(20, seed=1, replicates=5) != resampling_weights(20, seed=2, replicates=5)).any()
    assert len(resampling_weights(20, seed=1)) == 1 + statistics.REPLICATES


@pytest.mark.parametrize("blocks", [list(range(12)), [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4], [3, 1, 0, 2] * 3, [0] * 12])
def test_means_are_those_of_the_drawn_images_without_unscored_ones(blocks):
    rng, blocks = np.random.default_rng(4), np.array(blocks)
    values = rng.standard_normal((12, 3))
    values[[2, 5], 0] = np.nan
    drawn = resample(blocks, seed=5, replicates=50)
    for row, counts in zip(means(drawn, values), drawn.counts.astype(int), strict=True):
        images = np.repeat(values, counts[blocks], axis=0)
        np.testing.assert_allclose(row, np.nanmean(images, axis=0), rtol=1e-12)


def test_shares_of_images_do_not_depend_on_the_order_in_which_they_are_summed():
    rng = np.random.default_rng(6)
    correct = rng.integers(0, 2, (1000, 1)).astype(float)
    drawn, order = resample(resampling.along(1000, 10), seed=7, replicates=200), rng.permutation(1000)
    assert (means(drawn, correct) == means(drawn._replace(blocks=drawn.blocks[order]), correct[order])).all()


def test_nothing_scored_gives_no_number_rather_than_zero():
    found = means(alone(5, seed=0, replicates=20), np.full((5, 1), np.nan))
    assert np.isnan(found).all()
    assert all(np.isnan(part) for part in interval(found[:, 0]))


def test_intervals_are_those_of_each_statistic():
    rng = np.random.default_rng(2)
    replicates = rng.standard_normal((400, 6))
    replicates[3:9, 1], replicates[0, 2], replicates[:, 3], replicates[7, 4] = np.nan, np.nan, np.nan, np.inf
    np.testing.assert_equal(statistics.intervals(replicates.T), [interval(column) for column in replicates.T])


def test_interval_leaves_out_replicates_that_are_not_finite():
    replicates = np.concatenate([[0.5], np.linspace(0, 1, 101), [np.nan, np.inf, -np.inf]])
    assert interval(replicates) == pytest.approx((0.5, 0.025, 0.975))
    assert all(np.isnan(part) for part in interval(np.array([np.nan, 1.0, 2.0])))


def models(seed, means, *, images=150, replicates=400, noise=0.3):
    """Bootstrap replicates of models' means, images in common."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((images, 1))
    values = np.asarray(means) + noise * (shared + rng.standard_normal((images, len(means))))
    return resampling.means(alone(images, seed=seed, replicates=replicates), values)


def test_identical_models_share_all_ranks():
    one = models(0, [0.5])
    assert rank_intervals(np.repeat(one, 3, axis=1), units=150).tolist() == [[1, 3]] * 3


def test_well_separated_models_have_one_rank_each():
    assert rank_intervals(models(1, [0.0, 3.0, 1.0, 2.0]), units=150).tolist() == [[4, 4], [1, 1], [3, 3], [2, 2]]


def test_tied_models_share_ranks_below_a_better_and_above_a_worse_one():
    separated = models(2, [2.0, 1.0, 0.0])
    replicates = separated[:, [0, 1, 1, 2]]
    assert rank_intervals(replicates, units=150).tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]


def test_a_model_that_is_better_by_a_constant_is_significantly_better():
    one = models(3, [0.5])[:, 0]
    assert rank_intervals(np.stack([one, one + 0.25], axis=1), units=150).tolist() == [[2, 2], [1, 1]]


def test_a_single_model_has_the_first_rank():
    assert rank_intervals(models(4, [0.5]), units=150).tolist() == [[1, 1]]


def test_rank_intervals_hold_the_rank_by_estimate():
    for seed in range(20):
        replicates = models(seed, [0.0, 0.02, 0.05, 0.05, 0.1, 0.3])
        rank = (-replicates[0]).argsort().argsort() + 1
        low, high = rank_intervals(replicates, units=150).T
        assert ((low <= rank) & (rank <= high)).all()


def test_rank_intervals_follow_the_models_when_these_are_reordered():
    replicates = models(5, [0.0, 0.2, 0.05, 0.1])
    order = [2, 0, 3, 1]
    assert (rank_intervals(replicates[:, order], units=150) == rank_intervals(replicates, units=150)[order]).all()


@pytest.mark.parametrize(
    ("means", "least", "most"), [([0.0] * 5, 0.90, 0.98), ([0.0, 0.0, 0.06, 0.06, 0.2], 0.93, 1.0)]
)
def test_rank_intervals_hold_all_true_ranks_at_once_with_their_confidence(means, least, most):
    means = np.array(means)
    best, worst = 1 + (means > means[:, None]).sum(1), len(means) - (means < means[:, None]).sum(1)
    held = []
    for seed in range(300):
        low, high = rank_intervals(models(seed, means), units=150).T
        held.append(((low <= best) & (high >= worst)).all())
    assert least <= np.mean(held) <= most


@pytest.fixture(scope="module")
def path():
    return ridge.measure()


def anchored(path, index):
    """The repeats at one strength as replicates.

    Regression has no accuracy; the share of y's variance that is not excess risk takes its place, so that `drop` is
    the explained variance lost against the reference.
    """
    return Anchored(
        path.tangent_energy[:, index], np.sqrt(path.measured.on[:, index]), 1 - path.measured.excess[:, index]
    )


def bayes_anchor():
    """w*, of unit length and in the span."""
    return Anchored(np.ones(ridge.REPEATS), np.ones(ridge.REPEATS), np.ones(ridge.REPEATS))


def thresholds(**changed):
    return benchmarks.load("digits@1").thresholds.model_copy(update=changed)


def labels(path, chosen):
    """Regime of every strength and repeat, between the least regularised regression and w*."""
    entries = [anchored(path, index) for index in range(len(path.strengths))]
    return np.stack([classify(entry, entries[0], bayes_anchor(), chosen) for entry in entries])


def expected_regimes(path):
    """Where theory leaves no doubt: λ far below, far between or far above the variances off and on the manifold."""
    off, on = ridge.NOISE**2, ridge.VARIANCES
    return {
        WEAK: path.strengths < off / 5,
        ALIGNED: (path.strengths > 20 * off) & (path.strengths < on.min() / 3),
        EXCESSIVE: path.strengths > 3 * on.max(),
    }


# without the accuracy clause the labels are the same: here lost alignment and lost response go together
@pytest.mark.parametrize("drop", [0.15, 1e9])
def test_regimes_of_the_ridge_path_are_right_away_from_the_boundaries(path, drop):
    found = labels(path, thresholds(drop=drop))
    for regime, where in expected_regimes(path).items():
        assert where.sum() >= 4
        assert (found[where] == regime).mean(axis=1).min() >= 0.95


def test_regimes_of_the_ridge_path_come_in_order_in_every_repeat(path):
    assert (np.diff(labels(path, thresholds()), axis=0) >= 0).all()


def test_verdicts_along_the_ridge_path_are_named_in_order_with_boundaries_between(path):
    reference, seen = anchored(path, 0), []
    for index, strength in enumerate(path.strengths):
        verdict = judge(anchored(path, index), reference, bayes_anchor(), thresholds())
        assert sum(verdict.probabilities) == pytest.approx(1)
        if verdict.regime != BOUNDARY:
            assert max(verdict.probabilities) >= 0.9
            seen.append(verdict.regime)
        for regime, where in expected_regimes(path).items():
            if strength in path.strengths[where]:
                assert verdict.regime == REGIMES[regime]
    assert list(dict.fromkeys(seen)) == list(REGIMES)
    assert seen == sorted(seen, key=REGIMES.index)


def fixed(tangent_energy, on_response=1.0, accuracy=0.9, replicates=100):
    return Anchored(*(np.full(replicates, value) for value in (tangent_energy, on_response, accuracy)))


def test_accuracy_lost_against_the_reference_alone_makes_robustness_excessive():
    reference, bayes = fixed(0.2), fixed(0.9, accuracy=1.0)
    assert judge(fixed(0.9, accuracy=0.7), reference, bayes, thresholds()).regime == "excessive"
    assert judge(fixed(0.9, accuracy=0.8), reference, bayes, thresholds()).regime == "bayes-aligned"


@pytest.mark.parametrize(
    ("tangent_energy", "blur", "accuracy", "regime"),
    [
        (0.9, 1.0, 0.9, "bayes-aligned"),
        (0.9, 1.9, 0.9, "bayes-aligned"),
        (0.9, 2.1, 0.9, "excessive"),
        (0.3, 2.1, 0.9, "weak"),
        (0.3, 1.0, 0.9, "weak"),
        (0.3, 1.0, 0.7, "excessive"),
        (0.9, np.nan, 0.9, "bayes-aligned"),
    ],
)
def test_alignment_with_a_world_that_is_blurred_too_much_is_excessive(tangent_energy, blur, accuracy, regime):
    reference, bayes = fixed(0.2), fixed(0.9, accuracy=1.0)
    model = fixed(tangent_energy, on_response=0.01, accuracy=accuracy)._replace(blur=np.full(100, blur))
    chosen = thresholds(blur=2.0, retention=None)
    assert judge(model, reference, bayes, chosen).regime == regime
    assert judge(model._replace(blur=None), reference, bayes, thresholds(retention=None)).regime != "boundary"


def test_response_lost_against_the_bayes_classifier_alone_makes_robustness_excessive():
    reference, bayes = fixed(0.2, on_response=1.5), fixed(0.9)
    assert judge(fixed(0.9, on_response=0.45), reference, bayes, thresholds()).regime == "excessive"
    assert judge(fixed(0.9, on_response=0.55), reference, bayes, thresholds()).regime == "bayes-aligned"


def test_gain_is_measured_on_the_way_from_the_reference_to_the_bayes_classifier():
    reference, bayes = fixed(0.2), fixed(0.9)
    assert judge(fixed(0.50), reference, bayes, thresholds()).regime == "weak"
    assert judge(fixed(0.60), reference, bayes, thresholds()).regime == "bayes-aligned"
    assert judge(reference, reference, bayes, thresholds()).regime == "weak"
    assert judge(bayes, reference, bayes, thresholds()).regime == "bayes-aligned"


def test_divided_replicates_give_a_boundary():
    energy = np.where(np.arange(100) < 88, 0.9, 0.2)
    verdict = judge(fixed(0.5)._replace(tangent_energy=energy), fixed(0.2), fixed(0.9), thresholds())
    assert verdict.regime == BOUNDARY
    assert verdict.probabilities == pytest.approx((0.12, 0.88, 0.0))


@pytest.mark.parametrize("gap", [0.045, 0.0, -0.3])
def test_anchors_that_are_too_close_or_in_the_wrong_order_give_no_verdict(gap):
    assert judge(fixed(0.5), fixed(0.5), fixed(0.5 + gap), thresholds()) is None


def test_replicates_that_nothing_was_scored_in_do_not_make_a_model_bayes_aligned():
    verdict = judge(fixed(np.nan), fixed(0.2), fixed(0.9), thresholds())
    assert verdict is None or verdict.regime == BOUNDARY
