"""The page "Fill this board" lists what lacks results, with commands that parse and the estimates of docs/cost.md."""

import shlex

import pytest

from pagbench import benchmarks, models
from pagbench.benchmarks import cost
from pagbench.models.sources import robustbench
from pagbench.reports.site import wanted
from pagbench.reports.site.rendering import render

MEASURED = "robustbench/cifar10/Linf/Carmon2019Unlabeled"


@pytest.fixture(scope="module")
def cards():
    return list(wanted._cards())


@pytest.fixture(scope="module")
def cifar10(cards):
    return wanted.board(benchmarks.load("cifar10@2"), cards, {MEASURED, "control/bayes"})


def test_models_with_results_are_not_wanted(cifar10, cards):
    listed = {one.model for one in cifar10.wanted}
    zoo = {name for name in robustbench.names() if name.startswith("robustbench/cifar10/")}
    assert zoo - listed == {MEASURED} and cifar10.published == 2
    assert listed - zoo == {card.id for card in cards if card.dataset == "cifar10"} - zoo


def test_estimates_are_those_of_the_page_on_costs_the_cheapest_first(cifar10):
    counted = [one for one in cifar10.wanted if one.hours is not None]
    assert counted == list(cifar10.wanted[: len(counted)]) and len(counted) + cifar10.uncounted == len(cifar10.wanted)
    hours = [one.hours for one in counted]
    assert hours == sorted(hours)
    known = {f"robustbench/{one.id}": one for one in cost.costs()}
    for one in counted:
        assert one.hours == pytest.approx(known[one.model].operations / 25 / 3600)
        assert one.download == known[one.model].weights
    assert cifar10.hours == pytest.approx(sum(hours) + cost.hours(cost.targets("cifar10@2")))
    assert sum(cost.targets(label) for label in cost.LABELS) == pytest.approx(cost.targets())


def test_commands_name_models_that_are_found(cifar10):
    for one in cifar10.wanted:
        program, command, name, option, label = shlex.split(one.command)
        assert (program, command, option, label) == ("pagbench", "run", "-b", "cifar10@2")
        assert models.find(name).card.dataset == "cifar10"


def test_the_page_says_what_it_assumes_and_lists_other_boards(studies):
    text = render(wanted.page(studies))
    assert "25 TFLOP/s" in text and "pagbench submit results results" in text
    for label in (*cost.LABELS, "fashion-distractor@2"):
        assert f"benchmarks/{label}.html" in text
    for label in ("digits@1", "cifar10@1", "samples-cifar10@1"):  # measured, an older edition, nothing to rank
        assert f"benchmarks/{label}.html" not in text
