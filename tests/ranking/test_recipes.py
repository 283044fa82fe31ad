"""Boards whose rows are recipes: which networks are joined, their values and intervals, tracks, and what is printed."""

import functools
import io
import json
import re
from functools import cache

import invented
import numpy as np
import pandas as pd
import pytest
from commands import assert_one_line, invoke

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.cards import ModelCard
from pagbench.ranking import render, resampling, statistics
from pagbench.ranking.board import _summaries_of, rows_of
from pagbench.ranking.recipes import recipe_of
from pagbench.results.agreement import PUBLISHED, SUBMITTED, VERIFIED
from pagbench.results.preflight import Check, Preflight

TRAINING = {"epochs": 4, "split": "training split of digits@1", "device": "cpu", "torch": "2.14.1"}


@pytest.fixture(scope="module")
def recipes(digits):
    return digits.model_copy(update={"ranking": "recipes"})


def card(name, seed=0, **fields):
    known = {
        "family": "noise", "strength": 0.5, "dataset": "digits", "architecture": "small-cnn", "activation": "silu",
        "input_shape": (1, 8, 8), "classes": 10, "weights": "a.safetensors", "authors": "A", "training": TRAINING,
    }  # fmt: skip
    return ModelCard.model_validate({"id": name, "title": name, "seed": seed} | known | fields)


@cache
def measured(benchmark, name, aligned, accuracy, tangent, control, noise_seed, limit):
    n = len(benchmark.samples)
    rng = np.random.default_rng(sum(name.encode()))
    shared = np.random.default_rng(0).standard_normal(n)
    rows = pd.DataFrame(
        {
            "benchmark": benchmark.name, "version": benchmark.version, "entrant": name, "family": "noise",
            "strength": 0.5, "control": control, "seed": noise_seed, "sample_id": benchmark.samples,
            "label": np.arange(n) % benchmark.classes,
        }
    )  # fmt: skip
    means = {"alignment_lpips": aligned, "alignment_lpips_chance": 0.7, "alignment_cosine": aligned - 0.3}
    means |= {"alignment_cosine_chance": 0.0, "tangent_energy": tangent, "tangent_energy_chance": 0.2}
    for column in columns.sample_columns(benchmark):
        side = 0.2 if column.name.startswith("on_") else 0.05 if column.name.startswith("off_") else 1.0
        spread = 0.02 * (shared + 0.3 * rng.standard_normal(n))
        rows[column.name] = means.get(column.name, side) + spread - spread.mean()
    rows["gradient_faithful"] = 1.0
    rows["correct"] = (np.arange(n) < accuracy * n).astype(float)
    rows[["temperature", "temperature_low", "temperature_high"]] = [1.0, 0.9, 1.1]
    return rows.iloc[:limit]


def network(
    benchmark, name, seed=0, *, aligned=0.85, accuracy=0.9, tangent=0.9, control=False, noise_seed=0, limit=None,
    declared=True, submitted=False, preflight=None, verified=None, weights=None, **fields,
):  # fmt: skip
    """Rows of one model with what is declared of it."""
    rows = measured(benchmark, name, aligned, accuracy, tangent, control, noise_seed, limit).copy()
    known = card(name, seed, **fields)
    rows.attrs = {
        "cards": {name: known.model_dump(mode="json", exclude_none=True)} if declared and not control else {},
        "trained_on_target": {} if known.trained_on_target is None else {name: known.trained_on_target},
        "submitted": {name: True} if submitted else {},
        "preflight": {} if preflight is None else {name: preflight.model_dump(mode="json")},
        "verifications": {} if verified is None else {name: verified},
        "networks": {} if weights is None else {name: weights},
    }
    return rows


def together(*models):
    rows = pd.concat([model.assign() for model in models], ignore_index=True)
    kinds = {kind for model in models for kind in model.attrs}
    rows.attrs = {kind: {k: v for m in models for k, v in m.attrs.get(kind, {}).items()} for kind in kinds}
    return rows


def board_of(benchmark, *models):
    return pagbench.leaderboard(together(*models), benchmark=benchmark).set_index("model", drop=False)


@pytest.fixture(scope="module")
def anchors(digits):
    return (
        network(digits, "control/bayes", aligned=1.0, tangent=0.99, control=True),
        network(digits, "digits/standard", 0, aligned=0.75, tangent=0.6, family="standard", strength=None),
    )


def pairs(benchmark, *, spread=0.01):
    """Four recipes with two networks each."""
    return [
        network(benchmark, f"digits/r{i}{end}", seed, aligned=0.78 + 0.03 * i + seed * spread, strength=i + 1.0)
        for i in range(4)
        for seed, end in ((0, ""), (1, ".seed1"))
    ]


# Identity.


def test_a_recipe_is_all_of_a_training_but_its_seed():
    own = recipe_of(card("digits/a", 0), PUBLISHED)
    same = [
        card("digits/b", 3),
        card("digits/zzz.seed9", 9, title="another", date="2026-01-01", license="MIT", training_command="x"),
        card("digits/a", 1, weights_sha256="0" * 64, training_accuracy=0.9, trained_on="train"),
        card("digits/a", 2, training=TRAINING | {"device": "cuda", "torch": "3.0", "threads": 8, "accuracy": 0.3}),
        card("digits/a", 4, training=TRAINING | {"stored_as": "float16"}, trained_on_target=False),
    ]
    assert [recipe_of(other, PUBLISHED) for other in same] == [own] * len(same)
    others = [
        card("digits/a", family="smoothness"), card("digits/a", strength=0.6), card("digits/a", dataset="mnist"),
        card("digits/a", architecture="mlp"), card("digits/a", activation="relu"),
        card("digits/a", smoothing={"sigma": 0.5, "samples": 32}), card("digits/a", training=TRAINING | {"epochs": 5}),
        card("digits/a", training=TRAINING | {"note": "x"}), card("mine/a"), card("trained/digits/a"),
        card("digits/a", authors="B"), card("digits/a", authors=None), card("digits/a", trained_on_target=True),
    ]  # fmt: skip
    found = [recipe_of(other, PUBLISHED) for other in others]
    assert own not in found and len(set(found)) == len(found)
    assert len({own, recipe_of(card("digits/a"), VERIFIED), recipe_of(card("digits/a"), SUBMITTED)}) == 3


def test_what_older_cards_do_not_record_is_what_all_trainings_had():
    newer = TRAINING | {"ema": 0.0, "precision": "float32", "augmentation": "none", "clip": 0.0}
    older = recipe_of(card("mine/a", 0), PUBLISHED)
    assert recipe_of(card("mine/a.seed1", 1, training=newer), PUBLISHED) == older
    for name, other in {"ema": 0.9, "precision": "bfloat16", "augmentation": "crop-flip", "clip": 1.0}.items():
        assert recipe_of(card("mine/a.seed1", 1, training=newer | {name: other}), PUBLISHED) != older


def test_smoothed_networks_of_a_recipe_are_of_one_though_each_is_around_another():
    around = [
        card(f"smoothed-0.5/digits/a{end}", s, smoothing={"sigma": 0.5, "samples": 32, "around": f"digits/a{end}"})
        for s, end in ((0, ""), (1, ".seed1"))
    ]
    assert recipe_of(around[0], PUBLISHED) == recipe_of(around[1], PUBLISHED) is not None


@pytest.mark.parametrize(
    "fields",
    [{"seed": None}, {"training": {}}, {"loader": "control", "architecture": "bayes"}, {"seed": None, "training": {}}],
)
def test_a_model_without_a_seed_or_a_recorded_training_is_of_its_own(fields):
    assert recipe_of(card("digits/a", **fields), PUBLISHED) is None


# Values and intervals.


def test_a_row_is_the_mean_over_networks_and_ratios_are_of_means(recipes, anchors):
    networks = pairs(recipes, spread=0.04)
    board = board_of(recipes, *anchors, *networks)
    assert board.index.tolist() == [
        "digits/r3",
        "digits/r2",
        "digits/r1",
        "digits/r0",
        "digits/standard",
        "control/bayes",
    ]
    row, own = board.loc["digits/r3"], networks[-2:]
    for name in ("alignment_lpips", "alignment_lpips_chance", "tangent_energy", "off_sensitivity"):
        assert row[name] == pytest.approx(np.mean([rows[name].mean() for rows in own]), abs=1e-9)
    ratio = (row["alignment_lpips"] - row["alignment_lpips_chance"]) / (1 - row["alignment_lpips_chance"])
    assert row["alignment"] == row["alignment_lpips_corrected"] == pytest.approx(ratio, abs=1e-9)
    assert row["log_ratio"] == pytest.approx(np.log(row["off_response"] / row["on_response"]), abs=1e-9)
    assert row["n_networks"] == 2 and [one["id"] for one in row["networks"]] == ["digits/r3", "digits/r3.seed1"]
    assert [one["seed"] for one in row["networks"]] == [0, 1]
    assert row["networks"][1]["accuracy"] == own[1]["correct"].mean()
    assert board.loc["digits/standard", "n_networks"] == 1
    assert pd.isna(board.loc["control/bayes", "n_networks"]) and pd.isna(
        board.loc["control/bayes", "alignment_seed_sd"]
    )


def test_intervals_cover_retraining(recipes, anchors):
    """The interval is that of the image's and the seeds' variance together, and a further network shortens it."""
    spread = 0.02
    networks = pairs(recipes, spread=spread)
    board = board_of(recipes, *anchors, *networks)
    row = board.loc["digits/r1"]
    scale = 1 / (1 - 0.7)  # of the corrected alignment
    assert row["alignment_seed_sd"] == pytest.approx(scale * spread / np.sqrt(2), rel=0.02)  # all recipes agree in it
    half = (row["alignment_high"] - row["alignment_low"]) / 2
    seeds = 2.776 * scale * spread / np.sqrt(2) / np.sqrt(2)  # t with four degrees of freedom
    assert half == pytest.approx(np.hypot(seeds, 1.96 * row["alignment_image_sd"]), rel=0.05)
    single = board.loc["digits/standard"]
    assert single["alignment_high"] - single["alignment_low"] == pytest.approx(2 * half * np.sqrt(2), rel=0.08)
    assert single["alignment_interval_factor"] > row["alignment_interval_factor"] > 5
    assert row["accuracy_interval_factor"] == 1  # the seeds agree
    third = network(recipes, "digits/r1.seed2", 2, aligned=0.81 + spread / 2, strength=2.0)
    longer = board_of(recipes, *anchors, *networks, third).loc["digits/r1"]
    assert longer["n_networks"] == 3 and longer["alignment_high"] - longer["alignment_low"] < 2 * half


PGD = "pgd_l2_0.5"


def attacked(rows, robust, images=None):
    """The same with robust accuracy, of the first images only where so many are given."""
    return rows.assign(**{PGD: (np.arange(len(rows)) % 100 < 100 * robust).astype(float)}).assign(
        **{PGD: lambda known: known[PGD].where(np.arange(len(known)) < (images or len(known)))}
    )


def test_what_was_measured_of_one_network_of_a_recipe_is_shown_and_said_to_be(recipes, digits, anchors):
    networks = pairs(recipes)
    networks[6] = attacked(networks[6], 0.6)
    board = board_of(recipes, *anchors, *networks)
    alone = board_of(digits, *anchors, *networks).loc["digits/r3"]
    row = board.loc["digits/r3"]
    for part in ("", "_low", "_high"):
        assert row[f"{PGD}{part}"] == pytest.approx(alone[f"{PGD}{part}"])
    assert row[columns.PARTIAL_MEASURES] == "pgd of 1 network, intervals over images alone"
    assert board.drop("digits/r3")[[PGD, columns.PARTIAL_MEASURES]].isna().all(axis=None)
    pd.testing.assert_frame_equal(  # and nothing else has moved
        board.drop(columns=[PGD, f"{PGD}_low", f"{PGD}_high", columns.PARTIAL_MEASURES]),
        pd.DataFrame(board_of(recipes, *anchors, *pairs(recipes))),
    )
    for form in (render.to_table, render.to_markdown):
        text = " ".join(form(board, recipes, columns="all", notes=True).split())
        assert "PGD L2 0.5 ↑" in text and f"{row[PGD]:.3f} ±" in text
        assert "digits/r3: pgd of 1 network, intervals over images alone." in text
        assert "at most L2 0.5 or L∞ 8/255" in text and "AutoAttack L2" not in text
    names = board.columns.tolist()
    assert names.index(PGD) == names.index("accuracy_high") + 1


@pytest.mark.parametrize("robust", [(0.6, 0.5), (0.9, 0.7), (0.3, 0.3)])
def test_what_was_measured_of_all_networks_is_their_mean_and_covers_retraining(recipes, anchors, robust):
    networks = pairs(recipes)
    networks[4], networks[5], networks[6] = (attacked(networks[i], robust[i % 2]) for i in (4, 5, 6))
    alone = board_of(recipes, *anchors, *networks[:4], *networks[6:])  # no recipe has two attacked networks
    board = board_of(recipes, *anchors, *networks)
    both, one = board.loc["digits/r2"], board.loc["digits/r3"]
    assert both[PGD] == pytest.approx(np.mean([rows[PGD].mean() for rows in networks[4:6]]))
    assert pd.isna(both[columns.PARTIAL_MEASURES])
    assert one[columns.PARTIAL_MEASURES] == "pgd of 1 network"
    lengths = [b.loc["digits/r3", f"{PGD}_high"] - b.loc["digits/r3", f"{PGD}_low"] for b in (board, alone)]
    assert lengths[0] == lengths[1] if robust[0] == robust[1] else lengths[0] > lengths[1]


def test_fewer_networks_and_fewer_images_are_both_said(recipes, anchors):
    networks = pairs(recipes)
    networks[0] = attacked(networks[0], 0.5, images=64)
    row = board_of(recipes, *anchors, *networks).loc["digits/r0"]
    assert row[columns.PARTIAL_MEASURES] == ("pgd on 64 of 360 images; pgd of 1 network, intervals over images alone")
    assert row[f"{PGD}_high"] - row[f"{PGD}_low"] > 0.2


def test_smoothed_models_are_marked_where_they_were_attacked(recipes, anchors):
    smoothed = network(recipes, "digits/s", strength=9.0, smoothing={"sigma": 0.5, "samples": 32})
    board = board_of(recipes, *anchors, attacked(smoothed, 0.5), attacked(network(recipes, "digits/n"), 0.5))
    assert board[columns.ATTACKED_DRAWS].dropna().to_dict() == {"digits/s": 32}
    assert "digits/s: smoothed, and attacked through" in render.to_markdown(board, recipes, notes=True)
    assert columns.ATTACKED_DRAWS not in board_of(recipes, *anchors, smoothed)


def test_where_seeds_differ_ranks_are_less_sure(recipes, digits, anchors):
    networks = pairs(recipes, spread=0.05)
    board, plain = board_of(recipes, *anchors, *networks), board_of(digits, *anchors, *networks)
    assert (plain["rank_low"] == plain["rank_high"]).iloc[:-1].all()
    assert (board["rank_high"] > board["rank_low"]).iloc[:4].all()


def test_regimes_lie_between_the_mean_reference_and_bayes(recipes, anchors):
    """A second reference network, without the first one's tangent energy, moves the regimes of all."""
    model = network(recipes, "digits/a", aligned=0.8, tangent=0.75, strength=None, family="own")
    alone = board_of(recipes, *anchors, model)
    second = network(recipes, "digits/standard.seed1", 1, aligned=0.75, tangent=0.2, family="standard", strength=None)
    both = board_of(recipes, *anchors, model, second)
    assert alone.loc["digits/a", "p_weak"] > 0.95 > both.loc["digits/a", "p_weak"]
    assert both.loc["digits/standard", "n_networks"] == 2


def test_single_networks_are_what_they_are_without_recipes(recipes, digits, anchors):
    """Where no recipe has several networks, every number and every bound is the model's own."""
    models = [network(digits, f"digits/m{i}", i, aligned=0.8 + 0.02 * i, strength=i + 1.0) for i in range(3)]
    board, plain = board_of(recipes, *anchors, *models), board_of(digits, *anchors, *models)
    added = [name for name in board if name not in plain]
    assert added == ["track", "n_networks", "networks"]
    pd.testing.assert_frame_equal(board.drop(columns=added), pd.DataFrame(plain))
    assert "no recipe has several networks, so that it does not cover retraining" in render.caption(board, recipes)
    assert "Retraining:" not in render.to_table(board.reset_index(drop=True), recipes, notes=True)
    assert "over images; it leaves out retraining" in render.legend(board, recipes)


def test_values_of_single_networks_beside_others_are_their_own_to_the_bit(recipes, digits, anchors):
    networks = pairs(recipes)
    board, plain = board_of(recipes, *anchors, *networks), board_of(digits, *anchors, *networks)
    values = [name for name in plain if f"{name}_low" in plain and name != "rank"]
    pd.testing.assert_series_equal(board.loc["digits/standard", values], plain.loc["digits/standard", values])
    kept = ["alignment", "alignment_low", "alignment_high", "accuracy_high", "regime"]
    assert (board.loc["control/bayes", kept].dropna() == plain.loc["control/bayes", kept].dropna()).all()


def test_the_order_of_models_and_further_models_change_nothing(recipes, anchors):
    networks = pairs(recipes)
    board = board_of(recipes, *anchors, *networks)
    for order in (networks[::-1], [*networks[3:], *networks[:3]], [networks[i] for i in (5, 0, 7, 2, 1, 6, 4, 3)]):
        pd.testing.assert_frame_equal(board_of(recipes, *order, *anchors), board)
    more = board_of(recipes, *anchors, *networks, network(recipes, "digits/other", strength=77.0, aligned=0.7))
    bounds = ["alignment", "alignment_low", "alignment_high", "tangent_energy_low", "log_ratio_high"]
    pd.testing.assert_frame_equal(more.loc[board.index, bounds], board[bounds])


def test_a_folder_says_what_a_data_frame_says(recipes, tmp_path):
    """Through the cache of summaries, whose replicates of minor columns are rounded: the same board again."""
    trained = [("digits/a", 0, 1.0), ("digits/a.seed1", 1, 1.0), ("digits/b", 0, 2.0), ("digits/b.seed1", 1, 2.0)]
    for place, (name, seed, strength) in enumerate(trained):
        fields = card(name, seed, strength=strength).model_dump(mode="json", exclude_none=True)
        as_declared = {"family": "noise", "strength": strength}
        edit = functools.partial(pd.DataFrame.assign, **as_declared)
        invented.write(tmp_path / "results", recipes, name, place, card=fields, edit=edit)
    first, again = (pagbench.leaderboard(tmp_path / "results", benchmark=recipes) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["n_networks"].tolist() == [2, 2]
    frame = pagbench.leaderboard(results.to_frame(results.read_all(tmp_path / "results", recipes)), benchmark=recipes)
    pd.testing.assert_frame_equal(first, frame)


# Who is joined.


def doubtful():
    return Preflight(checks=(Check(name="accuracy", verdict="flag", found="this is odd", advice="mend it"),))


def test_only_networks_that_would_be_ranked_are_joined(recipes, anchors):
    refuted = {
        "benchmark": "digits@1", "entrant": "digits/a.seed3", "results_sha256": "0" * 64, "weights_sha256": "0" * 64,
        "samples": 5, "seed": 0, "verdict": "refuted", "reason": "x", "by": "B", "when": "2026-01-01T00:00:00Z",
        "versions": {}, "device": "cpu",
    }  # fmt: skip
    models = [
        network(recipes, "digits/a", 0),
        network(recipes, "digits/a.seed1", 1, aligned=0.86),
        network(recipes, "digits/a.seed2", 2, limit=50, aligned=0.99),
        network(recipes, "digits/a.seed3", 3, aligned=0.99, verified=refuted),
        network(recipes, "digits/a.seed4", 4, aligned=0.99, noise_seed=7),
        network(recipes, "digits/a.seed5", 5, aligned=0.99, preflight=doubtful()),
    ]
    board = board_of(recipes, *anchors, *models)
    assert [one["id"] for one in board.loc["digits/a", "networks"]] == ["digits/a", "digits/a.seed1"]
    assert board.loc["digits/a", "alignment_lpips"] < 0.87
    others = board.loc[[f"digits/a.seed{s}" for s in (2, 3, 4, 5)]]
    assert others["rank"].isna().all() and (others["n_networks"] == 1).all()
    starts = ["partial: 50 of", "refuted", "noise seed 7", "doubtful"]
    assert [s.startswith(start) for s, start in zip(others["status"], starts, strict=True)] == [True] * 4


def test_a_row_is_named_by_the_least_seed_that_is_joined(recipes, anchors):
    models = [
        network(recipes, "digits/z", 5),
        network(recipes, "digits/a", 9),
        network(recipes, "digits/b", 2, limit=9),
    ]
    board = board_of(recipes, *anchors, *models)
    assert board.loc["digits/z", "n_networks"] == 2 and "digits/a" not in board.index
    assert board.loc["digits/b", "status"].startswith("partial")
    reference = network(recipes, "digits/early", 0, aligned=0.76, family="standard", strength=None)
    late = network(recipes, "digits/standard", 4, aligned=0.75, tangent=0.6, family="standard", strength=None)
    board = board_of(recipes, anchors[0], reference, late)
    assert board.loc["digits/standard", "n_networks"] == 2 and board["regime"].notna().any()


def test_one_network_does_not_count_twice(recipes, anchors):
    """Not as the same training seed, nor as a copy that declares another one: both would narrow the interval."""
    first = network(recipes, "digits/a", 0, weights=("1" * 64, [1.0, 2.0, 0.5] * 10))
    again = network(recipes, "digits/a-again", 0, aligned=0.86, weights=("2" * 64, [0.3, 2.0, 1.5] * 10))
    copy = network(recipes, "digits/a-copy", 1, weights=("1" * 64, [1.0, 2.0, 0.5] * 10))
    board = board_of(recipes, *anchors, first, again, copy)
    assert board.loc["digits/a", "n_networks"] == 1 and board["rank"].notna().sum() == 2
    assert board.loc["digits/a-again", "status"] == "repeated: its recipe has a network of training seed 0, digits/a"
    assert board.loc["digits/a-copy", "status"] == "repeated: its recipe has the same network, digits/a"


def test_controls_and_networks_without_a_card_are_never_joined(recipes, anchors):
    own = [network(recipes, f"local/{name}", declared=False) for name in ("a", "b")]
    board = board_of(recipes, *anchors, *own, network(recipes, "control/constant", control=True))
    assert len(board) == 5 and (board.loc[["local/a", "local/b"], "n_networks"] == 1).all()


# Attacks of submissions.


@pytest.mark.parametrize("authors", ["A", "B", None])
@pytest.mark.parametrize("aligned", [0.71, 0.99])
def test_a_submission_changes_no_published_row(recipes, anchors, authors, aligned):
    """Whatever its card says: not its value, not its interval, by its own networks or by how much these differ."""
    networks = pairs(recipes)
    board = board_of(recipes, *anchors, *networks)
    attack = [
        network(
            recipes,
            f"digits/r2.seed{s}",
            s,
            strength=3.0,
            aligned=aligned - 0.1 * (s == 4),
            submitted=True,
            authors=authors,
        )
        for s in (3, 4)
    ]
    attacked = board_of(recipes, *anchors, *networks, *attack)
    assert len(attacked) == len(board) + 1 and attacked.loc["digits/r2.seed3", "n_networks"] == 2
    bounds = [name for name in board if name.endswith(("_low", "_high", "_sd")) and not name.startswith("rank")]
    pd.testing.assert_frame_equal(attacked.loc[board.index, bounds], board[bounds])
    assert [one["id"] for one in attacked.loc["digits/r2", "networks"]] == ["digits/r2", "digits/r2.seed1"]


def test_submissions_of_others_and_unverified_ones_do_not_join_a_verified_recipe(recipes, anchors):
    record = {
        "benchmark": "digits@1", "results_sha256": "0" * 64, "weights_sha256": "0" * 64, "samples": 5, "seed": 0,
        "verdict": "verified", "by": "B", "when": "2026-01-01T00:00:00Z", "versions": {}, "device": "cpu",
    }  # fmt: skip
    good = [
        network(recipes, f"mine/a{s}", s, submitted=True, authors="me", verified=record | {"entrant": f"mine/a{s}"})
        for s in (0, 1)
    ]
    attack = [
        network(recipes, "mine/a2", 2, submitted=True, authors="me", aligned=0.71),
        network(recipes, "mine/a3", 3, submitted=True, authors="you", aligned=0.71),
        network(recipes, "yours/a4", 4, submitted=True, authors="me", aligned=0.71),
    ]
    board = board_of(recipes, *anchors, *good, *attack)
    assert board.loc["mine/a0", "n_networks"] == 2 and board.loc["mine/a0", "alignment_lpips"] > 0.84
    assert (board.loc[["mine/a2", "mine/a3", "yours/a4"], "n_networks"] == 1).all()


# Tracks.


def test_those_trained_on_the_target_rank_among_themselves(recipes, anchors):
    trained = [
        network(
            recipes,
            f"digits/t{i}",
            i,
            aligned=0.8 + 0.05 * i,
            family="score-matching",
            strength=i + 1.0,
            trained_on_target=True,
        )
        for i in range(3)
    ]
    partial = network(recipes, "digits/p", family="score-matching", trained_on_target=True, limit=20)
    others = [network(recipes, f"digits/o{i}", aligned=0.77 + 0.04 * i, strength=i + 1.0) for i in range(2)]
    board = board_of(recipes, *anchors, *trained, *others, partial)
    assert board.index.tolist() == [
        "digits/o1", "digits/o0", "digits/standard", "digits/t2", "digits/t1", "digits/t0", "digits/p", "control/bayes",
    ]  # fmt: skip
    assert board["rank"].tolist()[:6] == [1, 2, 3, 1, 2, 3] and board["rank"].isna().sum() == 2
    assert board["track"].tolist() == ["open"] * 3 + ["trained-on-target"] * 4 + [None] or pd.isna(
        board["track"].iloc[-1]
    )
    assert board["rank_high"].dropna().max() == 3
    without = board_of(recipes, *anchors, *others)
    pd.testing.assert_frame_equal(
        board.loc[without.index, ["rank", "rank_low", "rank_high"]], without[["rank", "rank_low", "rank_high"]]
    )
    resorted = pagbench.leaderboard(together(*anchors, *trained, *others, partial), benchmark=recipes, sort="accuracy")
    assert resorted["track"].tolist()[:6] == ["open"] * 3 + ["trained-on-target"] * 3
    text = render.to_table(board.reset_index(drop=True), recipes)
    lines = [line for line in text.splitlines() if "digits/" in line or "trained on the target:" in line]
    assert "trained on the target:" in lines[3] and "digits/t2" in lines[4]
    assert "| trained on the target: |" in render.to_markdown(board.reset_index(drop=True), recipes)
    assert json.loads(render.to_json(board, recipes))[3]["track"] == "trained-on-target"
    assert "trained-on-target" in render.to_csv(board, recipes)


# What is printed.


def test_formats_have_the_networks(recipes, anchors):
    board = board_of(recipes, *anchors, *pairs(recipes)).reset_index(drop=True)
    shown = json.loads(render.to_json(board, recipes))
    first = next(row for row in shown if row["model"] == "digits/r3")
    assert first["n_networks"] == 2 and [one["id"] for one in first["networks"]] == ["digits/r3", "digits/r3.seed1"]
    assert set(columns.MAIN) <= set(first["networks"][0]) and first["networks"][0]["alignment_low"] is not None
    assert {f"{name}_{part}" for name in columns.MAIN for part in ("seed_sd", "image_sd", "interval_factor")} <= set(
        first
    )
    csv = pd.read_csv(io.StringIO(render.to_csv(board, recipes)))
    assert csv.set_index("model").loc["digits/r3", "networks"] == "digits/r3 digits/r3.seed1"
    plain, listed = (render.to_table(board, recipes, networks=networks) for networks in (False, True))
    assert "r3.seed1" not in plain and "   digits/r3.seed1" in listed
    assert "r3.seed1" in render.to_markdown(board, recipes, networks=True)
    said = " ".join(render.to_table(board, recipes, notes=True).split())
    assert "Retraining: standard deviation between training seeds" in said
    assert "Known from 4 recipes with 2 networks" in said


@pytest.mark.parametrize("networks", [False, True])
@pytest.mark.parametrize("width", [60, 63, 80, 100, 120])
def test_tables_fit_a_terminal(recipes, anchors, width, networks):
    """Nothing is cut off or broken, and every line fits; a line says what is left out."""
    long = [network(recipes, f"digits/small-resnet-relu.gradient-norm-0.0{s}", s, strength=9.0) for s in (1, 2)]
    trained = network(recipes, "digits/score-matching-0.001", family="score-matching", trained_on_target=True)
    board = board_of(recipes, *anchors, *pairs(recipes), *long, trained).reset_index(drop=True)
    text = render.to_table(board, recipes, width, networks=networks)
    assert max(map(len, text.splitlines())) <= width
    table = text.split("digits@1: ")[0].split("(digits@1)")[1]
    assert all({name, name.removeprefix("digits/")} & set(table.split()) for name in board["model"])
    assert "…" not in table and " ".join(table.split()).count("trained on the target:") == 1
    assert all(f"{value:.3f}" in table for value in board["alignment"].dropna())
    assert all(re.fullmatch(r"±\d\.\d{3}", word) for word in table.split() if word.startswith("±"))
    said = " ".join(text.split())
    assert (f"Left out at {width} characters: " in said) == (width < 80)
    assert "more columns: --columns all" in said
    assert ("r3.seed1" in table) == networks


def test_rank_intervals_are_those_of_the_rows_replicates(recipes, anchors):
    """Recipes are ranked by the code that ranks models."""
    rows = together(*anchors, *pairs(recipes))
    board = pagbench.leaderboard(rows, benchmark=recipes)
    made = rows_of(_summaries_of(rows, recipes), recipes).models
    ranked = board[board["rank"].notna()]
    scores = np.stack([made[name].rank_replicates for name in ranked["model"]], axis=1)
    found = statistics.rank_intervals(scores, units=resampling.count(len(recipes.samples), recipes.classes))
    np.testing.assert_array_equal(ranked[["rank_low", "rank_high"]].to_numpy(int), found)


def test_the_command_lists_networks_where_rows_are_recipes(recipes, tmp_path, monkeypatch):
    for place, name in enumerate(("digits/a", "digits/a.seed1")):
        fields = card(name, place).model_dump(mode="json", exclude_none=True)
        edit = functools.partial(pd.DataFrame.assign, family="noise", strength=0.5)
        invented.write(tmp_path, recipes, name, place, card=fields, edit=edit)
    refused = invoke("leaderboard", "--networks", "-b", "digits@1", "--results", str(tmp_path))
    assert_one_line(refused, "digits@1 ranks every network by itself; leave --networks out")
    monkeypatch.setattr(benchmarks, "load", lambda name: recipes)
    for form in ("table", "markdown"):
        done = invoke("leaderboard", "--networks", "--results", str(tmp_path), "--format", form)
        assert done.exit_code == 0 and "digits/a.seed1" in done.output
        assert "digits/a.seed1" not in invoke("leaderboard", "--results", str(tmp_path), "--format", form).output
