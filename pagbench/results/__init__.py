"""Results on disk: one Parquet file per benchmark and model, one row per sample, provenance inside. No torch."""

from pagbench.results.files import (
    FLOAT_BITS,
    FORMAT,
    DamagedError,
    Declared,
    Result,
    read,
    significant,
    write,
)
from pagbench.results.folders import (
    PUBLISHED,
    NoResultsError,
    check_writable,
    file_of,
    has_results,
    labels_in,
    local,
    map_results,
    path_of,
    published_folder,
    read_all,
    store_of,
    with_measure,
)
from pagbench.results.frames import to_frame
from pagbench.results.provenance import Provenance
from pagbench.results.store import Store, positions, schema_of
from pagbench.storage.paths import StoragePath, is_url

__all__ = [
    "FLOAT_BITS",
    "FORMAT",
    "PUBLISHED",
    "DamagedError",
    "Declared",
    "NoResultsError",
    "Provenance",
    "Result",
    "StoragePath",
    "Store",
    "check_writable",
    "file_of",
    "has_results",
    "is_url",
    "labels_in",
    "local",
    "map_results",
    "path_of",
    "positions",
    "published_folder",
    "read",
    "read_all",
    "schema_of",
    "significant",
    "store_of",
    "to_frame",
    "with_measure",
    "write",
]
