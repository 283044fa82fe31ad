"""Against whose target the chance level of an image is measured."""

import numpy as np

from pagbench.benchmarks import Benchmark


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
