"""All results of a folder read, checked and joined."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.results import thumbnails, verification
from pagbench.results.folders import home_of, model_at, path_of, places, submitted
from pagbench.results.result import Result, target_weights
from pagbench.results.samples import positions
from pagbench.results.store import Store
from pagbench.results.verification import Verification

_THREADS = min(4, os.cpu_count() or 1)
"""Models that are read at a time. Decoding and products do without Python's lock; a product keeps to one thread, for
several that share their threads wait for each other."""
Used = TypeVar("Used")


def read_all(folder: Path, benchmark: Benchmark) -> list[Result]:
    """Reads every model's results on a benchmark; all rows at once, where `each` holds those of a few models.

    Raises:
        ResultsError: see `each`.
    """
    return each(folder, benchmark, lambda result: result)


def each(folder: Path, benchmark: Benchmark, use: Callable[[Result], Used]) -> list[Used]:
    """Reads every model's results on a benchmark, complete or not, merged with parts of unfinished runs.

    Columns of optional measures are added to the rows of the models that have them. Where a folder `submissions` lies
    beside, as in the published leaderboard, the results of its models on this benchmark are read too.

    Args:
        folder: the results folder.
        benchmark: the definition.
        use: what is made of a model's results; called from a few threads at a time.

    Returns:
        What was made, model by model.

    Raises:
        ResultsError: there are none, or a file is of another definition of the benchmark, or its rows are not its
            samples, or an optional measure's rows are of another network, or models were measured against different
            networks.
    """
    homes = [folder, *submitted(folder, benchmark)]
    found = [(home, path) for home in homes for path in places(home_of(home, benchmark))]
    _check_distinct([model_at(path, home_of(home, benchmark)) for home, path in found])
    optional = [
        (home, measure) for measure in columns.OPTIONAL for home in homes if home_of(home, benchmark, measure).is_dir()
    ]
    digest, seen = benchmark.digest(), _Seen()

    def used(place: tuple[Path, Path]) -> tuple[Mapping[str, Any], Used] | None:
        result = _read_whole(*place, optional, benchmark, digest)
        return None if result is None else (result.provenance, use(result))

    made = []
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_THREADS) as pool:
        for one in pool.map(used, found):
            if one is not None:
                seen.check(one[0])
                made.append(one[1])
    if not made:
        raise _nothing(folder, benchmark)
    return made


def _read_whole(
    home: Path, path: Path, optional: Sequence[tuple[Path, str]], benchmark: Benchmark, digest: str
) -> Result | None:
    """A model's results with those of optional measures, by home; None where a run has just begun."""
    result = _read(path, home_of(home, benchmark), benchmark, digest)
    if result is None:
        return None
    for other_home, measure in optional:
        place = path_of(other_home, benchmark, result.provenance["card"]["id"], measure)
        other = _read(place, home_of(other_home, benchmark, measure), benchmark, digest, measure)
        result = result if other is None else with_measure(result, other, benchmark, measure)
    return result


def _nothing(folder: Path, benchmark: Benchmark) -> ResultsError:
    there = sorted(path.name for path in folder.glob("*@*")) if folder.is_dir() else []
    hint = f"it has {', '.join(there)}" if there else "it has none"
    return ResultsError(
        f"{folder}: no results of {benchmark.label} ({hint}); run `pagbench run --benchmark {benchmark.name}`"
    )


def _check_distinct(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ResultsError(f"{twice[0]}: results of it are both published and submitted; keep one of them")


def _read(path: Path, home: Path, benchmark: Benchmark, digest: str, measure: str | None = None) -> Result | None:
    """One model's results, checked; None where there are none."""
    result = Store(path, benchmark, measure).load()
    if result is None:
        return None
    _check(result, benchmark, path, home, digest)
    return replace(result, verification=_verification(result, benchmark, path), path=path)


def _verification(result: Result, benchmark: Benchmark, path: Path) -> Verification | None:
    """The record beside a merged file; parts of an unfinished run have none."""
    if not path.exists():
        return None
    weights: str = result.provenance["weights_sha256"]
    return verification.of(path, benchmark.label, result.provenance["card"]["id"], weights)


def with_measure(result: Result, other: Result, benchmark: Benchmark, measure: str) -> Result:
    """A model's results with the columns of an optional measure's; NaN where these lack a sample.

    Raises:
        ResultsError: they are of another network, or of another seed, or their pictures are damaged.
    """
    difference = result.difference(other.provenance)
    if difference:
        name = result.provenance["card"]["id"]
        raise ResultsError(
            f"{name}: its rows and those of {measure} are not of the same run ({difference}); run again with "
            f"--measures {measure} --overwrite"
        )
    names = [column.name for column in columns.sample_columns(benchmark, [measure])]
    added = other.rows[["entrant", "sample_id", *names]]
    rows = result.rows.merge(added, on=["entrant", "sample_id"], how="left")
    return replace(result, rows=rows, provenance={**result.provenance, **_shared(result, other)})


def _shared(result: Result, other: Result) -> dict[str, Any]:
    """What the provenance of a model's results takes from those of an optional measure: images and runs."""
    said = [one.provenance for one in (result, other)]
    made = thumbnails.merge_generated([one.get("made") for one in said], said[0]["card"]["id"])
    runs = [run for one in said for run in _listed(one.get("runs"))]
    return {name: content for name, content in (("made", made), ("runs", runs)) if content}


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _check(result: Result, benchmark: Benchmark, path: Path, home: Path, digest: str) -> None:
    """One model's rows, of this definition of the benchmark (by its digest), in the place of that model."""
    rows, card, seed = result.rows, result.provenance["card"], result.provenance["seed"]
    if result.provenance["benchmark_digest"] != digest:
        raise ResultsError(
            f"{path}: measured on another definition of {benchmark.label} "
            f"({result.provenance['benchmark_digest'][:12]}…, this is {digest[:12]}…); use --overwrite"
        )
    if result.provenance["revision"] != columns.REVISION:
        raise ResultsError(
            f"{path}: measured by revision {result.provenance['revision']} of the measures, this is "
            f"{columns.REVISION}; run again with --overwrite"
        )
    said = {card["id"], *rows["entrant"].unique()}
    identity = {"seed": seed, "control": card["loader"] == "control"}
    if said != {model_at(path, home)} or any(set(rows[name].unique()) != {value} for name, value in identity.items()):
        raise ResultsError(f"{path}: holds rows of {', '.join(sorted(said))}; move it out of the results folder")
    known = positions(rows["sample_id"], benchmark)
    labels = rows["benchmark"].unique().tolist(), rows["version"].unique().tolist()
    if labels != ([benchmark.name], [benchmark.version]) or known.min() < 0 or np.bincount(known).max() > 1:
        raise ResultsError(f"{path}: rows are duplicated or not of {benchmark.label}; run again with --overwrite")


def joined(found: Sequence[Result]) -> pd.DataFrame:
    """Rows of several models; in `.attrs`, by model, their pre-flight cards, verifications and licences.

    Raises:
        ResultsError: they were measured against different networks.
    """
    seen = _Seen()
    for result in found:
        seen.check(result.provenance)
    rows = pd.concat([result.rows for result in found], ignore_index=True) if found else pd.DataFrame()
    cards = {result.provenance["card"]["id"]: result.provenance.get("preflight") for result in found}
    licences = {result.provenance["card"]["id"]: result.provenance["card"].get("license") for result in found}
    rows.attrs["preflight"] = {name: card for name, card in cards.items() if card is not None}
    verified = {result.provenance["card"]["id"]: result.verification for result in found}
    rows.attrs["verifications"] = {
        name: v.model_dump(mode="json", by_alias=True) for name, v in verified.items() if v is not None
    }
    declared = {result.provenance["card"]["id"]: result.provenance["card"].get("trained_on_target") for result in found}
    rows.attrs["trained_on_target"] = {name: value for name, value in declared.items() if value is not None}
    rows.attrs["licenses"] = {name: licence for name, licence in licences.items() if licence is not None}
    return rows


class _Seen:
    """The networks behind the targets of the models so far, each with the first model that was measured on it."""

    def __init__(self) -> None:
        self._weights: dict[str, tuple[str, str]] = {}

    def check(self, provenance: Mapping[str, Any]) -> None:
        """Refuses a model that was measured against other networks, as against autoencoders of two machines."""
        name = provenance["card"]["id"]
        for part, digest in target_weights(provenance).items():
            other, expected = self._weights.setdefault(part, (name, digest))
            if digest != expected:
                raise ResultsError(
                    f"{name}: its {part} has weights {digest[:12]}, that of {other} {expected[:12]}, and their numbers "
                    "are not comparable; measure one of them again with --overwrite"
                )
