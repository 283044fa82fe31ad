"""The same network under several ids is said: by its outputs, whatever factor they have, or by its weights."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from hypothesis import given
from hypothesis import strategies as st

from pagbench import benchmarks, columns, results
from pagbench.ranking.board import leaderboard
from pagbench.ranking.copies import Network, find_copies, sentences
from pagbench.results import PUBLISHED, Result

DIGITS = benchmarks.load("digits@1")
RNG = np.random.default_rng(0)


def of(logits, weights="a"):
    return Network.of(weights, np.asarray(logits).flatten().tolist(), 10)


@given(st.floats(1e-3, 1e3), st.floats(-100, 100), st.randoms())
def test_neither_a_temperature_nor_a_shared_term_makes_another_network(factor, term, random):
    logits = RNG.normal(size=(4, 10))
    models = {"one": of(logits), "copy": of(factor * logits + term * np.arange(4)[:, None], "b")}
    models |= {f"other {i}": of(RNG.normal(size=(4, 10)), f"c{i}") for i in range(3)}
    order = random.sample(list(models), len(models))
    assert find_copies({name: models[name] for name in order}) == {"one": "outputs of copy", "copy": "outputs of one"}


def test_networks_that_differ_a_little_are_two():
    logits = RNG.normal(size=(4, 10))
    moved = logits + 0.01 * RNG.normal(size=(4, 10))
    assert find_copies({"one": of(logits), "other": of(moved, "b")}) == {}
    assert find_copies({"one": of(logits), "other": of(moved)}) == {
        "one": "weights of other",
        "other": "weights of one",
    }
    assert find_copies({"flat": of(np.ones((4, 10))), "too": of(np.zeros((4, 10)), "b")}) == {}, "no outputs to compare"
    assert find_copies({}) == {}
    odd = {"odd": of(logits[:3]), "short": Network("b", ()), "one": of(logits, "c"), "copy": of(logits, "d")}
    assert find_copies(odd) == {"one": "outputs of copy", "copy": "outputs of one"}


def test_nothing_is_said_of_a_verified_model_on_the_word_of_another_file():
    logits = RNG.normal(size=(4, 10))
    models = {"honest": of(logits), "too": of(logits), "claims": of(logits), "nameless": of(logits[:3], "")}
    said = find_copies({**models, "nobody": of(logits[:3], "")}, verified=["honest", "too"])
    assert said == {"honest": "outputs of too", "too": "outputs of honest", "claims": "outputs of honest, too"}
    lines = list(sentences(said))
    assert lines == [
        "The same outputs, up to a factor, hence one network under several ids: honest and too.",
        "Files say that nobody has verified: claims, that it has the outputs of honest, too.",
    ]
    odd = {f"x{i}": of(logits[:3], f"x{i}") for i in range(9)}
    assert find_copies({**odd, **models}, verified=["honest", "too"])["honest"] == "outputs of too", "not outvoted"
    extreme = {"a": Network.of("", [1e308, -1e308] * 20, 10), "b": of(logits)}
    assert find_copies(extreme) == {}


@pytest.fixture
def folder(tmp_path):
    """Some published results on digits, and one of them under another id, with other weights to name."""
    home = tmp_path / "results" / "digits@1"
    for name in ("digits/standard", "digits/noise-0.6", "digits/noise-0.15", "control/bayes", "control/sign-flipped"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PUBLISHED / "digits@1" / f"{name}.parquet", home / f"{name}.parquet")
    schema = columns.schema(DIGITS)
    result = results.read(home / "digits/noise-0.6.parquet", schema)
    card = {**result.document["card"], "id": "digits/mine", "title": "My own"}
    document = {**result.document, "card": card, "weights_sha256": "0" * 64}
    results.write(home / "digits/mine.parquet", Result(result.rows.assign(entrant="digits/mine"), document), schema)
    return tmp_path / "results"


def test_a_copy_under_another_id_is_named_wherever_it_is_ranked(folder, monkeypatch):
    board = leaderboard(folder, benchmark=DIGITS).set_index("model")
    assert board.loc["digits/mine", "rank"] == board.loc["digits/noise-0.6", "rank"]
    said = {name: same for name, same in board["same_as"].items() if not pd.isna(same)}
    both = {"digits/mine": "outputs of digits/noise-0.6", "digits/noise-0.6": "outputs of digits/mine"}
    assert said == both, "nobody has verified either"
    again = leaderboard(folder, benchmark=DIGITS).set_index("model")  # from the summaries that were kept
    assert again["same_as"].equals(board["same_as"])
    monkeypatch.setenv("COLUMNS", "400")
    table = invoke("leaderboard", "-b", "digits@1", "--results", folder, "--notes").output
    pair = "hence one network under several ids: digits/mine and digits/noise-0.6."
    assert table.count(pair) == 1
    rows = json.loads(invoke("leaderboard", "-b", "digits@1", "--results", folder, "--format", "json").output)
    assert sum("outputs of" in str(row["same_as"]) for row in rows) == 2


def test_a_verified_control_leaves_the_others_comparable(folder):
    """Controls are not compared, so that none of them says how long outputs are."""
    record = "digits@1/control/_records/bayes.verified.json"
    (folder / record).parent.mkdir()
    shutil.copyfile(PUBLISHED / record, folder / record)
    board = leaderboard(folder, benchmark=DIGITS).set_index("model")
    assert board.loc["digits/mine", "same_as"] == "outputs of digits/noise-0.6"
