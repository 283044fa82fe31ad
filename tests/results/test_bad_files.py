"""One bad or foreign file in a results folder is left out and said; it never stops the others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import assert_one_line, invoke
from written import provenance_of

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.reports.site import building
from pagbench.results import files
from pagbench.storage.paths import StoragePath
from pagbench.studies.models import read_study
from pagbench.studies.stability.replicates import published_models

KEPT = ("digits/standard", "digits/noise-0.6", "control/bayes")
BAD = "digits@1/digits/noise-0.15.parquet"


@pytest.fixture
def folder(tmp_path):
    """A few of the published results, and a good one to spoil."""
    for name in (*KEPT, "digits/noise-0.15"):
        target = tmp_path / "results/digits@1" / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(results.PUBLISHED / "digits@1" / f"{name}.parquet", target)
    return tmp_path / "results"


def with_provenance(path, **changed):
    """The same rows, and a digest that fits, under a provenance that somebody has written."""
    table = pq.read_table(path)
    content = json.dumps({**provenance_of(path), **changed})
    plain = table.replace_schema_metadata(None)
    keys = {"pagbench": content, "pagbench.sha256": files.digest(plain, content)}
    pq.write_table(plain.replace_schema_metadata(keys), path)


def folder_of_that_name(path):
    path.unlink()
    path.mkdir()
    (path / "part-0.txt").write_text("")


def without_column(path):
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["tangent_energy"]), path)


SPOILT = {
    "empty": lambda path: path.write_bytes(b""),
    "csv": lambda path: path.write_text("a,b\n1,2\n"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "somebody's": lambda path: pd.DataFrame({"a": [1]}).to_parquet(path),
    "no rows": lambda path: pq.write_table(pq.read_table(path).slice(0, 0), path),
    "other model": lambda path: shutil.copy(path.with_name("standard.parquet"), path),
    "other benchmark": lambda path: shutil.copy(results.PUBLISHED / "gaussians@1/gaussians/standard.parquet", path),
    "schema": without_column,
    "folder": folder_of_that_name,
    "networks": lambda path: with_provenance(path, networks=[1]),
    "network": lambda path: with_provenance(path, networks={"score": 1}),
    "fingerprint": lambda path: with_provenance(path, fingerprint=[float("nan")]),
    "text": lambda path: with_provenance(path, fingerprint="none"),
    "runs": lambda path: with_provenance(path, runs=3),
    "run": lambda path: with_provenance(path, runs=[1]),
    "rows of a run": lambda path: with_provenance(path, runs=[{"rows": "many"}, {"commit": []}]),
    "card": lambda path: with_provenance(path, card={"id": "x"}),
    "preflight": lambda path: with_provenance(path, preflight={"checks": 1}),
    "seconds": lambda path: with_provenance(path, wall_seconds=float("inf")),
    "list": lambda path: pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"pagbench": "[1]"}), path),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_leaderboard_and_a_study_leave_it_out_by_name(folder, digits, kind):
    SPOILT[kind](folder / BAD)
    said, studied = [], []
    board = pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)
    assert sorted(board["model"]) == sorted(KEPT)
    assert len(said) == 1 and said[0].startswith("left out: ") and "noise-0.15" in said[0] and "\n" not in said[0], said
    study = read_study(folder, digits, studied.append)
    assert len(study.models) == len(KEPT) and studied == said
    with pytest.raises((ResultsError, TypeError, KeyError, AttributeError, ValueError)):
        results.read_all(folder, digits)


@pytest.mark.parametrize("given", ["results", "./results", "results/../results", ".", "absolute"])
def test_files_are_named_as_the_folder_was_given(folder, digits, given, monkeypatch):
    submitted = folder.parent / "submissions/digits@1/own/net"
    results_of = submitted / "results/digits@1/own/net.parquet"
    results_of.parent.mkdir(parents=True)
    results_of.write_text("none")
    (submitted / "model.yaml").write_text("")
    SPOILT["csv"](folder / BAD)
    monkeypatch.chdir(folder if given == "." else folder.parent)
    said, asked = [], folder if given == "absolute" else Path(given)
    assert len(pagbench.leaderboard(asked, benchmark=digits, on_warning=said.append)) == len(KEPT)
    absolute = [Path(line.removeprefix("left out: ")).is_absolute() for line in said]
    assert absolute == ([given == "absolute", given in ("absolute", ".")]), said
    assert "noise-0.15" in said[0] and "own/net" in said[1]


@pytest.mark.parametrize("part", ["maps", "gallery", "made"])
def test_pictures_that_are_none_cost_their_model_alone(folder, digits, part):
    with_provenance(folder / BAD, **{part: {"of": 3}})
    said = []
    assert len(read_study(folder, digits, said.append).models) == len(KEPT)
    assert len(said) == 1 and "noise-0.15" in said[0]


def test_what_cannot_be_opened_is_left_out(folder, digits, monkeypatch):
    read = StoragePath.read

    def refused(path, *_):
        if path.name == "noise-0.15.parquet":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(StoragePath, "read", refused)
    said = []
    assert len(read_study(folder, digits, said.append).models) == len(KEPT)
    assert len(said) == 1 and "noise-0.15.parquet: cannot be read (Permission denied)" in said[0]


def test_the_python_api_warns(folder, digits):
    SPOILT["csv"](folder / BAD)
    with pytest.warns(UserWarning, match=r"left out: .*noise-0.15.parquet: not a readable results file"):
        assert len(pagbench.leaderboard(folder, benchmark="digits@1")) == len(KEPT)


def test_all_commands_that_read_results_go_on(folder, digits, tmp_path):
    SPOILT["empty"](folder / BAD)
    SPOILT["somebody's"](folder / "digits@1/stranger.parquet")
    commands = (
        ["leaderboard", "-b", "digits@1", "--format", "csv"], ["site", "--output", tmp_path / "site"],
        ["show", "digits/standard"],
        ["show", "digits/noise-0.15"],
    )  # fmt: skip
    for command in commands:
        done = invoke(*command, "-r", folder)
        lines = [line for line in done.stderr.splitlines() if line.startswith("warning: left out: ")]
        assert done.exit_code == 0 and len(lines) == 2, done.output + done.stderr
        assert "noise-0.15" in lines[0] and "stranger" in lines[1]
    assert not (tmp_path / "site/models/digits/noise-0.15.html").exists()
    assert "digits/noise-0.6" in invoke("leaderboard", "-b", "digits@1", "-r", folder, "--format", "csv").stdout


def test_a_rerun_goes_on(folder, digits, tmp_path):
    SPOILT["somebody's"](folder / "digits@1/stranger.parquet")
    SPOILT["folder"](folder / BAD)
    done = invoke("verify", "-r", folder, "--samples", 1, "--by", "me", "--device", "cpu")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(errors) == 2, done.output
    assert "noise-0.15.parquet: a folder where" in errors[0] and "stranger.parquet: results of a model" in errors[1]
    assert all(f"{name} on digits@1: verified" in done.stdout for name in KEPT)


def test_where_all_are_bad_there_is_one_error(folder, digits, tmp_path):
    for path in folder.rglob("*.parquet"):
        path.write_bytes(b"none")
    assert_one_line(
        invoke("leaderboard", "-b", "digits@1", "-r", folder),
        "no results of digits@1 can be used",
        "control/bayes.parquet",
        "and 3 more",
    )
    done = invoke("site", "-r", folder, "-o", tmp_path / "site")
    assert_one_line(done, "no results of any benchmark can be used")
    with pytest.raises(ResultsError, match="no results of digits@1 can be used"):
        published_models(folder, digits, lambda line: None)


def test_a_benchmark_without_a_usable_file_costs_the_site_no_other(folder, digits):
    target = folder / "gaussians@1/gaussians/standard.parquet"
    target.parent.mkdir(parents=True)
    target.write_text("a,b\n")
    said = []
    (study,) = building.read(folder, said.append)
    assert study.benchmark == digits and len(said) == 1 and "no results of gaussians@1 can be used" in said[0]
    with pytest.raises(ResultsError, match="gaussians"):
        building.read(folder)


def test_a_file_that_is_left_out_is_never_taken_from_the_cache(folder, digits):
    """Its summary was kept while it was good, and again when it is."""
    whole, good = pagbench.leaderboard(folder, benchmark=digits), (folder / BAD).read_bytes()
    SPOILT["cut"](folder / BAD)
    for _ in range(2):
        said = []
        assert len(pagbench.leaderboard(folder, benchmark=digits, on_warning=said.append)) == len(KEPT)
        assert len(said) == 1
    (folder / BAD).write_bytes(good)
    again = pagbench.leaderboard(folder, benchmark=digits)
    assert np.array_equal(again["model"], whole["model"])


def test_published_files_hold_what_is_read_of_them():
    for label in benchmarks.names():
        for path in sorted((results.PUBLISHED / label).rglob("*.parquet"))[:3]:
            content = provenance_of(path)
            assert [run.rows for run in results.Provenance.model_validate(content).runs] == [
                run["rows"] for run in content["runs"]
            ]


def test_the_footers_of_published_files_are_text_and_their_provenance_is_packed():
    """Readers in other languages refuse a footer that is no UTF-8. `leaderboard/compact.py` packs what was measured."""
    published = sorted(results.PUBLISHED.glob("*@*/**/[!.]*.parquet"))
    assert published
    for path in published:
        footer = pq.read_metadata(path).metadata
        told = {key.decode(): value.decode() for key, value in footer.items()}
        assert sorted(told) == ["pagbench.packed", "pagbench.sha256"], path
        assert json.loads(files.provenance_text(footer))["format"] == results.FORMAT, path


@pytest.mark.parametrize("said", ["[]", "{}", "1", "null", '"text"', '{"format": []}', "[" * 100_000])
def test_a_parquet_file_of_others_that_has_our_key_is_one_line(said, digits, tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"pagbench": said}), path)
    with pytest.raises(ResultsError) as refused:
        results.read(path, columns.schema(digits), 10)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1
