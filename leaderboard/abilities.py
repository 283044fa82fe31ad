"""Measures what the published models' gradients can do: `python leaderboard/abilities.py BENCHMARK [MODEL]...`.

All models that have results by default; their other rows stay as they are. `leaderboard/compact.py` goes after it.
With `--adversarial` first, adversarial accuracy (PGD) on the same images instead, as `docs/adversarial.csv`.
"""

import sys
from pathlib import Path

import pagbench
from pagbench import columns

RESULTS = Path(__file__).parent / "results"
ADVERSARIAL = Path(__file__).parent.parent / "docs" / "adversarial.csv"


def main(benchmark: str, *models: str) -> None:
    """Adds the rows of the measures."""
    names = models or published(benchmark)
    pagbench.run(names, benchmark=benchmark, measures=columns.ABILITIES, results=RESULTS, progress=True)


def adversarial(benchmark: str) -> None:
    """Writes the means of all models but controls and smoothed ones, whose attack would take 32 times as long."""
    definition = pagbench.benchmarks.load(benchmark)
    names = [name for name in published(benchmark) if not name.startswith("control/") and "/smoothing-" not in name]
    limit = len(columns.samples_of(definition, columns.ABILITIES[0]))
    rows = pagbench.run(names, benchmark=benchmark, measures=["pgd"], limit=limit, anchors=False, progress=True)
    measured = [column.name for column in columns.sample_columns(definition, ["pgd"])]
    rows.groupby("entrant")[measured].mean().round(4).to_csv(ADVERSARIAL)


def published(benchmark: str) -> list[str]:
    """Ids of the models that have results."""
    home = RESULTS / pagbench.benchmarks.load(benchmark).label
    paths = sorted(home.glob("*/[!.]*.parquet"))
    return [path.relative_to(home).with_suffix("").as_posix() for path in paths]


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("which benchmark? for example: python leaderboard/abilities.py digits")
    if sys.argv[1] == "--adversarial":
        adversarial(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
