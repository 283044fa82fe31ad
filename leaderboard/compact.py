"""Rounds the measured values of the published results to 11 significant bits (2.4e-4 of a value): half the size.

Those of abilities, whose errors are percents, to 8 bits (2e-3). Means over a benchmark's images change by less than
1e-5, of abilities by less than 1e-3. Where the first edition's results have galleries of the same networks, it drops
those of the second, and the gradient maps of further training seeds. Of `photographs@1`, whose pictures are large, it
keeps the gradient maps of a few networks. It packs the provenance of all.

`python leaderboard/compact.py`, after measuring.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pagbench import benchmarks, columns, results
from pagbench.results.files import PACKED

RESULTS = Path(__file__).parent / "results"
BITS, ABILITY_BITS = 11, 8
MAPPED: dict[str, tuple[str, ...] | None] = {
    "fashion-mnist@2": None,
    "photographs@1": ("standard", "adversarial-0.5", "adversarial-2", "smoothness-10", "noise-1"),
}
"""Benchmarks without galleries, and the networks whose gradient maps are kept; None: all but further training seeds."""


def main() -> None:
    """Rewrites every results file; a rounded one stays as it is."""
    for label in benchmarks.names():
        for measure in (None, *columns.OPTIONAL):
            schema = columns.schema(benchmarks.load(label), measure)
            folder = RESULTS / (label if measure is None else f"{label}+{measure}")
            for path in sorted(folder.rglob("[!.]*.parquet")):
                bits = ABILITY_BITS if measure in columns.ABILITIES else BITS
                found = results.read(path, schema)
                slim = _slim(label, found)
                pictured = slim != found.document
                found = replace(found, document=slim)
                if pictured or PACKED not in pq.read_metadata(path).metadata or not _rounded(found, schema, bits):
                    results.write(path, found, schema, bits=bits, packed=True)


def _slim(label: str, found: results.Result) -> dict[str, Any]:
    """The provenance with the pictures that are kept."""
    document, network = dict(found.document), found.name.rpartition("/")[2]
    if label not in MAPPED:
        return document
    kept, further = MAPPED[label], (document["card"].get("seed") or 0) > 0
    dropped = further if kept is None else network not in kept
    return document | {"gallery": None} | ({"maps": None} if dropped else {})


def _rounded(found: results.Result, schema: pa.Schema, bits: int) -> bool:
    """Whether there is nothing left to round: a verification speaks of a file's bytes, which then stay."""
    measured = [found.rows[field.name].to_numpy(np.float32) for field in schema if field.type == pa.float32()]
    return all(np.array_equal(values, results.significant(values, bits), equal_nan=True) for values in measured)


if __name__ == "__main__":
    main()
