"""Speed of the measures on digits: batched, against one image, one step length and one direction at a time."""

import pytest
import torch

from pagbench import benchmarks, data, targets
from pagbench.measures import MEASURES, Observation
from pagbench.measures.calibration import Temperature
from pagbench.measures.response import l1_change
from pagbench.models import loading, registry

IMAGES = 64


@pytest.fixture(scope="module")
def seen():
    torch.set_num_threads(1)
    benchmark = benchmarks.load("digits")
    ids = benchmark.samples[:IMAGES]
    batch = targets.compute(benchmark, data.splits(benchmark), ids, seed=0, device=torch.device("cpu")).batch(ids)
    classifier = loading.load(*registry.find("digits/standard"), benchmark).classifier

    def look():
        return Observation(classifier, batch, benchmark, Temperature(1.0, 1.0, 1.0))

    return look


@pytest.mark.parametrize("name", benchmarks.load("digits").measures)
def test_measure(benchmark, seen, name):
    MEASURES[name](seen())
    benchmark(lambda: MEASURES[name](seen()))


@torch.no_grad()
def responses_one_by_one(seen):
    """The reference protocol's loop: every image, step length and direction by itself."""
    found = []
    for x, on, off in zip(seen.batch.images, seen.batch.on, seen.batch.off, strict=True):
        for direction in (*on, *off):
            for epsilon in seen.benchmark.epsilons:
                moved = seen.classifier((x + epsilon * direction.reshape(x.shape))[None])
                found.append(l1_change(moved, seen.classifier(x[None])))
    return found


def test_responses_one_by_one(benchmark, seen):
    benchmark.pedantic(lambda: responses_one_by_one(seen()), rounds=3)
