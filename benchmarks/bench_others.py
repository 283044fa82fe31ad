"""Against what a user would pick: the same result, and no slower."""

import time

import pairs
import pytest
import setting
import torch
from captum.attr import Saliency
from pyautoattack import AutoAttack

from pagbench import benchmarks, data, geometry, measures
from pagbench.columns import Budget
from pagbench.measures import adversarial, lpips
from pagbench.models import registry
from pagbench.models.classifier import Classifier
from pagbench.models.sources.robustbench import zoo

pytestmark = pytest.mark.benchmark(timer=time.process_time)

IMAGES, ROUNDS = 32, 7


@pytest.fixture(scope="module")
def given():
    return setting.images(IMAGES)


@pytest.fixture(scope="module")
def network():
    return setting.network()


@pytest.fixture(scope="module")
def classifier(network):
    return Classifier(network)


def test_gradients(turns, told, given, classifier):
    saliency = Saliency(classifier)

    def theirs():
        return saliency.attribute(given.pixels.clone().requires_grad_(True), target=given.labels, abs=False)

    def ours():
        return geometry.ForwardPass(classifier, given.pixels).logit_gradient(given.labels)

    mine, other = turns(ours, theirs, ROUNDS)
    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-6)
    told(pairs.faster(f"gradients of a logit, {IMAGES} images", mine, "captum's Saliency", other, least=1))


def test_lpips(turns, told, given):
    maps, target = (geometry.scale_to_unit_range(values) for values in (given.noise, given.scores))
    chance, package = target.roll(1, dims=0), lpips.model(torch.device("cpu"))
    embedded = lpips.embed(target)
    partner = embedded.roll(1, dims=0)

    def ours():
        found = lpips.embed(maps)
        return lpips.distance(found, embedded), lpips.distance(found, partner)

    @torch.no_grad()
    def theirs():
        return [package(lpips.enlarge(maps), lpips.enlarge(other))[:, 0, 0, 0] for other in (target, chance)]

    mine, other = turns(ours, theirs, ROUNDS)
    for found, expected in zip(ours(), theirs(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    what = f"LPIPS of {IMAGES} gradients with target and chance target, embedded once for all models"
    told(pairs.faster(what, mine, "lpips", other, least=1))


def test_lpips_of_one_model(turns, told, given):
    maps, target = (geometry.scale_to_unit_range(values) for values in (given.noise, given.scores))
    package = lpips.model(torch.device("cpu"))

    @torch.no_grad()
    def theirs():
        return package(lpips.enlarge(maps), lpips.enlarge(target))

    mine, other = turns(lambda: lpips.distance(lpips.embed(maps), lpips.embed(target)), theirs, ROUNDS)
    told(pairs.faster(f"LPIPS of {IMAGES} pairs, nothing embedded before", mine, "lpips", other, least=1))


def test_accuracy_and_gradient(turns, told, classifier):
    """A forward pass that is kept for its gradient takes a tenth longer than one that is not; it is the only one."""
    clean_accuracy = zoo.robustbench().clean_accuracy
    benchmark = setting.definition(directions=4, measures=("accuracy", "faithfulness", "tangent", "alignment_cosine"))
    batch = setting.batch(benchmark, IMAGES)
    saliency = Saliency(classifier)

    def ours():
        seen = setting.context(classifier, benchmark, batch)
        return float(measures.load("accuracy")(seen)["correct"].mean()), seen.gradient

    def theirs():
        accuracy = clean_accuracy(classifier, batch.images, batch.labels, batch_size=IMAGES)
        return accuracy, saliency.attribute(batch.images.clone().requires_grad_(True), target=batch.labels, abs=False)

    mine, other = turns(ours, theirs, ROUNDS)
    assert ours()[0] == pytest.approx(theirs()[0])
    what = f"accuracy and gradients, {IMAGES} images"
    told(pairs.faster(what, mine, "RobustBench's clean_accuracy, captum's Saliency", other, least=1))


@pytest.fixture
def quick(monkeypatch):
    """AutoAttack with a fifth of its steps and a fiftieth of its queries, for whoever calls it."""
    original = AutoAttack._set_version

    def set_version(self, version="standard"):
        original(self, version)
        self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 20
        self.square.n_queries = 100

    monkeypatch.setattr(AutoAttack, "_set_version", set_version)


@pytest.mark.usefixtures("quick")
def test_autoattack(turns, told):
    digits = benchmarks.load("digits@1")
    classifier = registry.find("digits/adversarial-0.3").load(digits).classifier
    some = data.splits(digits).test.select(digits.samples[:8])
    budget = Budget("l2", 0.25, "0.25")

    def theirs():
        attack = AutoAttack(classifier, norm="L2", eps=0.25, seed=0, version="standard")
        with adversarial._quiet():  # it logs to the screen
            return attack.run_standard_evaluation(some.images, some.labels, batch_size=8)[0]

    def ours():
        return adversarial.attack(classifier, some.images, some.labels, budget, seed=0)

    mine, other = turns(ours, theirs, 3)
    assert torch.equal(ours(), theirs())
    told(
        pairs.faster("AutoAttack on 8 digits, shortened for both", mine, "pyautoattack called directly", other, least=1)
    )
