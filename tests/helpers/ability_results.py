"""Results of abilities, invented: published rows of a few digits' models, and values and images drawn at random."""

import shutil

import numpy as np

from pagbench import benchmarks, columns, results
from pagbench.results import thumbnails

BENCHMARK = benchmarks.load("digits@1")
MEASURED = ("digits/standard", "digits/noise-0.6", "digits/noise-2.5", "control/bayes", "control/constant")
WITHOUT = "digits/noise-0.15"
"""Measured by the benchmark's own measures only."""
VANISHING = "control/constant"
_SAME_FOR_ALL = ("_chance", "_ceiling", "_tv", "_denoiser")


def write(folder):
    """Fills a results folder."""
    for name in (*MEASURED, WITHOUT):
        target = results.path_of(folder, BENCHMARK, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(results.path_of(results.PUBLISHED, BENCHMARK, name), target)
    for number, name in enumerate(MEASURED):
        for measure in columns.ABILITIES:
            write_one(folder, name, measure, seed=number)


def write_one(folder, name, measure, *, seed=0, said=None):
    """Writes results of one model; `said` is changed in its provenance."""
    place = results.path_of(folder, BENCHMARK, name, measure)
    place.parent.mkdir(parents=True, exist_ok=True)
    results.write(place, of(name, measure, seed, said or {}), columns.schema(BENCHMARK, measure))
    return place


def of(name, measure, seed, said):
    own = results.read(results.path_of(results.PUBLISHED, BENCHMARK, name), columns.schema(BENCHMARK))
    samples = columns.samples_of(BENCHMARK, measure)
    rows = own.rows.set_index("sample_id", drop=False).loc[list(samples), list(columns.IDENTITY)]
    for column in columns.sample_columns(BENCHMARK, [measure]):
        shared = any(part in column.name for part in _SAME_FOR_ALL)
        rows[column.name] = drawn(column, len(rows), 99 if shared else seed)
        if name == VANISHING and not shared:
            rows[column.name] = np.nan
    kept = {key: value for key, value in own.document.items() if key not in ("maps", "gallery")}
    return results.Result(rows.reset_index(drop=True), kept | {"made": images(name, measure, seed)} | said)


def drawn(column, count, seed):
    rng = np.random.default_rng(sum(map(ord, column.name)) + 1000 * seed)
    low = max(column.valid[0], -1.0)
    values = rng.uniform(low, min(column.valid[1], low + 1 + seed / 10), count)
    return np.rint(values) if column.binary else values


def images(name, measure, seed):
    """What a results file of an ability carries: what was there before comes with the Bayes control only."""
    rng = np.random.default_rng(seed)
    chosen = [one for one in columns.MEASURES[measure].images if name == BENCHMARK.bayes or one.startswith(measure)]
    samples = columns.samples_of(BENCHMARK, measure)[: thumbnails.GENERATED]
    return thumbnails.encode_generated(
        samples, {one: rng.random((len(samples), 1, 8, 8), np.float32) for one in chosen}
    )
