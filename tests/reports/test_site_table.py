"""What the leaderboard's table holds, and how a reader uses it in chromium; cards that mean harm stay text."""

import io
import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import wait_until
from hypothesis import given
from hypothesis import strategies as st
from table_studies import HOSTILE, crowd, hostile, page_of, written

from pagbench import benchmarks
from pagbench.ranking import render as text
from pagbench.ranking.statistics import tie_groups
from pagbench.reports.site import board_columns, table
from pagbench.reports.site.board_columns import decimals
from pagbench.reports.site.rendering import render
from pagbench.results.verification import Verification
from pagbench.studies import baselines


@pytest.fixture(scope="module")
def content(digits_study):
    return table_of(digits_study)


def table_of(study):
    return table.content(study, [])["table"]


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
    assert sections == sorted(sections, key=list(table.SECTIONS).index)
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
            if len(cell) > 2 and cell[1] is not None:
                bounds = [float(board.loc[row["id"], f"{column['name']}_{end}"]) for end in ("low", "high")]
                assert cell[1:3] == pytest.approx(bounds, rel=1e-5)
            compared += 1
    assert compared > 500


def test_every_documented_column_that_says_something_of_models_can_be_chosen(content, digits_study):
    named = {column["name"] for column in content["data"]["columns"]} | {"rank", "model", "status", "control"}
    board = digits_study.board
    measured = {name for name in board if not name.endswith(("_low", "_high")) and board[name].notna().any()}
    assert measured - baselines.baseline_columns(board) <= named
    assert all(column["summary"] for column in content["data"]["columns"])


def test_chance_levels(content, digits_study):
    """That of the accuracy is what eligibility asks to be beaten: always naming the commonest class."""
    commonest = max(Counter(digits_study.models[0].rows["label"]).values()) / 360
    assert commonest > 0.1
    chance = {column["name"]: column["chance"] for column in content["data"]["columns"]}
    digits = benchmarks.load("digits@1")
    assert chance["accuracy"] == [pytest.approx(commonest, rel=1e-5)]
    assert chance["alignment"] == [0]
    assert chance["tangent_energy"] == [pytest.approx(digits.rank / digits.dimension, rel=1e-5)]
    low, high = chance["alignment_lpips"]
    assert 0 < low < high < 1
    assert chance["log_ratio"] == []


def test_files_hold_the_whole_board_and_are_the_same_each_time(digits_study):
    board = digits_study.board
    files = {file.format: file for file in table.downloads(digits_study)}
    assert files == {file.format: file for file in table.downloads(digits_study)}
    assert files["CSV"].content.decode() == text.to_csv(board, digits_study.benchmark)
    assert len(json.loads(files["JSON"].content)) == len(board)
    read = pd.read_parquet(io.BytesIO(files["Parquet"].content))
    plain = [frame.astype(object).where(frame.notna(), None) for frame in (read, board)]
    pd.testing.assert_frame_equal(*plain)


def test_who_was_trained_on_the_target_is_marked(digits_study):
    models = tuple(
        replace(n, card=n.card.model_copy(update={"trained_on_target": place == 4 or None}))
        for place, n in enumerate(digits_study.models)
    )
    rows = table_of(replace(digits_study, models=models))["data"]["rows"]
    marked = [row["id"] for row in rows if any(badge["kind"] == "target" for badge in row["badges"])]
    assert marked == [models[4].card.id]


def test_a_verification_and_a_flag_are_marked_with_their_reason(digits_study):
    record = Verification(
        benchmark="digits@1", model="x", results_sha256="", weights_sha256="", samples=50, seed=0, verdict="verified",
        worst_column="nll", worst_difference=0.1, by="A. Reader", when="2026-01-02T03:04:05Z",
        versions={"torch": "2.6"}, device="cpu",
    )  # fmt: skip
    first = digits_study.models[3]
    models = tuple(replace(n, verification=record if n is first else None) for n in digits_study.models)
    board = digits_study.board.assign(preflight=["batch: differs by 0.4"] + ["ok"] * (len(digits_study.board) - 1))
    shown = table_of(replace(digits_study, models=models, board=board))
    rows = {row["id"]: row for row in shown["data"]["rows"]}
    assert "A. Reader" in rows[first.card.id]["badges"][0]["note"]
    assert "differs by 0.4" in rows[board["model"].iloc[0]]["badges"][-1]["note"]
    facet = next(facet for facet in shown["facets"] if facet["name"] == "verdict")
    assert dict(facet["options"]) == {"self-reported": len(models) - 1, "verified": 1}


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
    found, plain = (markup(render(page_of(shown))) for shown in (hostile(digits_study), digits_study))
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


@pytest.fixture
def board(page, site):
    """The page of digits@1, opened from disk."""
    page.goto((site / "benchmarks" / "digits@1.html").as_uri())
    return page


def names(page, section="ranked"):
    return page.locator(f"tbody[data-section={section}] th.model a:not(.badge)").all_text_contents()


def values(page, column):
    """Numbers of a column of the ranked models, as shown; None where there is none."""
    heads = page.locator("#board thead tr:first-child th").evaluate_all(
        "all => all.map(th => th.querySelector('button').dataset.sort)"
    )
    cells = page.locator(f"tbody[data-section=ranked] tr > :nth-child({heads.index(column) + 1})").all_inner_texts()
    return [None if cell.startswith("–") else float(cell.split()[0].replace("−", "-")) for cell in cells]


def test_without_scripts_the_same_table_stands_there(browser, board, site):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(board.url)
    read = "all => all.map(row => [...row.cells].map(cell => cell.innerText.replace(/\\s+/g, ' ').trim()).join('|'))"
    rows = [part.locator("#board tbody tr").evaluate_all(read) for part in (plain, board)]
    heads = [part.locator("#board thead tr").evaluate_all(read)[1] for part in (plain, board)]
    shown = plain.locator("#board-controls").is_visible()
    context.close()
    assert rows[0] == rows[1] and heads[0] == heads[1] and len(rows[0]) > 10
    assert not shown


@pytest.mark.parametrize(("column", "better"), [("accuracy", -1), ("log_ratio", 1), ("alignment", -1)])
def test_sorts_by_a_column_the_better_direction_first(board, column, better):
    head = board.locator(f"th:has([data-sort={column}])")
    for sign in (better, -better):
        board.locator(f"[data-sort={column}]").press("Enter")
        found = values(board, column)
        assert found == sorted(found, key=lambda value: sign * value)
        assert head.get_attribute("aria-sort") == ("ascending" if sign > 0 else "descending")
    assert board.locator("#board [aria-sort]").count() == 1


def test_what_is_not_scored_comes_last_both_ways_and_controls_stay_apart(board):
    controls = set(names(board, "control"))
    board.goto(board.url + "#columns=accuracy,strength")
    for _ in range(2):
        board.locator("[data-sort=strength]").click()
        found = values(board, "strength")
        missing = found.count(None)
        assert missing and all(value is None for value in found[-missing:])
        assert set(names(board, "control")) == controls and not controls & set(names(board))


def test_filters_say_how_many_are_left_and_the_address_keeps_them(board):
    everyone = len(names(board))
    board.locator("[name=family]").select_option("noise")
    noise = names(board)
    assert noise and all("noise" in name for name in noise)
    assert board.locator("#board-count").inner_text().startswith(f"{len(noise)} of ")
    board.locator("[name=text]").fill("0.6 noise")
    board.locator("[data-sort=accuracy]").click()
    assert names(board) == ["digits/noise-0.6"]
    address = board.url
    board.go_back()
    board.go_back()
    assert names(board) == noise and board.locator("[name=text]").input_value() == ""
    board.go_back()
    assert len(names(board)) == everyone
    board.goto("about:blank")
    board.goto(address)
    assert names(board) == ["digits/noise-0.6"]
    assert board.locator("[name=family]").input_value() == "noise"
    assert board.locator("th:has([data-sort=accuracy])").get_attribute("aria-sort") == "descending"
    board.locator("#board-clear").click()
    assert len(names(board)) == everyone


def test_the_download_has_the_rows_and_columns_that_are_shown(board, digits_study):
    """In their order, with the bounds of intervals: the board's own numbers."""
    board.locator("[name=family]").select_option("noise")
    board.locator("[data-sort=accuracy]").click()
    shown = names(board)
    button = board.locator("#board-csv")
    assert button.inner_text() == f"Download these {len(shown)} rows as CSV"
    with board.expect_download() as found:
        button.click()
    assert found.value.suggested_filename == "digits@1-shown.csv"
    read = pd.read_csv(found.value.path())
    assert list(read["model"]) == shown
    heads = board.locator("#board thead [data-sort]").evaluate_all("all => all.map(one => one.dataset.sort)")
    assert [name for name in read if not name.endswith(("_low", "_high", "_probability")) and name != "status"] == [
        "rank", *heads[1:]
    ]  # fmt: skip
    expected = digits_study.board.set_index("model").loc[shown]
    for name in ("accuracy", "alignment_low", "tangent_energy_high", "regime_probability", "rank_low"):
        np.testing.assert_allclose(read[name], expected[name].astype(float), rtol=1e-5)
    assert list(read["regime"]) == list(expected["regime"])


def test_the_page_scrolls_down_and_the_table_sideways_alone(board):
    state = "frame => [frame.scrollHeight - frame.clientHeight, getComputedStyle(frame).maxHeight]"
    assert board.locator(".board-frame").evaluate(state) == [0, "none"]
    assert not board.locator("#board-onward").is_visible(), "the default columns fit a screen"
    board.set_viewport_size({"width": 390, "height": 844})
    board.wait_for_selector(".board-view.more")
    assert "goes on to the right" in board.locator("#board-onward").inner_text()
    board.evaluate("scrollTo(0, document.querySelector('#board').getBoundingClientRect().top + scrollY + 300)")
    wait_until(board, "Math.abs(document.querySelector('#board thead').getBoundingClientRect().top) < 3")
    board.locator(".board-frame").evaluate("frame => frame.scrollTo(1e4, 0)")
    board.wait_for_selector(".board-view:not(.more)")
    assert not board.locator("#board-onward").is_visible()


def test_the_first_columns_say_how_robust_and_where_the_peak_is(content):
    first = [column["name"] for column in content["data"]["columns"] if column["default"]]
    assert first[:5] == ["alignment", "accuracy", "regime", "tangent_energy", "log_ratio"]
    names = ("alignment_peak", "alignment_peak_sigma", "adversarial_l2_0.5", "pgd_l2_0.5", "alignment", "n_networks")
    known = {column.name: column for column in board_columns.documented(benchmarks.load("digits@2"))}
    shown = [board_columns.Described(known[name], None, (), (), False) for name in names]
    chosen = table._defaults(shown, benchmarks.load("digits@2"))
    assert chosen == {"alignment", "alignment_peak", "alignment_peak_sigma", "adversarial_l2_0.5"}
    weaker = [column for column in shown if not column.name.startswith("adversarial")]
    assert "pgd_l2_0.5" in table._defaults(weaker, benchmarks.load("digits@2"))


def test_columns_are_chosen_and_kept_in_the_address(board):
    before = board.locator("#board thead [data-sort]").count()
    board.locator(".chooser summary").click()
    board.get_by_label("gradient norm", exact=False).first.check()
    board.locator("[name=column][value=accuracy]").uncheck()
    heads = board.locator("#board thead [data-sort]").evaluate_all("all => all.map(one => one.dataset.sort)")
    assert "gradient_norm" in heads and "accuracy" not in heads and len(heads) == before
    board.reload()
    assert board.locator("[data-sort=gradient_norm]").count() == 1
    board.locator(".chooser summary").click()
    board.locator("#board-reset").click()
    assert (
        board.locator("[data-sort=gradient_norm]").count() == 0 and board.locator("[data-sort=accuracy]").count() == 1
    )


def test_an_address_of_nonsense_shows_the_table(board):
    everyone = names(board)
    board.goto(board.url + "#sort=-__proto__&family=%3Cscript%3E&columns=,,x&intervals=7&text=")
    assert names(board) == everyone


def test_places_of_the_page_leave_the_table_alone(board):
    board.locator("[data-sort=accuracy]").click()
    order = names(board)
    board.evaluate("location.hash = 'content'")
    assert names(board) == order


def test_bars_show_value_interval_and_chance_on_one_scale(board):
    board.locator("[name=intervals]").select_option("bars")
    place = "all => all.map(line => parseFloat(line.getAttribute('x1')))"
    column = board.locator("#board thead tr:first-child th").evaluate_all(
        "all => all.findIndex(th => th.querySelector('button').dataset.sort === 'accuracy') + 1"
    )
    cells = f"tbody[data-section=ranked] td:nth-child({column}) .bar"
    at = board.locator(f"{cells} .value").evaluate_all(place)
    numbers = values(board, "accuracy")
    assert np.corrcoef(at, numbers)[0, 1] > 0.999
    assert len(set(board.locator(f"{cells} .chance").evaluate_all(place))) == 1
    low = board.locator(f"{cells} .span").evaluate_all(place)
    assert all(left < value for left, value in zip(low, at, strict=True))


def test_rules_stand_between_tie_groups_in_rank_order_alone(board, digits_study):
    ranked = [row for row in table.content(digits_study, [])["table"]["data"]["rows"] if row["section"] == "ranked"]
    expected = sum(a["group"] != b["group"] for a, b in pairwise(ranked))
    rules = board.locator("#board tr.group, #board tr.block")
    assert rules.count() == expected > 0
    board.locator("[data-sort=accuracy]").click()
    assert rules.count() == 0
    board.locator("[data-sort=rank]").click()
    assert rules.count() == expected


def test_definitions_show_on_hover_and_on_focus_and_escape_hides_them(board):
    note = board.locator(".note")
    button = board.locator("[data-sort=tangent_energy]")
    definition = board.locator("#definition-tangent_energy").text_content()
    for act in (button.focus, button.hover):
        act()
        assert note.is_visible() and definition in note.inner_text()
        board.keyboard.press("Escape")
        assert not note.is_visible()
        board.locator("[data-sort=rank]").focus()
    assert button.get_attribute("aria-describedby") == "definition-tangent_energy"


def test_two_picked_models_are_compared(board):
    boxes = board.locator(".pick")
    assert board.locator("#board-compare").get_attribute("href").endswith("compare/digits@1.html#")
    picked = ["digits/noise-0.6", "control/bayes"]
    for name in picked:
        board.get_by_label(f"Compare {name}", exact=True).check()
    board.locator("[data-sort=accuracy]").click()
    assert boxes.locator(":scope:checked").count() == 2
    assert (
        board.locator("#board-compare")
        .get_attribute("href")
        .endswith("compare/digits@1.html#digits%2Fnoise-0.6,control%2Fbayes")
    )


def test_names_lead_to_models_and_files_are_downloaded(board, site):
    href = board.locator("tbody[data-section=ranked] th.model a").first.evaluate("link => link.href")
    assert href.endswith(f"models/{names(board)[0]}.html") and Path(href.removeprefix("file://")).exists()
    for form in ("CSV", "JSON", "Parquet"):
        path = Path(
            board.get_by_role("link", name=form, exact=True).evaluate("a => decodeURI(a.href)").removeprefix("file://")
        )
        assert path.read_bytes() == (site / "data" / f"digits@1.{form.lower()}").read_bytes()


CREATED = """(act) => {
  let made = 0;
  for (const name of ["createElement", "createElementNS"]) {
    const own = Document.prototype[name];
    document[name] = (...given) => { made += 1; return own.apply(document, given); };
  }
  act();
  delete document.createElement;
  delete document.createElementNS;
  return made;
}"""
SORT = "document.querySelector('[data-sort=accuracy]').click()"
FIND = """
  const find = document.querySelector("[name=text]");
  find.value = "network-1";
  find.dispatchEvent(new Event("input", { bubbles: true }));
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 1000])
def test_many_models_sort_and_filter_without_drawing_all_rows(digits_study, page, tmp_path, count):
    """However many models there are, no more elements are made at once than a hundred rows have."""
    page.goto(written(crowd(digits_study, count), tmp_path).as_uri())
    rows = page.locator("tbody[data-section=ranked] th.model")
    assert rows.count() == 100
    sizes = page.locator("#board tbody tr").evaluate_all("all => all.map(row => row.querySelectorAll('*').length + 1)")
    for act in (SORT, SORT, FIND):
        assert page.evaluate(f"({CREATED})(() => {{ {act} }})") <= 101 * max(sizes)
    assert page.evaluate(f"({CREATED})(() => {{ {SORT}; {SORT} }})") <= 101 * max(sizes)
    assert rows.count() == 100 if count == 1000 else rows.count() > 50
    page.locator("[name=text]").fill("")
    page.get_by_role("button", name=f"Show all {count}").click()
    assert rows.count() == count


def test_hostile_cards_stay_text_in_the_browser(digits_study, page, tmp_path):
    page.on("dialog", lambda _: pytest.fail("a card's script ran"))
    page.goto(written(hostile(digits_study), tmp_path).as_uri())
    page.locator("[name=family]").select_option(HOSTILE)
    assert page.locator("#board img, #board script, #board-controls img").count() == 0
    assert HOSTILE in page.locator("#board .reason").first.inner_text()
    assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('family')") == HOSTILE
