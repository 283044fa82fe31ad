"""Against whose target the chance level of an image is measured."""

from collections.abc import Sequence

import numpy as np

from pagbench.benchmarks import Benchmark
from pagbench.errors import DataError


def cycle(benchmark: Benchmark, seed: int) -> tuple[str, ...]:
    """All samples in an order in which each image is followed by its partner, or nearly so; the last one by the first.

    Where the definition says so, that is the order of its samples; otherwise a permutation that is drawn with the seed.
    """
    samples = benchmark.samples
    if benchmark.partners == "next":
        return samples
    return tuple(samples[i] for i in np.random.default_rng([seed, len(samples)]).permutation(len(samples)))


def partners(benchmark: Benchmark, seed: int, labels: Sequence[int]) -> dict[str, str]:
    """The partner of each sample; the keys follow the cycle.

    Args:
        benchmark: the definition; where it says `next`, a partner is the next image in the cycle of another class.
        seed: of the permutation, where the definition leaves the order open.
        labels: classes of its samples, in order.

    Raises:
        DataError: partners are to be of other classes, and all images are of one.
    """
    order = cycle(benchmark, seed)
    followers = order[1:] + order[:1]
    if benchmark.partners == "next":
        if len(set(labels)) < 2:
            raise DataError(
                f"{benchmark.label}: partners are to be of different classes, and all {len(order)} samples are of "
                f"class {labels[0]}; add samples of others"
            )
        followers = tuple(order[i % len(order)] for i in _next_of_another_class(labels))
    return dict(zip(order, followers, strict=True))


def _next_of_another_class(labels: Sequence[int]) -> list[int]:
    """For each place of a cycle the next one of another class, counted on beyond the end."""
    n = len(labels)
    following = [0] * (2 * n)
    following[-1] = 2 * n
    for i in range(2 * n - 2, -1, -1):
        following[i] = i + 1 if labels[i % n] != labels[(i + 1) % n] else following[i + 1]
    return following[:n]
