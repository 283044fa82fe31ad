"""Against whose target the level of chance is taken."""

import pytest

import pagbench
from pagbench import benchmarks, data
from pagbench.benchmarks import partners
from pagbench.errors import DataError


@pytest.fixture(scope="module")
def following(digits):
    """Digits whose partners are the next ones: their classes come in cycles of ten."""
    return digits.model_copy(update={"partners": "next"})


def labels_of(benchmark):
    return data.splits(benchmark).test.labels.tolist()


def test_partners_are_the_next_ones_of_other_classes(following):
    found, labels = (
        partners.partners(following, seed=3),
        dict(zip(following.samples, labels_of(following), strict=True)),
    )
    assert list(found) == list(following.samples)
    assert list(found.values()) == [*following.samples[1:], following.samples[0]]
    assert all(labels[name] != labels[other] for name, other in found.items())
    partners.check_classes(following, labels_of(following))


@pytest.mark.parametrize("place", [0, 100, -1])
def test_neighbours_of_one_class_are_refused_wherever_they_are(following, place):
    labels = labels_of(following)
    labels[place] = labels[place + 1]
    with pytest.raises(DataError, match=r"are both of class \d, but partners are to be of different") as refused:
        partners.check_classes(following, labels)
    assert "\n" not in str(refused.value)
    assert f"sample {following.samples[place]} and the next one, {following.samples[place + 1]}," in str(refused.value)


@pytest.mark.parametrize("labels", [[1], [2, 2], [0, 1, 0]])
def test_so_few_images_that_one_is_its_own_neighbour_are_refused(following, labels):
    few = following.model_copy(update={"samples": following.samples[: len(labels)]})
    with pytest.raises(DataError, match="order the samples so that neighbours differ"):
        partners.check_classes(few, labels)


def test_a_run_of_such_a_benchmark_ends_in_one_line_before_anything_is_measured(digits):
    first, *others = digits.samples  # the classes come in cycles of ten
    moved = (first, others.pop(9), *others)
    unordered = digits.model_copy(update={"partners": "next", "samples": moved})
    with pytest.raises(DataError, match=r"digits@1: sample \d+ and the next one, \d+, are both of class") as refused:
        pagbench.run("digits/standard", benchmark=unordered, limit=2)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [name for name in benchmarks.names() if name.endswith("@1")])
def test_first_editions_ask_nothing_of_classes(name):
    partners.check_classes(benchmarks.load(name), [0, 0, 0])
