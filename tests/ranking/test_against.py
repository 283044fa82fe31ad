"""One's own model in its place among the published ones."""

import dataclasses
import shutil

import pandas as pd
import pytest
from commands import assert_one_line, invoke

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError
from pagbench.ranking import against
from pagbench.ranking.summary_cache import read_summaries
from pagbench.results import PUBLISHED, Result

pytestmark = pytest.mark.usefixtures("short_runs")
LABEL, TWIN = "gaussians@1", "gaussians/gradient-norm-0.1"
GAUSSIANS = benchmarks.load(LABEL)


@pytest.fixture(scope="module")
def mine():
    """Rows of a published network under an id of one's own, and of the anchors, as a run returns them."""
    schema = columns.schema(GAUSSIANS)
    read = {name: results.read(results.path_of(PUBLISHED, GAUSSIANS, name), schema) for name in GAUSSIANS.anchors}
    kept = results.read(results.path_of(PUBLISHED, GAUSSIANS, TWIN), schema)
    card = {**kept.document["card"], "id": "mine"}
    own = Result(kept.rows.assign(entrant="mine"), {**kept.document, "card": card})
    return results.to_frame([own, *read.values()])


def test_a_model_takes_the_place_that_it_has_among_all(mine):
    """It has the values of its twin, and everything that ranks above or below that does so here."""
    board = pagbench.leaderboard(mine, benchmark=LABEL, against="published").set_index("model")
    alone = pagbench.leaderboard(PUBLISHED, benchmark=LABEL).set_index("model")
    assert list(board.index[board["own"]]) == ["mine"]
    assert set(board.index) == {*alone.index, "mine"}
    own = pagbench.leaderboard(mine, LABEL, against="published")
    assert "mine ◀</td>" in own._repr_html_() and "◀ yours." in own._repr_html_()
    one = pagbench.leaderboard(mine, LABEL).query("model == 'mine'")
    assert "◀" not in one._repr_html_() and "1 row × " in one._repr_html_()
    shown = [*columns.MAIN, "regime"]
    pd.testing.assert_series_equal(board.loc["mine", shown], alone.loc[TWIN, shown], check_names=False)
    others = alone["rank"].dropna().drop(TWIN)
    below = others.index[others > alone.loc[TWIN, "rank"]]
    assert (board.loc[below, "rank"] == others[below] + 1).all() and len(below)
    assert (board.loc[others.index.difference(below), "rank"] == others[others.index.difference(below)]).all()


def test_anchors_and_controls_are_the_published_ones(mine):
    """Whatever rows of them a run has: a leaderboard judges all its models between the same two."""
    anchor = mine["entrant"] == "control/bayes"
    rows = mine[~anchor | (mine.index < mine.index[anchor][0] + 5)]
    board = pagbench.leaderboard(rows, benchmark=LABEL, against=PUBLISHED).set_index("model")
    assert board.loc["control/bayes", "n_total"] == len(GAUSSIANS.samples)
    assert not board["own"].drop("mine").any()


def test_ones_own_rows_of_a_published_model_go_before(mine):
    rows = mine.assign(entrant=mine["entrant"].replace("mine", TWIN))
    first = rows["entrant"] != TWIN
    board = pagbench.leaderboard(rows[first | (rows.index < 7)], benchmark=LABEL, against=PUBLISHED).set_index("model")
    assert board.loc[TWIN, "own"] and board.loc[TWIN, "n_total"] == 7


def test_models_that_were_measured_against_other_networks_are_refused():
    published = read_summaries(PUBLISHED, GAUSSIANS)
    weights = [{"manifold": digit * 64} for digit in "01"]
    theirs = [dataclasses.replace(model, target_weights=weights[0]) for model in published]
    own = [dataclasses.replace(published[-1], name="mine", target_weights=weights[1])]
    with pytest.raises(ResultsError, match=r"mine: its manifold has weights 1111.*not comparable"):
        against.join(own, theirs, GAUSSIANS)


def test_the_table_marks_it(tmp_path):
    done = invoke("run", "gradient-norm-0.1", "-b", LABEL, "--limit", 3, "-r", tmp_path, "--against", "published")
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if "◀ " in line]
    assert TWIN in line and "◀: yours." in done.stdout
    assert f"no rank: 3 of {len(GAUSSIANS.samples)} images were measured" in done.stdout
    assert "anchors: published rows of control/bayes, gaussians/standard" in done.stdout
    command = f"pagbench leaderboard -b {LABEL} -r {tmp_path} --against published"
    assert f"notes: {command} --notes" in " ".join(done.stdout.split()) and done.stdout.endswith(f"(next: {command})\n")
    again = invoke(*command.split()[1:])
    assert again.exit_code == 0 and done.stdout.startswith(again.stdout), again.output


def test_an_installed_package_says_where_published_results_are(mine, monkeypatch, tmp_path):
    monkeypatch.setattr(results.folders, "PUBLISHED", tmp_path / "none")
    with pytest.raises(ResultsError, match="an installed package has none; clone pagbench's repository"):
        pagbench.leaderboard(mine, benchmark=LABEL, against="published")
    assert_one_line(
        invoke("run", "bayes", "--against", "published", "-r", tmp_path / "r"), "give <repository>/leaderboard/results"
    )
    assert_one_line(invoke("run", "bayes", "--against", tmp_path / "x", "-r", tmp_path / "r"), "no such folder")
    assert_one_line(invoke("run", "bayes", "--against", tmp_path, "-r", tmp_path / "r"), "no results of digits@2")
    assert not (tmp_path / "r").exists()
    home = tmp_path / "copied"
    shutil.copytree(PUBLISHED / LABEL, home / LABEL)
    assert pagbench.leaderboard(mine, benchmark=LABEL, against=home)["own"].sum() == 1
