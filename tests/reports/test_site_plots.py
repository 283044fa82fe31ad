"""The plots of a benchmark's page say what the leaderboard says, and work with pointer, touch and keyboard."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import browser as browsing
import numpy as np
import pytest
from scipy.stats import spearmanr
from table_studies import page_of

from pagbench.reports.site import plots, rendering
from pagbench.studies import legend

LABEL = "digits@1"
NOISE = "digits/noise-0.6"
CSS = (Path(plots.__file__).parent / "assets" / "site.css").read_text()


@pytest.fixture(scope="module")
def payload(digits_study):
    return json.loads(json.dumps(plots.payload(digits_study), allow_nan=False))


@pytest.fixture
def board(page, site):
    """The benchmark's page, drawn."""
    page.goto((site / "benchmarks" / f"{LABEL}.html").as_uri())
    page.wait_for_selector("#plot-paths svg")
    return page


def points(page, plot):
    return page.locator(f"#{plot} svg a").evaluate_all("links => links.map(link => link.dataset.model)")


def point(page, plot, model):
    return page.locator(f'#{plot} a[data-model="{model}"]')


def test_values_are_the_leaderboards(digits_study, payload):
    rows = digits_study.board.set_index("model")
    assert {model["model"] for model in payload["models"]} == set(rows.index)
    for model in payload["models"]:
        for name in plots.QUANTITIES:
            expected = rows.loc[model["model"], [name, f"{name}_low", f"{name}_high"]].astype(float)
            if np.isnan(expected[name]):
                assert name not in model["values"]
            else:
                assert model["values"][name] == pytest.approx(expected.tolist(), rel=1e-5)


def test_paths_begin_without_regularisation_and_grow(payload):
    groups = {model["model"]: model["group"] for model in payload["models"]}
    standard = next(index for index, group in enumerate(payload["groups"]) if group["name"] == "standard")
    assert len(payload["paths"]) == 5
    for path in payload["paths"]:
        strengths = [step["strength"] for step in path["points"]]
        assert strengths == sorted(strengths)
        assert strengths[0] == 0
        assert {groups[model] for model in path["points"][0]["models"]} == {standard}
        assert {groups[model] for step in path["points"][1:] for model in step["models"]} == {path["group"]}
        for step, (left, right) in zip(path["points"], pairwise(path["edges"]), strict=True):
            assert left < step["place"] < right


def test_a_step_with_one_seed_is_its_model(payload):
    values = {model["model"]: model["values"] for model in payload["models"]}
    steps = [step for path in payload["paths"] for step in path["points"] if len(step["models"]) == 1]
    assert steps
    for step in steps:
        for name, found in step["values"].items():
            assert found == pytest.approx(values[step["models"][0]][name], rel=1e-4)


def test_the_words_give_spearmans_correlation(digits_study):
    ranked = digits_study.board[digits_study.board["status"] == "ranked"]
    rho = spearmanr(ranked["log_ratio"], ranked["alignment"]).statistic
    said = plots.content(digits_study)["plots"]["words"]["ratio"][0]
    assert f"ρ = {rho:.2f}".replace("-", "−") in said
    assert f"{len(ranked)} models" in said


def test_controls_stand_apart_and_only_bayes_is_shown_at_first(payload):
    shown = {group["name"]: group["shown"] for group in payload["groups"]}
    assert shown[plots.BAYES] is True
    assert shown[plots.CONTROLS] is False
    for model in payload["models"]:
        name = payload["groups"][model["group"]]["name"]
        assert model["control"] == (name in (plots.BAYES, plots.CONTROLS))
        assert (model["model"] == "control/bayes") == (name == plots.BAYES)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("palette", "grounds"), [(legend.ON_LIGHT, 0), (legend.ON_DARK, 1)])
def test_families_can_be_told_from_the_ground(palette, grounds):
    ground = re.findall(r"--ground: (#\w{6})", CSS)[grounds]
    assert min(contrast(colour, ground) for colour in palette) >= 3
    assert len(set(palette)) == len(legend.FAMILY_COLOURS)


def without(study, *gone):
    """The same results, as of a benchmark that does not measure some columns."""
    columns = [name for name in study.board if name.removesuffix("_low").removesuffix("_high") in gone]
    cut = tuple(
        replace(n, replicates={name: values for name, values in n.replicates.items() if name not in gone})
        for n in study.models
    )
    return replace(study, models=cut, board=study.board.drop(columns=columns))


def opened(page, folder, site, study):
    """A page of a study of one's own, beside the site's assets."""
    (folder / "assets").symlink_to(site / "assets")
    shown = page_of(study)
    (folder / "benchmarks").mkdir()
    (folder / shown.path).write_text(rendering.render(shown))
    page.goto((folder / shown.path).as_uri())


def test_without_responses_the_plots_of_responses_are_left_out(page, site, digits_study, tmp_path):
    plain = without(digits_study, "log_ratio", "on_response", "off_response")
    judged_by_none = digits_study.benchmark.model_copy(update={"thresholds": None, "bayes": None})
    opened(page, tmp_path, site, replace(plain, benchmark=judged_by_none))
    page.wait_for_selector("#plot-paths svg")
    for plot in ("plot-ratio", "plot-responses"):
        assert page.locator(f"#{plot} svg").count() == 0
        assert "Not drawn" in page.locator(f"#{plot}").inner_text()
    assert NOISE in points(page, "plot-accuracy")


def test_two_models_have_plots_but_no_correlation(page, site, digits_study, tmp_path):
    few = [n for n in digits_study.models if n.card.id in (NOISE, "digits/standard")]
    board = digits_study.board[digits_study.board["model"].isin([n.card.id for n in few])]
    opened(page, tmp_path, site, replace(digits_study, models=tuple(few), board=board.reset_index(drop=True)))
    page.wait_for_selector("#plot-paths svg")
    assert sorted(points(page, "plot-ratio")) == [NOISE, "digits/standard"]
    assert "no correlation" in page.locator("#plot-ratio").inner_text()


def test_nothing_is_drawn_of_nothing(page, site, digits_study, tmp_path):
    none = replace(digits_study, models=(), board=digits_study.board.iloc[:0])
    opened(page, tmp_path, site, none)
    assert page.locator(".plots .drawing").count() == 0
    assert page.locator(".plots .absent").count() >= 4


def test_a_point_for_every_shown_model_with_values(board, payload):
    shown = [model for model in payload["models"] if payload["groups"][model["group"]]["shown"]]
    for plot, needed in plots.SCATTERS.items():
        expected = [model["model"] for model in shown if set(needed) <= model["values"].keys()]
        assert points(board, f"plot-{plot}") == expected
    assert board.locator("#plot-paths .panel").count() == len(payload["paths"])


def test_what_has_no_point_is_named_and_what_is_not_judged_has_a_symbol(page, site):
    """Off the manifold the Bayes control of this benchmark does not react at all, so that it has no ratio."""
    page.goto((site / "benchmarks" / "fashion-distractor@1.html").as_uri())
    page.wait_for_selector("#plot-paths svg")
    for plot in ("plot-ratio", "plot-responses"):
        assert "control/bayes" not in points(page, plot)
        assert "want of a value: control/bayes" in page.locator(f"#{plot}").inner_text()
    assert "control/bayes" in points(page, "plot-accuracy")
    assert page.locator(".regimes").inner_text().strip() == "not judged"


def test_a_click_opens_the_models_page(board):
    point(board, "plot-ratio", NOISE).click()
    board.wait_for_url("**/models/digits/noise-0.6.html")
    assert board.locator("h1").inner_text() == NOISE


def test_the_first_touch_shows_and_the_second_opens(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto((site / "benchmarks" / f"{LABEL}.html").as_uri())
    page.wait_for_selector("#plot-paths svg")
    touched = point(page, "plot-ratio", "control/bayes")
    touched.tap()
    assert "alignment 1.00" in page.locator("#plot-ratio svg").text_content()
    assert "/models/" not in page.url
    touched.tap()
    page.wait_for_url("**/models/control/bayes.html")
    context.close()


def test_keys_go_from_point_to_point_and_open_a_page(board):
    names = points(board, "plot-accuracy")
    board.locator('#plot-accuracy a[tabindex="0"]').focus()
    board.keyboard.press("ArrowRight")
    board.keyboard.press("ArrowDown")
    focused = board.locator(":focus")
    assert focused.get_attribute("data-model") == names[2]
    assert focused.get_attribute("aria-label").startswith(f"{names[2]}: alignment ")
    assert names[2] in board.locator("#plot-accuracy svg").text_content()
    board.keyboard.press("Enter")
    board.wait_for_url(f"**/models/{names[2]}.html")


def test_each_plot_is_one_stop_of_the_tab_key(board):
    stops = board.locator(".plots svg").evaluate_all(
        "plots => plots.map(plot => plot.querySelectorAll('a[tabindex=\"0\"]').length).filter(Boolean)"
    )
    assert stops == [1] * (3 + 5)


def test_pointing_shows_the_interval(board, payload):
    point(board, "plot-ratio", NOISE).hover()
    value, low, high = next(e["values"]["alignment"] for e in payload["models"] if e["model"] == NOISE)
    shown = board.locator("#plot-ratio svg").text_content()
    assert NOISE in shown
    assert f"alignment {value:.2f} [{low:.2f}, {high:.2f}]" in shown


def test_the_legend_switches_families_in_all_plots(board):
    button = board.get_by_role("button", name="noise", exact=True)
    before = points(board, "plot-ratio")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    gone = [name for name in before if name.startswith("digits/noise")]
    for plot in ("plot-ratio", "plot-accuracy", "plot-responses", "plot-paths"):
        assert gone
        assert not set(gone) & set(points(board, plot))
    button.click()
    assert points(board, "plot-ratio") == before


def test_panels_show_the_chosen_quantity(board):
    board.get_by_label("Quantity").select_option("accuracy")
    label = point(board, "plot-paths", NOISE).get_attribute("aria-label")
    assert label.startswith(f"{NOISE}: accuracy 0.96")


def test_colours_follow_the_scheme(board):
    drawn = point(board, "plot-ratio", NOISE).locator("path")
    read = "symbol => getComputedStyle(symbol).stroke"
    light = drawn.evaluate(read)
    board.emulate_media(color_scheme="dark")
    assert drawn.evaluate(read) != light
    browsing.screenshot(board, "plots-dark")


def test_a_phone_shows_the_plots_without_scrolling_sideways(board):
    board.set_viewport_size({"width": 390, "height": 844})
    browsing.wait_until(board, "document.querySelector('#plot-ratio svg').clientWidth < 390")
    widths = board.locator(".plots svg").evaluate_all("all => all.map(svg => svg.getBoundingClientRect().right)")
    assert max(widths) <= 390
    browsing.screenshot(board, "plots-phone")


def test_without_scripts_the_words_are_there(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "benchmarks" / f"{LABEL}.html").as_uri())
    said = page.locator("#plots").inner_text()
    context.close()
    assert "JavaScript" in said
    assert "ρ = " in said


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 1000])
def test_many_models_are_drawn_each_plot_once(page, site, payload, tmp_path, count):
    some = [model for model in payload["models"] if not model["control"]]
    copies = range(1, count // len(some) + 1)
    many = [
        {**model, "model": f"{model['model']}-{k}",
         "values": {name: [part * (1 + k / 100) for part in found] for name, found in model["values"].items()}}
        for model in some for k in copies
    ]  # fmt: skip
    text = (site / "benchmarks" / f"{LABEL}.html").read_text()
    start = text.index(">", text.index('id="plots-data"')) + 1
    end = text.index("</script>", start)
    full = str(rendering.embedded({**payload, "models": payload["models"] + many}))
    (tmp_path / "assets").symlink_to(site / "assets")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "many.html").write_text(text[:start] + full + text[end:])
    page.goto((tmp_path / "benchmarks" / "many.html").as_uri())
    page.wait_for_selector("#plot-paths svg")
    assert len(points(page, "plot-accuracy")) > 0.9 * count
    drawn = page.evaluate("performance.getEntriesByType('measure').map(found => found.name)")
    assert sorted(drawn) == [f"draw plot-{plot}" for plot in ("accuracy", "paths", "ratio", "responses")]
