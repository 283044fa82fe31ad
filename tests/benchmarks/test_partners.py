"""Against whose target the level of chance is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagbench
from pagbench import benchmarks, data
from pagbench.benchmarks import partners
from pagbench.errors import DataError, PagbenchError


@pytest.fixture(scope="module")
def following(digits):
    """Digits whose partners are the next ones: their classes come in cycles of ten."""
    return digits.model_copy(update={"partners": "next"})


def labels_of(benchmark):
    return data.splits(benchmark).test.labels.tolist()


def test_partners_are_the_next_ones_where_neighbours_are_of_other_classes(following):
    found = partners.partners(following, 3, labels_of(following))
    assert list(found) == list(following.samples)
    assert list(found.values()) == [*following.samples[1:], following.samples[0]]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40).filter(lambda labels: len(set(labels)) > 1))
def test_partners_are_the_first_of_another_class_that_follow(following, labels):
    samples = tuple(map(str, range(len(labels))))
    few = following.model_copy(update={"samples": samples})
    for name, other in partners.partners(few, 0, labels).items():
        between = [(int(name) + step) % len(labels) for step in range(1, (int(other) - int(name)) % len(labels))]
        assert labels[int(other)] != labels[int(name)]
        assert all(labels[index] == labels[int(name)] for index in between)


@pytest.mark.parametrize("labels", [[1], [2, 2], [0, 0, 0]])
def test_images_of_one_class_are_refused(following, labels):
    few = following.model_copy(update={"samples": following.samples[: len(labels)]})
    with pytest.raises(DataError, match=rf"all {len(labels)} samples are of class {labels[0]}; add samples") as refused:
        partners.partners(few, 0, labels)
    assert "\n" not in str(refused.value)


def test_a_run_of_such_a_benchmark_ends_in_one_line(digits):
    zeros = tuple(n for n, label in zip(digits.samples, labels_of(digits), strict=True) if label == 0)
    unordered = digits.model_copy(update={"partners": "next", "samples": zeros})
    with pytest.raises(PagbenchError, match=r"digits@1: partners are to be of different classes") as refused:
        pagbench.run("digits/standard", benchmark=unordered, limit=2)
    assert "\n" not in str(refused.value)


DRAWN = [name for name in benchmarks.names() if name.endswith("@1") and name != "photographs@1"]


@pytest.mark.parametrize("name", DRAWN)
def test_first_editions_draw_partners_whatever_the_classes(name):
    benchmark = benchmarks.load(name)
    found = partners.partners(benchmark, 0, [0] * len(benchmark.samples))
    assert sorted(found) == sorted(found.values()) == sorted(benchmark.samples)
    assert all(name != other for name, other in found.items())
