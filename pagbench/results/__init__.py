"""Results on disk: one Parquet file per benchmark and model, one row per sample, provenance inside. No torch."""

from pagbench.results.copies import local
from pagbench.results.files import FLOAT_BITS, FORMAT, DamagedError, read, significant, write
from pagbench.results.folders import PUBLISHED, check_writable, has_results, path_of, store_of
from pagbench.results.reading import each, joined, read_all, with_measure
from pagbench.results.result import Provenance, Result
from pagbench.results.samples import positions, whole
from pagbench.results.store import Store
from pagbench.storage.paths import StoragePath, is_url

__all__ = [
    "FLOAT_BITS",
    "FORMAT",
    "PUBLISHED",
    "DamagedError",
    "Provenance",
    "Result",
    "StoragePath",
    "Store",
    "check_writable",
    "each",
    "has_results",
    "is_url",
    "joined",
    "local",
    "path_of",
    "positions",
    "read",
    "read_all",
    "significant",
    "store_of",
    "whole",
    "with_measure",
    "write",
]
