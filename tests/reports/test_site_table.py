"""What the leaderboard's table holds: tie groups, numbers, files, and cards that mean harm but stay text."""

import io
import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
from browser import ROOT
from hypothesis import given
from hypothesis import strategies as st
from table_studies import crowd, hostile, written

from pagbench import benchmarks
from pagbench.ranking import render as text
from pagbench.ranking.statistics import tie_groups
from pagbench.reports.site import boards, downloads, tables
from pagbench.reports.site.rendering import render
from pagbench.reports.site.table_columns import decimals
from pagbench.results.verification import Verification
from pagbench.studies import levels
from pagbench.studies import networks as study


@pytest.fixture(scope="module")
def digits_study():
    return study.read(ROOT / "leaderboard" / "results", benchmarks.load("digits"))


@pytest.fixture(scope="module")
def content(digits_study):
    return tables.content(digits_study)["table"]


def overlap(a, b):
    return a[0] <= b[1] and b[0] <= a[1]


@st.composite
def rank_intervals(draw):
    """Intervals around the ranks 1, 2, ..., as the leaderboard's are."""
    count = draw(st.integers(1, 12))
    spread = st.integers(0, 4)
    return [(max(1, rank - draw(spread)), min(count, rank + draw(spread))) for rank in range(1, count + 1)]


@given(rank_intervals())
def test_tie_groups_and_blocks_are_what_the_page_says_they_are(intervals):
    places = tie_groups(intervals)
    firsts = [
        next(i for i, place in enumerate(places) if place.group == group) for group in sorted({p.group for p in places})
    ]
    for position, place in enumerate(places):
        assert overlap(intervals[position], intervals[firsts[place.group]])
    for first, following in pairwise(firsts):
        assert intervals[first][1] < intervals[following][0]
    for cut in range(1, len(places)):
        told = all(above[1] < below[0] for above in intervals[:cut] for below in intervals[cut:])
        assert (places[cut].block == places[cut - 1].block + 1) == told
        assert places[cut].block - places[cut - 1].block in (0, 1) and places[cut].group - places[cut - 1].group in (
            0,
            1,
        )
        assert places[cut].group > places[cut - 1].group or not told


@pytest.mark.parametrize(
    ("intervals", "groups", "blocks"),
    [
        ([], [], []),
        ([(1, 1), (2, 2)], [0, 1], [0, 1]),
        ([(1, 2), (1, 2)], [0, 0], [0, 0]),
        ([(1, 2), (1, 3), (2, 3)], [0, 0, 0], [0, 0, 0]),  # tied with the first, though not all with each other's
        ([(1, 2), (1, 4), (3, 4), (3, 4)], [0, 0, 1, 1], [0, 0, 0, 0]),  # the second is tied with everyone
    ],
)
def test_tie_groups_by_hand(intervals, groups, blocks):
    places = tie_groups(intervals)
    assert [place.group for place in places] == groups
    assert [place.block for place in places] == blocks


@given(st.floats(1e-5, 30))
def test_the_typical_uncertainty_keeps_one_digit_or_two(uncertainty):
    assert 3.545 <= uncertainty * 10 ** decimals(uncertainty) < 35.46


def test_every_model_has_a_row_in_the_boards_order_with_controls_apart(content, digits_study):
    rows = content["data"]["rows"]
    assert {row["id"] for row in rows} == set(digits_study.board["model"])
    sections = [row["section"] for row in rows]
    assert sections == sorted(sections, key=list(tables.SECTIONS).index)
    ranks = [row["rank"][0] for row in rows if row["rank"]]
    assert ranks == sorted(ranks) and len(ranks) == (digits_study.board["status"] == "ranked").sum()
    for row in rows:
        assert (row["section"] == "control") == row["id"].startswith("control/")
        assert (row["rank"] is None) == (row["section"] != "ranked")


def test_cells_are_the_boards_numbers(content, digits_study):
    board = digits_study.board.set_index("model")
    compared = 0
    for place, column in enumerate(content["data"]["columns"]):
        if column["kind"] != "number":
            continue
        for row in content["data"]["rows"]:
            expected = board.loc[row["id"], column["name"]]
            cell = row["cells"][place]
            if cell is None:
                assert pd.isna(expected)
                continue
            assert cell[0] == pytest.approx(float(expected), rel=1e-5)
            if column["interval"] and len(cell) > 2:
                bounds = [float(board.loc[row["id"], f"{column['name']}_{end}"]) for end in ("low", "high")]
                assert cell[1:3] == pytest.approx(bounds, rel=1e-5)
            compared += 1
    assert compared > 500


def test_every_documented_column_that_says_something_of_models_can_be_chosen(content, digits_study):
    named = {column["name"] for column in content["data"]["columns"]} | {"rank", "model", "status", "control"}
    board = digits_study.board
    measured = {name for name in board if not name.endswith(("_low", "_high")) and board[name].notna().any()}
    assert measured - levels.columns(board) <= named
    assert all(column["summary"] for column in content["data"]["columns"])


def test_chance_levels(content, digits_study):
    """That of the accuracy is what eligibility asks to be beaten: always naming the commonest class."""
    commonest = max(Counter(digits_study.networks[0].rows["label"]).values()) / 360
    assert commonest > 0.1
    chance = {column["name"]: column["chance"] for column in content["data"]["columns"]}
    digits = benchmarks.load("digits")
    assert chance["accuracy"] == [pytest.approx(commonest, rel=1e-5)]
    assert chance["alignment"] == [0]
    assert chance["tangent_energy"] == [pytest.approx(digits.rank / digits.dimension, rel=1e-5)]
    low, high = chance["alignment_lpips"]
    assert 0 < low < high < 1
    assert chance["log_ratio"] == []


def test_files_hold_the_whole_board_and_are_the_same_each_time(digits_study):
    board = digits_study.board
    files = {file.format: file for file in downloads.files(digits_study)}
    assert files == {file.format: file for file in downloads.files(digits_study)}
    assert files["CSV"].content.decode() == text.to_csv(board, digits_study.benchmark)
    assert len(json.loads(files["JSON"].content)) == len(board)
    read = pd.read_parquet(io.BytesIO(files["Parquet"].content))
    plain = [frame.astype(object).where(frame.notna(), None) for frame in (read, board)]
    pd.testing.assert_frame_equal(*plain)


def test_who_was_trained_on_the_target_is_marked(digits_study):
    networks = tuple(
        replace(n, card=n.card.model_copy(update={"trained_on_target": place == 4 or None}))
        for place, n in enumerate(digits_study.networks)
    )
    rows = tables.content(replace(digits_study, networks=networks))["table"]["data"]["rows"]
    marked = [row["id"] for row in rows if any(badge["kind"] == "target" for badge in row["badges"])]
    assert marked == [networks[4].card.id]


def test_a_verification_and_a_flag_are_marked_with_their_reason(digits_study):
    record = Verification(
        benchmark="digits@1", model="x", results_sha256="", weights_sha256="", samples=50, seed=0, verdict="verified",
        worst_column="nll", worst_difference=0.1, by="A. Reader", when="2026-01-02T03:04:05Z",
        versions={"torch": "2.6"}, device="cpu",
    )  # fmt: skip
    first = digits_study.networks[3]
    networks = tuple(replace(n, verification=record if n is first else None) for n in digits_study.networks)
    board = digits_study.board.assign(preflight=["batch: differs by 0.4"] + ["ok"] * (len(digits_study.board) - 1))
    table = tables.content(replace(digits_study, networks=networks, board=board))["table"]
    rows = {row["id"]: row for row in table["data"]["rows"]}
    assert "A. Reader" in rows[first.card.id]["badges"][0]["note"]
    assert "differs by 0.4" in rows[board["model"].iloc[0]]["badges"][-1]["note"]
    facet = next(facet for facet in table["facets"] if facet["name"] == "verdict")
    assert dict(facet["options"]) == {"self-reported": len(networks) - 1, "verified": 1}


class Markup(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]


def markup(html):
    parser = Markup()
    parser.feed(html)
    return parser


def test_hostile_cards_add_no_element_and_no_link(digits_study):
    found, plain = (markup(render(boards.page(shown))) for shown in (hostile(digits_study), digits_study))
    assert found.tags.count("script") == plain.tags.count("script")
    assert "img" not in set(found.tags) - set(plain.tags)
    handlers = [name for _, name, _ in found.attributes if name.startswith("on")]
    assert not handlers
    links = [value for _, name, value in found.attributes if name in ("href", "src")]
    assert all(not link.lower().strip().startswith("javascript") for link in links)
    assert {"style"}.isdisjoint(name for _, name, _ in found.attributes)


def test_a_page_of_68_models_with_its_scripts_weighs_under_3_mb(digits_study, tmp_path):
    page = written(crowd(digits_study, 68), tmp_path)
    html = markup(page.read_text())
    parts = [
        (page.parent / value)
        for tag, name, value in html.attributes
        if tag in ("script", "link") and name in ("src", "href")
    ]
    assert parts and sum(path.stat().st_size for path in [page, *parts]) < 3e6
