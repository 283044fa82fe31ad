"""Scores in closed form: the density is right, the score is its gradient, the denoiser its posterior mean."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from closed_forms import (
    central_differences,
    covariances,
    gaussian_classes,
    images_of,
    mixture_parameters,
    normal,
    orthonormal,
)
from scipy.stats import multivariate_normal

from pagbench import benchmarks, geometry
from pagbench.data import gaussians
from pagbench.data.gaussians import GaussianClasses
from pagbench.data.sphere import SphereClasses
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.gaussian_mixture import GaussianMixture, LinearSpan
from pagbench.densities.mixture import MixtureDensity
from pagbench.densities.posterior import PosteriorCovariance
from pagbench.densities.von_mises_fisher import Sphere, VonMisesFisherMixture
from pagbench.measures.response import l1_change
from pagbench.models.controls import BayesClassifier

SIGMA = 0.4


def sphere_classes(seed=0, *, d=12, p=5, radius=2.0, concentration=4.0, classes=3):
    directions = normal(seed + 1, classes, p)
    directions /= directions.norm(dim=1, keepdim=True)
    return SphereClasses(0.5, orthonormal(seed, d, p), directions, radius, concentration)


def sphere_points(classes, seed, count):
    """Points all over the sphere, as images."""
    units = normal(seed, count, classes.frame.shape[1])
    units /= units.norm(dim=1, keepdim=True)
    return images_of(classes.centre + classes.radius * units @ classes.frame.T)


def empirical(seed=0, *, count=24, d=6, classes=3):
    return EmpiricalDensity(images_of(normal(seed, count, d)), torch.arange(count) % classes, classes=classes)


def densities():
    return {
        "gaussian": (GaussianMixture(gaussian_classes(0)), images_of(0.5 + normal(9, 5, 12))),
        "empirical": (empirical(), images_of(normal(9, 5, 6))),
        "mixture": (MixtureDensity(mixture_parameters(0)), images_of(0.5 + normal(9, 5, 12))),
        "von-mises-fisher": (VonMisesFisherMixture(sphere_classes()), images_of(0.5 + normal(9, 5, 12))),
    }


every_density = pytest.mark.parametrize("name", ["gaussian", "empirical", "mixture", "von-mises-fisher"])


@pytest.mark.parametrize("strength", [1e-3, 0.1, 3.0])
def test_ridge_gives_the_bayes_classifier_of_data_that_are_blurred_by_the_root_of_its_strength(strength):
    """(S + strength I)^-1 (mu_1 - mu_0), for linear least squares: sigma* of that family is known in closed form."""
    classes = gaussian_classes(3, classes=2)
    classes = replace(classes, variances=classes.variances[:1].expand(2, -1))
    density, delta = GaussianMixture(classes), classes.means[1] - classes.means[0]
    covariance = covariances(classes, 0.0)[0]
    ridge = torch.linalg.solve(covariance + strength * torch.eye(12, dtype=torch.float64), delta)
    x, label = images_of(normal(0, 1, 12)), torch.tensor([1])
    sigmas = [strength**0.5 * factor for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
    cosines = [geometry.cosine(density.log_odds_gradient(x, s, label), ridge[None, None, None]) for s in sigmas]
    assert cosines[2].item() == pytest.approx(1, abs=1e-12)
    assert max(range(5), key=lambda index: cosines[index].item()) == 2


@every_density
def test_class_scores_are_the_gradients_of_the_log_density(name):
    density, x = densities()[name]
    differences = central_differences(lambda at: density.log_joint(at, SIGMA), x)
    assert (density.class_scores(x, SIGMA).flatten(2) - differences).abs().max() < 1e-7


@every_density
def test_marginal_score_is_the_gradient_of_the_log_density_of_all_classes(name):
    density, x = densities()[name]
    differences = central_differences(lambda at: density.log_joint(at, SIGMA).logsumexp(dim=1), x)
    assert (density.score(x, SIGMA).flatten(1) - differences).abs().max() < 1e-7


@every_density
def test_autograd_of_the_log_density_gives_the_score(name):
    density, x = densities()[name]
    x = x.clone().requires_grad_(True)
    joint = density.log_joint(x, SIGMA)
    for label in range(joint.shape[1]):
        (gradient,) = torch.autograd.grad(joint[:, label].sum(), x, retain_graph=True)
        torch.testing.assert_close(gradient, density.class_scores(x, SIGMA)[:, label].detach(), rtol=0, atol=1e-11)
    (gradient,) = torch.autograd.grad(joint.logsumexp(dim=1).sum(), x)
    torch.testing.assert_close(gradient, density.score(x, SIGMA).detach(), rtol=0, atol=1e-11)


@every_density
def test_denoiser_jacobian_is_the_posterior_covariance_over_the_noise_variance(name):
    density, x = densities()[name]
    jacobian = central_differences(lambda at: density.denoise(at, SIGMA).flatten(1), x)
    covariance = density.posterior_covariance(x, SIGMA)
    assert (jacobian - covariance / SIGMA**2).abs().max() < 1e-7
    assert (covariance - covariance.mT).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(covariance).min() > -1e-12


@every_density
def test_second_derivatives_by_autograd_are_those_of_the_posterior_covariance(name):
    density, x = densities()[name]

    def log_density(at):
        return density.log_joint(at, SIGMA).logsumexp(dim=1).sum()

    identity = torch.eye(x[0].numel(), dtype=torch.float64)
    hessians = [torch.autograd.functional.hessian(log_density, image[None]) for image in x]
    found = torch.stack(hessians).reshape(len(x), *identity.shape)
    expected = (density.posterior_covariance(x, SIGMA) / SIGMA**2 - identity) / SIGMA**2
    assert (found - expected).abs().max() < 1e-9


@every_density
def test_conditional_scores_follow_the_labels_image_by_image(name):
    density, x = densities()[name]
    labels = torch.tensor([2, 0, 1, 1, 2])
    expected = torch.stack([density.class_scores(x, SIGMA)[i, label] for i, label in enumerate(labels)])
    torch.testing.assert_close(density.score(x, SIGMA, labels), expected, rtol=0, atol=0)


@every_density
def test_an_images_score_does_not_depend_on_its_batch(name):
    density, x = densities()[name]
    alone = torch.cat([density.score(image[None], SIGMA) for image in x])
    torch.testing.assert_close(alone, density.score(x, SIGMA), rtol=0, atol=1e-11)


def test_gaussian_log_density_is_scipys():
    classes = gaussian_classes(3, shared_span=False)
    x = images_of(0.5 + normal(4, 6, 12))
    joint = GaussianMixture(classes).log_joint(x, SIGMA)
    for label, (mean, covariance) in enumerate(zip(classes.means, covariances(classes, SIGMA), strict=True)):
        expected = multivariate_normal(mean, covariance).logpdf(x.flatten(1)) - math.log(3)
        np.testing.assert_allclose(joint[:, label], expected, atol=1e-10, rtol=0)


def test_gaussian_hessian_is_the_derivative_of_the_score():
    density = GaussianMixture(gaussian_classes(5, shared_span=False))
    x = images_of(0.5 + normal(6, 4, 12))
    differences = central_differences(lambda at: density.score(at, SIGMA).flatten(1), x)
    assert (density.hessian(x, SIGMA) - differences).abs().max() < 1e-7


def test_gaussian_denoiser_agrees_with_conditioning_the_joint_gaussian():
    classes = gaussian_classes(7, shared_span=False)
    density, x = GaussianMixture(classes), 0.5 + normal(8, 6, 12)
    clean, blurred = covariances(classes), covariances(classes, SIGMA)
    gain = clean @ torch.linalg.inv(blurred)
    by_class = classes.means + torch.einsum("cde,bce->bcd", gain, x[:, None] - classes.means)
    spread = clean - gain @ clean
    weights = density.posterior(images_of(x), SIGMA)
    mean = torch.einsum("bc,bcd->bd", weights, by_class)
    second = spread + by_class[..., None] * by_class[..., None, :]
    covariance = torch.einsum("bc,bcde->bde", weights, second) - mean[..., None] * mean[:, None]
    for label in range(3):
        found = density.denoise(images_of(x), SIGMA, torch.full((6,), label)).flatten(1)
        assert (found - by_class[:, label]).abs().max() < 1e-12
    assert (density.denoise(images_of(x), SIGMA).flatten(1) - mean).abs().max() < 1e-12
    assert (density.posterior_covariance(images_of(x), SIGMA) - covariance).abs().max() < 1e-12


def sphere_quadrature(classes, x, sigma, nodes=80):
    """log p_sigma(x|c) and E[x0|x, c] on a two-sphere: Gauss-Legendre in height, trapezoid rule in longitude."""
    height, mass = np.polynomial.legendre.leggauss(nodes)
    angle = 2 * np.pi * np.arange(2 * nodes) / (2 * nodes)
    across = np.sqrt(1 - height**2)[:, None]
    grid = [across * np.cos(angle), across * np.sin(angle), np.repeat(height[:, None], 2 * nodes, axis=1)]
    units = torch.from_numpy(np.stack(grid, axis=-1).reshape(-1, 3))
    area = torch.from_numpy(np.repeat(mass * 2 * np.pi / (2 * nodes), 2 * nodes))
    kappa, d = classes.concentration, len(classes.frame)
    surface = classes.centre + classes.radius * units @ classes.frame.T
    prior = kappa * classes.directions @ units.T + math.log(kappa / (4 * math.pi * math.sinh(kappa)))
    likelihood = -(torch.cdist(x, surface) ** 2) / (2 * sigma**2) - d / 2 * math.log(2 * math.pi * sigma**2)
    terms = prior + likelihood[:, None] + area.log()
    return terms.logsumexp(dim=2), terms.softmax(dim=2) @ surface


def test_von_mises_fisher_density_and_denoiser_are_integrals_over_the_sphere():
    classes = sphere_classes(p=3, d=5)
    density, x = VonMisesFisherMixture(classes), 0.5 + normal(2, 4, 5)
    log_density, mean = sphere_quadrature(classes, x, SIGMA)
    assert (density.log_joint(images_of(x), SIGMA) + math.log(3) - log_density).abs().max() < 1e-10
    found = x[:, None] + SIGMA**2 * density.class_scores(images_of(x), SIGMA).flatten(2)
    assert (found - mean).abs().max() < 1e-10


def test_von_mises_fisher_on_the_two_sphere_agrees_with_hyperbolic_functions():
    classes = sphere_classes(p=3, d=5)
    x = normal(2, 4, 5)
    q = classes.concentration * classes.directions + (classes.radius / SIGMA**2 * x @ classes.frame)[:, None]
    k = q.norm(dim=2, keepdim=True)
    squared = (x.square().sum(1, keepdim=True) + classes.radius**2) / (2 * SIGMA**2)
    log_sinh = k[..., 0] + torch.log1p(-torch.exp(-2 * k[..., 0])) - math.log(2)
    normaliser = math.log(classes.concentration / (4 * math.pi * math.sinh(classes.concentration)))
    log_density = normaliser - (k[..., 0] / (4 * math.pi)).log() + log_sinh - squared
    log_density = log_density - 2.5 * math.log(2 * math.pi * SIGMA**2)
    mean = classes.radius * (1 / torch.tanh(k) - 1 / k) * q / k @ classes.frame.T
    density, at = VonMisesFisherMixture(classes), images_of(classes.centre + x)
    assert (density.log_joint(at, SIGMA) + math.log(3) - log_density).abs().max() < 1e-10
    assert (density.class_scores(at, SIGMA).flatten(2) - (mean - x[:, None]) / SIGMA**2).abs().max() < 1e-10


def test_bayes_gradient_on_the_sphere_leaves_it_with_the_square_of_the_noise():
    classes = sphere_classes()
    density, x = VonMisesFisherMixture(classes), sphere_points(classes, 3, 50)
    basis = Sphere(classes).tangent_basis(x)
    sigmas, fractions = [0.4, 0.2, 0.1, 0.05], []
    for sigma in sigmas:
        target = density.score(x, sigma, torch.zeros(50, dtype=torch.long)) - density.score(x, sigma)
        fractions.append((1 - geometry.tangent_energy(basis, target)).sqrt().mean())
    slope = np.polyfit(np.log(sigmas), np.log(fractions), 1)[0]
    assert slope == pytest.approx(2, abs=0.15)


def test_class_score_on_the_sphere_is_not_tangent_while_the_bayes_gradient_is():
    classes = sphere_classes()
    density, x = VonMisesFisherMixture(classes), sphere_points(classes, 3, 50)
    basis, label = Sphere(classes).tangent_basis(x), torch.zeros(50, dtype=torch.long)
    conditional = density.score(x, 0.1, label)
    assert (1 - geometry.tangent_energy(basis, conditional)).mean() > 0.05
    assert (1 - geometry.tangent_energy(basis, conditional - density.score(x, 0.1))).max() < 1e-3


def test_bayes_gradient_on_the_sphere_tends_to_the_tangential_difference_of_the_mean_directions():
    classes = sphere_classes(classes=2)
    density, x = VonMisesFisherMixture(classes), sphere_points(classes, 3, 20)
    scores = density.class_scores(x, 0.01)
    gradient = (scores[:, 1] - scores[:, 0]).flatten(1)
    difference = classes.frame @ (classes.directions[1] - classes.directions[0])
    limit = classes.concentration / classes.radius * difference.expand(20, -1)
    expected = geometry.project(Sphere(classes).tangent_basis(x), limit)
    assert (gradient - expected).norm(dim=1).max() < 1e-2 * expected.norm(dim=1).mean()


def test_posterior_covariance_finds_the_spheres_tangent_space():
    classes = sphere_classes(radius=2.0)
    clean = sphere_points(classes, 3, 50)
    x = clean + 0.2 * normal(4, *clean.shape)
    estimated = PosteriorCovariance(VonMisesFisherMixture(classes), 0.2, rank=4).tangent_basis(x)
    cosines = torch.linalg.svdvals(estimated.mT @ Sphere(classes).tangent_basis(x))
    assert cosines.min() > 0.99


def test_empirical_score_points_to_the_nearest_neighbour_of_the_class_for_small_noise():
    images, labels = images_of(normal(0, 24, 6)), torch.arange(24) % 3
    density, x = EmpiricalDensity(images, labels, classes=3), images_of(normal(9, 5, 6))
    for label in range(3):
        own = images[labels == label]
        nearest = own[torch.cdist(x.flatten(1), own.flatten(1)).argmin(dim=1)]
        pull = 0.02**2 * density.score(x, 0.02, torch.full((5,), label))
        assert (pull - (nearest - x)).abs().max() < 1e-12


def test_empirical_score_points_to_the_class_mean_for_large_noise():
    images, labels = images_of(normal(0, 24, 6)), torch.arange(24) % 3
    density, x = EmpiricalDensity(images, labels, classes=3), images_of(normal(9, 5, 6))
    for label in range(3):
        pull = 1e4**2 * density.score(x, 1e4, torch.full((5,), label))
        assert (pull - (images[labels == label].mean(0) - x)).abs().max() < 1e-6


def test_empirical_classes_weigh_as_in_the_training_set():
    labels = torch.tensor([0, 0, 0, 1])
    density = EmpiricalDensity(images_of(normal(0, 4, 6)), labels, classes=2)
    posterior = density.posterior(images_of(normal(1, 2, 6)), 1e4)
    torch.testing.assert_close(posterior, torch.tensor([[0.75, 0.25]] * 2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_empirical_density_refuses_a_class_without_images():
    with pytest.raises(ValueError, match="class 1 has no training image"):
        EmpiricalDensity(images_of(normal(0, 4, 6)), torch.tensor([0, 0, 2, 2]), classes=3)


def log_odds_gradient(density, sigma, x, labels):
    """Of the Bayes classifier, in float64."""
    return geometry.log_odds_gradient(BayesClassifier(density, sigma), x, labels).gradient


def off_span_fraction(basis, gradient):
    flat = gradient.flatten(1)
    expanded = basis.expand(len(flat), *basis.shape)
    return (flat - geometry.project(expanded, flat)).norm(dim=1) / flat.norm(dim=1)


@pytest.mark.parametrize("shared_covariance", [True, False])
def test_bayes_gradient_stays_in_the_shared_span_at_any_point(shared_covariance):
    classes = gaussian_classes(11)
    if shared_covariance:
        classes.variances[:] = classes.variances[0]
    x = images_of(10 * normal(12, 40, 12))
    gradient = log_odds_gradient(GaussianMixture(classes), SIGMA, x, torch.arange(40) % 3)
    assert off_span_fraction(classes.basis, gradient).max() < 1e-10


def test_bayes_gradient_stays_in_the_span_of_the_published_benchmark():
    benchmark = benchmarks.load("gaussians")
    classes = gaussians.parameters(benchmark.dataset)
    x = torch.rand(40, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient = log_odds_gradient(GaussianMixture(classes), benchmark.sigma, x, torch.arange(40) % 4)
    assert off_span_fraction(classes.basis, gradient).max() < 1e-10


def published_off_span():
    benchmark = benchmarks.load("gaussians-off-span")
    return gaussians.parameters(benchmark.dataset), benchmark.sigma


def random_off_span():
    classes = gaussian_classes(13, classes=2, shared_span=False)
    classes.variances[:] = classes.variances[0]
    return classes, SIGMA


@pytest.mark.parametrize("build", [random_off_span, published_off_span])
def test_offset_off_the_span_gives_the_bayes_gradient_of_linear_discriminant_analysis(build):
    classes, sigma = build()
    v = classes.noise**2 + sigma**2
    delta = classes.means[1] - classes.means[0]
    along = classes.basis.T @ delta
    on = classes.basis @ (along / (classes.variances[0] + v))
    off = (delta - classes.basis @ along) / v
    x = images_of(0.5 + normal(14, 10, len(delta)))
    density, labels = GaussianMixture(classes), torch.ones(10, dtype=torch.long)
    gradient = log_odds_gradient(density, sigma, x, labels)
    energy = geometry.tangent_energy(LinearSpan(classes.basis).tangent_basis(x), gradient)
    assert (gradient.flatten(1) - (on + off)).norm(dim=1).max() < 1e-10 * (on + off).norm()
    assert (energy - on.square().sum() / (on + off).square().sum()).abs().max() < 1e-10


def test_bayes_gradient_amplifies_an_offset_off_the_span():
    classes, sigma = published_off_span()
    delta = classes.means[1] - classes.means[0]
    offset = 1 - (classes.basis.T @ delta).square().sum() / delta.square().sum()
    x = images_of(0.5 + normal(14, 10, 64))
    gradient = log_odds_gradient(GaussianMixture(classes), sigma, x, torch.ones(10, dtype=torch.long))
    leaked = off_span_fraction(classes.basis, gradient).square()
    assert (leaked > 2 * offset).all()


def masked_classes(d=12, rank=3):
    """Classes that differ in the first half of the pixels only."""
    half = d // 2
    basis = torch.block_diag(orthonormal(20, half, rank), orthonormal(21, half, rank))
    means = torch.full((3, d), 0.5, dtype=torch.float64)
    means[:, :half] += normal(22, 3, half)
    variances = torch.cat([0.3 + normal(23, 3, rank).square(), torch.full((3, rank), 0.7, dtype=torch.float64)], dim=1)
    return GaussianClasses(means=means, basis=basis, variances=variances, noise=0.3)


def test_bayes_gradient_vanishes_on_a_distractor_at_a_fixed_place():
    x = images_of(0.5 + normal(24, 20, 12))
    gradient = log_odds_gradient(GaussianMixture(masked_classes()), SIGMA, x, torch.arange(20) % 3).flatten(1)
    # zero up to the rounding of a difference of two equal scores
    assert gradient[:, 6:].abs().max() < 1e-13 * gradient[:, :6].abs().max()


def placed(signal, distractor, place):
    """Signal block first for place 0, second for place 1."""
    return torch.cat([signal, distractor] if place == 0 else [distractor, signal])


def randomly_placed(half=8, distractors=5):
    """Every signal (one per class) beside every distractor, in both places: images, classes and places."""
    signals, others = normal(30, 2, half), normal(31, distractors, half)
    rows = [(placed(s, o, place), c, place) for c, s in enumerate(signals) for o in others for place in (0, 1)]
    images, labels, places = zip(*rows, strict=True)
    return images_of(torch.stack(images)), torch.tensor(labels), torch.tensor(places)


def split_blocks(v, places):
    """Signal and distractor blocks of vectors whose signal is at the given places."""
    first, second = v.flatten(1).chunk(2, dim=1)
    here = (places == 0)[:, None]
    return torch.where(here, first, second), torch.where(here, second, first)


def split_mask(places, half=8):
    """Whether a pixel belongs to the signal."""
    first = torch.arange(2 * half) < half
    return images_of(torch.where((places == 0)[:, None], first, ~first))


def test_bayes_gradient_leaves_a_randomly_placed_distractor_as_its_place_becomes_certain():
    images, labels, places = randomly_placed()
    by_class = EmpiricalDensity(images, labels, classes=2)
    by_place = EmpiricalDensity(images, places, classes=2)
    doubts, shares = [], []
    for sigma in (2.0, 1.0, 0.5, 0.3, 0.2):
        x = images + sigma * normal(32, *images.shape)
        doubts.append(float((1 - by_place.posterior(x, sigma)[torch.arange(len(x)), places]).mean()))
        scores = by_class.class_scores(x, sigma)
        signal, distractor = split_blocks(scores[:, 1] - scores[:, 0], places)
        shares.append(float((distractor.square().sum(1) / (signal.square() + distractor.square()).sum(1)).mean()))
    assert sorted(doubts, reverse=True) == doubts
    assert sorted(shares, reverse=True) == shares
    assert shares[0] > 0.1
    assert shares[-1] < 1e-10


def test_bayes_classifier_reacts_more_to_noise_on_the_signal_than_on_the_distractor():
    images, labels, places = randomly_placed()
    network = BayesClassifier(EmpiricalDensity(images, labels, classes=2), 0.8)
    noise = normal(33, 200, *images.shape)
    on_signal = torch.where(split_mask(places), noise, 0.0)
    still = network(images)
    signal, distractor = (
        torch.stack([l1_change(network(images + part), still) for part in moved]).mean()
        for moved in (on_signal, noise - on_signal)
    )
    assert signal / distractor > 1


def test_log_odds_gradient_is_the_score_difference_and_stays_exact_where_the_class_is_certain():
    classes = gaussian_classes(3, classes=4)
    density = GaussianMixture(classes)
    labels = torch.arange(4)
    x = images_of(classes.means + 0.1 * normal(0, 4, 12))
    for sigma in (0.3, 1.0):
        posterior = density.posterior(x, sigma)[labels, labels]
        expected = (density.score(x, sigma, labels) - density.score(x, sigma)) / (1 - posterior)[:, None, None, None]
        torch.testing.assert_close(density.log_odds_gradient(x, sigma, labels), expected, rtol=1e-6, atol=1e-8)
    far = gaussian_classes(3, classes=2, noise=0.01)
    far.means[1] = far.means[0] + 40
    certain = GaussianMixture(far)
    at = images_of(far.means[:1])
    assert certain.posterior(at, 0.3)[0, 0] == 1
    assert float((certain.score(at, 0.3, labels[:1]) - certain.score(at, 0.3)).norm()) == 0
    gradient = certain.log_odds_gradient(at, 0.3, labels[:1])
    expected = certain.score(at, 0.3, labels[:1]) - certain.score(at, 0.3, labels[1:2])
    torch.testing.assert_close(gradient, expected)
    assert gradient.norm() > 10
