"""The page "Which model should I take?" names the best model above a threshold, by the leaderboard's own numbers."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagbench.reports.site import choice
from pagbench.studies import legend

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(POINTS)
def test_the_front_is_what_somebody_may_want(points):
    """For every least value of either coordinate, the best of the other one is on the front."""
    front = {point for point in points if choice.is_on_front(point, points)}
    for least in range(6):
        able = [point for point in points if point[0] >= least]
        if able:
            best = max(y for _, y in able)
            assert max((x, y) for x, y in able if y == best) in front
    assert all(a == b or not (a[0] >= b[0] and a[1] >= b[1]) for a in front for b in front)


def test_candidates_are_the_ranked_models_with_the_boards_numbers(digits_study):
    found = choice.choice(digits_study)
    ranked = digits_study.board[digits_study.board["status"] == "ranked"].set_index("model")
    assert [one.model for one in found.candidates] == list(ranked.index)
    for one in found.candidates:
        row = ranked.loc[one.model]
        assert one.rank == tuple(row[["rank", "rank_low", "rank_high"]])
        assert one.accuracy == pytest.approx(tuple(row[[f"accuracy{end}" for end in ("", "_low", "_high")]]), rel=1e-5)
        assert one.regime == legend.REGIMES[row["regime"]]
    assert found.robust == {} and found.apart == 0


def test_who_is_tied_is_who_makes_the_rank_interval(digits_study):
    """A model's best rank is one more than the better ones that are told apart from it; of these models for sure."""
    found = choice.choice(digits_study).candidates
    for place, one in enumerate(found):
        better = [other for other in found[:place] if other.model not in one.tied]
        worse = [other for other in found[place + 1 :] if other.model not in one.tied]
        assert one.rank[1:] == (1 + len(better), len(found) - len(worse))
        assert all(one.model in other.tied for other in found if other.model in one.tied)


def test_those_who_rank_apart_are_counted_and_robust_accuracy_is_there_where_it_was_measured(digits_study):
    board = digits_study.board.copy()
    place = board.index[board["status"] == "ranked"]
    board["track"] = "open"
    board.loc[place[-1], "track"] = "trained-on-target"
    board["adversarial_l2_0.5"] = None
    board.loc[place[0], ["adversarial_l2_0.5", "adversarial_l2_0.5_low", "adversarial_l2_0.5_high"]] = 0.5, 0.4, 0.6
    found = choice.choice(dataclasses.replace(digits_study, board=board))
    assert len(found.candidates) == len(place) - 1 and found.apart == 1
    assert found.robust == {"adversarial_l2_0.5": "AutoAttack L2 0.5"}
    assert found.candidates[0].robust == {"adversarial_l2_0.5": (0.5, 0.4, 0.6)} and not found.candidates[1].robust
    nobody = dataclasses.replace(digits_study, board=board.assign(status="control"))
    assert choice.choice(nobody) is None


@pytest.fixture
def chooser(page, site):
    page.goto((site / "choose.html").as_uri() + "#digits@1")
    return page


def answer(page):
    return page.locator(".chosen-model:visible")


def test_the_slider_moves_the_answer(chooser, digits_study):
    candidates = choice.choice(digits_study).candidates
    slider = chooser.get_by_label("Accuracy of at least").locator("visible=true")
    seen = set()
    for wanted in (0.5, 0.9, 0.96, 0.965, 0.97, 0.975, 0.98):
        slider.fill(f"{wanted - 0.005:.3f}")
        slider.press("ArrowRight")  # as the keyboard moves it
        least = float(slider.input_value())
        assert least == pytest.approx(wanted)
        able = sorted((c for c in candidates if c.accuracy[0] >= least), key=lambda c: -c.alignment[0])
        if not able:
            assert answer(chooser).inner_text().startswith("No ranked model has an accuracy of at least")
            continue
        best, others = able[0], able[1:]
        tied = [c.model for c in others if c.model in best.tied]
        links = answer(chooser).locator("a").all_inner_texts()
        assert links[0] == best.model and [link for link in links if link.startswith("digits/")][1:] == tied
        assert (
            f"{best.alignment[0]:.3f} [{best.alignment[1]:.3f}, {best.alignment[2]:.3f}]"
            in answer(chooser).inner_text()
        )
        assert chooser.locator(".choice:visible svg a").count() == len(candidates)
        seen.add(best.model)
    assert len(seen) > 2


def test_the_address_keeps_the_choice_and_the_benchmark_can_be_changed(chooser):
    slider = chooser.get_by_label("Accuracy of at least").locator("visible=true")
    slider.fill("0.9")
    said = answer(chooser).inner_text()
    address = chooser.url
    assert address.endswith("#benchmark=digits%401&accuracy=0.9")
    chooser.get_by_label("Benchmark", exact=True).select_option("fashion-distractor@1")
    assert "fashion-distractor/" in answer(chooser).inner_text()
    assert chooser.locator(".choice:visible").count() == 1
    chooser.goto("about:blank")
    chooser.goto(address)
    assert answer(chooser).inner_text() == said


def test_without_scripts_the_front_of_every_benchmark_stands_there(browser, site, digits_study):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "choose.html").as_uri())
    section = page.locator("section").filter(has=page.locator('[id="title-digits@1"]'))
    shown = section.locator("tbody th").all_inner_texts()
    fronts, controls = page.locator("table.front").count(), page.locator("form:visible, select:visible").count()
    context.close()
    assert shown == [one.model for one in choice.choice(digits_study).front]
    assert fronts == 2 and controls == 0
