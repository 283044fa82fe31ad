"""Boards of data frames, however those were put together."""

import warnings

import pandas as pd
import pytest
from torch import nn

import pagbench
from pagbench import results
from pagbench.errors import ResultsError

LABEL = "digits@2"
ANCHORS, SEEDS = ("control/bayes", "digits/standard"), ("digits/noise-0.6", "digits/noise-0.6.seed1")


@pytest.fixture(scope="module")
def frames():
    """One of each model, as `load_results` returns them: what they declare is in `.attrs`."""
    return [pagbench.load_results("published", LABEL, name) for name in (*ANCHORS, *SEEDS)]


def test_rows_of_a_run_and_of_a_folder_are_ranked_together_whatever_they_call_the_id(frames):
    mixed = pd.concat([frames[0].rename(columns={"model": "entrant"}), *frames[1:]], ignore_index=True)
    assert {"entrant", "model"} <= set(mixed.columns)
    board = pagbench.leaderboard(mixed, on_warning=list)
    assert board["n_total"].sum() == len(mixed) and len(board) == len(frames)
    pair = pagbench.compare(mixed, "control/bayes", SEEDS[0])
    pd.testing.assert_frame_equal(pair, pagbench.compare(frames, "control/bayes", SEEDS[0]))
    with pytest.raises(ResultsError, match=rf"^{len(frames[0])} of {len(mixed)} rows have no id of a model"):
        pagbench.leaderboard(mixed.drop(columns="entrant").rename(columns={"model": "entrant"}))


def test_a_list_of_frames_keeps_what_each_declares_and_one_that_has_lost_it_says_so(frames):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board = pagbench.leaderboard(frames, LABEL)
    assert board.set_index("model").loc[SEEDS[0], "n_networks"] == 2
    assert board["preflight"].notna().sum() == sum(bool(frame.attrs["preflight"]) for frame in frames[:3])
    said = []
    apart = pagbench.leaderboard(pd.concat(frames, ignore_index=True), on_warning=said.append)
    assert set(SEEDS) <= set(apart["model"])
    (line,) = said
    assert line.startswith(
        "3 models have nothing in .attrs of the data frame, so that networks of one recipe rank apart"
    )


def test_frames_that_were_measured_against_different_networks_are_not_joined(frames):
    other = frames[0].copy()
    other.attrs = other.attrs | {"target_weights": {ANCHORS[0]: {"score": "0" * 64}}}
    known = frames[1].copy()
    known.attrs = known.attrs | {"target_weights": {ANCHORS[1]: {"score": "1" * 64}}}
    with pytest.raises(ResultsError, match="their numbers are not comparable"):
        pagbench.leaderboard([other, known])
    with pytest.raises(ResultsError, match=r"^data frames of several benchmarks \(digits@1, digits@2\)"):
        pagbench.leaderboard([frames[0], pagbench.load_results("published", "digits@1", "control/bayes")])


def test_what_holds_no_such_rows_is_one_line(frames):
    board = pagbench.leaderboard(frames[:2])
    refused = [
        (
            nn.Sequential(nn.Flatten()),
            "rows are a Sequential, expected a data frame, a list of them or a results",
        ),
        ([results.PUBLISHED], "rows are a .*Path, expected a data frame"),
        ([], "no rows to rank"),
        (board, "this is a leaderboard; give the rows"),
        (results.PUBLISHED / LABEL, "the folder of one benchmark; give the one that it is in, .*results$"),
    ]
    for rows, line in refused:
        for ranked in (pagbench.leaderboard, lambda rows: pagbench.compare(rows, *ANCHORS)):
            with pytest.raises(ResultsError, match=line) as error:
                ranked(rows)
            assert "\n" not in str(error.value)
    with pytest.raises(ResultsError, match=r"^no rows of digits@1; these are of digits@2$"):
        pagbench.leaderboard(frames, benchmark="digits@1")
    with pytest.raises(ResultsError, match=r"^no rows of digits@1; these are of digits@2$"):
        pagbench.compare(frames, *ANCHORS, benchmark="digits@1")
