"""What the site says of training data: which images are measured, and which a model declares to have seen."""

import pytest

from pagbench import benchmarks
from pagbench.benchmarks import splits
from pagbench.cards import ModelCard
from pagbench.models import registry
from pagbench.reports.site import benchmark, origins
from pagbench.reports.site.rendering import render


@pytest.mark.parametrize("label", ["digits@1", "gaussians@1", "samples-imagenet@1"])
def test_small_benchmarks_offer_their_splits(label):
    definition = benchmarks.load(label)
    file = benchmark.splits_file(definition)
    assert (file.path, file.content.decode()) == (f"data/{label}.splits.csv", splits.to_csv(definition))
    page = render(benchmark.page_without_results(definition), "")
    assert f'href="../{file.path}" download' in page and "Which images are measured" in page


@pytest.mark.parametrize("label", ["fashion-mnist@1", "cifar10@1", "mnist-distractor@1"])
def test_large_ones_name_the_command(label):
    definition = benchmarks.load(label)
    assert benchmark.splits_file(definition) is None
    assert f"pagbench splits {definition.name}" in render(benchmark.page_without_results(definition), "")


@pytest.mark.parametrize(
    ("declared", "words"), [("train", "training split alone"), ("measured", "may be among them"), (None, "")]
)
def test_a_models_page_has_what_it_declares(declared, words):
    card = registry.find("digits/standard").card
    shown = ModelCard.parse(
        {**card.model_dump(exclude_none=True), "trained_on": declared, "training_accuracy": 0.998}, "card"
    )
    facts = {fact.name: fact.value for fact in origins.card(shown)}
    assert facts["accuracy on the training split, as declared"] == "0.998"
    assert words in facts.get("images that it was trained on, as declared", "")
    assert ("images that it was trained on, as declared" in facts) == (declared is not None)
