import json

import numpy as np
import pandas as pd
import pytest

import pagbench
from pagbench import benchmarks, columns
from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, regimes, render
from pagbench.results.preflight import Check, Preflight


def model(
    benchmark, name, *, aligned=0.9, accuracy=0.9, tangent=0.9, on=0.2, off=0.05, control=False, seed=0, noise=0.02
):
    """Invented rows of one model: independent noise around given means."""
    n = len(benchmark.samples)
    rng = np.random.default_rng(sum(name.encode()))
    rows = pd.DataFrame(
        {
            "benchmark": benchmark.name,
            "version": benchmark.version,
            "entrant": name,
            "family": "own",
            "strength": np.nan,
            "control": control,
            "seed": seed,
            "sample_id": benchmark.samples,
            "label": np.arange(n) % benchmark.classes,
        }
    )
    means = {
        "alignment_lpips": aligned,
        "alignment_lpips_chance": 0.7,
        "alignment_cosine": aligned,
        "alignment_cosine_chance": 0.0,
        "tangent_energy": tangent,
        "tangent_energy_chance": 0.2,
    }
    for column in columns.sample_columns(benchmark):
        side = on if column.name.startswith("on_") else off if column.name.startswith("off_") else 1.0
        spread = noise * rng.standard_normal(n)
        rows[column.name] = means.get(column.name, side) + spread - spread.mean()
    rows["gradient_faithful"] = 1.0
    rows["correct"] = (np.arange(n) < accuracy * n).astype(float)
    rows[["temperature", "temperature_low", "temperature_high"]] = [1.0, 0.9, 1.1]
    return rows


@pytest.fixture(scope="module")
def anchors(digits):
    return [
        model(digits, "control/bayes", aligned=1.0, tangent=0.99, on=0.24, off=0.02, control=True),
        model(digits, "digits/standard", aligned=0.75, tangent=0.6, on=0.2, off=0.05),
    ]


def board_of(anchors, *models, **options):
    return pagbench.leaderboard(pd.concat([*anchors, *models], ignore_index=True), **options)


def test_ranks_follow_chance_corrected_alignment_and_controls_take_none(digits, anchors):
    board = board_of(anchors, model(digits, "a", aligned=0.8), model(digits, "b", aligned=0.9))
    ranked = board[board["rank"].notna()]
    assert list(ranked["model"]) == ["b", "a", "digits/standard"]
    assert list(ranked["rank"]) == [1, 2, 3]
    assert board.iloc[-1]["model"] == "control/bayes"
    expected = (ranked["alignment_lpips"] - ranked["alignment_lpips_chance"]) / (1 - ranked["alignment_lpips_chance"])
    np.testing.assert_allclose(ranked["alignment"], expected)


def test_equal_models_share_their_rank_interval(digits, anchors):
    twins = [model(digits, name, aligned=0.9, noise=0.1) for name in ("a", "b", "c")]
    board = board_of(anchors, *twins).set_index("model")
    assert set(board.loc[["a", "b", "c"], "rank_low"]) == {1}
    assert set(board.loc[["a", "b", "c"], "rank_high"]) == {3}
    assert board.loc["digits/standard", "rank_low"] == 4


@pytest.mark.parametrize(
    ("changes", "regime"),
    [
        ({"tangent": 0.65}, "weak"),
        ({"tangent": 0.9}, "bayes-aligned"),
        ({"tangent": 0.95, "on": 0.05}, "excessive"),
        ({"tangent": 0.9, "accuracy": 0.6}, "excessive"),
        ({"tangent": 0.795}, "boundary"),
    ],
)
def test_regimes_lie_between_the_anchors(digits, anchors, changes, regime):
    row = board_of(anchors, model(digits, "a", noise=0.05, **changes)).set_index("model").loc["a"]
    assert row["regime"] == regime
    shares = row[["p_weak", "p_bayes_aligned", "p_excessive"]]
    assert shares.sum() == pytest.approx(1)
    assert row["regime_probability"] == shares.max()


def test_a_model_without_meaning_gets_no_rank_and_the_reason(digits, anchors):
    guessing = model(digits, "guessing", accuracy=0.1)
    numb = model(digits, "numb", on=0.0, off=0.0, noise=0.0)
    masked = model(digits, "masked")
    masked.loc[:30, "alignment_lpips"] = np.nan
    holed = model(digits, "holed")
    holed.loc[:3, "alignment_lpips"] = np.nan
    surrogate = model(digits, "surrogate")
    surrogate.loc[:35, "gradient_faithful"] = 0.0
    kinked = model(digits, "kinked")
    kinked.loc[:5, "gradient_faithful"] = 0.0
    partial = model(digits, "partial").head(100)
    reseeded = model(digits, "reseeded", seed=5)
    board = board_of(anchors, guessing, numb, masked, holed, surrogate, kinked, partial, reseeded).set_index("model")
    reasons = {
        "guessing": "no result: accuracy 0.100 is not above chance",
        "numb": "no result: the output does not react",
        "masked": "no result: the gradient is zero or not finite on 31 of 360 images",
        "holed": "incomplete: the gradient is zero or not finite on 4 of 360 images",
        "surrogate": "no result: the gradient is not that of the outputs on 10% of the images",
        "partial": "partial: 100 of 360 images",
        "reseeded": "noise seed 5, the board's is 0",
    }
    assert board.loc["kinked", "status"] == "ranked"
    for name, reason in reasons.items():
        assert board.loc[name, "status"].startswith(reason)
        assert pd.isna(board.loc[name, "rank"])
    assert board.loc[["guessing", "numb", "masked", "surrogate", "partial", "reseeded"], "regime"].isna().all()
    assert board.loc["holed", "regime"] == "bayes-aligned"
    assert board.loc["masked", "n_scored"] == 329
    assert board.loc[["kinked", "digits/standard"], "rank"].tolist() == [1, 2]


def flagged(name):
    check = Check(name=name, verdict="flag", found="this is odd", advice="mend it")
    return Preflight(checks=(Check(name="output", verdict="pass", found="logits"), check)).model_dump(mode="json")


def test_flags_of_the_preflight_are_told_and_most_of_them_cost_the_rank(digits, anchors):
    rows = pd.concat([*anchors, *(model(digits, name) for name in ("a", "b", "c", "derivatives"))], ignore_index=True)
    bayes = Preflight(checks=(Check(name="gradients", verdict="unknown", found="none"),)).model_dump(mode="json")
    rows.attrs["preflight"] = {
        **{"a": flagged("accuracy"), "b": flagged("batch"), "c": flagged("output")},
        **{"derivatives": flagged("derivatives"), "control/bayes": bayes},
    }
    board = pagbench.leaderboard(rows)
    found = board.set_index("model")
    assert found["status"]["a"] == "doubtful: accuracy: this is odd"
    assert found["status"]["b"] == "doubtful: batch: this is odd"
    assert found["status"]["c"] == "doubtful: output: this is odd"
    assert found["status"]["derivatives"] == "ranked"
    assert list(board.loc[board["rank"].notna(), "model"]) == ["derivatives", "digits/standard"]
    assert found["preflight"]["derivatives"] == "derivatives: this is odd"
    assert found["preflight"]["control/bayes"] == "ok"
    assert found["preflight"].isna()["digits/standard"]
    markdown = render.to_markdown(board, digits, notes=True)
    assert sorted(line for line in markdown.splitlines() if "this is odd" in line) == [
        "- a: doubtful: accuracy: this is odd.",
        "- b: doubtful: batch: this is odd.",
        "- c: doubtful: output: this is odd.",
        "- derivatives: pre-flight: derivatives: this is odd.",
    ]
    by_model = {row["model"]: row for row in json.loads(render.to_json(board, digits))}
    assert by_model["digits/standard"]["preflight"] is None


@pytest.mark.parametrize("others", [[], ["derivatives"], ["batch", "derivatives"]])
def test_what_the_status_says_of_the_preflight_is_not_said_again(digits, anchors, others):
    masked = model(digits, "masked")
    masked.loc[:30, "alignment_lpips"] = np.nan
    lost = Check(name="gradients", verdict="flag", found="zero on 3 of 32", expected="not zero", advice="mend it")
    rows = pd.concat([*anchors, masked], ignore_index=True)
    found = [Check(name=name, verdict="flag", found=f"{name} is odd") for name in others]
    rows.attrs["preflight"] = {"masked": Preflight(checks=(*found[:1], lost, *found[1:])).model_dump(mode="json")}
    said = render.to_markdown(pagbench.leaderboard(rows), digits, notes=True)
    assert said.count("zero on 3 of 32") == 1 and "(pre-flight: zero on 3 of 32; mend it)" in said
    again = [line for line in said.splitlines() if line.startswith("- masked: pre-flight: ")]
    assert again == ([f"- masked: pre-flight: {'; '.join(f'{n}: {n} is odd' for n in others)}."] if others else [])


def test_kinks_at_the_images_excuse_differences_and_nothing_else_does(digits, anchors):
    some = [model(digits, name).assign(gradient_faithful=0.0) for name in ("kinks", "masked")]
    rows = pd.concat([*anchors, *some], ignore_index=True)
    check = Check(name="derivatives", verdict="pass", found="kinks there", kind="kinks")
    rows.attrs["preflight"] = {"kinks": Preflight(checks=(check,)).model_dump(mode="json")}
    status = pagbench.leaderboard(rows).set_index("model")["status"]
    assert status["kinks"] == "ranked"
    assert status["masked"] == "no result: the gradient is not that of the outputs on 100% of the images"


def test_values_that_are_not_scored_are_left_out_and_not_zero(digits, anchors):
    some = model(digits, "some", aligned=0.9)
    some.loc[:9, ["alignment_lpips", "alignment_lpips_chance"]] = np.nan
    row = board_of(anchors, some).set_index("model").loc["some"]
    assert row["alignment_lpips"] == pytest.approx(some["alignment_lpips"].mean(skipna=True))
    assert row["n_scored"] == 350


def test_every_measured_value_has_an_interval_around_it(digits, anchors):
    board = board_of(anchors, model(digits, "a"))
    measured = [name.removesuffix("_low") for name in board if name.endswith("_low") and name != "rank_low"]
    assert len(measured) > 25
    for name in measured:
        values = board[[f"{name}_low", name, f"{name}_high"]].dropna().to_numpy(float)
        assert (np.diff(values, axis=1) >= -1e-9).all(), name


def test_missing_values_become_null_in_json_and_dashes_in_tables(digits, anchors):
    guessing = model(digits, "guessing", accuracy=0.1)
    guessing[["alignment_lpips", "alignment_lpips_chance"]] = np.nan
    board = board_of(anchors, guessing)
    row = next(row for row in json.loads(render.to_json(board, digits)) if row["model"] == "guessing")
    assert row["alignment"] is None
    assert row["rank"] is None
    assert row["regime"] is None
    line = next(line for line in render.to_markdown(board, digits).splitlines() if "guessing" in line)
    assert line.startswith("| – | guessing |")


def test_rows_of_several_runs_may_be_put_together(digits, anchors):
    first = pd.concat([*anchors, model(digits, "a")])
    second = pd.concat([*anchors, model(digits, "b")])
    board = pagbench.leaderboard(pd.concat([first, second]))
    pd.testing.assert_frame_equal(board, board_of(anchors, model(digits, "a"), model(digits, "b")))
    other_seed = pd.concat([*anchors, model(digits, "c")]).assign(seed=3)
    reseeded = pagbench.leaderboard(pd.concat([first, other_seed])).set_index("model")
    assert reseeded.loc["c", "status"] == "noise seed 3, the board's is 0"
    assert reseeded.loc["a", "status"] == "ranked"
    with pytest.raises(ResultsError, match=r"c: rows of the noise seeds \[3, 4\]"):
        pagbench.leaderboard(pd.concat([other_seed, other_seed.assign(seed=4)]))
    second.loc[second["entrant"] == "digits/standard", "tangent_energy"] += 0.01
    with pytest.raises(ResultsError, match=r"digits/standard: sample \d+ has different values"):
        pagbench.leaderboard(pd.concat([first, second]))


def test_log_ratios_of_rounding_errors_are_not_scored(digits, anchors):
    perfect = model(digits, "perfect")
    perfect[[name for name in perfect if name.startswith("off_response")]] = 1e-8
    row = board_of(anchors, perfect).set_index("model").loc["perfect"]
    assert np.isnan(row["log_ratio"])
    assert row["off_response"] == pytest.approx(1e-8)


def test_rows_of_several_benchmarks_are_not_mixed(digits, anchors):
    other = anchors[0].assign(benchmark="sphere")
    with pytest.raises(ResultsError, match=r"several benchmarks \(digits@1, sphere@1\)"):
        pagbench.leaderboard(pd.concat([*anchors, other]))
    with pytest.raises(ResultsError, match="no rows to rank"):
        pagbench.leaderboard(pd.DataFrame())
    with pytest.raises(ResultsError, match="are not those of the data frame"):
        pagbench.leaderboard(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("missing", [0, 1])
def test_without_an_anchor_everything_but_regimes_is_shown_and_the_footer_says_why(digits, anchors, missing):
    rows = pd.concat([anchors[1 - missing], model(digits, "a"), model(digits, "b")])
    whole = pd.concat([*anchors, model(digits, "a"), model(digits, "b")])
    board, full = (pagbench.leaderboard(part).set_index("model").loc[["a", "b"]] for part in (rows, whole))
    assert board["regime"].isna().all() and full["regime"].notna().all()
    judged = [name for name in board if name in ("regime", "regime_probability") or name.startswith("p_")]
    ranks = [name for name in board if name.startswith("rank")]
    pd.testing.assert_frame_equal(board.drop(columns=judged + ranks), full.drop(columns=judged + ranks))
    name = anchors[missing]["entrant"].iloc[0]
    shown = render.to_markdown(pagbench.leaderboard(rows), digits)
    assert f"No regimes are judged, for {name} is not measured (`pagbench run {name} -b digits@1`)" in shown
    assert "| regime |" not in shown


def test_board_columns_are_the_documented_ones(digits, anchors):
    board = board_of(anchors)
    every = [column.name for column in columns.board_columns(digits)]
    others = [name for name in every if any(word in name for word in ("second", "paper", "peak", "ceiling"))]
    documented = [name for name in every if name not in others]
    assert [name for name in documented if name not in board] == []
    assert not set(others) & set(board)  # digits@1 has no second target, no profile and no known ceiling
    assert [name for name in board if name in documented] == documented


def test_licences_of_models_and_score_models_are_columns(digits, anchors, tmp_path):
    """Of a model it is its card's, which a results folder keeps; of the scores the benchmark's."""
    rows = pagbench.run("digits/standard", benchmark=digits, results=tmp_path, limit=2)
    for source in (rows, tmp_path):
        board = pagbench.leaderboard(source, benchmark=digits).set_index("model")
        assert board.loc["digits/standard", "license"] == "Apache-2.0"
    assert board["score_license"].isna().all()
    assert json.loads(render.to_json(board.reset_index(), digits))[0]["score_license"] is None
    licensed = digits.model_copy(update={"score": digits.score.model_copy(update={"license": "CC BY-NC-SA 4.0"})})
    assert set(pagbench.leaderboard(pd.concat(anchors), benchmark=licensed)["score_license"]) == {"CC BY-NC-SA 4.0"}


def test_a_drop_of_the_very_threshold_is_not_excessive():
    """0.9 - 0.75 is a little more than .15 in floating point."""
    thresholds = benchmarks.load("digits@1").thresholds
    ones = np.ones(4)
    reference, bayes = (
        regimes.Anchored(0.2 * ones, 0.2 * ones, 0.9 * ones),
        regimes.Anchored(ones, 0.2 * ones, 0.9 * ones),
    )
    for accuracy, expected in ((0.75, 1), (0.749, 2)):
        model = regimes.Anchored(0.9 * ones, 0.2 * ones, accuracy * ones)
        assert (regimes.classify(model, reference, bayes, thresholds) == expected).all()


@pytest.mark.parametrize(
    ("status", "meaningful"),
    [
        ("ranked", True),
        ("control", True),
        ("refuted by rerun of 50 images (no result GmbH): accuracy differs", True),
        ("no result: accuracy 0.100 is not above chance 0.100", False),
        ("control; no result: accuracy 0.100 is not above chance 0.100", False),
    ],
)
def test_words_of_others_in_a_status_do_not_decide_whether_there_is_a_result(status, meaningful):
    assert eligibility.has_result(status) == meaningful
