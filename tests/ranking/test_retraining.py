"""Variances between training seeds: closed forms, and how often intervals made of them cover."""

import numpy as np
import pytest
from scipy.special import polygamma, psi
from scipy.stats import t as student

from pagbench.ranking import retraining
from pagbench.ranking.retraining import SeedVariance, draws, scale_of


@pytest.mark.parametrize("x", [1e-3, 0.5, 1.0, 3.7, 9.99, 10.0, 250.0])
def test_functions_of_gamma_are_scipys(x):
    assert retraining.digamma(x) == pytest.approx(psi(x), rel=1e-9)
    assert retraining.trigamma(x) == pytest.approx(polygamma(1, x), rel=1e-9)
    assert retraining.inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-9)


@pytest.mark.parametrize(("freedom", "tolerance"), [(1, 1e-6), (1.5, 0.02), (4, 1e-4), (13, 1e-4), (80, 1e-4)])
def test_draws_are_quantiles_of_students_t_in_some_order(freedom, tolerance):
    drawn = draws(freedom, 999, seed=1, key="a")
    np.testing.assert_allclose(
        np.sort(drawn), student.ppf((np.arange(999) + 0.5) / 999, freedom), rtol=tolerance, atol=1e-9
    )
    assert not (np.sort(drawn) == drawn).all() and drawn.sum() == pytest.approx(0, abs=1e-6 * np.abs(drawn).sum())


def test_draws_depend_on_their_name_and_the_seed_alone():
    first = draws(5, 2000, seed=0, key="a")
    assert (first == draws(5, 2000, seed=0, key="a")).all()
    for other in (draws(5, 2000, seed=0, key="b"), draws(5, 2000, seed=1, key="a")):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


def test_equal_variances_are_pooled_and_have_all_degrees_of_freedom():
    """Less spread than chance alone would give: nothing tells the recipes apart."""
    known = SeedVariance.of([1.0, 1.0, 1.0, 1.0], [2, 2, 1, 3])
    assert known == (1.0, np.inf, 8)
    assert known.moderated(9.0, 2) == 1.0 and known.freedom_of(2) == known.freedom_of(0) == 8


def test_unequal_variances_are_shrunk_by_smyths_moments():
    variances, freedoms = [0.01, 0.3, 1.0, 4.0, 60.0, 0.002], [2, 1, 1, 2, 3, 1]
    known = SeedVariance.of(variances, freedoms)
    half = np.array(freedoms) / 2
    logs = np.log(np.maximum(variances, 1e-3 * np.dot(variances, freedoms) / sum(freedoms))) - psi(half) + np.log(half)
    assert polygamma(1, known.prior_freedom / 2) == pytest.approx(logs.var(ddof=1) - polygamma(1, half).mean())
    half0 = known.prior_freedom / 2
    assert np.log(known.prior) == pytest.approx(logs.mean() + psi(half0) - np.log(half0))
    d0 = known.prior_freedom
    assert known.moderated(4.0, 2) == pytest.approx((d0 * known.prior + 2 * 4.0) / (d0 + 2))
    assert known.moderated(float("nan"), 0) == known.prior
    assert known.freedom_of(2) == pytest.approx(min(d0 + 2, sum(freedoms)))


@pytest.mark.parametrize(
    ("variances", "freedoms", "expected"),
    [
        ([], [], None),
        ([float("nan")], [1], None),
        ([2.0], [1], (2.0, np.inf, 1)),
        ([2.0, float("nan")], [1, 5], (2.0, np.inf, 1)),
        ([0.0, 0.0], [1, 2], (0.0, np.inf, 3)),
    ],
)
def test_few_recipes(variances, freedoms, expected):
    assert SeedVariance.of(variances, freedoms) == expected


def test_agreeing_seeds_do_not_make_the_prior_worthless():
    """Shares of images agree now and then: a variance of 0 is a small one, not one of no size at all."""
    assert SeedVariance.of([0.0, 1.0, 0.8, 1.3, 0.4, 2.0], [1] * 6).prior_freedom > 1


def coverage(rng, counts, sd_of, boards=400):
    """How often intervals of the mean over so many networks cover its expectation, by the number of networks."""
    hits = {count: [] for count in set(counts)}
    for _ in range(boards):
        values = [rng.normal(0, sd_of(rng), count) for count in counts]
        several = [v for v in values if len(v) > 1]
        known = SeedVariance.of([v.var(ddof=1) for v in several], [len(v) - 1 for v in several])
        quantile = {count: student.ppf(0.975, known.freedom_of(count - 1)) for count in hits}
        for found in values:
            own = found.var(ddof=1) if len(found) > 1 else np.nan
            half = quantile[len(found)] * np.sqrt(known.moderated(own, len(found) - 1) / len(found))
            hits[len(found)].append(abs(found.mean()) <= half)
    return {count: np.mean(hit) for count, hit in hits.items()}


@pytest.mark.parametrize(
    "sd_of",
    [
        lambda rng: 1.0,
        lambda rng: np.sqrt(6 / rng.chisquare(6)),
        lambda rng: rng.uniform(0.5, 1.5),
    ],
    ids=["equal", "inverse chi-square", "uniform"],
)
def test_intervals_cover_as_often_as_they_say(sd_of):
    """Forty recipes with one to three networks, whose seeds vary more in some than in others."""
    found = coverage(np.random.default_rng(0), [1] * 14 + [2] * 13 + [3] * 13, sd_of)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.parametrize(
    ("statistic", "values"),
    [
        ("accuracy", [0.0, 0.3, 1.0]),
        ("tangent_energy", [0.01, 0.5, 0.99]),
        ("on_response_0.72", [1e-4, 0.2, 1.9]),
        ("off_sensitivity", [1e-6, 3.0]),
        ("alignment_cosine_corrected", [-0.4, 0.0, 0.9]),
        ("log_ratio", [-2.0, 1.0]),
        ("alignment_peak", [0.1]),
    ],
)
def test_scales_go_there_and_back(statistic, values):
    scale = scale_of(statistic)
    np.testing.assert_allclose(scale.back(scale.of(np.array(values))), values, atol=1e-12)
    for value in values:
        if 0 < value < 1:
            step = 1e-6
            slope = (
                np.diff(scale.of(np.array([value - step / 2, value + step / 2])) if value > step else [0, 0])[0] / step
            )
            assert value <= step or scale.slope(value) == pytest.approx(slope, rel=1e-3)


def test_a_share_stays_one_however_far_a_seed_moves_it():
    scale = scale_of("accuracy")
    moved = scale.back(scale.of(np.array([0.0, 0.02, 0.98, 1.0])) + np.array([[-9.0], [9.0]]))
    assert moved.min() == 0 and moved.max() == pytest.approx(1)
    assert np.isnan(scale_of("on_response").of(np.array([0.0]))).all()
