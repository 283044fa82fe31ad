"""Measures what the published entrants' gradients can do: `python leaderboard/abilities.py BENCHMARK [EXECUTOR]`.

Of the entrants that have results, whose rows stay as they are. `python leaderboard/compact.py` afterwards.
"""

import sys
from pathlib import Path

import pagbench
from pagbench import columns

RESULTS = Path(__file__).parent / "results"


def main(benchmark: str, executor: str = "local") -> None:
    """Adds the rows of all three measures."""
    home = RESULTS / pagbench.benchmarks.load(benchmark).label
    names = [path.relative_to(home).with_suffix("").as_posix() for path in sorted(home.rglob("*.parquet"))]
    names.sort(key=lambda name: name.startswith("control/"))  # the Bayes classifier takes longest
    pagbench.run(
        names, benchmark=benchmark, measures=columns.ABILITIES, results=RESULTS, executor=executor, progress=True
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
