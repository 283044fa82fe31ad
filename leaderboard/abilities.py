"""Measures what the published entrants' gradients can do: `python leaderboard/abilities.py BENCHMARK [ENTRANT]...`.

All entrants that have results by default; their other rows stay as they are. Adversarial accuracy (PGD) is measured on
the same images, for comparison. `python leaderboard/compact.py` afterwards.
"""

import sys
from pathlib import Path

import pagbench
from pagbench import columns

RESULTS = Path(__file__).parent / "results"


def main(benchmark: str, *entrants: str) -> None:
    """Adds the rows of the measures."""
    definition = pagbench.benchmarks.load(benchmark)
    home = RESULTS / definition.label
    paths = sorted(home.glob("*/[!.]*.parquet"))
    names = entrants or [path.relative_to(home).with_suffix("").as_posix() for path in paths]
    pagbench.run(names, benchmark=benchmark, measures=columns.ABILITIES, results=RESULTS, progress=True)
    limit = len(columns.samples_of(definition, columns.ABILITIES[0]))
    pagbench.run(names, benchmark=benchmark, measures=["pgd"], limit=limit, results=RESULTS, progress=True)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("which benchmark? for example: python leaderboard/abilities.py digits")
    main(*sys.argv[1:])
