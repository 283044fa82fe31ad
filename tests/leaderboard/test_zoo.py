"""The published leaderboard: its models are what their results say, complete, and small enough to clone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from installed import splits_or_skip

from pagbench import benchmarks, results
from pagbench.models import registry
from pagbench.training import FAMILIES

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "leaderboard" / "results"
PUBLISHED = sorted(path.name for path in RESULTS.glob("*@*") if "+" not in path.name)
IMAGES, SMOOTHED_IMAGES = 100, 16


@pytest.fixture(scope="module")
def published():
    """The published results of every benchmark, by its label. Tests only read them."""
    return {label: results.read_all(RESULTS, benchmarks.load(label)) for label in PUBLISHED}


@pytest.mark.parametrize("label", PUBLISHED)
def test_accuracies_are_recomputed_from_the_shipped_weights(label, published):
    benchmark = benchmarks.load(label)
    test = splits_or_skip(benchmark).test
    for result in published[label]:
        name = result.name
        request = registry.find(name)
        card = request.card
        if card.control:
            continue
        assert result.provenance.weights_sha256 == card.weights_sha256, name
        assert result.provenance.behaviour == card.functional_hash(), name
        if request.to_be_trained:
            continue  # further seeds, whose hash `pagbench train` compares
        part = next(test.chunks(SMOOTHED_IMAGES if card.smoothing else IMAGES))
        with torch.no_grad():
            logits = request.load(benchmark).classifier(part.images)
        rows = result.rows.iloc[: len(part.ids)]
        temperature = float(rows["temperature"].iloc[0])
        if benchmark.gradient == "calibrated" and np.isfinite(temperature):  # else it has no result
            logits = logits / temperature
        assert tuple(rows["sample_id"]) == part.ids
        nll = torch.nn.functional.cross_entropy(logits, part.labels, reduction="none").numpy()
        np.testing.assert_allclose(nll, rows["nll"], rtol=2e-3, atol=2e-3, err_msg=name)
        assert np.mean((logits.argmax(1) == part.labels).numpy() != rows["correct"]) <= 0.002, name


def test_every_published_model_has_results_and_every_result_a_model(published):
    again = {name for name in registry.names() if registry.find(name).to_be_trained}
    for label in PUBLISHED:
        benchmark = benchmarks.load(label)
        measured = {result.name for result in published[label]}
        models = set(registry.models_of(benchmark))
        assert measured <= models | again, label
        assert {name for name in models - measured if not registry.find(name).card.control} == set(), label
        assert set(benchmark.anchors) <= measured, label


def test_fashion_mnist_has_every_family_from_negligible_to_collapsed(published):
    cards = [result.provenance.card for result in published["fashion-mnist@1"]]
    trained = [card for card in cards if not card.control]
    assert len(trained) >= 40
    for family in set(FAMILIES) - {"standard"}:
        assert len({card.strength for card in trained if card.family == family}) >= 6, family
    assert {card.seed for card in trained if card.family == "standard"} >= {0, 1, 2}
    assert len({card.architecture for card in trained}) >= 2
    assert {"relu", "silu"} <= {card.activation for card in trained}
    assert len({card.training["epochs"] for card in trained}) == 1  # one recipe along all paths


def test_the_repository_stays_small_enough_to_clone():
    weights = [*ROOT.glob("pagbench/**/*.safetensors"), *ROOT.glob("leaderboard/**/*.safetensors")]
    assert sum(path.stat().st_size for path in weights) < 20e6 + 10e6  # LPIPS has 10 MB of them
    assert sum(path.stat().st_size for path in weights) + sum(p.stat().st_size for p in RESULTS.rglob("*.*")) < 45e6
    assert all(sum(path.stat().st_size for path in (RESULTS / label).rglob("*.parquet")) < 6e6 for label in PUBLISHED)
