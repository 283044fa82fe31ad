"""Results folders as data frames: by pandas alone, and by pagbench's own reader."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import written

from pagbench import columns, results
from pagbench.results import verification

FOLDERS = sorted(path.name for path in results.PUBLISHED.glob("*@*"))


@pytest.mark.parametrize("name", FOLDERS)
def test_pandas_reads_every_published_folder_as_it_is(name):
    """Records and whatever else is no Parquet lie under names that readers of Parquet folders pass over."""
    rows = pd.read_parquet(results.PUBLISHED / name, columns=["benchmark", "version", "entrant", "sample_id"])
    files = {path.relative_to(results.PUBLISHED / name) for path in (results.PUBLISHED / name).rglob("*.parquet")}
    assert set(rows["entrant"]) == {path.with_suffix("").as_posix() for path in files}
    assert set(rows["benchmark"] + "@" + rows["version"].astype(str)) == {name.partition("+")[0]}
    assert not rows.duplicated(["entrant", "sample_id"]).any()


def test_a_record_that_an_older_version_wrote_beside_its_file_counts_until_a_new_one_is_written(tmp_path, digits):
    published = results.path_of(results.PUBLISHED, digits, "digits/noise-0.6")
    file = results.path_of(tmp_path, digits, "digits/noise-0.6")
    file.parent.mkdir(parents=True)
    shutil.copyfile(published, file)
    older = file.with_name("noise-0.6.verified.json")
    shutil.copyfile(verification.path_of(published), older)
    kept = verification.read(file, digits.label, "digits/noise-0.6", None)
    assert kept is not None and kept == results.read_all(tmp_path, digits)[0].verification
    again = kept.model_copy(update={"by": "somebody else"})
    assert verification.write(file, again) == file.parent / "_records" / older.name
    assert verification.read(file, digits.label, "digits/noise-0.6", None) == again
    assert not older.exists()
    assert pd.read_parquet(tmp_path / digits.label)["entrant"].unique().tolist() == ["digits/noise-0.6"]


def test_a_file_says_what_its_columns_are_and_is_read_and_digested_as_without_it(tmp_path, digits):
    """The metadata is for other readers: it changes no value, no digest and nothing that pagbench reads."""
    kept = results.read(results.path_of(results.PUBLISHED, digits, "digits/noise-0.6"), columns.schema(digits))
    results.write(tmp_path / "described.parquet", kept, results.schema_of(digits))
    results.write(tmp_path / "packed.parquet", kept, results.schema_of(digits), packed=True)
    said = pq.read_schema(tmp_path / "described.parquet").metadata
    described = json.loads(said[b"pagbench.columns"])
    assert list(described) == columns.schema(digits).names
    assert all(column["definition"] for column in described.values())
    declared = {column.name: column for column in columns.sample_columns(digits)}
    for name, better in (("tangent_energy", "higher"), ("off_response_1", "lower"), ("gradient_norm", "")):
        expected = {"unit": declared[name].unit, "definition": declared[name].summary, "better": better}
        assert described[name] == expected
    assert json.loads(said[b"pagbench.benchmark"]) == {
        "label": "digits@1", "digest": digits.digest(), "epsilon": digits.epsilon, "sigma": digits.sigma,
    }  # fmt: skip
    assert set(pq.read_schema(tmp_path / "packed.parquet").metadata) == {b"pagbench.packed", b"pagbench.sha256"}
    digests = {pq.read_metadata(path).metadata[b"pagbench.sha256"] for path in tmp_path.iterdir()}
    digests.add(pq.read_metadata(results.path_of(results.PUBLISHED, digits, kept.name)).metadata[b"pagbench.sha256"])
    assert len(digests) == 1
    for path in tmp_path.iterdir():
        again = results.read(path, columns.schema(digits))
        assert again.rows.equals(kept.rows) and again.document == kept.document


def test_what_columns_mean_may_say_anything_for_pagbench_does_not_read_it(tmp_path, digits):
    kept = results.read(results.path_of(results.PUBLISHED, digits, "digits/noise-0.6"), columns.schema(digits))
    forged = [field.with_metadata({"definition": "\u202e" * 10_000}) for field in columns.schema(digits)]
    results.write(tmp_path / "a.parquet", kept, pa.schema(forged, {"pagbench.benchmark": "{" * 10_000}))
    again = results.read(tmp_path / "a.parquet", columns.schema(digits))
    assert again.rows.equals(kept.rows) and again.document == kept.document


def test_what_a_run_leaves_in_between_is_no_part_of_the_data_frame(tmp_path, digits):
    """Neither shards nor locks, and files with descriptions fit those without."""
    written.copy(tmp_path, *written.KEPT)
    path = results.path_of(tmp_path, digits, "digits/noise-0.6")
    kept = results.read(path, columns.schema(digits))
    results.write(path, kept, results.schema_of(digits))
    results.store_of(tmp_path, digits, "digits/other").add(replace(kept, rows=kept.rows.assign(entrant="digits/other")))
    for name in (".lock", ".noise-0.6.parquet.damaged", ".noise-0.6.parquet.0.tmp"):
        path.with_name(name).write_bytes(b"no Parquet")
    rows = pd.read_parquet(tmp_path / digits.label)
    assert set(rows["entrant"]) == set(written.KEPT) and len(rows) == 3 * len(digits.samples)
