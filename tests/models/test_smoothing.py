"""Randomised smoothing agrees with the closed form of a probit network, its gradient with the mean of gradients."""

import math

import pytest
import torch
from closed_forms import images_of, normal, standard_error
from torch import nn

from pagbench.models.smoothing import SmoothedNetwork

SIGMA = 0.5
DIMENSION = 30


class ProbitNetwork(nn.Module):
    """Log-probabilities (log(1 - Φ(z)), log Φ(z)) with z = w·x."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x):
        z = x.flatten(1) @ self.weight
        return torch.stack([torch.special.log_ndtr(-z), torch.special.log_ndtr(z)], dim=1)


def probit(scale=1.0):
    weight = normal(0, DIMENSION)
    return ProbitNetwork(scale * weight / weight.norm())


def smoothed(network, *, samples, seed=0, sigma=SIGMA, d=DIMENSION):
    return SmoothedNetwork(network, (1, 1, d), sigma=sigma, samples=samples, seed=seed)


def smooth_network(d=6, classes=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(d, 16), nn.SiLU(), nn.Linear(16, classes)).double()


def probability_gradient(network, x, label=1):
    """Of the probability of one class."""
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(x).softmax(dim=1)[:, label].sum(), x)
    return gradient


def pairs(values, x):
    """Means over antithetic pairs, which are independent of each other: noise comes as all +n, then all -n."""
    return values.unflatten(0, (len(x), 2, -1)).mean(dim=1)


def density(z):
    """Standard normal density."""
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def probit_gradient(network, x):
    """Closed form φ(z/c) w/c, c = √(1 + sigma² ‖w‖²)."""
    slope = math.sqrt(1 + SIGMA**2 * float(network.weight.square().sum()))
    return density(x.flatten(1) @ network.weight / slope)[:, None] * network.weight / slope


def test_noise_comes_in_antithetic_pairs_of_the_asked_standard_deviation():
    noise = smoothed(probit(), samples=2000).noise
    first, second = noise.chunk(2)
    assert torch.equal(first, -second)
    # the standard error of a standard deviation of n normal values is 1/√(2n) of it
    assert float(first.std()) == pytest.approx(SIGMA, rel=4 / math.sqrt(2 * first.numel()))


def test_an_antisymmetric_network_stays_undecided_at_its_centre():
    at_centre = smoothed(probit(), samples=2)(torch.zeros(1, 1, 1, DIMENSION, dtype=torch.float64))
    assert (at_centre.exp() - 0.5).abs().max() < 1e-12


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_smoothed_probit_probability_is_a_probit_of_a_shallower_slope(scale):
    network, x = probit(scale), images_of(normal(1, 4, DIMENSION))
    model = smoothed(network, samples=20_000)
    z, slope = x.flatten(1) @ network.weight, math.sqrt(1 + SIGMA**2 * scale**2)
    draws = torch.special.ndtr((z[:, None] + model.noise.double().flatten(1) @ network.weight).flatten())
    error = standard_error(pairs(draws, x), dim=1)
    assert ((model(x).exp()[:, 1] - torch.special.ndtr(z / slope)).abs() < 4 * error).all()
    assert error.max() < 3e-3


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_smoothed_probit_gradient_is_its_closed_form(scale):
    network, x = probit(scale), images_of(normal(1, 4, DIMENSION))
    model = smoothed(network, samples=20_000)
    z = x.flatten(1) @ network.weight
    slopes = density((z[:, None] + model.noise.double().flatten(1) @ network.weight).flatten())
    error = standard_error(pairs(slopes, x), dim=1) * scale
    gap = (probability_gradient(model, x).flatten(1) - probit_gradient(network, x)).norm(dim=1)
    assert (gap < 4 * error).all()
    assert error.max() < 5e-3


def test_smoothed_output_is_the_logarithm_of_mean_probabilities():
    network, x = smooth_network(), images_of(normal(2, 4, 6))
    model = smoothed(network, samples=50, d=6)
    expected = torch.stack([network(x + draw).softmax(dim=1) for draw in model.noise]).mean(0)
    torch.testing.assert_close(model(x).exp(), expected, rtol=1e-12, atol=0)
    assert (model(x).exp().sum(1) - 1).abs().max() < 1e-12


def test_gradient_of_the_smoothed_network_is_the_mean_of_gradients():
    network, x = smooth_network(), images_of(normal(2, 4, 6))
    model = smoothed(network, samples=50, d=6)
    expected = torch.stack([probability_gradient(network, x + draw) for draw in model.noise]).mean(0)
    assert (probability_gradient(model, x) - expected).abs().max() < 1e-12
    at = x.clone().requires_grad_(True)
    (of_logarithm,) = torch.autograd.grad(model(at)[:, 1].sum(), at)
    probability = model(x).exp()[:, 1, None, None, None]
    assert (of_logarithm - expected / probability).abs().max() < 1e-12


def test_smoothed_output_stays_finite_where_probabilities_underflow():
    network, x = probit(200.0), images_of(normal(1, 4, DIMENSION))
    log_probabilities = smoothed(network, samples=16, sigma=1e-3)(100 * x)
    assert log_probabilities.isfinite().all()
    assert log_probabilities.min() < -1000


def stein(network, x, noise, *, antithetic):
    """E[p(x + n) n]/sigma² over the noise, or over its antithetic pairs."""

    def probability(at):
        return network(at).softmax(dim=1)[:, 1]

    change = probability(x + noise) - probability(x - noise) if antithetic else 2 * probability(x + noise)
    return (change[:, None] * noise.flatten(1) / (2 * SIGMA**2)).mean(0)


def relative_errors(repeats=60, samples=2000):
    """Root mean square error of three estimates of the smoothed probit gradient with equally many evaluations."""
    network, x = probit(), images_of(normal(3, 1, DIMENSION))
    exact = probit_gradient(network, x)[0]
    found = {"mean of gradients": [], "antithetic Stein": [], "Stein": []}
    for seed in range(repeats):
        model = smoothed(network, samples=samples, seed=seed)
        half = model.noise[: samples // 2].double()
        found["mean of gradients"].append(probability_gradient(model, x)[0].flatten())
        found["antithetic Stein"].append(stein(network, x, half, antithetic=True))
        independent = SIGMA * images_of(normal(1000 + seed, samples, DIMENSION))
        found["Stein"].append(stein(network, x, independent, antithetic=False))
    return {name: torch.stack(rows) - exact for name, rows in found.items()}, exact.norm()


def test_gradient_of_the_smoothed_network_has_a_smaller_error_than_steins_estimators():
    errors, length = relative_errors()
    size = {name: float(rows.square().sum(1).mean().sqrt() / length) for name, rows in errors.items()}
    assert size["mean of gradients"] < 0.2 * size["antithetic Stein"]
    assert size["antithetic Stein"] < 0.8 * size["Stein"]
    # the law for a linear function, (d + 1)/pairs; the probit is nearly linear at this noise
    assert size["antithetic Stein"] == pytest.approx(math.sqrt((DIMENSION + 1) / 1000), rel=0.1)


def test_steins_estimators_agree_with_the_smoothed_gradient():
    errors, _ = relative_errors()
    for name in ("antithetic Stein", "Stein"):
        # squared and over their standard errors, 30 mean errors have a law close to chi-square: mean 30, deviation √60
        squares = (errors[name].mean(0) / standard_error(errors[name])).square().sum()
        assert squares < DIMENSION + 4 * math.sqrt(2 * DIMENSION)


def test_two_calls_and_two_networks_of_one_seed_agree_bit_by_bit():
    network, x = smooth_network(), images_of(normal(2, 4, 6))
    model = smoothed(network, samples=20, seed=3, d=6)
    assert torch.equal(model(x), model(x))
    assert torch.equal(model(x), smoothed(network, samples=20, seed=3, d=6)(x))
    assert not torch.equal(model(x), smoothed(network, samples=20, seed=4, d=6)(x))


def test_drawing_the_noise_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    smoothed(smooth_network(), samples=20, d=6)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_images_output_and_gradient_do_not_depend_on_its_batch():
    x = images_of(normal(2, 4, 6))
    model = smoothed(smooth_network(), samples=20, d=6)
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(alone, model(x), rtol=0, atol=1e-12)
    gradients = torch.cat([probability_gradient(model, image[None]) for image in x])
    torch.testing.assert_close(gradients, probability_gradient(model, x), rtol=0, atol=1e-12)


def test_noise_that_vanishes_leaves_the_network_as_it_is():
    network, x = smooth_network(), images_of(normal(2, 4, 6))
    model = smoothed(network, samples=4, sigma=1e-9, d=6)
    assert (model(x) - network(x).log_softmax(dim=1)).abs().max() < 1e-7
