"""The date of a card: a plain day, which changes no behaviour, and which a submission cannot have in the future."""

from datetime import date, timedelta

import pytest
import yaml
from commands import assert_one_line, invoke
from submissions import change, fields, make

from pagbench import models
from pagbench.cards import ModelCard
from pagbench.errors import CardError
from pagbench.submissions import check

BASE = models.find("digits/noise-0.6").card


def parsed(value):
    return ModelCard.parse(BASE.model_dump(mode="json", exclude_none=True) | {"date": value}, "x")


@pytest.mark.parametrize("value", ["2024-02-29", date(2024, 2, 29), yaml.safe_load("2024-02-29")])
def test_a_day_is_a_day_however_yaml_reads_it(value):
    card = parsed(value)
    assert card.date == "2024-02-29"
    assert card.functional_hash() == BASE.functional_hash()
    assert ModelCard.parse(yaml.safe_load(yaml.safe_dump(card.model_dump(mode="json"))), "x") == card


def test_a_card_without_one_keeps_its_hash():
    assert BASE.date is None and "date" not in BASE.model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize(
    "value", ["2024-02-30", "20240229", "2024-2-9", "24-02-29", "today", "2024-W05-1", "2024-02-29T10:00:00",
              1700000000, 20240229, 2024.0, True, ["2024-02-29"], "", yaml.safe_load("2024-02-29 10:00:00")]
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(value):
    with pytest.raises(CardError, match=r"^x: field 'date': .*, got ") as caught:
        parsed(value)
    assert "\n" not in str(caught.value)


def test_a_submission_is_not_of_the_future(tmp_path):
    root = make(tmp_path / "mine", date="2024-05-01")
    assert not [f for f in check.check_outside(root, tmp_path, None) if f.subject == "date"]
    change(root, date=(date.today() + timedelta(days=3)).isoformat())
    (found,) = [f for f in check.check_outside(root, tmp_path, None) if f.subject == "date"]
    assert found.level == "error" and "in the future" in found.message
    change(root, date=check.latest_day())
    assert not [f for f in check.check_outside(root, tmp_path, None) if f.subject == "date"]


def test_init_offers_today(tmp_path):
    request = models.find("digits/noise-0.6")
    given = ["--yes", "--weights", request.path.parent / request.card.weights, "--authors", "A", "--license", "MIT"]
    given += ["--activation", "silu", "--trained-on", "train"]
    before = date.today().isoformat()
    assert invoke("submit", "init", tmp_path / "a", *given).exit_code == 0
    assert before <= fields(tmp_path / "a")["date"] <= date.today().isoformat()
    assert invoke("submit", "init", tmp_path / "b", *given, "--date", "2024-05-01").exit_code == 0
    assert fields(tmp_path / "b")["date"] == "2024-05-01"
    assert_one_line(invoke("submit", "init", tmp_path / "c", *given, "--date", "2999-01-01"), "lies in the future")
    assert_one_line(invoke("submit", "init", tmp_path / "d", *given, "--date", "May"), "expected a day as 2026-11-23")
