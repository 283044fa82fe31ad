"""Random numbers of a sample: they depend on the seed, the purpose and the sample's id, never on batches or order."""

import hashlib

import numpy as np


def generator(seed: int, purpose: str, sample_id: str, *index: int) -> np.random.Generator:
    """A generator of its own for each seed, purpose, sample and, where a sample needs several, index.

    >>> bool(generator(0, "response", "3").standard_normal() == generator(0, "response", "3").standard_normal())
    True
    """
    key = np.frombuffer(hashlib.sha256(f"{purpose}/{sample_id}".encode()).digest(), dtype=np.uint32)
    return np.random.default_rng([seed, *key.tolist(), *index])
