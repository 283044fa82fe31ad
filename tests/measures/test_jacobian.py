"""Norms of the Jacobian from a few random combinations of the outputs, and what a second edition costs."""

from dataclasses import replace

import numpy as np
import pytest
import second_edition
import torch
from closed_forms import standard_error
from torch import nn

from pagbench import benchmarks, geometry, measures
from pagbench.errors import CardError, ContractError
from pagbench.measures import jacobian, response
from pagbench.measures.calibration import Temperature
from pagbench.measures.context import MeasureContext
from pagbench.models.classifier import Classifier
from pagbench.ranking import summaries

TEN = benchmarks.load("digits@1")


class Counted(nn.Module):
    """A smooth network of any number of classes that counts its passes."""

    def __init__(self, classes, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, classes))
        self.forwards = self.backwards = 0

    def forward(self, x):
        self.forwards += 1
        logits = 3 * self.layers(x)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient):
        self.backwards += 1


def observed(network, batch, probes, *, seed=0, temperature=1.0, classes=10):
    """By a benchmark with so many probes; not validated, so that the numbers of classes are free."""
    benchmark = second_edition.definition().model_copy(update={"probes": probes, "classes": classes})
    return MeasureContext(Classifier(network), batch, benchmark, Temperature(*3 * (temperature,)), seed)


def exact(network, batch, temperature=1.0):
    """Both norms from the whole Jacobian."""
    passed = geometry.ForwardPass(lambda x: Classifier(network)(x) / temperature, batch.images)
    rows = passed.probability_jacobian().mT
    tangent = geometry.project(batch.basis, rows)
    d, k = batch.basis.shape[1:]
    return {
        "on_jacobian": tangent.square().sum((1, 2)) / k,
        "off_jacobian": (rows - tangent).square().sum((1, 2)) / (d - k),
    }


def assert_same(found, expected, rtol):
    assert set(found) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=rtol, atol=0, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("classes", [2, 3, 10, 40])
def test_one_probe_less_than_classes_gives_the_norm_itself(digits_batch, classes):
    network = Counted(classes)
    found = jacobian.measure(observed(network, digits_batch, classes - 1, classes=classes))
    assert_same(found, exact(network, digits_batch), 1e-4)


@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_it_is_of_calibrated_outputs(digits_batch, temperature):
    network = Counted(10)
    found = jacobian.measure(observed(network, digits_batch, 9, temperature=temperature))
    assert_same(found, exact(network, digits_batch, temperature), 1e-4)


def test_real_networks_agree_with_the_sensitivities_of_a_first_edition(observe, noise_trained, digits_batch):
    found = jacobian.measure(observed(noise_trained.network, digits_batch, 9))
    sensitivities = measures.load("sensitivity")(observe(noise_trained))
    for side in ("on", "off"):
        torch.testing.assert_close(found[f"{side}_jacobian"].sqrt(), sensitivities[f"{side}_sensitivity"])


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_fewer_are_right_on_average(digits_batch, probes):
    network, draws = Counted(10), 150
    one = replace(digits_batch, ids=digits_batch.ids)
    truth = exact(network, one)
    found = [jacobian.measure(observed(network, one, probes, seed=seed)) for seed in range(draws)]
    for name, expected in truth.items():
        ratio = torch.stack([values[name] for values in found]) / expected
        means = ratio.mean(1)  # of independent images, in each draw
        assert (means.mean() - 1).abs() < 4 * standard_error(means), name
        assert ratio.std() > 1e-3, "they are estimates"


def test_draws_belong_to_samples_and_seeds(digits_batch):
    network = Counted(10)
    whole = jacobian.measure(observed(network, digits_batch, 2))
    fewer = {
        name: getattr(digits_batch, name)[3:6] for name in ("images", "labels", "basis", "on", "off", "target", "ids")
    }
    part = jacobian.measure(observed(network, replace(digits_batch, **fewer), 2))
    for name, values in part.items():
        torch.testing.assert_close(values, whole[name][3:6], rtol=1e-5, atol=0)
    again = jacobian.measure(observed(network, digits_batch, 2, seed=1))
    assert not torch.allclose(again["on_jacobian"], whole["on_jacobian"], rtol=1e-3)


@pytest.mark.parametrize("count", [1, 4, 9])
def test_contrasts_are_orthonormal_sum_to_zero_and_favour_none(count):
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((20_000, 10, count)))
    rows = geometry.contrasts(noise)
    assert (rows @ rows.mT - torch.eye(count)).abs().max() < 1e-10
    assert rows.sum(2).abs().max() < 1e-8
    centre = torch.eye(10) - 0.1
    projectors = torch.einsum("bpk,bpl->bkl", rows, rows)
    assert (projectors.mean(0) - count / 9 * centre).abs().max() < 0.01
    assert rows.mean(0).abs().max() < 0.02


def test_a_thousand_classes_cost_as_many_passes_as_ten(digits_batch):
    passes = []
    for classes in (10, 1000):
        network = Counted(classes)
        found = jacobian.measure(observed(network, digits_batch, 2, classes=classes))
        assert all(values.isfinite().all() for values in found.values())
        passes.append((network.forwards, network.backwards))
    assert passes == [(1, 2), (1, 2)]


def test_an_image_of_the_second_edition_costs_twenty_one_forward_passes(digits_batch):
    """One forward pass and one back for the gradient, 8 responses, 2 probes back, 6 differences; back counts twice."""
    second, network = second_edition.definition(), Counted(10)
    profile = torch.stack(4 * [digits_batch.target], dim=1)
    steps = {"on": digits_batch.on[:, :4], "off": digits_batch.off[:, :4]}
    batch = replace(digits_batch, profile=profile, chance_profile=profile, **steps)
    context = MeasureContext(Classifier(network), batch, second, Temperature(0.5, 0.5, 0.5))
    for name in second.measures:
        measures.load(name)(context)
    assert (network.forwards, network.backwards) == (15, 3)
    assert network.forwards + 2 * network.backwards == 21


@pytest.mark.parametrize(("differences", "forwards"), [(None, 10), (1, 6), (3, 14), (4, 18)])
def test_the_gradient_is_compared_along_so_many_directions(digits_batch, digits, differences, forwards):
    network = Counted(10)
    benchmark = digits.model_copy(update={"differences": differences})
    context = MeasureContext(Classifier(network), digits_batch, benchmark, Temperature(1.0, 1.0, 1.0))
    assert context.gradient.isfinite().all()
    network.forwards = 0
    assert measures.load("faithfulness")(context)["gradient_faithful"].all()
    assert network.forwards == forwards


def test_one_direction_of_each_kind_still_finds_foreign_gradients(digits_batch, digits, noise_trained):
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.other = Counted(10)

        def forward(self, x):
            routed = self.other(x)
            return noise_trained(x).detach() + routed - routed.detach()

    benchmark = digits.model_copy(update={"differences": 1})
    context = MeasureContext(Classifier(Foreign()), digits_batch, benchmark, Temperature(1.0, 1.0, 1.0))
    assert not measures.load("faithfulness")(context)["gradient_faithful"].any()
    constant = MeasureContext(Classifier(Silent()), digits_batch, benchmark, Temperature(1.0, 1.0, 1.0))
    assert measures.load("faithfulness")(constant)["gradient_faithful"].isnan().all()


class Silent(nn.Module):
    """The same for all images."""

    def forward(self, x):
        return 0 * x.flatten(1)[:, :10]


def test_responses_of_one_length_cost_their_directions_and_no_more(digits_batch):
    network = Counted(10)
    context = observed(network, digits_batch, 2)
    assert context.logits.shape == (16, 10)
    network.forwards = 0
    response.measure(context)
    assert network.forwards == 2 * digits_batch.on.shape[1]


def test_the_infinitesimal_ratio_is_half_the_logarithm_of_that_of_squares():
    ones = np.ones(3)
    found = summaries._statistics(
        {"correct": ones, "on_jacobian": 4e-2 * ones, "off_jacobian": 1e-2 * ones, "alignment_cosine": ones,
         "alignment_cosine_chance": 0 * ones, "tangent_energy": ones, "on_response_1": ones, "off_response_1": ones},
        second_edition.definition(sigmas=None, measures=second_edition.MEASURES[:-1]).model_copy(
            update={"alignment": "alignment_cosine"}
        ),
    )  # fmt: skip
    np.testing.assert_allclose(found["log_ratio_infinitesimal"], np.log(0.5))


def test_a_benchmark_without_probes_is_refused(observe, noise_trained):
    with pytest.raises(ContractError, match="says no number of probes"):
        jacobian.measure(observe(noise_trained))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probes": None}, "the measure jacobian goes with probes: give both or neither"),
        ({"measures": tuple(set(second_edition.MEASURES) - {"jacobian"})}, "goes with probes: give both or neither"),
        ({"measures": (*second_edition.MEASURES, "sensitivity")}, "are of the same thing: give one"),
        ({"probes": 10}, "10 probes, of which 9 are exact with 10 classes"),
        ({"probes": 0}, "field 'probes'"),
        ({"differences": 5}, "differences along 5 of 4 directions"),
        ({"differences": 0}, "field 'differences'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_in_one_line(changes, message):
    with pytest.raises(CardError, match=message) as refused:
        benchmarks.Benchmark.parse(TEN.model_dump() | second_edition.FIELDS | changes, "digits")
    assert "\n" not in str(refused.value)
