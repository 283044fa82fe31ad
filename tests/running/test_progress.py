"""What is shown of a run: a failed model is not done, and a notebook without ipywidgets gets lines."""

import importlib.util
import re
import warnings

import light
import pytest
from rich.progress import Progress

import pagbench
from pagbench.running import progress, runner
from pagbench.running.runner import RunError
from pagbench.running.session import Session

pytestmark = pytest.mark.usefixtures("short_runs")
SMALL = light.benchmark(8)


@pytest.fixture
def bars(monkeypatch):
    made = []

    def recorded(enabled):
        made.append(Progress(disable=True))
        return made[-1]

    monkeypatch.setattr(runner, "progress_bar", recorded)
    return made


def run(**models):
    return pagbench.run(models, benchmark=SMALL, anchors=False, batch_size=2)


def test_a_model_that_is_measured_fills_its_bars(bars):
    run(good=light.Linear(1))
    assert [(task.completed, task.total) for task in bars[0].tasks] == [(1, 1), (8, 8)]


def test_a_model_that_fails_its_check_fills_no_bar(bars):
    with pytest.raises(RunError):
        run(bad=light.Raises(after=1))
    assert [(task.completed, task.total) for task in bars[0].tasks] == [(0, 1)]
    assert bars[0].tasks[0].description == "pre-flight of bad failed"


def test_a_model_that_fails_in_between_keeps_what_is_left_of_its_bar(bars, monkeypatch):
    measured, batch = [], Session._measure_batch

    def third_fails(session, model, temperature, measure, ids):
        measured.append(ids)
        if len(measured) == 3:
            raise RuntimeError("broken")
        return batch(session, model, temperature, measure, ids)

    monkeypatch.setattr(Session, "_measure_batch", third_fails)
    with pytest.raises(RunError, match="broken"):
        run(bad=light.Linear(1))
    assert [(task.completed, task.total) for task in bars[0].tasks] == [(1, 1), (4, 8)]
    assert bars[0].tasks[-1].description == "bad failed"


@pytest.fixture
def notebook(monkeypatch):
    """A kernel as rich sees it."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else name)


def test_a_notebook_without_ipywidgets_gets_lines_and_no_warning(notebook, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # some notebooks set it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress.progress_bar(True) as bar:
            task = bar.add_task("digits@1", total=64)
            for _ in range(32):
                bar.update(task, description="digits/noise-0.6 [x]", advance=2)
    lines = capsys.readouterr().err.splitlines()
    assert all(re.fullmatch(r"digits/noise-0.6 \[x\] \d+/64(, \d+:\d\d:\d\d left)?", line) for line in lines)
    assert len(lines) == 10 and lines[-1] == "digits/noise-0.6 [x] 64/64"


def test_what_nobody_asked_for_is_not_shown_in_a_notebook(notebook, capsys):
    with progress.progress_bar(False) as bar:
        bar.update(bar.add_task("digits@1", total=1), advance=1)
    assert capsys.readouterr() == ("", "")
