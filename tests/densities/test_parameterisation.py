"""Every way in which a diffusion network can be parameterised leads to the same clean image, noise and score."""

import math

import pytest
import torch
from closed_forms import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from pagbench.densities.scores import parameterisation as p

LEVELS = {
    "variance-exploding": p.variance_exploding,
    "variance-preserving": p.variance_preserving,
    "rectified-flow": p.rectified_flow,
}
sigmas = st.floats(min_value=0.01, max_value=100.0)
every_level = pytest.mark.parametrize("level_of", LEVELS.values(), ids=LEVELS.keys())
reproducible = settings(derandomize=True, deadline=None, max_examples=50)


def close(found, expected):
    """Equal to 1e-12 of the largest value involved."""
    return (found - expected).abs().max() < 1e-12 * max(1.0, float(expected.abs().max()))


def noisy(level):
    """A clean image, its noise and their mixture at a level."""
    clean, noise = normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4)
    return clean, noise, level.alpha * clean + level.spread * noise


@every_level
@given(sigma=sigmas)
@reproducible
def test_levels_have_the_noise_level_they_are_asked_for(level_of, sigma):
    assert level_of(sigma).sigma == pytest.approx(sigma, rel=1e-12)


@given(sigma=sigmas)
@reproducible
def test_levels_lie_on_the_paths_that_their_names_promise(sigma):
    preserving, flow = p.variance_preserving(sigma), p.rectified_flow(sigma)
    assert preserving.alpha**2 + preserving.spread**2 == pytest.approx(1, abs=1e-12)
    assert preserving.alpha**2 == pytest.approx(1 / (1 + sigma**2), rel=1e-12)
    assert flow.alpha + flow.spread == pytest.approx(1, abs=1e-12)
    assert p.variance_exploding(sigma).alpha == 1


@every_level
@given(sigma=sigmas)
@reproducible
def test_clean_image_and_noise_determine_each_other(level_of, sigma):
    level = level_of(sigma)
    clean, noise, x = noisy(level)
    assert close(p.clean_from_noise(x, noise, level), clean)
    assert close(p.noise_from_clean(x, clean, level), noise)
    assert close(p.noise_from_clean(x, p.clean_from_noise(x, noise, level), level), noise)


@given(sigma=sigmas)
@reproducible
def test_velocity_of_a_variance_preserving_path_gives_the_clean_image(sigma):
    level = p.variance_preserving(sigma)
    clean, noise, x = noisy(level)
    assert close(p.clean_from_velocity(x, level.alpha * noise - level.spread * clean, level), clean)


@given(sigma=sigmas)
@reproducible
def test_velocity_of_a_rectified_flow_gives_the_clean_image(sigma):
    level = p.rectified_flow(sigma)
    clean, noise, x = noisy(level)
    assert close(p.clean_from_flow(x, noise - clean, level), clean)


@every_level
@given(sigma=sigmas)
@reproducible
def test_scores_from_noise_and_from_the_clean_image_agree_at_every_level(level_of, sigma):
    level = level_of(sigma)
    clean, noise, x = noisy(level)
    from_noise = p.score_from_noise(noise, level.sigma)
    assert close(p.score_from_clean(x / level.alpha, clean, level.sigma), from_noise)


@every_level
@given(sigma=sigmas)
@reproducible
def test_score_of_a_level_is_the_data_score_up_to_its_scale(level_of, sigma):
    level, data_std = level_of(sigma), 0.7
    at_level = normal(2, 1, 1, 4, 4)
    network_score = -at_level / (level.alpha**2 * data_std**2 + level.spread**2)
    noise = -level.spread * network_score
    in_data_units = p.score_from_noise(noise, level.sigma)
    assert close(in_data_units, level.alpha * network_score)
    assert close(in_data_units, -(at_level / level.alpha) / (data_std**2 + sigma**2))


@pytest.mark.parametrize(("sigma", "step"), [(0.1, 26), (0.25, 73), (0.5, 144), (1.2, 293)])
def test_linear_schedule_has_the_known_step_for_a_noise_level(sigma, step):
    assert p.nearest_step(p.linear_schedule(), sigma) == step


def test_linear_schedule_starts_and_ends_at_the_published_noise_levels():
    levels = p.linear_schedule()
    assert len(levels) == 1000
    assert (levels.diff() > 0).all()
    assert levels[0] == pytest.approx(math.sqrt(1e-4 / (1 - 1e-4)), rel=1e-12)
    assert levels[-1] == pytest.approx(157.4, rel=1e-3)


@given(step=st.integers(min_value=0, max_value=999))
@reproducible
def test_a_noise_level_of_the_schedule_finds_its_own_step(step):
    levels = p.linear_schedule()
    assert p.nearest_step(levels, float(levels[step])) == step


def test_nearest_step_is_nearest_in_the_logarithm():
    assert p.nearest_step(torch.tensor([1.0, 4.0], dtype=torch.float64), 2.2) == 1


def gaussian_score(mean, covariance, x):
    x = x.clone().requires_grad_(True)
    (score,) = torch.autograd.grad(MultivariateNormal(mean, covariance).log_prob(x).sum(), x)
    return score


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.2])
def test_score_of_a_network_on_minus_one_to_one_is_doubled_in_unit_pixels(sigma):
    root, identity = normal(3, 5, 5), torch.eye(5, dtype=torch.float64)
    mean, covariance = 0.5 + 0.1 * normal(4, 5), 0.02 * root @ root.T
    x = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    wide = gaussian_score(2 * mean - 1, 4 * covariance + sigma**2 * identity, 2 * x - 1)
    score, pixel_sigma = p.to_unit_pixels(wide, sigma)
    assert pixel_sigma == sigma / 2
    assert close(score, gaussian_score(mean, covariance + pixel_sigma**2 * identity, x))


@given(sigma=sigmas, data_std=st.floats(min_value=0.1, max_value=2.0))
@reproducible
def test_preconditioned_network_sees_and_predicts_unit_variance(sigma, data_std):
    c = p.precondition(sigma, data_std)
    assert c.input**2 * (sigma**2 + data_std**2) == pytest.approx(1, rel=1e-12)
    residual = (1 - c.skip) ** 2 * data_std**2 + c.skip**2 * sigma**2
    assert residual / c.out**2 == pytest.approx(1, rel=1e-9)
    assert c.noise == pytest.approx(math.log(sigma) / 4, rel=1e-12)


@given(sigma=sigmas, data_std=st.floats(min_value=0.1, max_value=2.0))
@reproducible
def test_optimal_denoiser_of_gaussian_data_is_the_skip_connection_alone(sigma, data_std):
    x = normal(6, 2, 1, 4, 4)
    variance = torch.tensor(data_std**2 + sigma**2, dtype=torch.float64)
    score = gaussian_score(torch.zeros(1, dtype=torch.float64), variance.reshape(1, 1), x[..., None])[..., 0]
    skipped = p.precondition(sigma, data_std).skip * x
    assert (skipped - (x + sigma**2 * score)).abs().max() < 1e-12
    # the score divides that rounding error by the noise variance
    assert (p.score_from_clean(x, skipped, sigma) - score).abs().max() < 1e-14 / min(1, sigma) ** 2


def test_preconditioning_has_the_published_values_at_the_data_standard_deviation():
    c = p.precondition(0.5)
    assert c == pytest.approx((0.5, math.sqrt(0.125), math.sqrt(2), math.log(0.5) / 4), rel=1e-12)
