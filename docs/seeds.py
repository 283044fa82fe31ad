"""How training seeds differ on `fashion-mnist@2`, at more strengths than the published results have seeds of.

`python docs/seeds.py RESULTS...` reads results folders and writes `docs/seeds.csv`, a row for each network of the
reference's make. The networks beyond the published ones were trained by the commands of their recipes with other seeds
(`pagbench train fashion-mnist --family F --strength S --seed N --epochs 4 --half`); their weights are not kept.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from study import row, rule

from pagbench import benchmarks, results

HERE = Path(__file__).parent
TABLE = HERE / "seeds.csv"
COLUMNS = ("family", "strength", "seed", "accuracy", "alignment", "tangent_energy", "weights_sha256")
MEASURED = ("accuracy", "alignment", "tangent_energy")


def measure(folders: Iterable[Path]) -> list[dict[str, object]]:
    """Means of every network over its images, by family, strength and seed."""
    benchmark, found = benchmarks.load("fashion-mnist@2"), {}
    for folder in folders:
        for result in results.read_all(folder, benchmark):
            card = result.provenance.card
            usual = (card.architecture, card.activation) == ("strided-cnn", "silu")
            if card.control or card.smoothing or not usual:
                continue
            mean = result.rows.mean(numeric_only=True)
            chance = mean["alignment_cosine_chance"]
            aligned = (mean["alignment_cosine"] - chance) / (1 - chance)
            key = (card.family, card.strength or 0.0, card.seed or 0)
            values = (mean["correct"], aligned, mean["tangent_energy"])
            if np.isfinite(values).all():
                found[key] = (*(f"{value:.4f}" for value in values), result.provenance.weights_sha256)
    return [dict(zip(COLUMNS, (*key, *values), strict=True)) for key, values in sorted(found.items())]


def table() -> str:
    """Standard deviations between seeds along the paths, as Markdown; without recipes of fewer than three seeds."""
    recipes = defaultdict(list)
    with TABLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            recipes[line["family"], float(line["strength"])].append([float(line[name]) for name in MEASURED])
    lines = [row(["recipe", *MEASURED]), rule(4)]
    for (family, strength), values in sorted(recipes.items()):
        if len(values) > 2:
            spread = np.std(values, axis=0, ddof=1)
            lines.append(row([f"{family}-{strength:g}" if strength else family, *(f"{sd:.3f}" for sd in spread)]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(measure(map(Path, sys.argv[1:])))
