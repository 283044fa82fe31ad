"""Writes a large results folder of invented rows, to time what reads one.

    python benchmarks/big_results.py FOLDER --models 1000 --samples 10000

The rows are those of Fashion-MNIST's benchmark, on as many samples as asked for, under a definition of its own.
"""

import argparse
import hashlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard

_FAMILIES = ("adversarial", "gradient-norm", "noise", "smoothing")
_BITS = 13
"""Significant bits of a value, near those of published results."""


def definition(samples: int) -> Benchmark:
    """Fashion-MNIST's benchmark on the first so many ids from 0."""
    ids = tuple(map(str, range(samples)))
    return benchmarks.load("fashion-mnist@1").model_copy(update={"samples": ids})


def names(benchmark: Benchmark, models: int) -> list[str]:
    """The two anchors and as many further models as make up the number."""
    return [*benchmark.anchors, *(f"fashion-mnist/made-{index:04d}" for index in range(models - 2))]


def write(folder: Path, benchmark: Benchmark, models: int, *, workers: int = 1) -> None:
    """Writes a results file for each of so many models, the anchors among them."""
    one = partial(_write_one, folder, benchmark)
    numbered = enumerate(names(benchmark, models))
    if workers == 1:
        for item in numbered:
            one(item)
        return
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(one, numbered, chunksize=4))


def _write_one(folder: Path, benchmark: Benchmark, numbered: tuple[int, str]) -> None:
    index, name = numbered
    result = results.Result(rows(benchmark, index, name), provenance(benchmark, index, name))
    results.write(results.path_of(folder, benchmark, name), result, columns.schema(benchmark), bits=_BITS)


def rows(benchmark: Benchmark, index: int, name: str) -> pd.DataFrame:
    """Plausible rows of one model: classes in a cycle, most of them found, measures that differ with the index."""
    rng, n = np.random.default_rng(index), len(benchmark.samples)
    label = np.arange(n) % benchmark.classes
    strength = _strength(benchmark, index, name)
    identity = {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "entrant": name,
        "family": _family(benchmark, index, name),
        "strength": np.nan if strength is None else strength,
        "control": name == benchmark.bayes,
        "seed": benchmark.seed,
        "sample_id": list(benchmark.samples),
        "label": label,
    }
    shift = {benchmark.reference: -0.5, benchmark.bayes: 0.5}.get(name, rng.normal(0, 0.3))
    measured = {
        column.name: (1 / (1 + np.exp(-rng.normal(shift, 1, n)))).astype(np.float32)
        for column in columns.sample_columns(benchmark)
    }
    measured |= {"correct": (rng.random(n) < 0.85).astype(np.float32), "gradient_faithful": np.ones(n, np.float32)}
    fixed = ("temperature", "temperature_low", "temperature_high")
    measured |= {name: np.full(n, value, np.float32) for name, value in zip(fixed, (1.0, 0.9, 1.1), strict=True)}
    return pd.DataFrame(identity | measured)


def _family(benchmark: Benchmark, index: int, name: str) -> str:
    return {benchmark.bayes: "control", benchmark.reference: "standard"}.get(name, _FAMILIES[index % len(_FAMILIES)])


def _strength(benchmark: Benchmark, index: int, name: str) -> float | None:
    return None if name in benchmark.anchors else float(1 + index // len(_FAMILIES))


def provenance(benchmark: Benchmark, index: int, name: str) -> dict[str, object]:
    """What a results file must say of itself."""
    card = {"id": name, "title": "invented", "family": _family(benchmark, index, name)}
    if name == benchmark.bayes:
        card |= {"loader": "control", "architecture": "bayes"}
    else:
        card |= {
            "strength": _strength(benchmark, index, name),
            "dataset": benchmark.data_name,
            "architecture": "strided-cnn",
            "activation": "silu",
            "input_shape": list(benchmark.input_shape),
            "classes": benchmark.classes,
            "weights": "invented.safetensors",
            "weights_sha256": hashlib.sha256(name.encode()).hexdigest(),
        }
    return {
        "format": results.FORMAT,
        "revision": columns.REVISION,
        "benchmark_digest": benchmark.digest(),
        "card": ModelCard.model_validate(card).model_dump(mode="json", exclude_none=True),
        "behaviour": "",
        "weights_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "seed": benchmark.seed,
        "fingerprint": [float(index)],
        "started": "2026-01-01T00:00:00Z",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    write(asked.folder, definition(asked.samples), asked.models, workers=asked.workers)
