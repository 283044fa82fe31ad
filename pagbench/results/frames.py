"""Data frames of rows of several models, what a run returns or a results folder has, and what is declared in `.attrs`.

Only here is anything read from or put into `.attrs`, as plain JSON values: pandas copies and stores no others.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, naming
from pagbench.errors import ResultsError, warn
from pagbench.results.agreement import check_same_targets
from pagbench.results.files import Declared, Result
from pagbench.results.folders import NoResultsError, find_models, labels_in, local, map_models, map_results
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification


def to_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Rows of several models; `.attrs` has by model their pre-flight cards, verifications and all that is declared.

    Raises:
        ResultsError: they were measured against different networks.
    """
    check_same_targets((result.name, result.provenance.target_weights) for result in results)
    rows = pd.concat([result.rows for result in results], ignore_index=True) if results else pd.DataFrame()
    cards = {result.name: result.document.get("preflight") for result in results}
    declared = {result.name: result.declared for result in results}
    verified = {name: known.verification for name, known in declared.items()}
    rows.attrs = {
        "preflight": _present(cards),
        "verifications": {
            name: record.model_dump(mode="json", by_alias=True) for name, record in _present(verified).items()
        },
        "trained_on_target": _present({name: known.trained_on_target for name, known in declared.items()}),
        "licenses": _present({name: known.license for name, known in declared.items()}),
        "embargoes": _present({name: known.embargo for name, known in declared.items()}),
        "seconds_per_image": _present({name: known.seconds_per_image for name, known in declared.items()}),
        "networks": _present({name: known.network for name, known in declared.items()}),
        "cards": {
            name: card.model_dump(mode="json", exclude_none=True)
            for name, card in _present({name: known.card for name, known in declared.items()}).items()
        },
        "target_weights": {result.name: dict(result.provenance.target_weights) for result in results},
        "submitted": {name: True for name, known in declared.items() if known.submitted},
    }
    return rows


def load_results(
    folder: str | Path,
    benchmark: str | Benchmark | None = None,
    model: str | None = None,
    *,
    on_warning: Callable[[str], object] = warn,
) -> pd.DataFrame:
    """Reads the rows of a results folder, one per model and image, as `pagbench.leaderboard` and `compare` take them.

    Args:
        folder: of results, or its URL, as `s3://bucket/results`; `published` for the published results, which a
            checkout has.
        benchmark: name, `name@version`, or a definition; not needed where the folder has results of one alone.
        model: id, or the end of the id, of the only one whose rows are read; all by default.
        on_warning: called with a line for each file of a folder that is damaged or somebody else's, and left out.

    Returns:
        Columns `benchmark`, `version`, `model`, `family`, `strength`, `control`, `seed`, `sample_id`, `label`, then the
        benchmark's per-image values (`pagbench list measures` defines them), NaN where not scored. Columns of optional
        measures follow where the folder has them.

    >>> load_results("results", "digits").groupby("model")["alignment_cosine"].mean()  # doctest: +SKIP

    Raises:
        ResultsError: there are no results, those of several benchmarks and none is named, or the file of the named
            model is damaged.
        UnknownNameError: there is no such benchmark, or no results of that model; the message has the closest ids.
    """
    home = local(folder)
    definition = benchmarks.load(benchmark or only_label(home))
    if model is None:
        found = map_results(home, definition, lambda result: result, on_warning)
    else:
        known = [files.name for files in find_models(home, definition)]
        chosen = naming.known(model, known) if known else model
        found = map_models(home, definition, lambda files: files.read() if files.name == chosen else None)
    return to_frame(found).rename(columns={"entrant": "model"})


def only_label(folder: Path) -> str:
    """The benchmark that a folder has results of.

    Raises:
        ResultsError: there are none, or several.
    """
    labels = labels_in(folder)
    if not labels:
        raise NoResultsError(f"{folder}: no results; measure a model with `pagbench run`, or give another folder")
    if len(labels) > 1:
        raise ResultsError(f"{folder}: results of several benchmarks ({', '.join(labels)}); name one with benchmark=")
    return labels[0]


def as_measured(rows: pd.DataFrame | Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows as `pagbench.run` returns them, of `load_results`, `pandas.read_parquet` or of several of these.

    `load_results` calls the model's id `model`, which files call `entrant`; what is put together may have both. Files
    have floats, of which sums are less exact.

    Raises:
        ResultsError: no data frame, rows without an id, or frames of several benchmarks or that were measured against
            different networks.
    """
    joined = rows if isinstance(rows, pd.DataFrame) else _joined(rows)
    if {"entrant", "model"} <= set(joined.columns):
        joined = joined.assign(entrant=joined["entrant"].fillna(joined["model"])).drop(columns="model")
    else:
        joined = joined.rename(columns={"model": "entrant"})
    if "entrant" in joined and (lacking := int(joined["entrant"].isna().sum())):
        raise ResultsError(f"{lacking} of {len(joined)} rows have no id of a model; fill the column entrant")
    floats = dict.fromkeys(joined.select_dtypes("float32").columns, float)
    return joined.astype(floats) if floats else joined


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several data frames as one, with what is declared in each; of what two declare of a model, the latter's."""
    listed = frames if isinstance(frames, Sequence) else [frames]
    if other := [frame for frame in listed if not isinstance(frame, pd.DataFrame)]:
        raise ResultsError(
            f"rows are a {type(other[0]).__name__}, expected a data frame, a list of them or a results folder; measure "
            "networks with pagbench.run first"
        )
    measured = [as_measured(frame) for frame in listed if not frame.empty]
    labels = sorted({label for frame in measured for label in benchmarks_in(frame)})
    if len(labels) > 1:
        raise ResultsError(f"data frames of several benchmarks ({', '.join(labels)}); give those of one")
    check_same_targets(declared for frame in measured for declared in target_weights_in(frame).items())
    kinds = {kind for frame in measured for kind, declared in frame.attrs.items() if isinstance(declared, dict)}
    attrs = {
        kind: {name: said for frame in measured for name, said in frame.attrs.get(kind, {}).items()} for kind in kinds
    }
    bare = [pd.DataFrame(frame).copy(deep=False) for frame in measured]
    for frame in bare:
        frame.attrs = {}  # or pandas would compare them
    joined = pd.concat(bare, ignore_index=True) if bare else pd.DataFrame()
    joined.attrs = attrs
    return joined


def benchmarks_in(rows: pd.DataFrame) -> list[str]:
    """Labels of the benchmarks that rows are of; none where they do not say it."""
    if not {"benchmark", "version"} <= set(rows.columns):
        return []
    pairs = rows[["benchmark", "version"]].drop_duplicates()
    return sorted(f"{name}@{version}" for name, version in pairs.itertuples(index=False))


def declared_in(rows: pd.DataFrame, model: str) -> Declared:
    """What `.attrs` of a data frame declares of a model."""
    preflight, record, card = (rows.attrs.get(kind, {}).get(model) for kind in ("preflight", "verifications", "cards"))
    return Declared(
        None if preflight is None else Preflight.model_validate(preflight),
        None if record is None else Verification.model_validate(record),
        rows.attrs.get("licenses", {}).get(model),
        rows.attrs.get("trained_on_target", {}).get(model),
        rows.attrs.get("seconds_per_image", {}).get(model),
        rows.attrs.get("embargoes", {}).get(model),
        rows.attrs.get("networks", {}).get(model),
        None if card is None else ModelCard.model_validate(card),
        rows.attrs.get("submitted", {}).get(model, False),
    )


def target_weights_in(rows: pd.DataFrame) -> Mapping[str, Mapping[str, str]]:
    """Hashes of the networks behind the targets of each model's rows, where `.attrs` of a data frame says them."""
    weights: Mapping[str, Mapping[str, str]] = rows.attrs.get("target_weights", {})
    return weights


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
