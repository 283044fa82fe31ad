"""Rounds the measured values of the published results to 11 significant bits (2.4e-4 of a value): half the size.

Those of abilities, whose errors are percents, to 8 bits (2e-3). Means over a benchmark's images change by less than
1e-5, of abilities by less than 1e-3. `python leaderboard/compact.py`, after measuring.
"""

from pathlib import Path

from pagbench import benchmarks, columns, results

RESULTS = Path(__file__).parent / "results"
BITS, ABILITY_BITS = 11, 8


def main() -> None:
    """Rewrites every results file; a rounded one stays as it is."""
    for label in benchmarks.names():
        for measure in (None, *columns.OPTIONAL):
            schema = columns.schema(benchmarks.load(label), measure)
            folder = RESULTS / (label if measure is None else f"{label}+{measure}")
            for path in sorted(folder.rglob("[!.]*.parquet")):
                bits = ABILITY_BITS if measure in columns.ABILITIES else BITS
                results.write(path, results.read(path, schema), schema, bits=bits)


if __name__ == "__main__":
    main()
