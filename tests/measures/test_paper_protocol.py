"""Against inputs and outputs of the paper's reference implementation, stored as arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pagbench import geometry
from pagbench.measures import lpips, paper
from pagbench.models.classifier import Classifier


@pytest.fixture(scope="module")
def reference():
    arrays = np.load(Path(__file__).parent / "reference_protocol.npz")
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


@pytest.fixture(scope="module")
def classifier(reference):
    hidden, out = nn.Linear(3072, 64), nn.Linear(64, 10, bias=False)
    with torch.no_grad():
        hidden.weight.copy_(reference["classifier_A"])
        hidden.bias.copy_(reference["classifier_c"])
        out.weight.copy_(reference["classifier_B"])
    return Classifier(nn.Sequential(nn.Flatten(), hidden, nn.SiLU(), out))


@pytest.fixture(scope="module")
def basis(reference):
    return torch.linalg.qr(reference["tangent_spaces"].flatten(2).mT).Q


def close(got, expected, tolerance=1e-4):
    np.testing.assert_allclose(got, expected, atol=tolerance, rtol=tolerance)


def test_noise_is_projected_as_in_the_reference(reference, basis):
    close(geometry.project(basis, reference["noise"].flatten(1)), reference["tangent_noise"].flatten(1))


def test_step_lengths_are_those_of_the_reference(reference):
    close(paper.EPSILONS, reference["epsilons"], 1e-12)


@pytest.mark.parametrize("side", ["on", "off"])
def test_responses_are_those_of_the_reference(reference, classifier, basis, side):
    direction = getattr(paper.split_noise(basis, reference["noise"]), side)
    images = reference["images"]
    close(paper.responses(classifier, images, classifier(images), direction), reference[f"{side}_response"])


def test_gradients_are_those_of_the_reference(reference, classifier):
    passed = geometry.ForwardPass(classifier, reference["images"], keep=True)
    close(passed.logit_sum_gradient(), reference["gradient_sum_of_logits"])
    close(passed.logit_gradient(reference["labels"]), reference["gradient_target_logit"])


@pytest.mark.parametrize("name", ["sum_of_logits", "target_logit"])
def test_perceptual_distance_is_that_of_the_reference(reference, name):
    got = paper.perceptual_distance(reference[f"gradient_{name}"], reference["scores"])
    close(got, reference[f"lpips_{name}"], 1e-5)


def test_embedding_gives_the_lpips_packages_own_distance(reference):
    a, b = (geometry.scale_to_unit_range(reference[name]) for name in ("gradient_sum_of_logits", "scores"))
    package = lpips.model(torch.device("cpu"))(lpips.enlarge(a), lpips.enlarge(b))[:, 0, 0, 0]
    close(lpips.distance(lpips.embed(a), lpips.embed(b)), package, 1e-5)
    assert lpips.enlarge(a).shape[2:] == (64, 64)
    assert lpips.enlarge(torch.zeros(1, 3, 70, 90)).shape[2:] == (70, 90)
    assert lpips.enlarge(torch.zeros(1, 1, 16, 32)).shape[2:] == (64, 128)


def test_lpips_refuses_values_outside_its_range():
    with pytest.raises(ValueError, match=r"\[-1, 1\], got up to 2"):
        lpips.embed(torch.full((1, 1, 64, 64), 2.0))


def test_lpips_of_a_map_that_is_not_scored_is_not_scored():
    maps = torch.zeros(2, 1, 64, 64)
    maps[0, 0, 0, 0] = torch.nan
    distance = lpips.distance(lpips.embed(maps), lpips.embed(torch.ones(2, 1, 64, 64)))
    assert distance.isnan().tolist() == [True, False]
