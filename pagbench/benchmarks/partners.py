"""Against whose target the chance level of an image is measured."""

from collections.abc import Sequence

import numpy as np

from pagbench.benchmarks import Benchmark
from pagbench.errors import DataError


def cycle(benchmark: Benchmark, seed: int) -> tuple[str, ...]:
    """All samples in an order in which each image is followed by its partner, the last one by the first.

    Where the definition says so, that is the order of its samples, which then alternate between classes; otherwise a
    permutation that is drawn with the seed, whatever the classes.
    """
    samples = benchmark.samples
    if benchmark.partners == "next":
        return samples
    return tuple(samples[i] for i in np.random.default_rng([seed, len(samples)]).permutation(len(samples)))


def partners(benchmark: Benchmark, seed: int) -> dict[str, str]:
    """The partner of each sample; the keys follow the cycle."""
    order = cycle(benchmark, seed)
    return dict(zip(order, order[1:] + order[:1], strict=True))


def check_classes(benchmark: Benchmark, labels: Sequence[int]) -> None:
    """Where the definition says that partners are of different classes, holds it to that.

    Args:
        benchmark: the definition.
        labels: of its samples, in order.

    Raises:
        DataError: an image and its partner have one label.
    """
    if benchmark.partners != "next":
        return
    label_of = dict(zip(benchmark.samples, labels, strict=True))
    for name, other in partners(benchmark, benchmark.seed).items():
        if label_of[name] == label_of[other]:
            raise DataError(
                f"{benchmark.label}: sample {name} and the next one, {other}, are both of class {label_of[name]}, but "
                "partners are to be of different classes; order the samples so that neighbours differ, the last and "
                "the first among them"
            )
