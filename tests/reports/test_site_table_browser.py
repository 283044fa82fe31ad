"""The leaderboard's table as a reader uses it, in chromium."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import ROOT, screenshot
from table_studies import HOSTILE, crowd, hostile, written

from pagbench import benchmarks
from pagbench.reports.site import tables
from pagbench.studies import networks


@pytest.fixture(scope="module")
def digits_study():
    return networks.read_study(ROOT / "leaderboard" / "results", benchmarks.load("digits"))


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


@pytest.mark.parametrize(("column", "better"), [("accuracy", -1), ("off_response", 1), ("alignment", -1)])
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
    ranked = [row for row in tables.content(digits_study)["table"]["data"]["rows"] if row["section"] == "ranked"]
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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_accessible_and_no_wider_than_the_window_with_all_columns_to_choose_from(board, scheme, width):
    """All else of the page is seen by the test of all pages, in the same colours and widths."""
    board.set_viewport_size({"width": width, "height": 844})
    board.emulate_media(color_scheme=scheme)
    board.locator(".chooser summary").click()
    found = Axe().run(board, context={"include": [[".chooser"]]}, options={"preload": False})
    assert found.violations_count == 0, found.generate_report()
    assert board.evaluate("document.documentElement.scrollWidth") <= width
    board.locator(".chooser summary").click()
    screenshot(board, f"table-{scheme}-{width}")


FRAME = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
FIND = """(text) => {
  const find = document.querySelector("[name=text]");
  find.value = text;
  find.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_a_thousand_models_sort_and_filter_without_drawing_all_rows(digits_study, page, tmp_path):
    """Until the next frame, in processor time of the page's thread, which other programs do not lengthen."""
    page.goto(written(crowd(digits_study, 1000), tmp_path).as_uri())
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

    def milliseconds(act, *given):
        def spent():
            found = metrics.send("Performance.getMetrics")["metrics"]
            return next(1000 * one["value"] for one in found if one["name"] == "TaskDuration")

        page.evaluate(FRAME)
        before = spent()
        page.evaluate(act, *given)
        page.evaluate(FRAME)
        return spent() - before

    def work():
        sort = [milliseconds("document.querySelector('[data-sort=accuracy]').click()") for _ in range(6)]
        find = [milliseconds(FIND, text) for text in ("network-1", "", "network-2", "")]
        return sorted(sort)[2], sorted(find)[1]

    # 50 to 80 ms on a quiet machine, and up to twice that where others use its caches; drawing all rows anew takes 500
    tries = [work() for _ in range(2)]
    assert min(sort for sort, _ in tries) < 250 and min(find for _, find in tries) < 250, tries
    rows = page.locator("tbody[data-section=ranked] th.model")
    assert rows.count() == 100
    page.get_by_role("button", name="Show all 1000").click()
    assert rows.count() == 1000


def test_hostile_cards_stay_text_in_the_browser(digits_study, page, tmp_path):
    page.on("dialog", lambda _: pytest.fail("a card's script ran"))
    page.goto(written(hostile(digits_study), tmp_path).as_uri())
    page.locator("[name=family]").select_option(HOSTILE)
    assert page.locator("#board img, #board script, #board-controls img").count() == 0
    assert HOSTILE in page.locator("#board .reason").first.inner_text()
    assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('family')") == HOSTILE
