"""Whether a network has seen the images that it is measured on, and is the one whose training accuracy is declared."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pagbench import data
from pagbench.benchmarks import load as load_benchmark
from pagbench.models import checks, registry
from pagbench.models.architectures import build


def examined(network, benchmark, **fields):
    (request,) = registry.resolve({"mine": network}, benchmark)
    loaded = request.load(benchmark)
    card = loaded.card.model_copy(update={"dataset": benchmark.data_name, **fields})
    device = torch.device("cpu")
    model = replace(loaded, card=card)
    return checks._Examination(model, loaded.classifier, checks.probe(benchmark), benchmark, device, 256)


class Nearest(nn.Module):
    """Knows some images by heart: a class's logit is minus the squared distance to the nearest of its images."""

    def __init__(self, *parts):
        super().__init__()
        self.register_buffer("images", torch.cat([part.images for part in parts]).flatten(1))
        self.labels = torch.cat([part.labels for part in parts])

    def forward(self, x):
        away = torch.cdist(x.flatten(1), self.images).square()
        return torch.stack([-away[:, self.labels == label].amin(1) for label in range(10)], dim=1)


@pytest.fixture(scope="module")
def networks(digits):
    split = data.splits(digits)
    return {
        "train": Nearest(split.train),
        "measured": Nearest(split.test),
        "too": Nearest(split.train, split.test),
        "all": Nearest(split.train, split.calibration, split.test),
    }


@pytest.mark.parametrize(
    ("name", "verdict"), [("train", "pass"), ("measured", "flag"), ("too", "flag"), ("all", "pass")]
)
def test_a_network_that_has_seen_the_measured_images_and_no_others_is_flagged(digits, networks, name, verdict):
    check = examined(networks[name], digits).membership()
    assert (check.name, check.verdict) == ("membership", verdict), check.found
    assert ("pagbench splits" in check.advice) == (verdict == "flag")


def test_what_it_declares_counts_too(digits, networks):
    assert examined(networks["train"], digits, trained_on="measured").membership().verdict == "flag"
    for declared in ("train", "other", "unknown"):
        assert examined(networks["train"], digits, trained_on=declared).membership().verdict == "pass"


def test_too_few_images_tell_nothing(digits, networks):
    few = digits.model_copy(update={"calibration": digits.calibration[:99]})
    assert examined(networks["measured"], few).membership().verdict == "unknown"
    assert examined(networks["measured"], few, trained_on="measured").membership().verdict == "flag"


@pytest.mark.parametrize("name", ["control/constant", "control/bayes", "digits/standard", "digits/gradient-norm-100"])
def test_no_published_network_is_taken_for_one_that_has_seen_them(digits, name):
    loaded = registry.find(name).load(digits)
    examination = checks._Examination(loaded, loaded.classifier, checks.probe(digits), digits, torch.device("cpu"), 256)
    assert examination.membership().verdict == "pass"
    assert examination.training_accuracy().verdict == "unknown"


@pytest.mark.parametrize(
    ("declared", "verdict"), [(1.0, "pass"), (0.99, "pass"), (0.9, "flag"), (0.1, "flag"), (None, "unknown")]
)
def test_the_declared_training_accuracy_is_that_of_the_network(digits, networks, declared, verdict):
    check = examined(networks["train"], digits, training_accuracy=declared).training_accuracy()
    assert (check.name, check.verdict) == ("training_accuracy", verdict), check.found


def test_another_activation_shows_in_the_training_accuracy(digits):
    """The weights of a network with SiLU, taken for one with softplus."""
    (request,) = registry.resolve("digits/standard", digits)
    declared = examined(request.load(digits).classifier.network, digits, training_accuracy=1.0)
    assert declared.training_accuracy().verdict == "pass", declared.training_accuracy().found
    other = build("small-cnn", (1, 8, 8), 10, "softplus")
    other.load_state_dict(request.load(digits).classifier.network.state_dict())
    check = examined(other, digits, training_accuracy=1.0).training_accuracy()
    assert check.verdict == "flag" and "activation" in check.advice, check.found


def test_where_nothing_is_trained_on_nothing_is_compared(digits, networks):
    none = digits.model_copy(update={"training": ()})
    assert examined(networks["train"], none, training_accuracy=1.0).training_accuracy().verdict == "unknown"
    other = examined(networks["train"], digits, training_accuracy=0.1, dataset="mnist")
    assert other.training_accuracy().verdict == "unknown"


def test_both_are_made_by_every_run_and_cost_the_rank(digits, networks):
    found = {check.name: check for check in examined(networks["measured"], digits, training_accuracy=0.2).checks()}
    assert {"training_accuracy", "membership"} <= found.keys()
    for name in ("training_accuracy", "membership"):
        assert checks.Preflight(checks=(found[name],)).costs_the_rank


def test_pictures_that_are_altered_for_calibration_are_not_compared():
    assert len(load_benchmark("samples-cifar10").calibration) < checks._FEWEST
