"""Blocks of images follow the cycle of partners, in whole rounds of classes where there are enough."""

import numpy as np
import pytest
from light import benchmark as light

from pagbench import benchmarks
from pagbench.benchmarks.partners import cycle
from pagbench.ranking import resampling, statistics
from pagbench.ranking.resampling import along, blocks_of, count, means, resample
from pagbench.ranking.summary_cache import read_summaries
from pagbench.results import PUBLISHED


@pytest.mark.parametrize(
    ("images", "classes", "length", "blocks"),
    [
        (1000, 10, 10, 100),
        (360, 10, 10, 36),
        (256, 10, 10, 25),
        (250, 10, 10, 25),
        (400, 2, 10, 40),
        (400, 4, 12, 33),
        (400, 3, 12, 33),
        (1000, 100, 40, 25),
        (5000, 1000, 200, 25),
        (100, 10, 4, 25),
        (20, 10, 1, 20),
        (1, 10, 1, 1),
    ],
)
def test_blocks_are_whole_rounds_of_ten_images_or_more_and_shorter_where_they_would_be_few(
    images, classes, length, blocks
):
    found = along(images, classes)
    sizes = np.bincount(found)
    assert count(images, classes) == len(sizes) == blocks
    assert (sizes[:-1] == length).all() and length <= sizes[-1] < 2 * length
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("label", ["digits", "fashion-mnist@1", "gaussians", "imagenet"])
def test_a_block_is_a_part_of_the_cycle_of_partners(label):
    benchmark = benchmarks.load(label)
    block = dict(zip(benchmark.samples, blocks_of(benchmark), strict=True))
    followed = [block[sample] for sample in cycle(benchmark, benchmark.seed)]
    assert followed == along(len(benchmark.samples), benchmark.classes).tolist()


def test_where_samples_go_through_the_classes_in_rounds_every_block_has_all_classes_alike():
    plain = light(300)
    definition = plain.model_copy(update={"partners": "next"})
    blocks, classes = blocks_of(definition), np.arange(300) % plain.classes
    for block in range(blocks.max() + 1):
        assert len(set(np.bincount(classes[blocks == block], minlength=plain.classes))) == 1
    assert (blocks_of(plain) != blocks).any()


@pytest.mark.parametrize("blocks", [5, 10, 36, 100])
def test_a_mean_varies_as_students_t_has_it(blocks):
    """The half width of its interval is that of t, for any number of blocks; R of R would give less."""
    values = np.random.default_rng(blocks).normal(size=(60 + 2000 // blocks, blocks))
    widths = []
    for sample in values:
        drawn = means(resample(np.arange(blocks), seed=1, replicates=2000), sample[:, None])[:, 0]
        widths.append(1.96 * drawn[1:].std() / (sample.std(ddof=1) / np.sqrt(blocks)))
    expected = statistics.student_quantile(blocks - 1)
    assert np.mean(widths) == pytest.approx(expected, rel=0.03)


def test_drawings_are_whole_numbers_that_the_seed_fixes_and_the_first_is_the_sample():
    blocks = along(200, 10)
    one, other = resample(blocks, seed=3), resample(blocks, seed=4)
    assert one.counts.shape == (1 + resampling.RANK_REPLICATES, 25)
    assert (one.counts[0] == 1).all() and (one.counts[1:].sum(axis=1) == 22).all()
    assert (one.counts == one.counts.round()).all()
    assert (one.counts == resample(blocks, seed=3).counts).all() and (one.counts != other.counts).any()
    assert (one.first(7).counts == one.counts[:8]).all()


def test_the_drawings_of_intervals_are_the_first_of_those_of_ranks():
    for kept in read_summaries(PUBLISHED, benchmarks.load("gaussians@1")):
        drawn = kept.replicates["alignment"]
        assert len(kept.rank_replicates) == 1 + resampling.RANK_REPLICATES
        np.testing.assert_allclose(drawn, kept.rank_replicates[: 1 + statistics.REPLICATES], rtol=1e-12)


def test_neighbours_that_go_together_are_drawn_together():
    """Of values that a neighbour takes back, the mean hardly varies; drawn one by one it would."""
    rng = np.random.default_rng(0)
    parts = rng.normal(size=1000)
    values = (parts - np.roll(parts, 1))[:, None]
    together, alone = (means(resample(b, seed=0), values)[1:].std() for b in (along(1000, 10), np.arange(1000)))
    assert together < 0.4 * alone


def test_blocks_that_miss_all_their_values_leave_the_others():
    values = np.array([[1.0], [3.0], [np.nan], [np.nan], [5.0], [7.0]])
    found = means(resample(np.array([0, 0, 1, 1, 2, 2]), seed=0, replicates=300), values)[:, 0]
    assert found[0] == 4
    assert set(found[np.isfinite(found)]) <= {2.0, 4.0, 6.0}
    assert np.isnan(found).any()  # the second block was drawn alone
