"""Rows of anchors that are published already are taken, and measured where anything speaks against it."""

import shutil
from collections import Counter

import light
import pandas as pd
import pytest

import pagbench
from pagbench import columns, results
from pagbench.models.registry import Request
from pagbench.results import Result, verification
from pagbench.results.verification import Verification
from pagbench.running.session import Session
from pagbench.running.targets import Computation
from pagbench.storage.files import sha256_of

pytestmark = pytest.mark.usefixtures("short_runs")
SMALL = light.benchmark(8)
BAYES, STANDARD = "control/bayes", "digits/standard"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    pagbench.run([BAYES, STANDARD], benchmark=SMALL, results=folder)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Models that are loaded, and those that are measured."""
    loads, measured = Counter(), Counter()
    load, rows = Request.load, Session.rows

    def counting_load(request, *others):
        loads[request.card.id] += 1
        return load(request, *others)

    def counting_rows(session, model, ids, measure=None):
        measured[model.card.id] += len(ids)
        return rows(session, model, ids, measure)

    monkeypatch.setattr(Request, "load", counting_load)
    monkeypatch.setattr(Session, "rows", counting_rows)
    return loads, measured


def rows_of(rows, model):
    return rows[rows["entrant"] == model].reset_index(drop=True)


def read(folder, model):
    return results.read(results.path_of(folder, SMALL, model), columns.schema(SMALL))


def test_anchors_are_taken_with_the_hash_of_their_file(published, counted, tmp_path):
    loads, measured = counted
    found = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, limit=4, results=tmp_path, published=published)
    assert measured == {"a": 4} and loads[BAYES] == loads[STANDARD] == 1
    assert found.attrs["published"] == [BAYES, STANDARD]
    for name in (BAYES, STANDARD):
        first = rows_of(read(published, name).rows, name)[:4]
        pd.testing.assert_frame_equal(rows_of(found, name), first, check_exact=True)
        (run,) = read(tmp_path, name).provenance.runs
        assert (run.rows, run.published) == (4, sha256_of(results.path_of(published, SMALL, name)))
    assert not read(tmp_path, "a").provenance.all_published


def test_no_target_is_computed_for_anchors_alone(published, counted, tmp_path, monkeypatch):
    asked = set()
    compute = Computation.__call__

    def recorded(computation, data):
        asked.update(data.ids)
        return compute(computation, data)

    monkeypatch.setattr(Computation, "__call__", recorded)
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path, anchors=False)
    asked.clear()
    again = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path, published=published)
    assert not asked and again.attrs["published"] == [BAYES, STANDARD]


def test_what_a_limited_run_has_taken_is_completed_later(published, counted, tmp_path):
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, limit=3, results=tmp_path, published=published)
    found = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, results=tmp_path, published=published)
    pd.testing.assert_frame_equal(rows_of(found, BAYES), read(published, BAYES).rows, check_exact=True)
    assert counted[1] == {"a": 8}
    assert [run.rows for run in read(tmp_path, BAYES).provenance.runs] == [8]


def test_an_anchor_that_is_named_is_measured(published, counted):
    found = pagbench.run(BAYES, benchmark=SMALL, limit=2, published=published)
    assert counted[1] == {BAYES: 2} and found.attrs["published"] == [STANDARD]


def other_outputs(document):
    return {**document, "fingerprint": [value + 1 for value in document["fingerprint"]]}


def other_weights(document):
    return {**document, "weights_sha256": "0" * 64}


def other_definition(document):
    return {**document, "benchmark_digest": "0" * 64}


def other_revision(document):
    return {**document, "revision": columns.REVISION - 1}


@pytest.mark.parametrize("change", [other_outputs, other_weights, other_definition, other_revision])
def test_rows_that_would_be_others_are_measured(change, published, counted, tmp_path):
    folder = tmp_path / "published"
    shutil.copytree(published, folder)
    kept = read(folder, STANDARD)
    path = results.path_of(folder, SMALL, STANDARD)
    results.write(path, Result(kept.rows, change(kept.document)), columns.schema(SMALL))
    found = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, limit=2, published=folder)
    assert counted[1] == {"a": 2, STANDARD: 2} and found.attrs["published"] == [BAYES]


def test_a_damaged_file_and_an_empty_folder_cost_only_time(published, counted, tmp_path):
    folder = tmp_path / "published"
    shutil.copytree(published, folder)
    path = results.path_of(folder, SMALL, STANDARD)
    path.write_bytes(path.read_bytes()[:-9])
    results.path_of(folder, SMALL, BAYES).unlink()
    found = pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, limit=2, published=folder)
    assert counted[1] == {"a": 2, STANDARD: 2, BAYES: 2} and found.attrs["published"] == []


def test_rows_that_a_rerun_has_refuted_are_measured(published, counted, tmp_path):
    folder = tmp_path / "published"
    shutil.copytree(published, folder)
    path = results.path_of(folder, SMALL, STANDARD)
    record = Verification(
        benchmark=SMALL.label, model=STANDARD, results_sha256=sha256_of(path), weights_sha256="", samples=2, seed=0,
        verdict="refuted", reason="other values", by="a test", when="2026-11-23T12:00:00Z", versions={}, device="cpu",
    )  # fmt: skip
    verification.write(path, record)
    _, measured = counted
    pagbench.run({"a": light.Linear(1)}, benchmark=SMALL, limit=4, published=folder)
    assert measured == {"a": 4, STANDARD: 4}
