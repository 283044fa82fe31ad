"""Rows of a model that are published already, in place of measuring them once more."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pagbench import results
from pagbench.errors import ResultsError
from pagbench.results import Provenance, Result
from pagbench.results.folders import ModelFiles
from pagbench.results.store import run_of
from pagbench.running.config import RunConfig
from pagbench.storage.files import sha256_of


def take(config: RunConfig, model: str, source: dict[str, Any], samples: Collection[str]) -> Result | None:
    """The published rows of a model on some samples, whose provenance says which file they are of.

    Args:
        config: of the run.
        model: its id.
        source: provenance of the rows that would be measured here, with the networks behind the targets.
        samples: whose rows are wanted.

    Returns:
        None where there are none, or where rows that are measured here would be others: the definition, the weights,
        the revision of the measures, or outputs and gradients on the probe images differ; or a rerun has refuted them.
    """
    if config.published is None:
        return None
    path = results.path_of(config.published, config.benchmark, model)
    if not path.is_file():
        return None
    try:
        found = ModelFiles(config.benchmark, config.benchmark.digest(), model, path).read()
    except ResultsError:  # damaged, or of another definition or revision
        return None
    refuted = found is not None and found.verification is not None and found.verification.verdict == "refuted"
    if found is None or refuted or found.difference(Provenance.model_validate(source)):
        return None
    rows = found.rows[found.rows["sample_id"].isin(samples)].reset_index(drop=True)
    if rows.empty:
        return None
    taken = replace(found, rows=rows)
    seconds = round(found.provenance.wall_seconds * len(rows) / len(found.rows), 3)
    runs = [{**run_of(taken), "published": sha256_of(path)}]
    shown = {"gallery": None} if len(rows) < len(found.rows) else {}  # of images that may not be among these rows
    return replace(taken, document={**found.document, **shown, "wall_seconds": seconds, "runs": runs})
