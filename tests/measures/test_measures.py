import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pagbench import columns, geometry, measures
from pagbench.measures.calibration import fit_temperature
from pagbench.models.classifier import Classifier
from pagbench.models.controls import Constant, SignFlipped


class Shifted(nn.Module):
    """Adds c(x) to all logits: the same classifier, other logits."""

    def __init__(self, base, scale):
        super().__init__()
        self.base = base
        self.scale = scale

    def forward(self, x):
        shift = self.scale * torch.sin(5 * x.flatten(1)).sum(1, keepdim=True)
        return self.base(x) + shift


class Cooled(nn.Module):
    def __init__(self, base, temperature):
        super().__init__()
        self.base = base
        self.temperature = temperature

    def forward(self, x):
        return self.base(x) / self.temperature


def measured(observe, classifier, digits, temperature=1.0):
    context = observe(classifier, temperature)
    return {name: value for m in digits.measures for name, value in measures.load(m)(context).items()}


class Surrogate(nn.Module):
    """Outputs of one network, gradient of another."""

    def __init__(self, values, gradients):
        super().__init__()
        self.values = values
        self.gradients = gradients

    def forward(self, x):
        routed = self.gradients(x)
        return self.values(x).detach() + routed - routed.detach()


class Quantised(nn.Module):
    """Rounds the pixels and passes the gradient straight through."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, x):
        return self.base(x + ((4 * x).round() / 4 - x).detach())


def dishonest(noise_trained):
    another = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return [SignFlipped(noise_trained), Surrogate(noise_trained, another), Quantised(noise_trained)]


def test_gradients_that_are_not_those_of_the_outputs_are_told_from_honest_ones(observe, noise_trained):
    sharp, flat = Cooled(noise_trained, 1e-3), Cooled(noise_trained, 1e5)
    for network in (noise_trained, sharp, flat, Shifted(noise_trained, 3.0)):
        assert measures.load("faithfulness")(observe(Classifier(network)))["gradient_faithful"].all()
    for network in dishonest(noise_trained):
        found = measures.load("faithfulness")(observe(Classifier(network)))["gradient_faithful"]
        assert found.mean() < 0.5, type(network).__name__


def test_measures_fill_exactly_the_documented_columns(observe, noise_trained, digits):
    found = measured(observe, noise_trained, digits)
    assert set(found) == {column.name for column in columns.sample_columns(digits)}


def test_chance_is_the_measure_itself_with_the_targets_of_another_image(observe, noise_trained, digits_batch):
    others = replace(
        digits_batch,
        target=digits_batch.chance_target,
        basis=digits_batch.chance_basis,
        embedding=digits_batch.chance_embedding,
    )
    for measure in ("alignment_cosine", "alignment_lpips", "tangent"):
        own = measures.load(measure)(observe(noise_trained))
        partners = measures.load(measure)(observe(noise_trained, batch=others))
        column = "tangent_energy" if measure == "tangent" else measure
        assert torch.equal(own[f"{column}_chance"], partners[column])
        assert not torch.equal(own[f"{column}_chance"], own[column])


@settings(max_examples=5, deadline=None)
@given(scale=st.floats(-3, 3))
def test_adding_c_of_x_to_all_logits_changes_no_strict_column(observe, noise_trained, digits, scale):
    plain = measured(observe, noise_trained, digits)
    shifted = measured(observe, Classifier(Shifted(noise_trained, scale)), digits)
    for name, value in plain.items():
        torch.testing.assert_close(
            shifted[name], value, rtol=1e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_adding_c_of_x_does_change_the_papers_gradients(noise_trained, digits_batch):
    shifted = Classifier(Shifted(noise_trained, 3.0))
    x, y = digits_batch.images, digits_batch.labels
    for gradient in (
        lambda f: geometry.ForwardPass(f, x).logit_sum_gradient(),
        lambda f: geometry.ForwardPass(f, x).logit_gradient(y),
    ):
        assert (geometry.cosine(gradient(shifted), gradient(noise_trained)) < 0.9).all()


@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_temperature_changes_no_calibrated_column(observe, noise_trained, digits, digits_splits, temperature):
    cooled = Classifier(Cooled(noise_trained, temperature))
    images, labels = digits_splits.calibration.images, digits_splits.calibration.labels
    fitted = [fit_temperature(f(images), labels, seed=0).value for f in (noise_trained, cooled)]
    assert fitted[1] * temperature == pytest.approx(fitted[0], rel=1e-3)
    plain = measured(observe, noise_trained, digits, fitted[0])
    changed = measured(observe, cooled, digits, fitted[1])
    for name in ("on_response_calibrated", "off_response_calibrated", "correct"):
        torch.testing.assert_close(changed[name], plain[name], rtol=5e-3, atol=1e-5)


def test_fitted_temperature_is_that_of_the_model_that_made_the_labels():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6_000, 5, generator=generator)
    labels = torch.multinomial((logits / 2.5).softmax(1), 1, generator=generator)[:, 0]
    fitted = fit_temperature(logits, labels, seed=0)
    assert fitted.low < 2.5 < fitted.high
    assert fitted.value == pytest.approx(2.5, rel=0.05)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-6, 1e6))
def test_similarities_ignore_the_scale_of_the_gradient(digits_batch, scale):
    g, b = digits_batch.chance_target, digits_batch.target
    torch.testing.assert_close(geometry.cosine(scale * g, b), geometry.cosine(g, b))
    torch.testing.assert_close(
        geometry.tangent_energy(digits_batch.basis, scale * g), geometry.tangent_energy(digits_batch.basis, g)
    )
    torch.testing.assert_close(geometry.scale_to_unit_range(scale * g), geometry.scale_to_unit_range(g))


def test_log_odds_gradient_is_that_of_log_p_over_one_minus_p(noise_trained, digits_batch):
    x, y = digits_batch.images.clone().requires_grad_(True), digits_batch.labels
    p = noise_trained(x).double().softmax(1).gather(1, y[:, None])
    (expected,) = torch.autograd.grad((p / (1 - p)).log().sum(), x)
    torch.testing.assert_close(geometry.log_odds_gradient(noise_trained, x, y).gradient, expected, rtol=1e-3, atol=1e-3)


def test_log_odds_gradient_does_not_saturate():
    confident = Classifier(nn.Sequential(nn.Flatten(), scaled_identity(1e3)))
    found = geometry.log_odds_gradient(confident, torch.eye(4).reshape(4, 1, 2, 2), torch.arange(4))
    assert (confident(torch.eye(4).reshape(4, 1, 2, 2)).softmax(1).amax(1) == 1).all()
    assert (found.gradient.flatten(1).norm(dim=1) > 1e3).all()


def scaled_identity(scale):
    layer = nn.Linear(4, 4, bias=False)
    nn.init.eye_(layer.weight)
    layer.weight.data *= scale
    return layer


def test_a_constant_classifier_is_not_scored(observe, digits):
    found = measured(observe, Classifier(Constant(10)), digits)
    for name in ("tangent_energy", "gradient_norm", "alignment_cosine", "alignment_lpips", "alignment_lpips_chance"):
        assert found[name].isnan().all(), name
    assert (found["on_response_1"] == 0).all()
    assert found["nll"] == pytest.approx(math.log(10))


def test_a_sign_flipped_classifier_differs_in_the_gradient_only(observe, noise_trained, digits):
    plain = measured(observe, noise_trained, digits)
    flipped = measured(observe, Classifier(SignFlipped(noise_trained)), digits)
    torch.testing.assert_close(flipped["alignment_cosine"], -plain["alignment_cosine"])
    for name in ("correct", "nll", "tangent_energy", "on_sensitivity"):
        torch.testing.assert_close(flipped[name], plain[name])


def test_probabilities_and_logits_of_one_network_give_the_same_columns(observe, noise_trained, digits):
    class Softmax(nn.Module):
        def forward(self, x):
            return noise_trained(x).softmax(1)

    plain = measured(observe, noise_trained, digits)
    converted = measured(observe, Classifier(Softmax(), output="probabilities"), digits)
    for name in ("correct", "nll", "on_response_1", "alignment_cosine", "tangent_energy"):
        torch.testing.assert_close(converted[name], plain[name], rtol=1e-3, atol=1e-4)


def test_sensitivity_is_the_limit_of_the_response(noise_trained, digits_batch):
    jacobian = geometry.ForwardPass(noise_trained, digits_batch.images).probability_jacobian()
    step = 1e-2 * digits_batch.on[:, 0]
    x = digits_batch.images
    moved = noise_trained(x + step.reshape(x.shape)).softmax(1) - noise_trained(x - step.reshape(x.shape)).softmax(1)
    torch.testing.assert_close(moved / 2, torch.einsum("bkd,bd->bk", jacobian, step), rtol=2e-2, atol=1e-6)
