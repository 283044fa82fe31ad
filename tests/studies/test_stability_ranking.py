"""Rankings under moved factors: tau, movers, the one rule, and the report that pages read without torch."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from light import benchmark as light
from scipy.stats import kendalltau
from typer.testing import CliRunner

from pagbench import benchmarks
from pagbench.cli import app
from pagbench.errors import ResultsError
from pagbench.ranking import statistics
from pagbench.reports.site import sensitivity as pages
from pagbench.reports.site.rendering import Page, render
from pagbench.studies.models import Study
from pagbench.studies.stability import factors, ranking, report
from pagbench.studies.stability.factors import Factor, Level, PublishedRows
from pagbench.studies.stability.replicates import CHANCE, CORRECT, VALUE, Measured, PublishedModel, key
from pagbench.studies.stability.report import ListedModel, Report

IMAGES = 24
NAMES = tuple("abcdefgh")


def measured(levels, controls=(), seed=0, noise=0.02):
    """Eight models, best first under the published level; other levels add to the means of their values."""
    definition = light(IMAGES)
    own = factors.published_alignment(definition)
    factor = Factor("sigma", "noise level", "alignment", tuple(Level(name, own) for name in ("own", *levels)))
    rng = np.random.default_rng(seed)
    names = (*NAMES, *controls)
    base = dict(zip(names, np.linspace(0.8, 0.1, len(names)), strict=True))
    tables = {}
    for name in names:
        columns = {CORRECT: np.ones(IMAGES)}
        for level, mean in (("own", base), *levels.items()):
            columns[f"sigma/{level}/{VALUE}"] = mean[name] + noise * rng.normal(size=IMAGES)
            columns[f"sigma/{level}/{CHANCE}"] = 0.01 * rng.normal(size=IMAGES)
        tables[name] = pd.DataFrame(columns, index=list(definition.samples))
    models = [
        PublishedModel(name, "one" if name in "abcd" else "two", ranked=name in NAMES, rows=pd.DataFrame())
        for name in names
    ]
    return factor, Measured(definition, tuple(models), tables)


def means(*order):
    return dict(zip(order, np.linspace(0.8, 0.1, len(order)), strict=True))


def outcomes(*args, **options):
    factor, tables = measured(*args, **options)
    return ranking.factor_outcomes(factor, tables, None)


def a_report(found, **fields):
    names = (*NAMES,)
    told = {
        "benchmark": "digits@1",
        "definition": benchmarks.load("digits@1").digest(),
        "images": IMAGES,
        "responses": IMAGES,
        "models": tuple(ListedModel(id=name, family="f", ranked=True) for name in names),
        "factors": (found,),
        "versions": {"pagbench": "0"},
    }
    return Report(**told | fields)


@pytest.mark.parametrize("values", [5, 1000])
def test_tau_is_scipys_in_every_replicate(values):
    rng = np.random.default_rng(values)
    a, b = (rng.integers(values, size=(30, 9)).astype(float) for _ in range(2))
    expected = [kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    found = ranking.tau_over_images(a, b)
    assert found.value == pytest.approx(expected[0], abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(expected[1:], [0.025, 0.975])))


@pytest.mark.parametrize("swaps", range(7))
def test_a_tau_beyond_the_highest_has_no_interval_in_either_direction(swaps):
    base = np.arange(8.0)
    moved = base.copy()
    for index in range(swaps):
        moved[[index, index + 1]] = moved[[index + 1, index]]
    drawn = np.random.default_rng(swaps).normal(scale=0.4, size=(200, 8))
    drawn[0] = 0
    for sign in (1, -1):
        found = ranking.tau_over_images(base + drawn, sign * (moved + drawn))
        families = ranking.tau_over_families(base, sign * moved, list("aabbccdd"))
        assert found.value == pytest.approx(sign * kendalltau(base, moved).statistic)
        assert families.value == pytest.approx(found.value)
        assert np.isnan(found.low) == np.isnan(found.high) == (abs(found.value) > report.HIGHEST)
        assert abs(found.value) <= report.HIGHEST or np.isnan(families.low)
    assert report.Tau(value=0.86, low=0.7, high=0.8, families_low=0.1, families_high=1).text == "0.86 [no interval]"
    assert report.Tau(value=0.84, low=0.7, high=0.9, families_low=0.1, families_high=1).families == "[0.10, 1.00]"


def test_tau_over_families_leaves_out_one_after_the_other():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7))
    families = np.array(["x", "x", "y", "z", "z", "z", "y"])
    found = ranking.tau_over_families(a, b, families.tolist())
    taus = [kendalltau(a, b).statistic]
    taus += [kendalltau(a[families != name], b[families != name]).statistic for name in "xyz"]
    assert found == pytest.approx(statistics.left_out_in_turn(np.array(taus)))
    assert found.low < found.value < found.high
    assert np.isnan(ranking.tau_over_families(a, b, ["x"] * 7).low)
    assert np.isnan(ranking.tau_over_families(a, b, ["x"] * 4 + ["y"] * 3).low)


def test_the_published_level_is_the_published_ranking():
    found = outcomes({"same": means(*NAMES, "control/bayes")}, controls=("control/bayes",))
    own = found.published
    assert (own.tau.value, own.tau.low, own.tau.high, own.tau.families_low) == (1, None, None, None)
    assert own.ranks == (*range(1, 9), None)
    assert own.moved == own.overturns == ()
    assert own.first == "a"
    assert found.rank_intervals[-1] is None


def test_a_factor_that_reverses_the_ranking_overturns_it():
    found = outcomes({"reversed": means(*NAMES[::-1])}).others[0]
    assert (found.tau.value, found.tau.low, found.tau.high) == (-1, None, None)
    assert found.overturns == (report.ORDER, report.FIRST)
    assert found.ranks == tuple(range(8, 0, -1))
    assert set(found.moved) == set(NAMES)
    assert set(found.moved[:2]) == {"a", "h"}


def test_a_factor_that_only_shifts_and_stretches_overturns_nothing():
    stretched = {name: 0.05 + 0.3 * value for name, value in means(*NAMES).items()}
    found = outcomes({"stretched": stretched}, noise=0.002).others[0]
    assert found.tau.value == 1
    assert found.overturns == found.moved == ()


def test_another_first_place_overturns_though_the_order_hardly_changes():
    found = outcomes({"b first": means("b", "a", *NAMES[2:])}).others[0]
    assert found.overturns == (report.FIRST,)
    assert found.tau.value == pytest.approx(1 - 2 / 28, abs=1e-5)
    assert set(found.moved) == {"a", "b"}


def test_a_first_place_that_noise_decides_overturns_nothing():
    close = {name: 0.8 + 0.001 * place for place, name in enumerate(NAMES)}
    factor, tables = measured({"other": close}, noise=0.3)
    for frame in tables.tables.values():
        frame[f"sigma/own/{VALUE}"] = frame[f"sigma/other/{VALUE}"] + 0.3 * np.random.default_rng(1).normal(size=IMAGES)
    assert report.FIRST not in ranking.factor_outcomes(factor, tables, None).others[0].overturns


def test_a_model_without_a_value_has_no_rank_and_the_others_have():
    factor, tables = measured({"other": means(*NAMES)})
    tables.tables["c"][key(factor, factor.levels[1], VALUE)] = np.nan
    found = ranking.factor_outcomes(factor, tables, None).others[0]
    assert found.ranks == (1, 2, None, 3, 4, 5, 6, 7)
    assert found.tau.value == 1
    assert found.unscored == IMAGES


def test_fewer_images_are_the_published_rows_of_the_first():
    factor, tables = measured({})
    rows = {
        name: pd.DataFrame({
            "alignment_cosine": frame[f"sigma/own/{VALUE}"], "alignment_cosine_chance": frame[f"sigma/own/{CHANCE}"],
        })
        for name, frame in tables.tables.items()
    }  # fmt: skip
    factor = Factor("images", "number", "alignment", (Level("24", PublishedRows(24)), Level("5", PublishedRows(5))))
    models = tuple(replace(model, rows=rows[model.name]) for model in tables.models)
    found = ranking.factor_outcomes(factor, replace(tables, models=models), None)
    for outcome, images in zip(found.outcomes, (24, 5), strict=True):
        for name, value in zip(NAMES, outcome.values, strict=True):
            mean, chance = rows[name].iloc[:images].mean()
            assert value == pytest.approx((mean - chance) / (1 - chance), rel=1e-4)


@pytest.mark.parametrize("label", ["digits@1", "fashion-mnist@1", "gaussians", "sphere", "fashion-distractor@1"])
def test_every_factor_moves_one_thing_and_has_distinct_levels(label):
    definition = benchmarks.load(label)
    found = factors.benchmark_factors(definition)
    assert len({factor.name for factor in found}) == len(found)
    for factor in found:
        variants = [level.variant for level in factor.levels]
        assert len(set(variants)) == len({level.name for level in factor.levels}) == len(variants)
        for variant in variants[1:]:
            own = vars(variants[0])
            assert sum(value != own[field] for field, value in vars(variant).items()) == 1
    own = {factor.published.variant for factor in found if factor.ranking == "alignment" and factor.name != "images"}
    assert own == {factors.published_alignment(definition)}


def test_the_report_is_read_as_it_was_written_and_no_other(tmp_path):
    digits = benchmarks.load("digits@1")
    found = a_report(outcomes({"reversed": means(*NAMES[::-1])}), left_out=('"quoted", x',))
    path = report.write_report(found, report.report_path(tmp_path, digits))
    assert report.read_report(tmp_path, digits) == found
    assert json.loads(path.read_text())["benchmark"] == "digits@1"
    report.write_report(a_report(found.factors[0], definition="of another day"), path)
    assert report.read_report(tmp_path, digits) is None
    assert report.read_report(tmp_path / "nowhere", digits) is None
    path.write_text("{}")
    with pytest.raises(ResultsError, match=r"not a sensitivity report .*delete it"):
        report.read_report(tmp_path, digits)


PUBLISHED = sorted((Path(__file__).parents[2] / "leaderboard" / "results" / report.FOLDER).glob("*.json"))


def test_there_are_five_published_reports():
    assert len(PUBLISHED) == 5


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_reports_are_read_and_written_again_with_the_same_bytes(path, tmp_path):
    found = report.read_report(path.parents[1], benchmarks.load(path.stem))
    assert report.write_report(found, tmp_path / path.name).read_bytes() == path.read_bytes()


def board(found):
    """The study of a report, with a board as far as its pages look."""
    rows = [{"model": name, "status": "ranked"} for name in (*NAMES, "newcomer")]
    return Study(benchmarks.load("digits@1"), (), pd.DataFrame(rows), found)


def words(html):
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", html).split()))


def test_the_page_says_which_factor_overturns_and_who_moves():
    found = a_report(outcomes({"same": means(*NAMES), "reversed": means(*NAMES[::-1])}))
    page = pages.page(board(found))
    html = render(page)
    text = words(html)
    assert page.path == "sensitivity/digits@1.html"
    assert "1 of the 1 factors that it depends on would overturn the published ranking: noise level (reversed)" in text
    assert report.RULE in text
    assert "order and first" in text
    assert "Ranked since, and not in these numbers: newcomer" in text
    assert re.search(r'<th scope="row">reversed</th><td class="down3"><b>8</b></td>', html)
    assert re.search(r'<th scope="row">same</th><td>1</td><td>2</td>', html)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({"reversed": means(*NAMES[::-1])}, "1 of 1 would overturn it if moved alone: noise level (reversed)"),
        ({"same": means(*NAMES)}, "none of 1 would overturn it if moved alone"),
    ],
)
def test_the_first_screen_says_it_in_one_sentence(levels, said):
    found = pages.content(board(a_report(outcomes(levels))))
    page = Page("benchmarks/digits@1.html", "_sensitivity.html.j2", "a page", found)
    assert said in words(render(page))
    silent = Page(page.path, page.template, "a page", pages.content(board(None)))
    assert not render(silent).strip()
    assert pages.page(board(None)) is None


def test_names_of_others_cannot_be_markup():
    found = a_report(outcomes({"<script>": means(*NAMES)}))
    assert "<script>" not in render(pages.page(board(found)))


def test_the_terminal_has_a_row_for_every_level(capsys):
    found = a_report(outcomes({"same": means(*NAMES), "reversed": means(*NAMES[::-1])}))
    report.show(found)
    printed = capsys.readouterr().out
    assert "same" in printed
    assert "−1.00" in printed
    assert found.verdict.split(":")[0] in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "unknown benchmark 'nonsense'"),
        (["digits@1"], "no results of digits@1"),
        (["digits"], "digits@2 calibrates outputs, has partners of other classes, or ranks recipes"),
        (["cifar10-paper"], "ranks by the paper's own protocol"),
        (["digits@1", "--device", "warp"], "warp"),
        (["digits@1", "--images", "1"], "--images"),
        (["digits@1", "--results", "memory://results"], "give a folder on a disk"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, said, tmp_path):
    done = CliRunner().invoke(app, ["sensitivity", "--results", str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
