"""Benchmarks whose images define no target say nothing of alignment, in whatever form they are shown."""

import json
import re

import invented
import pytest
from commands import assert_one_line, invoke

import pagbench
from pagbench import benchmarks, columns, results
from pagbench.ranking import eligibility
from pagbench.ranking.summaries import Declared

TRIAL = ("samples-cifar10", "samples-imagenet")
SAID = "20 images define no target; this benchmark is for trying a network out"
OF_TARGET = re.compile(r"align|cosine|lpips|tangent|chance|o(n|ff)_response|log_ratio|paper|pgd_o", re.IGNORECASE)


@pytest.fixture(scope="module", params=TRIAL)
def trial(request, tmp_path_factory):
    """A trial benchmark, and a folder with two models that would take ranks on another one, and one that guesses."""
    benchmark, folder = benchmarks.load(request.param), tmp_path_factory.mktemp(request.param)
    invented.write(folder, benchmark, "own/a", 1, wall_seconds=3.0)
    invented.write(folder, benchmark, "own/b", 2, wall_seconds=1.0)
    invented.write(folder, benchmark, "own/guess", 3, edit=lambda rows: rows.assign(correct=0.0))
    return benchmark, folder


def test_only_the_benchmarks_of_samples_are_for_trying_out():
    assert {label for label in benchmarks.names() if benchmarks.load(label).no_target} == {f"{n}@1" for n in TRIAL}


def test_nobody_takes_a_rank_and_the_status_says_why(trial):
    benchmark, folder = trial
    board = pagbench.leaderboard(folder, benchmark=benchmark).set_index("model")
    assert board["status"].eq(f"no rank: {SAID}").all(), "own/guess, too: nobody gets a result here"
    assert board["rank"].isna().all() and board["rank_high"].isna().all() and "regime" not in board


def test_no_column_of_alignment_is_left_in_any_format(trial):
    benchmark, folder = trial
    for form in ("csv", "json"):
        shown = invoke("leaderboard", "-b", benchmark.name, "-r", folder, "--format", form).output
        names = shown.splitlines()[0].split(",") if form == "csv" else list(json.loads(shown)[0])
        assert not [name for name in names if OF_TARGET.search(name)]
        assert {"accuracy", "seconds_per_image", "preflight", "status"} <= set(names)
    for form in ("table", "markdown"):
        shown = invoke("leaderboard", "-b", benchmark.name, "-r", folder, "--format", form, width=80).output
        flat = " ".join(shown.split())
        assert SAID in flat
        assert not OF_TARGET.search(flat.replace("nothing is said of alignment", "").replace("above chance", ""))
        assert form == "markdown" or all(len(line) <= 80 for line in shown.splitlines())


def test_nobody_has_a_badge_that_judges_and_a_stranger_has_no_results(trial):
    benchmark, folder = trial
    for name in ("own/a", "own/guess"):
        badge = invoke("export", name, "-b", benchmark.name, "-r", folder, "--format", "badge").stdout
        assert json.loads(badge)["message"] == "no rank, tried out"
    shown = invoke("compare", "own/a", "own/guess", "-b", benchmark.name, "-r", folder)
    assert shown.exit_code == 0 and SAID in " ".join(shown.output.split()) and "mean little" not in shown.output
    for pair in (("own/a", "digits/standard"), ("own/c", "own/a"), ("x/y", "own/b")):
        said = invoke("compare", *pair, "-b", benchmark.name, "-r", folder)
        stranger = next(name for name in pair if name not in ("own/a", "own/b"))
        assert_one_line(said, f"{stranger}: has no results on {benchmark.label}", SAID, f"pagbench run {stranger}")


def test_the_time_per_image_is_that_of_the_run(trial):
    benchmark, folder = trial
    from_folder = pagbench.leaderboard(folder, benchmark=benchmark).set_index("model")["seconds_per_image"]
    assert from_folder["own/a"] == pytest.approx(0.15)
    assert from_folder["own/b"] == pytest.approx(0.05)
    rows = results.to_frame(results.read_all(folder, benchmark))
    from_rows = pagbench.leaderboard(rows).set_index("model")["seconds_per_image"]
    assert from_rows.equals(from_folder)


def test_optional_measures_that_need_no_target_stay(trial):
    benchmark, _ = trial
    hidden = {name for name in columns.REGISTRY if benchmark.hides(name)}
    assert hidden == {
        "response", "sensitivity", "tangent", "alignment_cosine", "alignment_lpips", "alignment_second", "paper",
        "confined", "profile", "jacobian",
    }  # fmt: skip
    assert not [name for name in columns.REGISTRY if benchmarks.load("digits@1").hides(name)]


def test_a_refuted_or_control_model_is_told_apart(trial):
    benchmark, _ = trial
    evidence = eligibility.evidence(invented.rows(benchmark, "x", 1), benchmark, None, None)
    assert eligibility.status(evidence, benchmark, 0) == f"no rank: {SAID}"
    assert eligibility.status(evidence._replace(control=True), benchmark, 0) == "control"
    assert eligibility.status(evidence._replace(seed=7, images=3, unscored=1), benchmark, 0) == f"no rank: {SAID}"
    assert eligibility.status(evidence, benchmarks.load("digits@1"), 0).startswith("partial")


def test_sorting_by_what_is_not_shown_is_refused(trial):
    benchmark, folder = trial
    assert_one_line(
        invoke("leaderboard", "-b", benchmark.name, "-r", folder, "--sort", "alignment"), "unknown column 'alignment'"
    )
    assert invoke("leaderboard", "-b", benchmark.name, "-r", folder, "--sort", "seconds_per_image").exit_code == 0


@pytest.mark.parametrize("command", ["figures", "sensitivity"])
def test_studies_of_it_are_refused_in_one_line(trial, command, tmp_path):
    benchmark, folder = trial
    arguments = ["-b", benchmark.name, "-o", tmp_path] if command == "figures" else [benchmark.name]
    said = "no Bayes control" if command == "figures" else SAID
    assert_one_line(invoke(command, *arguments, "-r", folder), benchmark.label, said)


def test_a_declared_time_is_none_where_no_run_tells():
    assert Declared().seconds_per_image is None
