"""A benchmark and networks that cost little, for tests of what happens around the measuring."""

import ctypes
import os
import signal
import time

import numpy as np
import pandas as pd
import torch
from torch import nn

from pagbench import benchmarks

IDENTITY = ["benchmark", "version", "entrant", "family", "strength", "control", "seed", "sample_id", "label"]


def benchmark(samples=24):
    """The first digits, by the cheapest measures."""
    digits = benchmarks.load("digits@1")
    measures = ("accuracy", "response", "faithfulness", "tangent", "alignment_cosine")
    fewer = {"samples": digits.samples[:samples], "measures": measures, "alignment": "alignment_cosine"}
    return digits.model_copy(update=fewer)


def assert_same_rows(a, b):
    a, b = (rows.sort_values(["entrant", "sample_id"], ignore_index=True) for rows in (a, b))
    pd.testing.assert_frame_equal(a[IDENTITY], b[IDENTITY])
    measured = [name for name in a if name not in IDENTITY]
    np.testing.assert_allclose(a[measured], b[measured], rtol=1e-5, atol=1e-6)


class Linear(nn.Module):
    """Logits of fixed weights; `fault` is done at every call from the `after`-th on."""

    def __init__(self, seed=0, after=0):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(10, 64, generator=generator))
            self.layer.bias.zero_()
        self.after, self.calls = after, 0

    def forward(self, x):
        self.calls += 1
        if self.after and self.calls > self.after:
            self.fault(x)
        return self.layer(x.flatten(1))

    def fault(self, x):
        """Nothing."""


class Quits(Linear):
    def fault(self, x):
        raise SystemExit(1)


class Raises(Linear):
    def fault(self, x):
        raise KeyError("third party's own words")


class Sleeps(Linear):
    """A hang that Python sees."""

    def fault(self, x):
        time.sleep(1000)


class Locks(Linear):
    """A hang that never comes back to Python: a C lock taken twice."""

    def fault(self, x):
        libc = ctypes.CDLL(None)
        lock = ctypes.create_string_buffer(128)
        libc.pthread_mutex_lock(lock)
        libc.pthread_mutex_lock(lock)


class Dies(Linear):
    """Kills its process at the first batch of 32; with a file of that name, in the second batch, and once."""

    once = None

    def fault(self, x):
        if len(x) == 32 and (self.once is None or (self._second() and not self.once.exists())):
            if self.once is not None:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def _second(self):
        self.batches = getattr(self, "batches", 0) + 1
        return self.batches > 60


class Leaks(Linear):
    """Keeps 2 MB at every call."""

    def fault(self, x):
        self.kept = [*getattr(self, "kept", []), np.ones(250_000)]


class Crowded(Linear):
    """Runs out of memory with more than four images."""

    def fault(self, x):
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 EiB")


class Interrupted(Linear):
    """Gets a signal once, in the middle of a batch."""

    signal = signal.SIGINT

    def fault(self, x):
        if self.calls == self.after + 1:
            os.kill(os.getpid(), self.signal)
