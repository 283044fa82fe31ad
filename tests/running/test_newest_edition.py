"""What a name without a version gives, end to end: the second edition of `digits`, and all that reads its results."""

import json
import shutil

import light
import numpy as np
import pytest
from commands import assert_one_line, invoke
from submissions import ID, make
from torch import nn

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.models import registry
from pagbench.reports.site import build
from pagbench.running import targets
from pagbench.submissions import verify as rerun

pytestmark = pytest.mark.usefixtures("short_runs")

STANDARD, NOISE, BAYES = "digits/standard", "digits/noise-0.6", "control/bayes"


@pytest.fixture(scope="module")
def newest():
    return benchmarks.load("digits")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A results folder that nobody gave a benchmark."""
    return tmp_path_factory.mktemp("home") / "results"


@pytest.fixture(scope="module")
def rows(home, short_runs):
    """All rows of two networks and of the Bayes control."""
    return pagbench.run([STANDARD, NOISE], results=home)


def first(rows, count, newest):
    """Those of the first images."""
    return rows[rows["sample_id"].isin(newest.samples[:count])]


def test_a_name_alone_is_its_newest_version(newest):
    versions = [label for label in benchmarks.names() if label.startswith("digits@")]
    assert newest.label == max(versions, key=lambda label: int(label.partition("@")[2])) != "digits@1"
    assert benchmarks.load(newest.label) is newest
    older = benchmarks.load("digits@1")
    assert (older.version, older.gradient, older.partners, older.ranking) == (1, None, None, None)
    assert (set(older.samples), set(older.calibration)) == (set(newest.samples), set(newest.calibration))


def test_a_run_is_of_it(rows, home, newest):
    assert set(rows["entrant"]) == {STANDARD, NOISE, BAYES}
    assert set(zip(rows["benchmark"], rows["version"], strict=True)) == {("digits", newest.version)}
    for name, own in rows.groupby("entrant"):
        assert sorted(own["sample_id"], key=newest.samples.index) == list(newest.samples), name
    assert list(rows) == [field.name for field in columns.schema(newest)]
    assert not {"on_sensitivity", "off_sensitivity"} & set(rows) and {"on_jacobian", "alignment_at_0.35"} <= set(rows)
    assert [path.name for path in home.iterdir() if not path.name.startswith(".")] == [newest.label]
    bayes = rows[rows["entrant"] == BAYES]
    np.testing.assert_allclose(bayes["alignment_cosine"], 1, atol=1e-4)
    assert set(bayes["temperature"]) == {1.0} and (rows[rows["entrant"] == STANDARD]["temperature"] != 1).all()


@pytest.mark.parametrize("batch_size", [3, 8])
def test_a_limited_run_is_completed_later_and_gives_the_same_rows(rows, newest, tmp_path, batch_size):
    begun = pagbench.run(STANDARD, limit=8, batch_size=batch_size, results=tmp_path)
    light.assert_same_rows(begun, first(rows, 8, newest).query("entrant != @NOISE"))
    completed = pagbench.run(STANDARD, limit=20, results=tmp_path)
    light.assert_same_rows(completed, first(rows, 20, newest).query("entrant != @NOISE"))


def test_finished_rows_are_not_measured_again(rows, home, monkeypatch):
    monkeypatch.setattr(targets, "compute", lambda *args, **kwargs: pytest.fail("targets were computed again"))
    light.assert_same_rows(pagbench.run([NOISE, STANDARD], results=home), rows)


@pytest.mark.parametrize("shards", [2, 3])
def test_shares_fill_one_folder(rows, newest, tmp_path, shards):
    for number in range(shards, 0, -1):
        pagbench.run(NOISE, limit=17, results=tmp_path, shard=f"{number}/{shards}", anchors=False)
    found = pagbench.run(NOISE, limit=17, results=tmp_path, anchors=False)
    light.assert_same_rows(found, first(rows, 17, newest).query("entrant == @NOISE"))


class Loud(nn.Module):
    def __init__(self, network, times):
        super().__init__()
        self.network, self.times = network, times

    def forward(self, x):
        return self.times * self.network(x)


@pytest.mark.parametrize("times", [0.1, 30])
def test_a_module_is_measured_whatever_its_scale(rows, newest, times):
    """Its outputs are calibrated first, so that many times the logits are the same model."""
    network = registry.find(NOISE).load(newest).classifier
    found = pagbench.run({"loud": Loud(network, times)}, limit=8, anchors=False)
    expected = first(rows, 8, newest).query("entrant == @NOISE").set_index("sample_id").loc[found["sample_id"]]
    for name in ("alignment_cosine", "tangent_energy", "on_response_1", "nll"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_commands_read_its_results(rows, home, newest, tmp_path, monkeypatch):
    board = json.loads(invoke("leaderboard", "-r", home, "--format", "json").output)
    assert [row["model"] for row in board] == [NOISE, STANDARD, BAYES]
    assert [row["regime"] for row in board[:2]] != [None, None] and board[1]["regime"] == "weak"
    assert f"({newest.label})" in invoke("leaderboard", "-r", home).output
    compared = json.loads(invoke("compare", NOISE, STANDARD, "-r", home, "--format", "json").stdout)
    assert next(row for row in compared if row["column"] == "alignment")["better"] == NOISE
    assert f"pagbench {newest.label}" in invoke("export", NOISE, "-r", home, "--format", "badge").stdout
    assert f"# {newest.label} in {home}" in invoke("show", NOISE, "-r", home).output
    again = invoke("run", NOISE, "-r", home)
    assert again.exit_code == 0 and f"(next: pagbench leaderboard -b {newest.label} -r {home})" in again.output


def test_what_is_missing_is_asked_for_by_the_edition_that_lacks_it(rows, home, tmp_path):
    """A name alone would measure another edition than the one that was asked for."""
    older = invoke("leaderboard", "-r", home, "-b", "digits@1")
    assert_one_line(older, "no results of digits@1 (it has digits@2)", "`pagbench run --benchmark digits@1`")
    shutil.copytree(home, tmp_path / "few")
    (tmp_path / "few/digits@2/control/bayes.parquet").unlink()
    shown = invoke("leaderboard", "-r", tmp_path / "few", "--format", "markdown").output
    assert f"(`pagbench run {BAYES} -b digits@2`)" in shown


def test_a_rerun_verifies_its_results_and_refutes_others(rows, home, newest, tmp_path):
    shutil.copytree(home, tmp_path / "results")
    asked = {"seed": 5, "by": "a test", "samples": 6, "device": "cpu"}
    subjects = rerun.find_results(NOISE, tmp_path / "results")
    assert [str(found.benchmark.label) for found in subjects] == [newest.label]
    assert [outcome.record.verdict for outcome in rerun.verify(subjects, **asked)] == ["verified"]
    path = results.path_of(tmp_path / "results", newest, NOISE)
    kept = results.read(path, columns.schema(newest))
    better = kept.rows.assign(alignment_cosine=(kept.rows["alignment_cosine"] + 0.05).clip(upper=1))
    results.write(path, results.Result(better, kept.document), columns.schema(newest))
    assert [outcome.record.verdict for outcome in rerun.verify(subjects, **asked)] == ["refuted"]


def test_a_submission_goes_to_it_and_takes_a_rank(rows, home, newest, tmp_path, monkeypatch):
    root, leaderboard = make(tmp_path / "mine"), tmp_path / "leaderboard"
    shutil.copytree(home, leaderboard / "results")
    done = invoke("submit", "run", root, "--leaderboard", leaderboard)
    assert done.exit_code == 0, done.output
    assert (root / f"results/{newest.label}/{ID}.parquet").is_file()
    checked = invoke("submit", "check", root, "--leaderboard", leaderboard)
    assert checked.exit_code == 0 and "360 rows" in checked.output, checked.output
    monkeypatch.setattr("pagbench.submissions.check.check_inside", lambda *_: [])  # as it was a moment ago
    added = invoke("submit", "add", root, "--leaderboard", leaderboard)
    assert added.exit_code == 0 and f"{ID} takes rank 1" in added.output, added.output
    assert (leaderboard / f"submissions/{newest.label}/{ID}/model.yaml").is_file()


def test_pages_are_built_of_both_editions(rows, home, newest, tmp_path):
    shutil.copytree(home, tmp_path / "results")
    for name in (STANDARD, NOISE, BAYES):
        older = tmp_path / f"results/digits@1/{name}.parquet"
        older.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results.PUBLISHED / f"digits@1/{name}.parquet", older)
    build(tmp_path / "results", tmp_path / "site")
    board = (tmp_path / f"site/benchmarks/{newest.label}.html").read_text(encoding="utf-8")
    assert NOISE in board and f"{newest.label}.splits.csv" in board
    assert f"pagbench run {NOISE} --benchmark {newest.label}" in board
    assert (tmp_path / f"site/data/{newest.label}.csv").is_file() and (tmp_path / "site/data/digits@1.csv").is_file()
    page = (tmp_path / f"site/models/{NOISE}.html").read_text(encoding="utf-8")
    assert newest.label in page and "digits@1" in page
    methods = (tmp_path / "site/methods.html").read_text(encoding="utf-8")
    assert newest.label in methods
