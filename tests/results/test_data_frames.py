"""Results folders as data frames: by pandas alone, and by pagbench's own reader."""

import shutil

import pandas as pd
import pytest

from pagbench import results
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
