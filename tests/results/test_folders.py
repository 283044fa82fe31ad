"""Results folders behind URLs: object stores by pyarrow, others by fsspec."""

import uuid

import numpy as np
import pytest
from typer.testing import CliRunner

import pagbench
from pagbench import results
from pagbench.cli import app
from pagbench.errors import ContractError, ResultsError
from pagbench.results import StoragePath

pytestmark = pytest.mark.usefixtures("short_runs")


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["disk", "s3", "memory"])
def place(request, tmp_path):
    if request.param == "disk":
        return StoragePath.parse(tmp_path / "results")
    name = uuid.uuid4().hex
    return StoragePath.parse(
        f"{request.getfixturevalue('bucket')}/{name}" if request.param == "s3" else f"memory://{name}"
    )


def test_a_file_is_written_read_listed_and_removed_wherever_it_is(place):
    file = place / "digits@1" / "a.parquet"
    assert place.children() == [] and not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read()
    file.write(b"first")
    file.write(b"second")
    (place / "digits@1" / ".parts" / "b.parquet").write(b"other")
    assert file.read() == b"second" and file.exists() and not (place / "digits@1").exists()
    assert [found.name for found in (place / "digits@1").children()] == ["a.parquet"]
    assert sorted(found.name for found in place.children(deep=True)) == ["a.parquet", "b.parquet"]
    file.remove()
    file.remove()
    assert not file.exists()
    (place / "digits@1").remove_folder()
    (place / "digits@1").remove_folder()
    assert place.children(deep=True) == []


def test_only_a_disk_can_be_locked_and_a_removed_folder_comes_back(tmp_path):
    place = StoragePath.parse(tmp_path / "results")
    with place.lock(), StoragePath.parse("memory://nowhere").lock():
        (place / "parts" / "a").write(b"1")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["parts"], "no lock stays behind"
    (place / "parts" / ".a.0.tmp").write(b"half of a file that a killed process left")
    (place / "parts").remove_if_empty()
    assert (place / "parts" / "a").read() == b"1"
    (place / "parts" / "a").remove()
    (place / "parts").remove_if_empty()
    assert not (tmp_path / "results" / "parts").exists()


@pytest.mark.parametrize("url", ["nothing://x/y", "s3://", "memory-of-whom://"])
def test_a_url_that_leads_nowhere_is_one_line(url, tmp_path):
    with pytest.raises(ResultsError, match=r"cannot be reached .*; expected a folder, or a URL") as caught:
        pagbench.run("control/bayes", limit=1, results=url)
    assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_one_line(bucket):
    with pytest.raises(ResultsError, match=r"s3://nobody/x: cannot write results there \(.*[Bb]ucket"):
        pagbench.run("control/bayes", limit=1, results="s3://nobody/x")


@pytest.mark.slow
def test_a_run_into_a_bucket_is_resumed_and_read_as_from_a_disk(bucket, tmp_path, digits, cache_folder):
    url, samples = f"{bucket}/{uuid.uuid4().hex}", digits.samples
    cosine = digits.model_copy(update={"samples": samples[:12]})
    expected = pagbench.run("digits/noise-0.6", benchmark=cosine, results=tmp_path / "disk")
    pagbench.run("digits/noise-0.6", benchmark=cosine, results=url, limit=5)
    parts = [found.name for found in StoragePath.parse(url).children(deep=True)]
    assert parts and not {"noise-0.6.parquet", "bayes.parquet"} & set(parts), "unfinished models stay in parts"
    partial = results.read_all(results.local(url), cosine)
    assert {len(result.rows) for result in partial} == {5}
    assert all("gallery" in result.document for result in partial)
    rows = pagbench.run("digits/noise-0.6", benchmark=cosine, results=url)
    measured = rows.select_dtypes("float").columns
    np.testing.assert_allclose(rows[measured], expected[measured], rtol=1e-5, atol=1e-6)
    merged = sorted(found.name for found in StoragePath.parse(url).children(deep=True))
    assert merged == ["bayes.parquet", "noise-0.6.parquet", "standard.parquet"], (
        "parts are gone, and nothing else lies there"
    )
    again = pagbench.leaderboard(url, benchmark=cosine)
    here = pagbench.leaderboard(tmp_path / "disk", benchmark=cosine)
    assert list(again["model"]) == list(here["model"])


def test_a_copy_of_a_url_follows_what_is_there(place, cache_folder):
    if place.local is not None:
        assert results.local(place.local) == place.local
        return
    url = f"{'s3' if place.files.type_name == 's3' else 'memory'}://{place.path.lstrip('/')}"
    (place / "digits@1" / "a.parquet").write(b"first")
    (place / "digits@1" / "b.parquet").write(b"gone later")
    copy = results.local(url)
    assert (copy / "digits@1" / "a.parquet").read_bytes() == b"first"
    (place / "digits@1" / "a.parquet").write(b"longer than it was")
    (place / "digits@1" / "b.parquet").remove()
    assert results.local(url) == copy
    assert (copy / "digits@1" / "a.parquet").read_bytes() == b"longer than it was"
    assert [path.name for path in copy.rglob("*") if path.is_file()] == ["a.parquet"]


def test_the_command_takes_a_url(bucket):
    url = f"{bucket}/{uuid.uuid4().hex}"
    done = CliRunner().invoke(app, ["run", "control/bayes", "--limit", "2", "-r", url])
    assert done.exit_code == 0 and f"results: {url}/digits@2" in done.output
    shown = CliRunner().invoke(app, ["leaderboard", "-r", url, "--format", "csv"])
    assert shown.exit_code == 0 and "control/bayes" in shown.output


def test_other_processes_need_a_folder_to_fill():
    with pytest.raises(ContractError, match="kept nowhere; give results="):
        pagbench.run("control/bayes", limit=1, executor="local:2")
    with pytest.raises(ContractError, match="kept nowhere; give results="):
        pagbench.run("control/bayes", limit=1, shard="1/2")
