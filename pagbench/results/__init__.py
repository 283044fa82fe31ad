"""Results on disk: one Parquet file per benchmark and entrant, one row per sample, provenance inside. No torch."""

from pagbench.results.files import FLOAT_BITS, FORMAT, DamagedError, read, significant, write
from pagbench.results.folders import (
    PUBLISHED,
    check_writable,
    has_results,
    joined,
    local,
    path_of,
    read_all,
    store_of,
    with_measure,
)
from pagbench.results.places import Place, is_url
from pagbench.results.result import Provenance, Result
from pagbench.results.store import Store

__all__ = [
    "FLOAT_BITS",
    "FORMAT",
    "PUBLISHED",
    "DamagedError",
    "Place",
    "Provenance",
    "Result",
    "Store",
    "check_writable",
    "has_results",
    "is_url",
    "joined",
    "local",
    "path_of",
    "read",
    "read_all",
    "significant",
    "store_of",
    "with_measure",
    "write",
]
