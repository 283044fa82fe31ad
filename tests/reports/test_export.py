"""Scores for a model hub and badges: what the hub's own library reads, and no more than is known."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import invented
import pytest
import yaml
from commands import assert_one_line, invoke
from huggingface_hub import eval_result_entries_to_yaml, parse_eval_result_entries

import pagbench
from pagbench import benchmarks
from pagbench.errors import ResultsError
from pagbench.reports import export
from pagbench.reports.export import Standing
from pagbench.reports.site import building
from pagbench.results import PUBLISHED

MODEL = "digits/noise-0.6"


@pytest.fixture(scope="module")
def found(digits):
    return export.find(PUBLISHED, MODEL, digits)


def changed(found, **row):
    return found._replace(row={**found.row, **row})


def test_the_hubs_library_reads_it_and_writes_the_same(found, digits):
    written = yaml.safe_load(export.hub_yaml(found, source="https://example.org/board"))
    entries = parse_eval_result_entries(written)
    assert eval_result_entries_to_yaml(entries) == written, "no field that the hub does not know"
    row = pagbench.leaderboard(PUBLISHED, benchmark=digits).set_index("model").loc[MODEL]
    assert [(e.dataset_id, e.task_id) for e in entries] == [
        ("pagbench/digits", "alignment"), ("pagbench/digits", "accuracy"),
    ]  # fmt: skip
    assert [e.value for e in entries] == pytest.approx([row["alignment"], row["accuracy"]], abs=5e-5)
    assert all(isinstance(e.date, str) and e.date.startswith("202") for e in entries)
    assert f"rank {row['rank']}" in entries[0].notes and "rank" not in entries[1].notes
    assert all(str(row["verification"]) in e.notes and "360 images" in e.notes for e in entries)
    assert entries[0].source_url == "https://example.org/board" and entries[0].verify_token is None


def test_a_dataset_may_be_named(found):
    written = yaml.safe_load(export.hub_yaml(found, dataset="my-lab/my.digits"))
    assert {entry["dataset"]["id"] for entry in written} == {"my-lab/my.digits"}
    assert all("source" not in entry for entry in written)


@pytest.mark.parametrize("started", ["", "yesterday", "2026-11-23", "2026-11-23T02:26:43Z\n- x: y"])
def test_a_time_that_is_none_is_left_out(found, started):
    assert "date" not in yaml.safe_load(export.hub_yaml(found._replace(started=started)))[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"dataset": "digits"}, "<owner>/<name>"), ({"dataset": "a/b/c"}, "<o"), ({"dataset": "a/b\nc: d"}, "<o"),
     ({"source": "http://example.org"}, "https://"), ({"source": "javascript:1"}, "https://")],
)  # fmt: skip
def test_what_the_hub_would_not_take_is_refused(found, options, said):
    with pytest.raises(ResultsError, match=said):
        export.hub_yaml(found, **options)


@pytest.mark.parametrize(
    "row",
    [{"status": "no result: accuracy 0.1 is not above chance"}, {"status": "control", "control": True, "rank": None},
     {"status": "refuted by rerun: x", "verification": "refuted by rerun of 50 images (me, 2026-11-23)"},
     {"status": "partial: 100 of 360 images"}, {"status": "doubtful: classes: accuracy 0.1"},
     {"status": "noise seed 3, the board's is 0"}, {"status": "incomplete: the gradient is zero on 3 of 360 images"}],
)  # fmt: skip
def test_what_takes_no_rank_is_not_exported(found, row):
    with pytest.raises(ResultsError, match=f"nothing to export from digits@1, for it has no rank: {row['status']}"):
        export.hub_yaml(changed(found, **row))


@pytest.mark.parametrize(
    ("row", "message", "colour"),
    [
        ({}, "verified", "green"),
        ({"verification": "self-reported"}, "self-reported", "blue"),
        (
            {"verification": "self-reported, weights under embargo (sha256 ab…)"},
            "self-reported, weights under embargo",
            "orange",
        ),
    ],
)
def test_a_badge_says_rank_and_trust(found, row, message, colour):
    badge = export.badge(changed(found, **row))
    assert badge.label == "pagbench digits@1" and badge.colour == colour
    assert badge.message == f"rank 1 (1–2) of {found.ranked}, {message}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"status": "refuted by rerun: x", "verification": "refuted by rerun of 5 images (me, 2026)"}, "refuted"),
        ({"status": "no result: numb"}, "no result"),
        ({"status": "control", "control": True}, "control"),
        ({"status": "control; no result: numb", "control": True}, "no result"),
        ({"status": "partial: 3 of 360 images"}, "no rank, partial"),
        ({"status": "doubtful: accuracy"}, "no rank, doubtful"),
        ({"status": "noise seed 3, the board's is 0"}, "no rank, noise seed 3, the board's is 0"),
    ],
)
def test_only_ranked_models_have_a_rank(found, row, message):
    badge = export.badge(changed(found, **row))
    assert badge.message == message
    assert badge.colour == ("red" if message == "refuted" else "lightgrey")


def test_the_json_is_an_endpoint_of_shields(found):
    content = json.loads(export.badge(found).to_json())
    assert content.keys() == {"schemaVersion", "label", "message", "color"} and content["schemaVersion"] == 1
    assert all(isinstance(content[key], str) and content[key] for key in ("label", "message", "color"))


@pytest.mark.parametrize("message", ["rank 1", '<script>&"', "–" * 40])
def test_the_picture_is_xml_and_needs_nothing_else(message):
    drawn = export.Badge("pagbench x", message, "blue").to_svg()
    root = ET.fromstring(drawn)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["pagbench x", message]
    assert "href" not in drawn and "<script" not in drawn and "style" not in drawn
    rects = [float(rect.get("width")) for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert sum(rects) == pytest.approx(float(root.get("width")))


def test_the_command_writes_each_form(tmp_path):
    for form, read in (("hf", yaml.safe_load), ("badge", json.loads), ("svg", ET.fromstring)):
        path = tmp_path / form
        done = invoke("export", MODEL, "--format", form, "-b", "digits@1", "-r", PUBLISHED, "--output", path)
        assert done.exit_code == 0 and f"written: {path}" in done.output
        assert read(path.read_text(encoding="utf-8")) is not None
        assert invoke("export", MODEL, "--format", form, "-b", "digits@1", "-r", PUBLISHED).stdout == path.read_text(
            encoding="utf-8"
        )


def test_what_cannot_be_exported_is_one_line(tmp_path):
    assert_one_line(invoke("export", "digits/noise-06", "-b", "digits@1", "-r", PUBLISHED), "unknown model", MODEL)
    assert_one_line(invoke("export", "control/constant", "-b", "digits@1", "-r", PUBLISHED), "nothing to export")
    assert_one_line(invoke("export", MODEL, "-r", tmp_path / "none"), "no results")
    assert_one_line(invoke("export", MODEL, "-b", "digits@1", "-r", PUBLISHED, "--output", tmp_path), "cannot write")
    trial = benchmarks.load("samples-cifar10")
    invented.write(tmp_path, trial, "own/a", 1)
    assert_one_line(invoke("export", "own/a", "-b", trial.name, "-r", tmp_path), "20 images define no target")
    badge = invoke("export", "own/a", "-b", trial.name, "-r", tmp_path, "--format", "badge")
    assert json.loads(badge.stdout)["message"] == "no rank, tried out"


def test_the_site_has_a_badge_of_every_model(digits_study, site):
    written = dict(building.badges([digits_study]))
    assert len(written) == 2 * len(digits_study.models)
    standing = Standing(digits_study.benchmark, digits_study.entries[MODEL], len(digits_study.ranked_values["rank"]))
    assert written[f"badges/digits@1/{MODEL}.json"].decode() == export.badge(standing).to_json()
    page = (site / "models" / f"{MODEL}.html").read_text(encoding="utf-8")
    for path in (f"badges/digits@1/{MODEL}.svg", f"badges/digits@1/{MODEL}.json"):
        assert f"../../{path}" in page and Path(site / path).is_file()
