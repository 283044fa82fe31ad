"""Which recipe a submitted network goes into: its authors' own, and nobody else's."""

import functools
import shutil

import invented
import pandas as pd
import pytest
import yaml

from pagbench.cards import ModelCard
from pagbench.models import registry
from pagbench.submissions import add, check, folder

TRAINING = {"epochs": 4, "split": "training split of digits@1"}


@pytest.fixture(scope="module")
def recipes(digits):
    return digits.model_copy(update={"ranking": "recipes"})


def fields(name, seed, **changed):
    known = {
        "id": name, "title": name, "seed": seed, "family": "noise", "strength": 0.5, "dataset": "digits",
        "architecture": "small-cnn", "activation": "silu", "input_shape": [1, 8, 8], "classes": 10,
        "weights": "a.safetensors", "weights_sha256": "0" * 64, "authors": "The pagbench authors", "training": TRAINING,
    }  # fmt: skip
    return known | changed


def measure(place, benchmark, index, card):
    declared = {"family": card["family"], "strength": card["strength"]}
    edit = functools.partial(pd.DataFrame.assign, **declared)
    invented.write(place, benchmark, card["id"], index, card=card, edit=edit)


def submitted(root, benchmark, index, card):
    """A submission's folder with its card and its results."""
    root.mkdir(parents=True)
    (root / folder.CARD).write_text(yaml.safe_dump(card), encoding="utf-8")
    measure(root / folder.RESULTS, benchmark, index, card)
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory, recipes):
    """Two published recipes, of two networks each. Tests only read them."""
    root = tmp_path_factory.mktemp("published")
    for place, (name, strength) in enumerate((("a", 0.5), ("b", 1.0))):
        for seed, end in ((0, ""), (1, ".seed1")):
            card = fields(f"digits/{name}{end}", seed, strength=strength)
            measure(root / "results", recipes, 2 * place + seed, card)
    return root


@pytest.fixture
def leaderboard(published, tmp_path):
    """A copy of these, for a test to add to."""
    return shutil.copytree(published, tmp_path / "leaderboard")


def test_a_further_seed_of_a_published_recipe_has_a_row_of_its_own(leaderboard, tmp_path, recipes):
    """Whatever it says of itself, and wherever it lies while it is checked."""
    card = fields("digits/a.seed7", 7)
    root = submitted(tmp_path / "mine", recipes, 9, card)
    standing = add.standing(leaderboard, recipes, root, card["id"])
    assert standing.row == card["id"]
    after = standing.after.set_index("model")
    assert after.loc[card["id"], "n_networks"] == 1 and after.loc["digits/a", "n_networks"] == 2
    before = standing.before.set_index("model")
    values = ["alignment", "alignment_low", "alignment_high", "alignment_seed_sd", "tangent_energy_low"]
    pd.testing.assert_frame_equal(after.loc[before.index, values].astype(float), before[values].astype(float))
    home = folder.home_of(leaderboard, recipes, ModelCard.model_validate(card))
    home.parent.mkdir(parents=True)
    root.rename(home)
    added = add.standing(leaderboard, recipes, home, card["id"])
    pd.testing.assert_frame_equal(added.after, standing.after)


def test_a_further_seed_of_ones_own_says_which_row_it_is_in(leaderboard, tmp_path, recipes):
    mine = {"authors": "me", "family": "smoothness"}
    first = fields("mine/net", 0, **mine)
    home = folder.home_of(leaderboard, recipes, ModelCard.model_validate(first))
    submitted(home, recipes, 9, first)
    second = fields("mine/net.seed1", 1, **mine)
    standing = add.standing(leaderboard, recipes, submitted(tmp_path / "second", recipes, 10, second), second["id"])
    assert standing.row == "mine/net"
    lines = list(standing.lines())
    assert lines[0] == "mine/net.seed1 is one of 2 networks of a recipe, which have one row: mine/net, mine/net.seed1"
    assert "mine/net takes rank" in lines[1] and " of 3, alignment" in lines[1]


@pytest.mark.parametrize(
    ("changed", "level", "expected"),
    [
        (
            {},
            "warning",
            "a further seed of the recipe of mine/net: they have one row, their mean; only me may add to it",
        ),
        ({"seed": 0}, "warning", "mine/net is its recipe's network of training seed 0; no rank"),
        ({"authors": "you"}, "ok", "trained as mine/net of me, whose row nobody else joins; it has a row of its own"),
        ({"id": "yours/net1"}, "ok", "trained as mine/net of me, whose row nobody else joins; it has a row of its own"),
        ({"strength": 0.7}, None, None),
        ({"training": {}}, None, None),
    ],
)
def test_the_check_says_which_recipe_a_network_goes_into(leaderboard, recipes, changed, level, expected):
    first = fields("mine/net", 0, authors="me", family="smoothness")
    home = folder.home_of(leaderboard, recipes, ModelCard.model_validate(first))
    submitted(home, recipes, 9, first)
    card = ModelCard.model_validate(fields("mine/net1", 1, authors="me", family="smoothness") | changed)
    found = list(check.check_recipe(card, leaderboard, recipes))
    assert [(finding.level, finding.message) for finding in found] == ([] if level is None else [(level, expected)])


def test_the_check_names_the_published_recipe(leaderboard, recipes):
    published = registry.find("digits/noise-0.6").card
    card = published.model_copy(update={"id": "digits/newcomer", "seed": 5})
    (found,) = check.check_recipe(card, leaderboard, recipes)
    assert found.level == "ok" and found.message.startswith(
        "trained as digits/noise-0.6 of The pagbench authors, whose"
    )


def test_benchmarks_that_rank_models_say_nothing_of_recipes(leaderboard, digits):
    card = ModelCard.model_validate(fields("digits/a.seed7", 7))
    assert not list(check.check_recipe(card, leaderboard, digits))


def test_a_submission_that_was_trained_on_the_target_is_placed_among_such(leaderboard, tmp_path, recipes):
    card = fields("mine/net", 0, authors="me", family="score-matching", trained_on_target=True)
    standing = add.standing(leaderboard, recipes, submitted(tmp_path / "mine", recipes, 9, card), card["id"])
    said = " ".join(standing.lines())
    row = standing.after.set_index("model").loc["mine/net"]
    assert row["track"] == "trained-on-target"
    assert "takes rank 1 of 1 among those trained on the target, alignment" in said
