"""Responses and tangent energies agree with closed forms for linear, logistic and quadratic functions."""

import math
from itertools import pairwise

import pytest
import torch
from closed_forms import (
    central_differences,
    gaussian_classes,
    images_of,
    logistic_response,
    mean_projection,
    normal,
    orthonormal,
    quadratic_response,
    standard_error,
)
from scipy.stats import beta, kstest
from torch import nn

from pagbench import benchmarks, geometry
from pagbench.data import gaussians
from pagbench.data.gaussians import GaussiansCard
from pagbench.densities.gaussian_mixture import GaussianMixture
from pagbench.measures import sensitivity, tangent
from pagbench.measures.calibration import Temperature
from pagbench.measures.context import Batch, MeasureContext
from pagbench.measures.response import l1_change
from pagbench.models.classifier import Classifier
from pagbench.models.controls import BayesClassifier

SIGMA = 0.4
EPSILONS = (0.1, 0.3, 1.0, 3.0)


def batch_of(basis, count):
    return basis.expand(count, *basis.shape)


def log_odds(classifier, x):
    """Of the second of two classes."""
    logits = classifier(x)
    return logits[:, 1] - logits[:, 0]


def quadratic_classifier(d=8):
    """Bayes classifier of two Gaussian classes, a point, and gradient and Hessian of the quadratic log-odds there."""
    density = GaussianMixture(gaussian_classes(1, classes=2, d=d, rank=3, shared_span=False))
    classifier = Classifier(BayesClassifier(density, SIGMA))
    x = images_of(0.5 + 0.3 * normal(2, 1, d))
    gradient = geometry.log_odds_gradient(classifier, x, torch.tensor([1])).gradient.flatten()
    precision = density.precision(SIGMA)
    return classifier, x, gradient, precision[0] - precision[1]


def projectors(d=8, k=3):
    """A tangent basis that has nothing to do with the classes, and its projectors."""
    basis = orthonormal(3, d, k)
    tangent_part = basis @ basis.T
    return basis, tangent_part, torch.eye(d, dtype=torch.float64) - tangent_part


def test_log_odds_of_two_gaussian_classes_have_the_hessian_of_their_precisions():
    classifier, x, _, hessian = quadratic_classifier()

    def gradient(at):
        return geometry.log_odds_gradient(classifier, at, torch.tensor([1])).gradient.flatten(1)

    assert (central_differences(gradient, x)[0] - hessian).abs().max() < 1e-7


@pytest.mark.parametrize("space", ["all", "tangent", "normal"])
@pytest.mark.parametrize("std", [0.1, 0.8])
def test_squared_response_of_a_quadratic_function_is_its_closed_form(space, std):
    classifier, x, gradient, hessian = quadratic_classifier()
    basis, tangent_part, normal_part = projectors()
    noise = std * normal(4, 100_000, 8)
    inside = geometry.project(basis[None], noise.T[None])[0].T
    moved = {"all": noise, "tangent": inside, "normal": noise - inside}[space]
    projector = {"all": tangent_part + normal_part, "tangent": tangent_part, "normal": normal_part}[space]
    with torch.no_grad():
        squared = (log_odds(classifier, x + images_of(moved)) - log_odds(classifier, x)).square()
    expected = quadratic_response(gradient, hessian, projector, std)
    assert (squared.mean() - expected).abs() < 4 * standard_error(squared)


def relative_robustness(gradient, hessian, std):
    """rho1: squared response off the manifold over the squared response to isotropic noise."""
    _, tangent_part, normal_part = projectors()
    off = quadratic_response(gradient, hessian, normal_part, std)
    return off / quadratic_response(gradient, hessian, tangent_part + normal_part, std)


def test_relative_robustness_tends_to_the_off_manifold_energy_with_the_square_of_the_noise():
    _, x, gradient, hessian = quadratic_classifier()
    basis, _, _ = projectors()
    off_energy = 1 - geometry.tangent_energy(basis[None], gradient.reshape(x.shape))
    gaps = [relative_robustness(gradient, hessian, std) - off_energy for std in (0.02, 0.01, 0.005, 0.0025)]
    for wide, narrow in pairwise(gaps):
        assert float(wide / narrow) == pytest.approx(4.0, abs=0.1)


def test_relative_robustness_of_a_linear_function_is_its_off_manifold_energy_at_any_noise():
    basis, _, _ = projectors()
    gradient = normal(5, 8)
    off_energy = 1 - geometry.tangent_energy(basis[None], images_of(gradient[None]))
    for std in (0.01, 1.0, 100.0):
        rho = relative_robustness(gradient, torch.zeros(8, 8, dtype=torch.float64), std)
        assert float(rho) == pytest.approx(float(off_energy), abs=1e-12)


def test_directions_are_orthonormal_inside_and_outside_the_span():
    basis = torch.stack([orthonormal(seed, 24, 8) for seed in range(5)])
    steps = geometry.directions(basis, normal(9, 5, 24, 6))
    identity = torch.eye(6, dtype=torch.float64)
    for rows in steps:
        assert (rows @ rows.mT - identity).abs().max() < 1e-12
    assert (geometry.project(basis, steps.on.mT) - steps.on.mT).abs().max() < 1e-12
    assert (steps.off @ basis).abs().max() < 1e-12


def test_directions_depend_on_the_space_and_not_on_its_basis():
    basis = torch.stack([orthonormal(seed, 24, 8) for seed in range(5)])
    noise = normal(9, 5, 24, 6)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    for other in (basis @ orthonormal(10, 8, 8), basis[:, :, order], -basis):
        for found, expected in zip(geometry.directions(other, noise), geometry.directions(basis, noise), strict=True):
            assert (found - expected).abs().max() < 1e-10


def test_unit_directions_see_a_gradient_as_uniform_directions_of_their_space_do():
    d, k, m, count = 24, 6, 4, 20_000
    basis, gradient = orthonormal(11, d, k), normal(12, d)
    steps = geometry.directions(batch_of(basis, count), normal(13, count, d, m))
    inside = basis @ (basis.T @ gradient)
    for rows, part, size in ((steps.on, inside, k), (steps.off, gradient - inside, d - k)):
        slopes = rows @ gradient
        expected_square, expected_size = part.square().sum() / size, part.norm() * mean_projection(size)
        # row by row: orthonormalising must not make the first one different from the last
        assert ((slopes.square().mean(0) - expected_square).abs() < 4 * standard_error(slopes.square())).all()
        assert ((slopes.abs().mean(0) - expected_size).abs() < 4 * standard_error(slopes.abs())).all()
        assert (slopes.mean(0).abs() < 4 * standard_error(slopes)).all()


def test_as_many_directions_as_dimensions_hold_the_whole_projected_gradient():
    basis, gradient = orthonormal(14, 12, 6), normal(15, 12)
    steps = geometry.directions(basis[None], normal(16, 1, 12, 6))
    inside = basis @ (basis.T @ gradient)
    assert float((steps.on @ gradient).square().sum()) == pytest.approx(float(inside.square().sum()), rel=1e-12)
    outside = (gradient - inside).square().sum()
    assert float((steps.off @ gradient).square().sum()) == pytest.approx(float(outside), rel=1e-12)


def test_random_gradients_respond_alike_on_and_off_the_manifold():
    d, k, m, count = 24, 6, 4, 20_000
    steps = geometry.directions(batch_of(orthonormal(17, d, k), count), normal(18, count, d, m))
    gradient = normal(19, count, d, 1)
    on, off = ((rows @ gradient).square().mean(dim=(1, 2)) for rows in steps)
    assert (off - on).mean().abs() < 4 * standard_error(off - on)
    assert float(off.mean() / on.mean()) == pytest.approx(1, abs=0.03)


class LogisticNetwork(nn.Module):
    """Logits (0, w·x + b): softmax is the logistic function."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.register_buffer("weight", weight)
        self.bias = bias

    def forward(self, x):
        z = x.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(z), z], dim=1)


CARD = GaussiansCard(
    kind="gaussians", seed=3, count=4000, side=4, classes=2, rank=5, noise=0.2, spread=(0.3, 0.6), separation=0.3,
    off_span=0.25, shared_covariance=True,
)  # fmt: skip


def discriminant():
    """Linear discriminant of the card's classes, the span, its weight, its logit's class means and their deviation."""
    classes = gaussians.parameters(CARD)
    basis, v = classes.basis, classes.noise**2
    delta = classes.means[1] - classes.means[0]
    along = basis.T @ delta
    weight = basis @ (along / (classes.variances[0] + v)) + (delta - basis @ along) / v
    bias = -float(weight @ classes.means.mean(0))
    inside = basis.T @ weight
    variance = (classes.variances[0] * inside.square()).sum() + v * weight.square().sum()
    return (
        Classifier(LogisticNetwork(weight, bias)),
        basis,
        weight,
        classes.means @ weight + bias,
        float(variance.sqrt()),
    )


def responses(classifier, x, rows, epsilons=EPSILONS):
    """L1 response of every image, step length and direction."""
    return l1_change(geometry.moved_logits(classifier, x, rows, epsilons), classifier(x)[:, None, None])


def test_logistic_responses_agree_with_quadrature_on_and_off_the_manifold():
    classifier, basis, weight, means, std = discriminant()
    images, _ = gaussians.sample(CARD)
    steps = geometry.directions(batch_of(basis, len(images)), normal(20, len(images), 16, 4))
    inside = float((basis.T @ weight).norm())
    outside = float((weight - basis @ (basis.T @ weight)).norm())
    for rows, slope, size in ((steps.on, inside, 5), (steps.off, outside, 11)):
        measured = responses(classifier, images.double(), rows).mean(dim=2)
        for column, epsilon in zip(measured.T, EPSILONS, strict=True):
            expected = logistic_response(epsilon, slope, size, means, std)
            assert (column.mean() - expected).abs() < 4 * standard_error(column)
            assert standard_error(column) < 0.03 * expected


def test_logistic_response_grows_with_the_step_along_every_direction():
    classifier, basis, *_ = discriminant()
    images = gaussians.sample(CARD)[0][:200].double()
    steps = geometry.directions(batch_of(basis, 200), normal(21, 200, 16, 4))
    for rows in steps:
        assert (responses(classifier, images, rows).diff(dim=1) > 0).all()


def test_logistic_response_vanishes_along_a_manifold_that_the_weight_is_orthogonal_to():
    _, basis, weight, *_ = discriminant()
    outside = weight - basis @ (basis.T @ weight)
    classifier = Classifier(LogisticNetwork(outside))
    images = gaussians.sample(CARD)[0][:200].double()
    steps = geometry.directions(batch_of(basis, 200), normal(22, 200, 16, 4))
    assert responses(classifier, images, steps.on).max() < 1e-12
    assert responses(classifier, images, steps.off).mean() > 1e-2


def test_small_logistic_responses_are_linear_with_the_first_absolute_moment_of_a_coordinate():
    _, basis, weight, *_ = discriminant()
    slope = float((basis.T @ weight).norm())
    classifier = Classifier(LogisticNetwork(weight))
    x = torch.full((20_000, 1, 4, 4), 0.5, dtype=torch.float64)
    steps = geometry.directions(batch_of(basis, len(x)), normal(23, len(x), 16, 1))
    measured = responses(classifier, x, steps.on, (1e-4,))[:, 0, 0]
    probability = classifier(x[:1]).softmax(dim=1)[0, 1]
    expected = 2 * probability * (1 - probability) * 1e-4 * slope * mean_projection(5)
    assert (measured.mean() - expected).abs() < 4 * standard_error(measured)


def test_moved_logits_are_the_logits_at_the_moved_images_without_clipping():
    classifier, basis, *_ = discriminant()
    x = gaussians.sample(CARD)[0][:5].double()
    rows = geometry.directions(batch_of(basis, 5), normal(24, 5, 16, 3)).on
    moved = geometry.moved_logits(classifier, x, rows, (0.5, 50.0))
    assert moved.shape == (5, 2, 3, 2)
    expected = classifier((x[3] + 50.0 * rows[3, 1].reshape(1, 4, 4))[None])[0]
    torch.testing.assert_close(moved[3, 1, 1], expected, rtol=1e-12, atol=1e-12)


def test_l1_change_lies_between_zero_and_two_and_falls_with_the_temperature():
    logits = torch.tensor([[10.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    moved = torch.tensor([[0.0, 10.0, 0.0], [0.0, 0.0, 0.0]])
    cold, warm = l1_change(moved, logits), l1_change(moved, logits, temperature=10.0)
    assert cold[0] == pytest.approx(2, abs=1e-3)
    assert 0 < warm[0] < cold[0]
    assert cold[1] == warm[1] == 0


def observe(classifier, x, basis):
    """What a measure sees, with targets that sensitivity and tangent energy do not look at."""
    basis = batch_of(basis, len(x))
    steps = geometry.directions(basis, normal(25, len(x), basis.shape[1], 2))
    batch = Batch(
        images=x, labels=torch.zeros(len(x), dtype=torch.long), target=x, chance_target=x, basis=basis,
        chance_basis=basis, on=steps.on, off=steps.off,
    )  # fmt: skip
    return MeasureContext(classifier, batch, benchmarks.load("gaussians"), Temperature(1.0, 1.0, 1.0))


def smooth_network(d=12, classes=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(d, 16), nn.SiLU(), nn.Linear(16, classes)).double()
    return Classifier(network)


def test_sensitivities_are_the_projected_jacobians_norms():
    classifier, x, basis = smooth_network(), images_of(normal(26, 3, 12)), orthonormal(27, 12, 4)
    measured = sensitivity.measure(observe(classifier, x, basis))
    jacobian = central_differences(lambda at: classifier(at).softmax(dim=1), x)
    inside = jacobian @ basis
    outside = jacobian - inside @ basis.T
    on, off = (torch.linalg.matrix_norm(part) / size**0.5 for part, size in ((inside, 4), (outside, 8)))
    torch.testing.assert_close(measured["on_sensitivity"], on, rtol=1e-8, atol=0)
    torch.testing.assert_close(measured["off_sensitivity"], off, rtol=1e-8, atol=0)


@pytest.mark.parametrize("side", ["on", "off"])
def test_sensitivity_is_the_root_mean_square_response_per_small_step(side):
    classifier, basis, epsilon = smooth_network(), orthonormal(27, 12, 4), 1e-4
    x = images_of(normal(26, 1, 12)).expand(20_000, 1, 1, 12)
    rows = getattr(geometry.directions(batch_of(basis, len(x)), normal(28, len(x), 12, 1)), side)
    with torch.no_grad():
        moved = geometry.moved_logits(classifier, x, rows, (epsilon,))[:, 0, 0].softmax(dim=1)
        squared = (moved - classifier(x).softmax(dim=1)).square().sum(1) / epsilon**2
    expected = sensitivity.measure(observe(classifier, x[:1], basis))[f"{side}_sensitivity"] ** 2
    assert (squared.mean() - expected).abs() < 4 * standard_error(squared)


def test_tangent_energy_of_an_isotropic_gradient_follows_the_beta_law():
    d, k = 24, 6
    energy = geometry.tangent_energy(batch_of(orthonormal(29, d, k), 2000), images_of(normal(30, 2000, d)))
    assert kstest(energy.numpy(), beta(k / 2, (d - k) / 2).cdf).pvalue > 0.01
    assert ((energy >= 0) & (energy <= 1)).all()


def test_tangent_energy_is_one_inside_the_span_zero_outside_and_independent_of_scale():
    basis, gradient = orthonormal(31, 12, 4), normal(32, 10, 12)
    inside = gradient @ basis @ basis.T
    bases = batch_of(basis, 10)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        parts = images_of(inside.to(dtype)), images_of((gradient - inside).to(dtype))
        energy = [geometry.tangent_energy(bases.to(dtype), part) for part in parts]
        assert (energy[0] <= 1).all()
        assert (1 - energy[0]).max() < tolerance
        assert energy[1].max() < tolerance
    energy = geometry.tangent_energy(bases, images_of(gradient))
    torch.testing.assert_close(geometry.tangent_energy(bases, images_of(-1e6 * gradient)), energy, rtol=1e-12, atol=0)


def test_tangent_energy_of_a_vanishing_gradient_is_not_a_number():
    basis = batch_of(orthonormal(31, 12, 4), 2)
    energy = geometry.tangent_energy(basis, images_of(torch.stack([torch.zeros(12), torch.ones(12)]).double()))
    assert math.isnan(energy[0])
    assert 0 < energy[1] < 1


def test_tangent_measure_scores_a_known_gradient():
    weight, basis = normal(33, 12), orthonormal(31, 12, 4)
    measured = tangent.measure(observe(Classifier(LogisticNetwork(weight)), images_of(normal(34, 3, 12)), basis))
    assert measured["gradient_norm"].tolist() == pytest.approx([float(weight.norm())] * 3, rel=1e-12)
    expected = float((basis.T @ weight).square().sum() / weight.square().sum())
    assert measured["tangent_energy"].tolist() == pytest.approx([expected] * 3, rel=1e-12)


def test_projection_is_idempotent_self_adjoint_and_keeps_the_shape():
    basis, v = orthonormal(37, 12, 4)[None], normal(38, 1, 12, 3)
    once = geometry.project(basis, v)
    assert once.shape == v.shape
    assert (geometry.project(basis, once) - once).abs().max() < 1e-12
    other = normal(39, 1, 12, 3)
    assert float((once * other).sum() - (v * geometry.project(basis, other)).sum()) == pytest.approx(0, abs=1e-12)
    assert (geometry.project(basis, v[:, :, 0]) - once[:, :, 0]).abs().max() < 1e-12
