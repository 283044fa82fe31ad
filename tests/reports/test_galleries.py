"""Galleries in results files show the samples that the rows say are aligned best, about the median, and worst."""

import dataclasses
import io
import json
import zlib

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pagbench
from pagbench import benchmarks, columns, geometry, results
from pagbench.errors import ResultsError
from pagbench.models import registry
from pagbench.reports.site import pictures
from pagbench.results import thumbnails
from pagbench.training.model import TrainingPlan

pytestmark = pytest.mark.usefixtures("short_runs")

MODELS = ("digits/noise-0.6", "digits/standard", "control/bayes", "control/constant")
"""Anchors are named, so that they are measured."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory, digits):
    """Results of twelve images."""
    folder = tmp_path_factory.mktemp("measured")
    pagbench.run(MODELS, benchmark=digits, limit=12, batch_size=5, results=folder)
    return {result.name: result for result in results.read_all(folder, digits)}


def gallery(result):
    return thumbnails.decode(result.document["gallery"], "mine")


def cosines(shown):
    return geometry.cosine(torch.tensor(shown.gradients), torch.tensor(shown.targets)).numpy()


def test_a_gallery_shows_the_best_the_median_and_the_worst_of_the_rows(measured, digits):
    result = measured["digits/noise-0.6"]
    values = result.rows.set_index("sample_id")[digits.alignment]
    order = sorted(values.index, key=lambda name: -values[name])
    shown = gallery(result)
    assert shown.kinds == ("best", "best", "median", "median", "worst", "worst")
    assert shown.sample_ids == (*order[:2], *order[5:7], order[-1], order[-2])


def test_the_gradients_and_targets_of_a_gallery_have_the_cosines_of_the_rows(measured, digits_splits):
    for name in ("digits/noise-0.6", "digits/standard", "control/bayes"):
        shown, rows = gallery(measured[name]), measured[name].rows.set_index("sample_id")
        expected = rows.loc[list(shown.sample_ids), "alignment_cosine"]
        np.testing.assert_allclose(cosines(shown), expected, atol=0.02)
        np.testing.assert_allclose(shown.images, digits_splits.test.select(shown.sample_ids).images, atol=0.003)


def test_the_targets_of_a_gallery_are_the_gradients_of_the_bayes_control(measured, digits_splits, digits):
    shown = gallery(measured["digits/noise-0.6"])
    chosen = digits_splits.test.select(shown.sample_ids)
    bayes = pagbench.load_model("control/bayes", "digits@1")
    gradient = geometry.log_odds_gradient(bayes, chosen.images, chosen.labels).gradient
    assert (geometry.cosine(torch.tensor(shown.targets), gradient) > 0.995).all()


def test_a_model_without_a_scored_gradient_has_no_gallery(measured):
    assert measured["control/constant"].document["gallery"] is None


def test_a_resumed_run_has_the_gallery_of_an_uninterrupted_one(measured, digits, tmp_path):
    pagbench.run(MODELS, benchmark=digits, limit=5, batch_size=5, results=tmp_path)
    few = {result.name: result for result in results.read_all(tmp_path, digits)}
    assert set(gallery(few["digits/noise-0.6"]).sample_ids) <= set(digits.samples[:5])
    pagbench.run(MODELS, benchmark=digits, limit=12, batch_size=5, results=tmp_path)
    whole = {result.name: result for result in results.read_all(tmp_path, digits)}
    for name in ("digits/noise-0.6", "digits/standard", "control/bayes"):
        assert whole[name].document["gallery"] == measured[name].document["gallery"]


def test_without_a_bayes_control_the_first_images_have_targets_too(digits, tmp_path):
    lone = digits.model_copy(update={"bayes": None, "reference": None, "thresholds": None})
    pagbench.run("digits/noise-0.6", benchmark=lone, limit=4, results=tmp_path)
    (result,) = results.read_all(tmp_path, lone)
    first = thumbnails.decode(result.document["maps"], "mine")
    assert first.kinds == ("first",) * thumbnails.COUNT
    np.testing.assert_allclose(cosines(first), result.rows["alignment_cosine"], atol=0.02)


def test_files_without_galleries_are_read_and_their_maps_have_no_targets(measured):
    old = {name: value for name, value in measured["digits/noise-0.6"].document.items() if name != "gallery"}
    assert thumbnails.decode(old.get("gallery"), "mine") is None
    assert thumbnails.decode(old["maps"], "mine").targets is None
    assert not measured["digits/noise-0.6"].difference(results.Provenance.model_validate(old))


@given(st.lists(st.one_of(st.just(np.nan), st.integers(-3, 3).map(float)), max_size=9))
def test_extremes_are_extreme_whatever_the_rows(values):
    rows = pd.DataFrame({"sample_id": [f"s{i}" for i in range(len(values))], "a": np.array(values, float)})
    scored = rows.dropna().set_index("sample_id")["a"]
    chosen = thumbnails.extremes(rows, "a")
    size = min(len(scored), thumbnails.EACH)
    assert [kind for kind, _ in chosen] == [kind for kind in thumbnails.KINDS for _ in range(size)]
    found = {kind: [scored[name] for other, name in chosen if other == kind] for kind in thumbnails.KINDS}
    if size:
        assert found["best"] == sorted(scored, reverse=True)[:size]
        assert found["worst"] == sorted(scored)[:size]
        assert min(found["median"]) <= np.median(scored) <= max(found["median"])
    assert chosen == thumbnails.extremes(rows.copy(), "a")


def test_of_equal_values_the_earlier_sample_is_the_better_one():
    rows = pd.DataFrame({"sample_id": list("abcdefg"), "a": 0.5})
    assert [name for _, name in thumbnails.extremes(rows, "a")] == list("abcdgf")


def content(**changed):
    ones = np.ones((2, 1, 4, 4), np.float32)
    return {**thumbnails.encode(["a", "b"], ones, ones, targets=ones, kinds=["best", "worst"]), **changed}


BOMB = thumbnails._packed(np.zeros(10_000_000, np.uint8))


@pytest.mark.parametrize(
    "changed",
    [
        {"kinds": ["best", "<b>"]},
        {"kinds": ["best"]},
        {"targets": [None]},
        {"targets": ["!", "!"]},
        {"shape": [1, 4096, 4096]},
        {"shape": [1, -1, 4]},
        {"images": BOMB},
        {"gradients": [BOMB, BOMB]},
        {"sample_ids": [str(i) for i in range(1000)]},
    ],
    ids=lambda changed: json.dumps(changed)[:30],
)
def test_damaged_galleries_are_one_clear_line(changed):
    assert thumbnails.decode(content(), "mine").kinds == ("best", "worst")
    with pytest.raises(ResultsError, match=r"^mine: the pictures in its results file are damaged .*overwrite$"):
        thumbnails.decode(content(**changed), "mine")


def test_a_map_unpacks_no_more_than_its_shape_says(monkeypatch):
    asked = []
    real = zlib.decompressobj

    class Watched:
        def decompress(self, data, most):
            asked.append(most)
            return real().decompress(data, most)

    monkeypatch.setattr(thumbnails.zlib, "decompressobj", Watched)
    with pytest.raises(ResultsError):
        thumbnails.decode(content(images=BOMB), "mine")
    assert max(asked) <= 2 * 16 + 1


def test_what_a_card_declares_of_its_target_is_on_the_board_and_changes_no_behaviour(digits, tmp_path):
    card = registry.find("digits/noise-0.6").card
    declared = card.model_copy(update={"trained_on_target": True})
    assert declared.functional_hash() == card.functional_hash()
    assert declared.digest() != card.digest()
    rows = pagbench.run("digits/noise-0.6", benchmark=digits, limit=30)
    assert pagbench.leaderboard(rows)["trained_on_target"].isna().all()
    rows.attrs["trained_on_target"] = {"digits/noise-0.6": True}
    board = pagbench.leaderboard(rows).set_index("model")["trained_on_target"]
    assert board["digits/noise-0.6"] is True
    assert board.drop("digits/noise-0.6").isna().all()


@pytest.mark.parametrize(("family", "declared"), [("score-matching", True), ("gradient-norm", None)])
def test_training_declares_that_it_used_the_target(digits, family, declared):
    assert TrainingPlan(digits, family, 1.0).card("0" * 64, "x.safetensors").trained_on_target is declared


def test_published_galleries_agree_with_the_published_rows():
    for label in ("digits@1", "fashion-mnist@1"):
        benchmark = benchmarks.load(label)
        for path in sorted((results.PUBLISHED / label).rglob("*.parquet"))[::9]:
            result = results.read(path, columns.schema(benchmark))
            chosen = thumbnails.extremes(result.rows, benchmark.alignment)
            shown = gallery(result)
            assert [(kind, name) for kind, name in zip(shown.kinds, shown.sample_ids, strict=True)] == chosen
            expected = result.rows.set_index("sample_id").loc[list(shown.sample_ids), "alignment_cosine"]
            np.testing.assert_allclose(cosines(shown), expected, atol=0.05, err_msg=str(path))


def cell(picture, tile):
    return np.asarray(picture)[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]


def opened(files, tile):
    return Image.open(io.BytesIO(files[tile.path])).convert("RGBA")


def model(study, name):
    return next(model for model in study.models if model.card.id == name)


def test_the_colours_of_maps_are_those_of_the_figures():
    mapped = matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, 127), bytes=True)
    np.testing.assert_allclose(
        pictures.PALETTE[1:128].astype(int), mapped.astype(int), atol=4
    )  # its table has 256 steps
    assert pictures.PALETTE[0, 3] == 0
    assert (pictures.PALETTE[128, :3] == 0).all()
    assert (pictures.PALETTE[255] == 255).all()


def test_the_pixels_of_a_picture_are_those_of_its_maps(digits_study):
    noise, files = model(digits_study, "digits/noise-0.6"), dict(pictures.files([digits_study]))
    shown = pictures.gallery(digits_study, noise)
    assert [row.kind for row in shown.rows] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2 + ["first"] * 4
    for index, row in enumerate(shown.rows[:6]):
        picture = opened(files, row.image)
        assert picture.size == row.image.whole
        pixels = cell(picture, row.image)
        assert (pixels[..., 3] == 255).all()
        np.testing.assert_allclose(pixels[..., 0] / 255, noise.gallery.images[index, 0], atol=0.006)
        assert (pixels[..., :1] == pixels[..., :3]).all()
        for tile, expected in ((row.target, noise.gallery.targets), (row.gradient, noise.gallery.gradients)):
            red, _, blue, _ = np.moveaxis(cell(picture, tile).astype(int), 2, 0)
            values = expected[index, 0]
            assert (np.sign(red - blue) == np.sign(values))[np.abs(values) > 0.1].all()
            order = np.argsort(values, axis=None)
            assert (np.diff(number(cell(picture, tile)).flatten()[order]) >= 0).all()


def number(pixels):
    """The number of each colour in the palette's part for maps."""
    return (pixels[:, :, None] == pictures.PALETTE[None, None, 1:128]).all(-1).argmax(-1)


def test_the_first_images_have_the_bayes_controls_gradients_as_targets(digits_study):
    files = dict(pictures.files([digits_study]))
    bayes = pictures.gallery(digits_study, model(digits_study, "control/bayes"))
    targets = {row.sample: row.gradient for row in bayes.rows if row.kind == "first"}
    for row in pictures.gallery(digits_study, model(digits_study, "digits/noise-0.6")).rows[6:]:
        here, there = row.target, targets[row.sample]
        np.testing.assert_array_equal(cell(opened(files, here), here), cell(opened(files, there), there))


def test_rows_say_what_was_measured(digits_study):
    noise = model(digits_study, "digits/noise-0.6")
    rows = noise.rows.set_index("sample_id")
    shown = pictures.gallery(digits_study, noise)
    assert shown.measure == "1 − LPIPS"
    for row in shown.rows:
        assert row.label == rows.loc[row.sample, "label"]
        assert row.alignment == pytest.approx(rows.loc[row.sample, "alignment_lpips"])
        assert row.cosine == pytest.approx(rows.loc[row.sample, "alignment_cosine"])
        assert f"of class {row.label}" in row.image.alt
        assert f"{row.cosine:.2f}" in row.gradient.alt


def test_a_model_without_scored_gradients_shows_images_and_targets_alone(digits_study):
    shown = pictures.gallery(digits_study, model(digits_study, "control/constant"))
    assert [row.kind for row in shown.rows] == ["first"] * thumbnails.COUNT
    assert all(row.gradient is None and row.cosine is None and row.target is not None for row in shown.rows)


def test_results_without_thumbnails_have_no_picture(digits_study):
    bare = [dataclasses.replace(model, thumbnails=None, gallery=None) for model in digits_study.models]
    old = dataclasses.replace(digits_study, models=tuple(bare))
    assert list(pictures.files([old])) == []
    assert pictures.gallery(old, bare[0]) is None


def test_colour_images_are_shown_in_colour_and_zero_is_grey(digits_study):
    rng = np.random.default_rng(0)
    images = rng.random((1, 3, 4, 4)).astype(np.float32)
    zero = np.zeros_like(images)
    kept = thumbnails.decode(thumbnails.encode(["0"], images, zero, targets=zero + 1), "mine")
    noise = dataclasses.replace(model(digits_study, "digits/noise-0.6"), thumbnails=kept, gallery=None)
    coloured = dataclasses.replace(digits_study, models=(noise,))
    (row,) = pictures.gallery(coloured, noise).rows
    picture = opened(dict(pictures.files([coloured])), row.image)
    np.testing.assert_allclose(cell(picture, row.image)[..., :3] / 255, images[0].transpose(1, 2, 0), atol=0.004)
    assert (cell(picture, row.target) == 255).all()
    assert (cell(picture, row.gradient)[..., :3] == 128).all()


def test_pictures_are_the_same_bytes_each_time_and_hold_nothing_but_pixels(digits_study):
    once, again = (dict(pictures.files([digits_study])) for _ in range(2))
    assert once == again
    for content_ in once.values():
        assert {chunk for chunk in (b"tEXt", b"tIME", b"iTXt", b"eXIf") if chunk in content_} == set()
