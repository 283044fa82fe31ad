"""Adds to the published results what they were measured too early to have: galleries, pre-flight cards, declarations.

Computes the gradients of few images of every model, and compares their cosines with the rows, which stay as they are.
Files that change lose their verification: run `pagbench verify` on them. `python leaderboard/supplement.py`
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pagbench import benchmarks, columns, data, geometry, results
from pagbench.benchmarks import Benchmark
from pagbench.densities import scores
from pagbench.models import checks, devices, loading, registry
from pagbench.models.smoothing import sampled
from pagbench.running import targets, thumbnails

HERE = Path(__file__).parent
CPU = torch.device("cpu")
TOLERANCE = 5e-4
"""Of a cosine: rows are rounded to 11 bits, and their gradients were computed in other batches."""


def main() -> None:
    """Rewrites every results file that lacks something or has an older card; the others stay as they are."""
    for label in benchmarks.names():
        benchmark = benchmarks.load(label)
        paths = sorted((HERE / "results" / label).rglob("*.parquet"))
        if paths:
            target = targeting(benchmark)
            for path in paths:
                add(path, benchmark, target)


def targeting(benchmark: Benchmark) -> thumbnails.Targeting:
    """Bayes targets of any of the benchmark's images; the score model is loaded once."""
    score = scores.load(benchmark, data.splits(benchmark).train)
    return lambda shown: targets.bayes_target(score, benchmark, shown, CPU)


def add(path: Path, benchmark: Benchmark, target: thumbnails.Targeting) -> None:
    """One results file."""
    schema = columns.schema(benchmark)
    before = results.read(path, schema)
    name = before.name
    card_file = HERE / "models" / f"{name}.yaml"
    (request,) = registry.resolve(card_file if card_file.exists() else name, benchmark)
    card = {**before.document["card"], "trained_on_target": request.card.trained_on_target}
    if {"gallery", "preflight"} <= before.document.keys() and card == before.document["card"]:
        return
    model = request.load(benchmark)
    assert model.weights_sha256 == before.provenance.weights_sha256, f"{name}: other weights"
    test = data.splits(benchmark).test
    found = thumbnails.gallery(model, before.rows, test, benchmark.alignment, target=target, device=CPU, batch_size=64)
    ids = [] if found is None else list(dict.fromkeys(found["sample_ids"]))
    worst = check(model, before.rows, test.select(ids), target) if ids else 0.0
    with devices.single_precision():
        flown = checks.preflight(model, benchmark, device=CPU, batch_size=64)
    added = {"card": card, "gallery": found, "preflight": flown.model_dump(mode="json")}
    results.write(path, results.Result(before.rows, {**before.document, **added}), schema, packed=True)
    pd.testing.assert_frame_equal(results.read(path, schema).rows, before.rows, check_exact=True)
    told = f"cosines differ from the rows' by at most {worst:.1e}; pre-flight {flown.summary()}"
    sys.stdout.write(f"{benchmark.label} {name}: {told}\n")


def check(model: loading.LoadedModel, rows: pd.DataFrame, shown: data.Dataset, target: thumbnails.Targeting) -> float:
    """Largest difference between the cosines of the gradients here and those of the rows."""
    with sampled(model.classifier, shown.ids):
        gradient = geometry.log_odds_gradient(model.classifier, shown.images, shown.labels).gradient
    found = geometry.cosine(gradient, target(shown).float()).numpy()
    measured = rows.set_index("sample_id").loc[list(shown.ids), "alignment_cosine"].to_numpy()
    worst = float(np.abs(found - measured).max())
    assert worst < TOLERANCE, f"{model.card.id}: cosines {found} instead of {measured}"
    return worst


if __name__ == "__main__":
    main()
