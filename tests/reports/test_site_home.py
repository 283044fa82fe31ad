"""The first page and the verdicts say who is first, and how sure that is, as the ranks say it."""

import dataclasses
import io
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pagbench import benchmarks
from pagbench.ranking import statistics
from pagbench.reports.site import benchmark, building, home
from pagbench.reports.site.rendering import Page, render
from pagbench.results.verification import Verification
from pagbench.studies.models import Study


def board(*rows):
    """A leaderboard: model, rank, lowest and highest rank, and other columns."""
    table = []
    for place, (model, ranks, others) in enumerate(rows):
        low, high = ranks or (None, None)
        alignment = 0.9 - 0.1 * place
        common = {"alignment": alignment, "alignment_low": alignment - 0.01, "alignment_high": alignment + 0.01}
        common |= {"rank": place + 1 if ranks else None, "rank_low": low, "rank_high": high}
        common |= {"status": "ranked" if ranks else "control", "control": not ranks, "trained_on_target": None}
        common |= {"regime": None, "regime_probability": np.nan}
        table.append({"model": model, **common, **others})
    return pd.DataFrame(table).astype(dict.fromkeys(("rank", "rank_low", "rank_high"), "Int64"))


def verdict(*rows, models=()):
    return benchmark.verdict(Study(benchmarks.load("digits@1"), tuple(models), board(*rows)))


def said(found):
    """The text of a verdict."""
    shown = render(Page("index.html", "_verdict.html.j2", "a page", {"verdict": found}))
    return unescape(" ".join(re.sub(r"<[^>]*>", "", shown).split()))


def test_a_clear_winner_is_called_one():
    text = said(verdict(("a", (1, 1), {}), ("b", (2, 3), {}), ("c", (2, 3), {})))
    assert "Most aligned gradients a alignment 0.900 (95 % interval 0.890 to 0.910)" in text
    assert "Rank 1, and clearly so: each of the 2 other ranked models is less aligned" in text
    assert "told apart" not in text


def test_a_winner_that_cannot_be_told_apart_names_its_rivals():
    text = said(verdict(("a", (1, 3), {}), ("b", (1, 3), {}), ("c", (1, 3), {}), ("d", (4, 4), {})))
    assert "Rank 1, but it cannot be told apart from b and c by simultaneous comparisons at 95 %" in text
    assert "its place is between 1 and 3 of 4" in text
    assert "clearly" not in text


def test_rivals_that_something_else_beats_are_counted_and_not_named():
    """The best rank of such a one is not 1, and who it is does not follow from the ranks."""
    text = said(verdict(("a", (1, 3), {}), ("b", (1, 3), {}), ("c", (2, 4), {}), ("d", (2, 4), {})))
    assert "cannot be told apart from 2 other models, among them b, by simultaneous" in text
    text = said(verdict(("a", (1, 2), {}), ("b", (2, 3), {}), ("c", (2, 3), {})))
    assert "cannot be told apart from 1 other model by simultaneous" in text


def test_of_many_rivals_the_best_are_named():
    text = said(verdict(*((name, (1, 7), {}) for name in "abcdefg")))
    assert "cannot be told apart from 6 other models, among them b, c and d, by" in text


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_of_the_first_is_what_the_comparisons_of_pairs_say(seed):
    """Counted are those that the bands do not separate from the first; named are some of them, and never others."""
    rng = np.random.default_rng(seed)
    estimates = np.sort(rng.normal(size=6))[::-1]
    drawn = estimates + rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) * rng.choice([0.02, 0.2])
    ranks = statistics.rank_intervals(np.vstack([estimates, drawn]), units=10_000)
    found = verdict(*((name, tuple(rank), {}) for name, rank in zip("abcdef", ranks, strict=True)))
    pairs = {(i, j): drawn[:, i] - drawn[:, j] for i in range(6) for j in range(i)}
    scale = {(i, j): lead.std(ddof=1) for (i, j), lead in pairs.items()}
    studentised = [abs(pairs[i, j] - (estimates[i] - estimates[j])) / scale[i, j] for i, j in pairs]
    critical = np.quantile(np.max(studentised, axis=0), 0.95)
    together = {"abcdef"[i] for i in range(1, 6) if estimates[0] - estimates[i] <= critical * scale[i, 0]}
    assert found.indistinct == len(together)
    assert set(found.rivals) <= together


def test_a_single_model_is_compared_with_nothing():
    assert "It is the only ranked model" in said(verdict(("a", (1, 1), {}), ("control/bayes", None, {})))


def test_controls_alone_win_nothing():
    found = verdict(("control/bayes", None, {}), ("control/constant", None, {"alignment": np.nan}))
    assert found.best is None and found.bayes.model == "control/bayes"
    assert "No model is ranked here yet: only controls are measured." in said(found)
    failed = ("a", None, {"status": "no result: it guesses", "control": False})
    assert "none of the 1 measured models has a full, valid result" in said(verdict(failed))


def test_a_winner_that_was_trained_on_the_target_is_named_with_the_best_that_was_not():
    trained = {"trained_on_target": True}
    text = said(verdict(("a", (1, 1), trained), ("b", (2, 2), trained), ("c", (3, 4), {}), ("d", (3, 4), {})))
    assert "It was trained on this benchmark's own target, as its card declares. What that means." in text
    second = (
        "that do not declare to be trained on the target c "
        "alignment 0.700 (95 % interval 0.690 to 0.710). It has rank 3 of 4. Comparisons of "
        "all pairs leave ranks 3 to 4 open, at 95 % confidence."
    )
    assert second in text
    assert "No ranked model is without" in said(verdict(("a", (1, 2), trained), ("b", (1, 2), trained)))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("t", (1, 1))], "It is the only one."),
        (
            [("t", (1, 1)), ("u", (2, 2))],
            "It has rank 1 of 2. Comparisons of all pairs leave no other rank open, at 95 %",
        ),
        (
            [("t", (1, 2)), ("u", (1, 2))],
            "It has rank 1 of 2. Comparisons of all pairs leave ranks 1 to 2 open, at 95 %",
        ),
    ],
)
def test_the_first_of_those_who_rank_apart_has_a_place_in_words(rows, sentence):
    track = {"trained_on_target": True, "track": "trained-on-target"}
    apart = [(name, ranks, track | {"rank": place}) for place, (name, ranks) in enumerate(rows, 1)]
    text = said(verdict(("a", (1, 1), {"track": "open"}), *apart))
    assert "which rank apart t alignment" in text and sentence in text


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (None, "Its card does not say whether it was trained on the target."),
        (False, "Its card says that it was not trained on the target."),
    ],
)
def test_what_is_not_declared_is_not_said(declared, sentence):
    found = verdict(("a", (1, 1), {"trained_on_target": declared}), ("b", (2, 2), {"trained_on_target": True}))
    assert found.untrained is None
    assert sentence in said(found)


def test_names_are_escaped():
    shown = render(Page("index.html", "_verdict.html.j2", "a page", {"verdict": verdict(("<b>&", (1, 1), {}))}))
    assert "&lt;b&gt;&amp;</a>" in shown and "<b>" not in shown


def changed(study, name, **fields):
    models = [dataclasses.replace(n, **fields) if n.card.id == name else n for n in study.models]
    return dataclasses.replace(study, models=tuple(models))


@pytest.mark.parametrize("verdict_", ["verified", "refuted"])
def test_verifications_are_told(digits_study, verdict_):
    record = Verification(
        benchmark="digits@1",
        model="digits/noise-0.6",
        results_sha256="0" * 64,
        weights_sha256="0" * 64,
        samples=50,
        seed=1,
        verdict=verdict_,
        worst_column="nll",
        worst_difference=0.1,
        by="Someone Else",
        when="2026-11-23T12:00:00Z",
        versions={},
        device="cpu",
    )
    text = said(benchmark.verdict(changed(digits_study, "digits/noise-0.6", verification=record)))
    assert f"{verdict_.capitalize()} by rerun of 50 images (Someone Else, 2026-11-23)." in text
    alone = changed(digits_study, "digits/noise-0.6", verification=None)
    assert "Self-reported" in said(benchmark.verdict(alone))


def test_the_verdict_of_a_published_board_is_its_first_row(digits_study):
    found, first = benchmark.verdict(digits_study), digits_study.board.iloc[0]
    assert (found.best.model, found.best.alignment.value) == (first["model"], first["alignment"])
    assert found.indistinct == first["rank_high"] - 1
    assert found.measured == (~digits_study.board["control"]).sum()
    assert found.reference.model == "digits/standard" and found.bayes.alignment.value == pytest.approx(1)


def test_the_newest_day_is_that_of_the_latest_run_and_nothing_but_a_day(digits_study):
    odd = [{"started": text} for text in ("2026-11-30T07:08:09Z<b>", "2031-05-06T07:08:09Z", "2026-11-30", 7)]
    hostile = {"started": "<script>9999", "runs": [*odd, {}, "2032-01-01T"]}
    usual = building.newest([digits_study])
    assert building.newest([changed(digits_study, "digits/noise-0.6", provenance=hostile)]) == usual > "2026"
    later = {"runs": [{"started": "2026-11-30T07:08:09Z"}]}
    assert building.newest([changed(digits_study, "digits/noise-0.6", provenance=later)]) == "2026-11-30"
    for nothing in ({}, {"runs": 7}):
        bare = [dataclasses.replace(model, provenance=nothing) for model in digits_study.models]
        assert building.newest([dataclasses.replace(digits_study, models=tuple(bare))]) == ""


def test_the_example_shows_each_model_once_and_says_who_was_trained_on_the_target(digits_study):
    def titles(study):
        found = home.example(benchmark.verdict(study))
        return [(shown.title, shown.model) for shown in found.columns]

    usual = [("the Bayes classifier", "control/bayes"), ("an ordinary model", "digits/standard")]
    assert titles(digits_study) == [*usual, ("the most aligned model", "digits/noise-0.6")]
    first = digits_study.board["model"] == "digits/noise-0.6"
    trained = digits_study.board.assign(trained_on_target=first)
    title, second = "the most aligned model that does not declare this", digits_study.board.iloc[1]["model"]
    assert titles(dataclasses.replace(digits_study, board=trained))[2:] == [
        ("the most aligned model, trained on this target", "digits/noise-0.6"),
        (title, second),
    ]
    alone = digits_study.board[digits_study.board["model"].isin(["digits/standard", "control/bayes"])]
    assert titles(dataclasses.replace(digits_study, board=alone)) == [
        usual[0],
        ("the most aligned model", "digits/standard"),
    ]


def test_the_best_is_compared_with_whoever_comes_nearest():
    trained = {"trained_on_target": True}
    assert verdict(("a", (1, 2), {}), ("b", (1, 2), {})).opponent == "b"
    assert verdict(("a", (1, 1), {}), ("b", (2, 2), {})).opponent == "b"
    assert verdict(("a", (1, 1), trained), ("b", (2, 2), trained), ("c", (3, 3), {})).opponent == "c"
    assert verdict(("a", (1, 1), {})).opponent is None


def test_results_without_pictures_still_have_a_first_page(digits_study):
    bare = [dataclasses.replace(model, thumbnails=None, gallery=None) for model in digits_study.models]
    shown = render(home.page([dataclasses.replace(digits_study, models=tuple(bare))]))
    assert "digits/noise-0.6" in shown and 'class="tile' not in shown


@pytest.mark.parametrize("label", ["digits@1", "fashion-mnist@2", "cifar10@2", "samples-cifar10@1"])
def test_pages_without_results_speak_of_the_results_that_they_were_made_from(digits_study, label):
    definition = benchmarks.load(label)
    first, about = (render(shown) for shown in (home.page([digits_study]), benchmark.page_without_results(definition)))
    assert "The results that these pages were made from have none of" in first and definition.heading in first
    assert "The results that these pages were made from have none of this benchmark." in about
    assert "pagbench run " in about
    assert "published yet" not in first + about
    assert ("rest on arguments, not on runs" in about) == (label == "cifar10@2")
    assert ("their numbers mean nothing" in about) == label.startswith("samples")


def test_a_reader_sees_who_is_first_and_what_its_gradients_look_like(page, site):
    page.goto((site / "index.html").as_uri())
    first = page.locator("article").first
    assert first.locator("h3").inner_text() == benchmarks.load("digits@1").heading
    assert "digits/noise-0.6" in first.locator(".answer").inner_text()
    assert page.locator(".example .tile").count() == 4
    assert first.locator(".evidence .tile").count() == 9
    for tile in (page.locator(".example .tile").nth(3), first.locator(".evidence .tile").nth(2)):
        picture = np.asarray(Image.open(io.BytesIO(tile.screenshot())).convert("RGB")).reshape(-1, 3)
        assert len(np.unique(picture, axis=0)) > 10
        assert (picture[:, 0].astype(int) - picture[:, 2] > 50).any()
        assert (picture[:, 2].astype(int) - picture[:, 0] > 50).any()
    first.locator(".answer a").click()
    assert page.url.endswith("/models/digits/noise-0.6.html")


def test_every_benchmark_is_on_the_first_page(page, site):
    page.goto((site / "index.html").as_uri())
    leads_to = page.locator("main a").evaluate_all("links => links.map(link => decodeURI(link.href))")
    for label in benchmarks.names():
        assert (site / "benchmarks" / f"{label}.html").as_uri().replace("%40", "@") in leads_to, label
