"""Results files that somebody has written by hand: any provenance under a digest that fits, any Parquet."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from pagbench import benchmarks, columns, results
from pagbench.results import files

KEPT = ("digits/standard", "digits/noise-0.6", "control/bayes")
BAD = "digits@1/digits/noise-0.15.parquet"


def copy(home, *names):
    """A folder of a few of the published results of digits."""
    for name in names:
        target = home / "digits@1" / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(results.PUBLISHED / "digits@1" / f"{name}.parquet", target)
    return home


def lay(home, name, *, like="digits/noise-0.15"):
    """A good file of a model that is as another but for its id."""
    schema = columns.schema(benchmarks.load("digits@1"))
    kept = results.read(results.PUBLISHED / "digits@1" / f"{like}.parquet", schema)
    document = {**kept.document, "card": {**kept.document["card"], "id": name}}
    path = home / "digits@1" / f"{name}.parquet"
    files.write(path, results.Result(kept.rows.assign(entrant=name), document), schema)
    return path


def provenance_of(path):
    """As it is in the file."""
    return json.loads(files.provenance_text(pq.read_metadata(path).metadata))


def rewrite(path, text=None, *, table=None, keys=None, **options):
    """The same rows, or a table, under a provenance that is given as JSON text, with the digest of both."""
    kept = pq.read_table(path)
    plain = (kept if table is None else table).replace_schema_metadata(None)
    text = files.provenance_text(kept.schema.metadata).decode() if text is None else text
    told = {"pagbench": text, "pagbench.sha256": files.digest(plain, text)} | (keys or {})
    pq.write_table(plain.replace_schema_metadata(told), path, **options)


def change(path, **changed):
    """Other fields of the provenance."""
    rewrite(path, json.dumps({**provenance_of(path), **changed}))


def empty(benchmark, rows):
    """Rows of nothing but nulls."""
    return pa.table({field.name: pa.nulls(rows, field.type) for field in columns.schema(benchmark)})
