"""What cannot be, whatever the network is, in a results file that is well formed: said in words. No torch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.columns import Column
from pagbench.results.files import Result
from pagbench.results.thumbnails import reduced_shape

_ROUNDING = 1e-3
"""Relative difference that rounding to 11 significant bits, as of published values, and float32 leave room for."""

_ALWAYS = ("correct", "nll", "confidence", "on_sensitivity", "off_sensitivity", "on_jacobian", "off_jacobian")
_OF_GRADIENT = ("tangent", "alignment_cosine", "alignment_lpips", "alignment_second")


def contradictions(result: Result, benchmark: Benchmark, measure: str | None) -> Iterator[str]:
    """Why rows and pictures are not those of the card in the file, or of the benchmark.

    Args:
        result: as `pagbench.results.files.read` returns it, so that every value has its type.
        benchmark: the definition.
        measure: the optional measure whose rows they are; None for the benchmark's own measures.
    """
    yield from identity(result.rows, result.provenance.card, benchmark, result.provenance.seed)
    outside = ~result.rows["label"].between(0, benchmark.classes - 1)
    if outside.any():
        yield f"{outside.sum()} labels are not of the {benchmark.classes} classes"
    yield from _ranges(result.rows, columns.sample_columns(benchmark, None if measure is None else [measure]))
    yield from _pictures(result, benchmark, measure)


def identity(rows: pd.DataFrame, card: ModelCard, benchmark: Benchmark, seed: int) -> Iterator[str]:
    """Rows that say that they are of another model, benchmark or seed."""
    expected: dict[str, Any] = {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "entrant": card.id,
        "family": card.family,
        "strength": np.nan if card.strength is None else card.strength,
        "control": card.control,
        "seed": seed,
    }
    for name, value in expected.items():
        others = [other for other in rows[name].unique() if other != value and not (pd.isna(other) and pd.isna(value))]
        if others:
            yield f"rows with {name} {str(others[0])[:60]}, expected {value}; measure again"


def _ranges(rows: pd.DataFrame, measured: list[Column]) -> Iterator[str]:
    for column in measured:
        values = rows[column.name].to_numpy(float)
        low, high = column.valid
        room = _ROUNDING if column.binary is False else 0.0
        wrong = np.isinf(values) | (values < low - room) | (values > high + room)
        if column.binary:
            wrong |= ~np.isnan(values) & ~np.isin(values, (0.0, 1.0))
        if wrong.any():
            expected = "0 or 1" if column.binary else f"{low:g} to {high:g}"
            yield (
                f"{column.name}: {wrong.sum()} values out of range (sample {rows['sample_id'][wrong].iloc[0]} has "
                f"{values[wrong][0]:g}), expected {expected}"
            )


def _pictures(result: Result, benchmark: Benchmark, measure: str | None) -> Iterator[str]:
    """Pictures that are not of the benchmark's images, or not those that the measure makes; none is unpacked."""
    source = result.provenance
    made = source.made or {}
    images = columns.MEASURES[measure].images if measure in columns.ABILITIES else ()
    shared = benchmark.bayes in (None, source.card.id)  # what was there before is the same for all: one file has it
    expected = [name for name in images if shared or name.startswith(str(measure))]
    if unknown := sorted(set(made) - set(expected)):
        yield f"its pictures are of {unknown[0][:60]!r}, expected {' or '.join(expected) or 'none'}; measure again"
        return
    present = [picture for picture in (source.maps, source.gallery, *made.values()) if picture is not None]
    known, shape = set(benchmark.samples), reduced_shape(benchmark.input_shape)
    if any(not known.issuperset(picture.sample_ids) for picture in present):
        yield "its pictures are of images that the benchmark does not have; measure again"
    if others := [picture.size for picture in present if picture.size != shape]:
        yield f"a picture has the shape {others[0]}, expected {shape}; measure again"


def implausible(rows: pd.DataFrame, benchmark: Benchmark) -> Iterator[str]:
    """Why rows of the benchmark's own measures are not to be believed, though they may be shown.

    Args:
        rows: of which `contradictions` says nothing.
        benchmark: the definition.
    """
    yield from _missing_values(rows, benchmark)
    yield from _other_probabilities(rows)


def _missing_values(rows: pd.DataFrame, benchmark: Benchmark) -> Iterator[str]:
    """Nulls where every network has a value, or in some only of the columns that are scored together."""
    names = [column.name for column in columns.sample_columns(benchmark)]
    responses = [columns.epsilon_name(f"{side}_response", e) for side in ("on", "off") for e in benchmark.epsilons]
    for name in (*_ALWAYS, *responses):
        if name in names and rows[name].isna().any():
            yield f"{name}: {rows[name].isna().sum()} values are missing, which every network has"
    chosen = [measure for measure in benchmark.measures if measure in _OF_GRADIENT]
    scored = [column.name for column in columns.sample_columns(benchmark, chosen)]
    if benchmark.sigmas is not None:  # at others the target itself may vanish
        scored += [columns.sigma_name(f"alignment_at{suffix}", benchmark.sigma) for suffix in ("", "_chance")]
    nulls = rows[scored].isna()
    odd = nulls.any(axis=1) & ~nulls.all(axis=1)
    if odd.any():
        first = rows["sample_id"][odd].iloc[0]
        yield f"{odd.sum()} rows lack some but not all columns of the gradient (sample {first})"


def _other_probabilities(rows: pd.DataFrame) -> Iterator[str]:
    """Probabilities that do not fit each other, more than one temperature."""
    label, largest = np.exp(-rows["nll"]), rows["confidence"]
    room = _ROUNDING * (label * (1 + rows["nll"]) + largest)
    right = (rows["correct"] == 1) & ((label - largest).abs() > room)
    wrong = (rows["correct"] == 0) & ((label > largest + room) | (label + largest > 1 + room))
    for chosen, verdict in ((right, "correct"), (wrong, "wrong")):
        if chosen.any():
            row = rows[chosen].iloc[0]
            yield (
                f"{chosen.sum()} rows are called {verdict} against their own probabilities (sample {row['sample_id']}: "
                f"the label's is {np.exp(-row['nll']):.3g}, the largest {row['confidence']:.3g})"
            )
    for name in ("temperature", "temperature_low", "temperature_high"):
        if name in rows and rows[name].nunique(dropna=False) > 1:
            yield f"{name}: {rows[name].nunique(dropna=False)} values, expected one of the whole network"
