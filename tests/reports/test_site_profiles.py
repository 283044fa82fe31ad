"""Pages of a second edition: alignment against sigma, robust accuracy beside accuracy, the newest edition first."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from browser import wait_until
from commands import invoke

from pagbench import benchmarks, columns, results
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import benchmark, board_columns, building, comparison, models, plots, profiles, table
from pagbench.reports.site.rendering import render
from pagbench.studies import paths

LABEL = "digits@2"
KEPT = ("control/bayes", "control/sign-flipped", "digits/standard", "digits/noise-0.6", "digits/noise-2.5",
        "digits/smoothing-0.6", "digits/gradient-norm-1", "digits/gradient-norm-1.seed1",
        "digits/gradient-norm-100")  # fmt: skip
FIRST = "digits/noise-0.6"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Some published results of both editions, with those of the attacks. Tests only read them."""
    folder = tmp_path_factory.mktemp("editions") / "results"
    for label in (LABEL, f"{LABEL}+pgd", "digits@1"):
        for name in KEPT:
            path = results.PUBLISHED / label / f"{name}.parquet"
            if path.exists():
                (folder / label / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / label / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def editions(place):
    return building.read(place)


@pytest.fixture(scope="module")
def study(editions):
    return next(study for study in editions if study.benchmark.label == LABEL)


@pytest.fixture(scope="module")
def site(place, editions):
    building.write(editions, place.parent / "site")
    return place.parent / "site"


def test_a_line_is_the_boards_columns(study):
    drawn = profiles.of_model(study, study.named(FIRST))
    assert [line["kind"] for line in drawn["lines"]] == ["own", "bayes"]
    assert [point[0] for point in drawn["lines"][0]["points"]] == list(study.benchmark.sigmas)
    for sigma, *bounds in drawn["lines"][0]["points"]:
        assert bounds == pytest.approx(study.interval(FIRST, f"alignment_profile_{sigma:g}"), rel=1e-5)
    assert "the benchmark's sigma is 0.35" in drawn["said"]
    bayes = profiles.of_model(study, study.named("control/bayes"))
    assert [line["kind"] for line in bayes["lines"]] == ["own"]


def test_a_benchmark_without_a_profile_draws_none(editions):
    first = next(study for study in editions if study.benchmark.label == "digits@1")
    assert profiles.of_model(first, first.named(FIRST)) is None
    drawn = plots.payload(first)
    assert not drawn["profiles"] and not drawn["bayes_profile"] and not drawn["noise"]
    assert 'id="plot-profiles"' not in render(benchmark.page(first, []))
    assert comparison.page(first).content["setting"]["profile"] is None
    page = next(page for page in models.pages([first]) if page.title == FIRST)
    assert "plot.umd" not in render(page)


def test_panels_have_a_line_for_each_strength_and_noise_is_what_is_compared_with_it(study):
    drawn = json.loads(json.dumps(plots.payload(study), allow_nan=False))
    groups = [group["name"] for group in drawn["groups"]]
    strengths = {groups[path["group"]]: [line["strength"] for line in path["lines"]] for path in drawn["profiles"]}
    assert strengths["noise"] == [0, 0.6, 2.5] and strengths["gradient-norm"] == [0, 1, 100]
    assert {groups[group] for group in drawn["noise"]} == {"noise", "smoothing"}
    assert {"alignment_peak", "alignment_peak_sigma"} <= drawn["quantities"].keys()


def test_the_page_of_a_model_shows_the_newest_edition_first_and_draws_its_line(page, site):
    page.goto((site / "models" / f"{FIRST}.html").as_uri())
    page.wait_for_selector("figure.profile svg")
    assert page.locator("article.benchmark").evaluate_all("all => all.map(one => one.id)") == [LABEL, "digits@1"]
    assert page.locator("figure.profile").count() == 1
    drawing = page.locator("figure.profile svg[role=img]")
    assert drawing.get_attribute("aria-label") == page.locator("figure.profile .words").inner_text()
    assert drawing.locator("g[aria-label]").count() == 0
    assert {"this model", "Bayes control", "benchmark's sigma"} <= set(drawing.locator("text").all_text_contents())
    page.set_viewport_size({"width": 390, "height": 800})
    wait_until(page, "document.querySelector('figure.profile svg').clientWidth < 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_board_draws_panels_the_noise_and_the_peaks(page, site):
    page.goto((site / "benchmarks" / f"{LABEL}.html").as_uri())
    page.wait_for_selector("#plot-noise svg")
    assert page.locator("#plot-profiles .panel h4").all_inner_texts() == ["gradient-norm", "noise", "smoothing"]
    said = page.locator("#plot-profiles svg").nth(1).get_attribute("aria-label")
    assert said == "noise: alignment against the sigma of the target, a line for each strength: 0, 0.6, 2.5"
    of_noise = page.locator("#plot-noise svg a").evaluate_all("links => links.map(link => link.dataset.model)")
    assert set(of_noise) == {"digits/noise-0.6", "digits/noise-2.5", "digits/smoothing-0.6"}
    assert page.locator('#plot-peak a[data-model="digits/standard"]').count() == 1
    page.get_by_role("button", name="noise", exact=True).click()
    assert page.locator("#plot-profiles .panel h4").all_inner_texts() == ["gradient-norm", "smoothing"]


def test_a_peak_at_the_last_sigma_is_shown_as_a_bound(study, page, site):
    name = "control/sign-flipped"
    bounds = study.board.set_index("model")["alignment_peak_sigma_censored"].dropna()
    assert bounds.to_dict() == {name: "at least"}
    page.goto((site / "benchmarks" / f"{LABEL}.html").as_uri())
    row = page.locator("#board tbody tr", has=page.locator(f'a[title^="{name}:"]'))
    assert "≥ 2.83" in row.locator("td").all_inner_texts()
    assert '<td class="number">≥ 2.83</td>' in render(benchmark.page(study, []))
    said = profiles.of_model(study, study.named(name))["said"]
    assert "at sigma* ≥ 2.83, for alignment may rise beyond what was measured; the benchmark's sigma is 0.35" in said
    described = board_columns.describe(study)
    measured = {one.column.name: one for one in models.measures(study, study.named(name), described)}
    assert measured["alignment_peak_sigma"][1:] == ("≥ 2.83", "")
    assert measured["alignment_peak"].interval.startswith("[")
    shown = {row["id"]: row for row in table.content(study, [])["table"]["data"]["rows"]}
    place = [column["name"] for column in table.content(study, [])["table"]["data"]["columns"]].index(
        "alignment_peak_sigma"
    )
    assert shown[name]["cells"][place] == [2.83, None, None, None, "≥ 2.83"]
    assert len(shown[FIRST]["cells"][place]) == 3


def test_the_words_of_a_path_tell_bounds(study, monkeypatch):
    (noise,) = [path for path in paths.every_path(study) if path.family == "noise"]
    first, last = noise.points
    at_end = last.values | {"alignment_peak_sigma": Interval(2.83, 1.1, np.nan)}
    changed = replace(noise, points=(first, replace(last, values=at_end)))
    monkeypatch.setattr(plots.paths, "every_path", lambda study: [changed])
    (said,) = plots._peaks(study)
    assert said.startswith("noise: sigma* 0.7") and said.endswith("] at strength 0.6; ≥ 1.1 at strength 2.5.")


def test_points_of_plots_say_a_bound_and_no_interval(study, page, site):
    name, end = "digits/noise-2.5", "alignment_peak_sigma"
    changed = replace(study, own={**study.own, name: {end: 2.83, f"{end}_low": 1.1, f"{end}_high": None}})
    models = {model["model"]: model for model in plots.payload(changed)["models"]}
    assert models[name]["values"][end] == [2.83, 1.1, None] and models[name]["bounds"] == {end: "≥ 1.1"}
    assert models["control/sign-flipped"]["bounds"] == {end: "≥ 2.83"}
    assert models[FIRST]["bounds"] == {} and None not in models[FIRST]["values"][end]
    (site / "benchmarks" / "changed.html").write_text(render(benchmark.page(changed, [])))
    page.goto((site / "benchmarks" / "changed.html").as_uri())
    page.wait_for_selector("#plot-noise svg")
    link = page.locator(f'#plot-noise a[data-model="{name}"]')
    assert link.get_attribute("aria-label").startswith(f"{name}: sigma* ≥ 1.1, alignment 0.")
    link.focus()
    wait_until(page, "document.querySelector('#plot-noise svg').textContent.includes('sigma* ≥ 1.1')")
    other = page.locator(f'#plot-noise a[data-model="{FIRST}"]')
    assert other.get_attribute("aria-label").startswith(f"{FIRST}: sigma* 0.74 [0.70, 0.79], ")


def test_compared_models_say_a_bound(page, site):
    name = "control/sign-flipped"
    page.goto((site / "compare" / f"{LABEL}.html").as_uri() + f"#{FIRST},{name}")
    page.wait_for_selector("#profiles svg[role=img]")
    said = page.locator("#profiles .note").inner_text()
    assert f"{name} is highest, " in said and "at sigma* ≥ 2.83, for alignment may rise beyond" in said
    assert page.locator("#profiles svg[role=img]").get_attribute("aria-label") == said


def test_compared_models_have_a_line_each(page, site):
    page.goto((site / "compare" / f"{LABEL}.html").as_uri() + f"#{FIRST},digits/standard")
    page.wait_for_selector("#profiles svg[role=img]")
    assert page.locator("#profiles .profile-key li").all_inner_texts() == [FIRST, "digits/standard"]
    assert (
        f"{FIRST} is highest, 0.88 [0.53, 1.22], at sigma* = 0.74 [0.70, 0.79]"
        in page.locator("#profiles .note").inner_text()
    )
    strokes = page.locator("#profiles .profile-key path").evaluate_all(
        "all => all.map(one => getComputedStyle(one).stroke)"
    )
    assert len(set(strokes)) == 2


def test_robust_accuracy_stands_on_the_board_with_what_it_is_of(study):
    shown = table.content(study, [])["table"]
    names = [column["name"] for column in shown["data"]["columns"] if column["default"]]
    pgd = [column.name for column in columns.sample_columns(benchmarks.load(LABEL), ["pgd"])]
    assert [name for name in names if name.startswith("pgd")] == pgd
    assert any("stay so under the attack" in note for note in shown["notes"])
    badges = {row["id"]: [badge["word"] for badge in row["badges"]] for row in shown["data"]["rows"]}
    assert {name for name, words in badges.items() if "smoothed" in words} == {"digits/smoothing-0.6"}


def test_a_network_without_an_attack_does_not_have_its_recipes(study):
    first, second = "digits/gradient-norm-1", "digits/gradient-norm-1.seed1"
    assert study.row_of[second] == first
    assert np.isfinite(study.interval(first, "pgd_l2_0.5").value)
    assert np.isnan(study.interval(second, "pgd_l2_0.5")).all()
    assert np.isfinite(study.row_interval(first, "pgd_l2_0.5").value)


def test_the_command_shows_the_row_of_a_networks_recipe(place):
    for name in ("digits/gradient-norm-1", "digits/gradient-norm-1.seed1"):
        shown = invoke("show", name, "-r", place).output
        said = dict(line.split(maxsplit=1) for line in shown.splitlines() if len(line.split(maxsplit=1)) == 2)
        assert said["networks"] == "digits/gradient-norm-1, digits/gradient-norm-1.seed1"
        assert said["n_networks"] == "2" and said["pgd_l2_0.5"].startswith("0.6")
        assert said["partial_measures"] == "pgd of 1 network, intervals over images alone"
