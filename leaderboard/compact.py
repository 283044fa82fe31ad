"""Rounds the measured values of the published results to 13 significant bits (6e-5 of a value), which halves the files.

Means over a benchmark's images change by less than 1e-5. `python leaderboard/compact.py`, after measuring.
"""

from pathlib import Path

from pagbench import benchmarks, columns, results

RESULTS = Path(__file__).parent / "results"
BITS = 13


def main() -> None:
    """Rewrites every results file; a rounded one stays as it is."""
    for label in benchmarks.names():
        schema = columns.schema(benchmarks.load(label))
        for path in sorted((RESULTS / label).rglob("*.parquet")):
            results.write(path, results.read(path, schema), schema, bits=BITS)


if __name__ == "__main__":
    main()
