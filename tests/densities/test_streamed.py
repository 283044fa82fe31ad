"""A training set in parts has the score of the whole one, to rounding."""

import pytest
import torch

from pagbench.densities import empirical, posterior
from pagbench.densities.empirical import EmpiricalDensity, StreamedEmpiricalDensity
from pagbench.densities.posterior import PosteriorCovariance, StreamedPosteriorCovariance
from pagbench.errors import DataError
from pagbench.models.controls import BayesClassifier

CLASSES = 3


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Parts of seven points, which cut through classes, and images two at a time."""
    monkeypatch.setattr(empirical, "_PART", 7 * 12)
    monkeypatch.setattr(empirical, "_IMAGES", 2)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(40, 1, 3, 4, generator=generator), torch.arange(40) % CLASSES
    return tuple(kind(images, labels, classes=CLASSES) for kind in (EmpiricalDensity, StreamedEmpiricalDensity))


@pytest.fixture
def images():
    return torch.rand(5, 1, 3, 4, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 2, 1, 1, 0])


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_everything_agrees_with_the_whole_set(pair, images, sigma):
    whole, parts = (
        (
            density.log_joint(images, sigma),
            density.score(images, sigma),
            density.score(images, sigma, LABELS),
            density.log_odds_gradient(images, sigma, LABELS),
            density.class_scores(images, sigma),
            density.posterior_covariance(images, sigma),
        )
        for density in pair
    )
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def test_each_training_image_can_be_left_out(pair):
    whole, parts = (density.leaving_one_out(torch.float64, torch.device("cpu")) for density in pair)
    at = pair[1]._images[:5].reshape(5, 1, 3, 4)
    torch.testing.assert_close(parts.score(at, 0.1), whole.score(at, 0.1), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(parts.score(at, 0.1), pair[1].score(at, 0.1))


def test_the_bayes_classifiers_gradient_streams_too(pair, images):
    gradients = []
    for density in pair:
        x = images.double().requires_grad_(True)
        (BayesClassifier(density, 0.3)(x).log_softmax(1)[torch.arange(5), LABELS]).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)
    assert gradients[0].abs().min() > 0


def test_in_single_precision_it_is_close(pair, images):
    single = pair[1].placed(torch.float32, torch.device("cpu"))
    found = single.log_odds_gradient(images, 0.3, LABELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), pair[0].log_odds_gradient(images, 0.3, LABELS), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("exact", [0, 100])
def test_the_posteriors_eigenvectors_need_no_square_matrix(pair, images, monkeypatch, exact):
    """By singular vectors of the points, and by products alone where these are too many."""
    monkeypatch.setattr(posterior, "_EXACT", exact)
    dense = PosteriorCovariance(pair[0], 0.3, 4).tangent_basis(images)
    found = StreamedPosteriorCovariance(pair[1], 0.3, 4).tangent_basis(images)
    assert torch.linalg.svdvals(dense.mT @ found).min() > 1 - 1e-5
    torch.testing.assert_close(found.mT @ found, torch.eye(4).double().expand(5, 4, 4), rtol=0, atol=1e-9)


@pytest.mark.parametrize("exact", [0, 100])
def test_a_posterior_of_fewer_points_than_directions_is_refused(pair, images, monkeypatch, exact):
    monkeypatch.setattr(posterior, "_EXACT", exact)
    with pytest.raises(DataError, match="fewer than 4 directions"):
        StreamedPosteriorCovariance(pair[1], 0.02, 4).tangent_basis(images)


def test_labels_are_checked():
    with pytest.raises(ValueError, match="class 1 has no training image"):
        StreamedEmpiricalDensity(torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), classes=3)
