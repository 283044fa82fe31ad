"""Two models on the same images, against closed forms, scipy, and themselves in the other order."""

import json

import invented
import numpy as np
import pandas as pd
import pytest
from commands import assert_one_line, invoke
from scipy.stats import norm, ttest_rel

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.errors import ResultsError, UnknownNameError
from pagbench.ranking import pairs, resampling, statistics
from pagbench.results import PUBLISHED
from pagbench.results.preflight import Check, Preflight

NOISE, STANDARD = "digits/noise-0.6", "digits/standard"
A, B = "fashion-mnist/a", "fashion-mnist/b"


@pytest.fixture(scope="module")
def published():
    return pagbench.compare(PUBLISHED, NOISE, STANDARD, benchmark="digits@1")


@pytest.fixture(scope="module")
def fashion():
    return invented.big_results.definition(400)


def folder_of(place, benchmark, **edits):
    for index, name in enumerate((A, B)):
        invented.write(place, benchmark, name, index, edit=edits.get(name[-1], lambda rows: rows))
    return place


@pytest.mark.parametrize("other", [STANDARD, "digits/gradient-norm-1", "control/bayes", "control/constant"])
def test_the_other_order_is_the_negative(other):
    there, back = (
        pagbench.compare(PUBLISHED, *pair, benchmark="digits@1") for pair in ((NOISE, other), (other, NOISE))
    )
    np.testing.assert_allclose(there["difference"], -back["difference"], atol=1e-15)
    np.testing.assert_allclose(there["difference_low"], -back["difference_high"], atol=1e-12)
    pd.testing.assert_series_equal(there["p"], back["p"])
    assert there["better"].tolist() == back["better"].tolist()
    assert there["images"].tolist() == back["images"].tolist()


def test_values_are_the_leaderboards(published, digits):
    board = pagbench.leaderboard(PUBLISHED, benchmark=digits).set_index("model")
    assert published["column"].tolist() == list(columns.MAIN)
    for side, name in (("value_a", NOISE), ("value_b", STANDARD)):
        expected = board.loc[name, list(columns.MAIN)].to_numpy(float)
        np.testing.assert_allclose(published[side].to_numpy(float), expected)
    np.testing.assert_allclose(published["difference"], published["value_a"] - published["value_b"])


def test_rows_and_their_folder_give_the_same(published, digits):
    read = {result.name: result for result in results.read_all(PUBLISHED, digits)}
    rows = results.to_frame([read[NOISE], read[STANDARD]])
    pd.testing.assert_frame_equal(pagbench.compare(rows, NOISE, STANDARD), published)


def test_the_end_of_an_id_stands_for_it(published):
    rows = [pagbench.load_results(PUBLISHED, "digits@1", name) for name in ("noise-0.6", STANDARD)]
    assert rows[0]["model"].unique().tolist() == [NOISE]
    joined = pd.concat([frame.assign() for frame in rows], ignore_index=True)
    for found in (PUBLISHED, joined):
        table = pagbench.compare(found, "noise-0.6", "standard", benchmark="digits@1")
        assert set(table["model_a"]) == {NOISE} and set(table["model_b"]) == {STANDARD}
    with pytest.raises(UnknownNameError, match=r"closest: digits/noise-0\.6"):
        pagbench.load_results(PUBLISHED, "digits@1", "noise-0.66")


@pytest.mark.parametrize(("shift", "n"), [(0.0, 50), (0.08, 200), (0.5, 120), (-0.2, 80)])
def test_a_difference_of_means_is_the_paired_t_tests(shift, n):
    rng = np.random.default_rng(n)
    x = rng.normal(0, 1, n)
    y = x + rng.normal(-shift, 0.5, n)
    means = resampling.means(resampling.resample(np.arange(n), seed=0), np.stack([x, y], axis=1))
    found = statistics.difference(means[:, 0], means[:, 1])
    exact = ttest_rel(x, y)
    low, high = exact.confidence_interval()
    assert found.value == pytest.approx((x - y).mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert found.p == pytest.approx(exact.pvalue, abs=0.03)


@pytest.mark.parametrize("mean", [0.0, 0.5, -1.0, 2.0, -3.2])
def test_p_is_the_normal_ones_for_normal_replicates(mean):
    drawn = norm.ppf((np.arange(20_000) + 0.5) / 20_000) + mean
    found = statistics.difference(np.r_[mean, drawn], np.zeros(20_001))
    assert found.p == pytest.approx(2 * norm.sf(abs(mean)), abs=2e-4)
    assert found.settled == (abs(mean) > norm.ppf(0.975))


def test_equal_models_differ_nowhere(fashion, tmp_path):
    twin = invented.rows(fashion, A, 0)
    rows = pd.concat([twin, twin.assign(entrant=B)], ignore_index=True)
    table = pagbench.compare(rows, A, B, benchmark=fashion)
    assert table["difference"].eq(0).all() and table["p"].eq(1).all()
    assert table["verdict"].eq(pairs.ALIKE).all() and table["better"].isna().all()


def test_only_images_that_both_have_are_compared(fashion, tmp_path):
    def cut(rows):
        return rows.iloc[100:]

    def holed(rows):
        return rows.assign(**{fashion.alignment: rows[fashion.alignment].where(rows.index >= 150)})

    folder = folder_of(tmp_path, fashion, a=cut, b=holed)
    table = pagbench.compare(folder, A, B, benchmark=fashion).set_index("column")
    a, b = invented.rows(fashion, A, 0), invented.rows(fashion, B, 1)
    assert table.loc["accuracy", "images"] == 300
    expected = a["correct"][100:].mean(), b["correct"][100:].mean()
    assert tuple(table.loc["accuracy", ["value_a", "value_b"]]) == pytest.approx(expected)
    assert table.loc["alignment", "images"] == 250
    value = a[fashion.alignment][150:].mean()
    chance_of_all = a[f"{fashion.alignment}_chance"][100:].mean()
    assert table.loc["alignment", "value_a"] == pytest.approx((value - chance_of_all) / (1 - chance_of_all), rel=1e-6)


def test_the_direction_decides_who_is_better(published):
    rows = published.set_index("column")
    assert rows.loc["alignment", "better"] == NOISE and rows.loc["off_response", "difference"] < 0
    assert rows.loc["off_response", "better"] == NOISE  # the lower one
    assert rows.loc["accuracy", "verdict"] == pairs.ALIKE and pd.isna(rows.loc["accuracy", "better"])
    against = pagbench.compare(PUBLISHED, NOISE, "control/constant", benchmark="digits@1").set_index("column")
    assert against.loc["on_response", "verdict"] == pairs.DIFFERS and pd.isna(against.loc["on_response", "better"])
    assert against.loc["alignment", "verdict"] == pairs.UNKNOWN


@pytest.mark.parametrize(
    "pair", [(NOISE, STANDARD), (NOISE, "control/constant"), ("control/bayes", "control/sign-flipped")]
)
def test_the_text_fits_eighty_columns(pair):
    shown = invoke("compare", *pair, "-b", "digits@1", "-r", PUBLISHED).output
    assert max(map(len, shown.splitlines())) <= 80
    assert all(name in shown for name in pair) and "360 images" in shown
    assert (f"{pair[1]}: no result" in shown) == (pair[1] != STANDARD)
    assert f"{pair[0]}: no result" not in shown


def test_csv_and_json_hold_every_column(published, tmp_path):
    done = invoke(
        "compare", NOISE, STANDARD, "-b", "digits@1", "-r", PUBLISHED, "--format", "csv", "--output", tmp_path / "c.csv"
    )
    assert done.exit_code == 0 and "written" in done.output
    read = pd.read_csv(tmp_path / "c.csv")
    assert read.columns.tolist() == published.columns.tolist()
    np.testing.assert_allclose(read["difference"], published["difference"])
    listed = json.loads(
        invoke("compare", NOISE, STANDARD, "-b", "digits@1", "-r", PUBLISHED, "--format", "json").stdout
    )
    assert [row["column"] for row in listed] == published["column"].tolist()
    assert listed[1]["better"] is None


def test_without_a_manifold_its_columns_are_left_out():
    paper = next(found for found in map(benchmarks.load, benchmarks.names()) if found.manifold is None)
    paper = paper.model_copy(update={"samples": paper.samples[:60]})
    rows = pd.concat([invented.rows(paper, A, 0), invented.rows(paper, B, 1)], ignore_index=True)
    table = pagbench.compare(rows, A, B, benchmark=paper)
    assert table["column"].tolist() == ["alignment", "accuracy"]


def test_what_cannot_be_compared_is_one_line(fashion, tmp_path):
    assert_one_line(
        invoke("compare", NOISE, "digits/standart", "-b", "digits@1", "-r", PUBLISHED), "digits/standart", STANDARD
    )
    assert_one_line(invoke("compare", NOISE, NOISE, "-b", "digits@1", "-r", PUBLISHED), "named twice")
    assert_one_line(invoke("compare", NOISE, "noise-0.6", "-b", "digits@1", "-r", PUBLISHED), "named twice")
    assert_one_line(invoke("compare", NOISE, STANDARD, "-r", tmp_path / "none"), "no results")
    assert_one_line(invoke("compare", NOISE, STANDARD, "-b", "digit", "-r", PUBLISHED), "digits@1")
    assert_one_line(invoke("compare", "smoothed:0.25", STANDARD, "-r", PUBLISHED), "smoothed:SIGMA")
    a, b = invented.rows(fashion, A, 0), invented.rows(fashion, B, 1)
    cases = {
        "noise seed 0.*with 3": b.assign(seed=3),
        "no image in common": b.iloc[200:],
        "unknown model": b.assign(entrant="other"),
    }
    for said, other in cases.items():
        mine = a.iloc[:200] if "common" in said else a
        with pytest.raises((ResultsError, pagbench.errors.UnknownNameError), match=said):
            pagbench.compare(pd.concat([mine, other], ignore_index=True), A, B, benchmark=fashion)


def test_other_targets_definitions_and_seeds_are_refused_from_a_folder(fashion, tmp_path):
    def networks(sha256):
        return {"networks": {"score": {"weights_sha256": sha256}}}

    for name, document, said in (
        ("targets", networks("b" * 64), "not comparable"),
        ("definition", {"benchmark_digest": "c" * 64}, "another definition"),
        ("seed", {"seed": 5}, "noise seed 0.*with 5"),
    ):
        folder = tmp_path / name
        invented.write(folder, fashion, A, 0, **networks("a" * 64))
        edit = (lambda rows: rows.assign(seed=5)) if name == "seed" else (lambda rows: rows)
        invented.write(folder, fashion, B, 1, edit=edit, **(networks("a" * 64) | document))
        with pytest.raises(ResultsError, match=said):
            pagbench.compare(folder, A, B, benchmark=fashion)


def test_a_run_that_has_just_begun_has_nothing_to_compare(fashion, tmp_path):
    folder = folder_of(tmp_path, fashion)
    path = results.path_of(folder, fashion, B)
    path.unlink()
    (path.parent / f".{path.name}.parts").mkdir()
    with pytest.raises(ResultsError, match=f"{B}: no finished rows"):
        pagbench.compare(folder, A, B, benchmark=fashion)


def flagged(name):
    check = Check(name=name, verdict="flag", found="this is odd", advice="mend it")
    return Preflight(checks=(check,)).model_dump(mode="json")


@pytest.mark.parametrize(
    ("document", "kept", "status"),
    [
        ({}, 400, "ranked"),
        ({"preflight": flagged("cost")}, 400, "ranked"),
        ({"preflight": flagged("classes")}, 400, "doubtful: classes: this is odd"),
        ({"preflight": flagged("membership")}, 400, "doubtful: membership: this is odd"),
        ({}, 250, "partial: 250 of 400 images"),
    ],
)
def test_who_takes_no_rank_is_said_beside_the_comparison(fashion, tmp_path, document, kept, status):
    invented.write(tmp_path, fashion, A, 0)
    invented.write(tmp_path, fashion, B, 1, edit=lambda rows: rows.iloc[:kept], **document)
    compared = pairs.pair(tmp_path, A, B, benchmark=fashion)
    assert compared.table["status_a"].eq("ranked").all() and compared.table["status_b"].eq(status).all()
    assert compared.remarks == (() if status == "ranked" else (f"{B}: {status}; it takes no rank.",))
    assert " ".join(compared.remarks) in " ".join(pairs.to_text(compared).split())
    rows = results.to_frame(results.read_all(tmp_path, fashion))
    assert pairs.pair(rows, A, B, benchmark=fashion).remarks == compared.remarks
    assert {row["status_b"] for row in json.loads(pairs.to_json(compared))} == {status}
