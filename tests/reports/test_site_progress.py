"""Progress over time: dated models alone, with the best ranked one so far."""

from dataclasses import replace

import pytest
from browser import screenshot
from test_site_plots import opened, points

from pagbench.reports.site import plots
from pagbench.reports.site.board_columns import CARD_COLUMNS

STANDARD, WEAK, BEST = "digits/standard", "digits/gradient-norm-1", "digits/noise-0.6"


def dated(study, **dates):
    """The same study with dates on some cards, by id."""
    models = [replace(m, card=m.card.model_copy(update={"date": dates.get(m.card.id)})) for m in study.models]
    return replace(study, models=tuple(models))


def of(study, *days):
    return dated(study, **dict(zip((STANDARD, WEAK, BEST), days, strict=False)))


def test_the_best_so_far_rises_with_the_days(digits_study):
    steps = plots.progress(of(digits_study, "2024-05-01", "2024-06-01", "2025-01-31"))
    rows = digits_study.board.set_index("model")
    assert [(step["date"], step["model"]) for step in steps["alignment"]] == [
        ("2024-05-01", STANDARD), ("2024-06-01", WEAK), ("2025-01-31", BEST),
    ]  # fmt: skip
    assert [step["value"] for step in steps["alignment"]] == pytest.approx(
        rows.loc[[STANDARD, WEAK, BEST], "alignment"].tolist(), rel=1e-4
    )
    values = [step["value"] for step in steps["accuracy"]]
    assert values == sorted(set(values)), "a model that is no better than the best is no step"


def test_a_later_model_that_is_worse_is_no_step(digits_study):
    steps = plots.progress(of(digits_study, "2025-05-01", "2025-06-01", "2024-01-31"))
    assert [step["model"] for step in steps["alignment"]] == [BEST]


def test_the_better_of_one_day_counts(digits_study):
    steps = plots.progress(of(digits_study, "2025-05-01", "2025-05-01", "2025-05-01"))
    assert [step["model"] for step in steps["alignment"]] == [BEST]


@pytest.mark.parametrize("days", [(), ("2025-05-01",)])
def test_fewer_than_two_dates_are_no_progress(digits_study, days):
    shown = plots.content(of(digits_study, *days))["plots"]
    assert shown["payload"]["progress"] == {} and not shown["has"]["progress"]
    assert shown["words"]["progress"] == []


def test_controls_and_models_without_a_date_are_not_invented_one(digits_study):
    study = dated(digits_study, **{"control/bayes": "2020-01-01", STANDARD: "2024-05-01", WEAK: "2024-06-01"})
    shown = plots.content(study)["plots"]
    assert "control/bayes" not in str(shown["payload"]["progress"])
    assert BEST in shown["undated"] and STANDARD not in shown["undated"] and "control/constant" not in shown["undated"]
    assert shown["words"]["progress"][0].startswith("Best alignment so far: 2024-05-01 digits/standard")


def test_the_date_is_a_column_where_cards_have_one():
    assert "date" in [column.name for column in CARD_COLUMNS]


def test_the_plots_are_drawn_where_two_have_dates(page, site, digits_study, tmp_path):
    opened(page, tmp_path, site, of(digits_study, "2024-05-01", "2024-06-01"))
    page.wait_for_selector("#plot-progress-accuracy svg")
    for name in ("alignment", "accuracy"):
        assert sorted(points(page, f"plot-progress-{name}")) == sorted([STANDARD, WEAK])
    assert "2024-05" in page.locator("#plot-progress-alignment svg").text_content()
    screenshot(page, "progress")
    assert "their cards have no date" in page.locator("#plot-progress-alignment").inner_text()


def test_without_dates_there_is_no_plot(page, site):
    page.goto((site / "benchmarks" / "digits@1.html").as_uri())
    page.wait_for_selector("#plot-paths svg")
    assert page.locator("#plot-progress-alignment").count() == 0
