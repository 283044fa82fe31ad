"""Figures say what the leaderboard says, from the Parquet files alone."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from typer.testing import CliRunner

import pagbench
from pagbench import benchmarks, columns, geometry, results
from pagbench.cli import app
from pagbench.errors import ResultsError
from pagbench.reports.figures import canvas, draw_all, gradients, path_charts, scatter
from pagbench.results import thumbnails
from pagbench.studies import legend, paths
from pagbench.studies.models import read_study
from pagbench.studies.paths import strength_axis
from pagbench.training.families import FAMILIES

pytestmark = pytest.mark.usefixtures("short_runs")

SHIPPED = Path(__file__).parent.parent.parent / "leaderboard" / "results"
FAMILIES_DRAWN = {"gradient-norm": ("0.1", "1", "100"), "noise": ("0.15", "0.6", "2.5")}
FILES = {"paths.png", "paths.pdf", "scatter.png", "scatter.pdf", "summary.json"}


def committed(benchmark):
    """The committed results of a benchmark, by model, of whatever revision: they only lend their rows."""
    home = SHIPPED / benchmark.label
    files = [results.read(path, columns.schema(benchmark)) for path in sorted(home.rglob("*.parquet"))]
    return {result.name: result for result in files}


@pytest.fixture(scope="module")
def shipped(digits):
    return committed(digits)


def invented_maps(seed):
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((2, 1, 8, 8)).astype(np.float32)
    gradients[1] = np.nan if seed % 2 else gradients[1]
    ids = benchmarks.load("digits@1").samples[:2]
    return thumbnails.encode(ids, rng.random((2, 1, 8, 8)).astype(np.float32), gradients)


def put(folder, benchmark, result, *, shift=None, mapped=True, **card):
    """A results file of another model: the same rows under another card, some columns shifted."""
    new = {**result.document["card"], **card}
    strength = np.nan if new["strength"] is None else new["strength"]
    rows = result.rows.assign(entrant=new["id"], family=new["family"], strength=strength)
    for column, by in (shift or {}).items():
        rows[column] = (rows[column] + by).clip(upper=1)
    present = {"revision": columns.REVISION, "benchmark_digest": benchmark.digest()}
    said = {**result.document, **present, "card": new, "maps": invented_maps(len(new["id"])) if mapped else None}
    path = results.path_of(folder, benchmark, new["id"])
    results.write(path, results.Result(rows, said), columns.schema(benchmark))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits, shipped):
    """Two families, one with three training seeds at one strength and a second activation, all with maps."""
    home = tmp_path_factory.mktemp("results")
    for name in ("control/bayes", "control/constant", "digits/standard"):
        put(home, digits, shipped[name])
    for family, drawn_at in FAMILIES_DRAWN.items():
        for strength in drawn_at:
            put(home, digits, shipped[f"digits/{family}-{strength}"])
    middle = shipped["digits/noise-0.6"]
    for seed, by in ((1, 0.03), (2, -0.02)):
        put(home, digits, middle, id=f"mine/{seed}", seed=seed, shift={"alignment_lpips": by, "tangent_energy": by})
    put(home, digits, middle, id="mine/relu-a", activation="relu", shift={"alignment_lpips": 0.01})
    put(home, digits, shipped["digits/noise-2.5"], id="mine/relu-b", activation="relu")
    return home


@pytest.fixture(scope="module")
def study(folder, digits):
    return read_study(folder, digits)


@pytest.fixture(scope="module")
def drawn(folder, digits, tmp_path_factory):
    output, said = tmp_path_factory.mktemp("figures"), []
    return draw_all(folder, digits, output, on_warning=said.append), said


@pytest.fixture(scope="module")
def summary(drawn):
    return json.loads(next(path for path in drawn[0] if path.suffix == ".json").read_text(encoding="utf-8"))


def values_of(point, quantity):
    return [point["values"][quantity][part] for part in ("value", "low", "high")]


def test_every_promised_file_is_a_picture_of_sensible_size(drawn):
    written, said = drawn
    galleries_ = {f"gradients-{family}.png" for family in FAMILIES_DRAWN}
    assert {path.name for path in written} == FILES | galleries_ | {"architectures.png", "architectures.pdf"}
    assert {path.name for path in written[0].parent.iterdir()} == {path.name for path in written}
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".png":
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            width, height = struct.unpack(">II", content[16:24])
            assert 600 < width < 4000
            assert 500 < height < 4000
            assert len(content) > 10_000
        if path.suffix == ".pdf":
            assert content.startswith(b"%PDF")
    assert not said


def test_paths_of_one_seed_are_the_leaderboards_numbers(study, summary):
    board = study.board.set_index("model")
    points = [point for path in summary["paths"].values() for point in path if point["seeds"] == 1]
    assert len(points) == 5
    for point in [*points, summary["standard"]]:
        row = board.loc[point["models"][0]]
        assert point["regime"] == row["regime"]
        for quantity in paths.QUANTITIES:
            expected = [row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"]]
            assert values_of(point, quantity) == pytest.approx(expected, abs=1e-12)
    for quantity in paths.QUANTITIES:
        assert summary["bayes"][quantity]["value"] == pytest.approx(board.loc["control/bayes", quantity])


def test_a_strength_with_several_seeds_is_their_mean_with_a_wider_band(study, summary):
    point = summary["paths"]["noise"][1]
    board = study.board.set_index("model")
    assert point["seeds"] == 3
    assert set(point["models"]) == {"digits/noise-0.6", "mine/1", "mine/2"}
    seeds = board.loc[point["models"], "alignment"]
    value, low, high = values_of(point, "alignment")
    assert value == pytest.approx(seeds.mean())
    one = board.loc["digits/noise-0.6"]
    assert high - low > 1.5 * (one["alignment_high"] - one["alignment_low"])
    unshifted = values_of(point, "accuracy")
    assert unshifted == pytest.approx([one["accuracy"], one["accuracy_low"], one["accuracy_high"]])


def test_families_are_ordered_by_strength_and_bands_hold_their_estimates(summary):
    assert list(summary["paths"]) == sorted(FAMILIES_DRAWN)
    for family, path in summary["paths"].items():
        assert [point["strength"] for point in path] == [float(text) for text in FAMILIES_DRAWN[family]]
        for point in path:
            for quantity in paths.QUANTITIES:
                value, low, high = values_of(point, quantity)
                assert low <= value <= high


def test_what_is_shaded_is_the_regime_of_each_strength(study):
    noise = next(path for path in paths.main_paths(study) if path.family == "noise")
    laid_out = strength_axis(noise, paths.origin(study, study.make))
    assert [point.strength for point in laid_out.points] == [0.0, 0.15, 0.6, 2.5]
    assert [point.regime for point in laid_out.points] == ["weak", "weak", "bayes-aligned", "excessive"]
    assert len(laid_out.edges) == 5
    for place, (left, right) in zip(laid_out.positions, pairwise(laid_out.edges), strict=True):
        assert left < place < right


def test_captions_say_what_the_bands_cover(study):
    several = path_charts.bands(paths.main_paths(study))
    assert "1 to 3 training seeds" in several
    assert "one seed have a band over images only" in several
    one = path_charts.bands([path for path in paths.main_paths(study) if path.seeds == 1])
    assert "bootstrap over images only" in one


def test_another_activation_is_a_path_of_its_own(summary):
    (other,) = summary["other_paths"]
    assert (other["family"], other["architecture"], other["activation"]) == ("noise", "small-cnn", "relu")
    assert [point["models"] for point in other["points"]] == [["mine/relu-a"], ["mine/relu-b"]]
    assert other["standard"] is None


def test_correlations_are_spearmans_over_ranked_models(study, summary):
    ranked = study.board[study.board["status"] == "ranked"]
    reference = ranked.set_index("model").loc["digits/standard", "accuracy"]
    for column in scatter.PANELS:
        for name, part in {"all": ranked, "accurate": ranked[ranked["accuracy"] >= 0.8 * reference]}.items():
            found = summary["correlations"][column][name]
            assert found["value"] == pytest.approx(spearmanr(part[column], part["alignment"]).statistic)
            assert found["networks"] == len(part)
            assert found["families"] == part["family"].nunique()
            without = [part[part["family"] != family] for family in part["family"].unique()]
            rhos = [spearmanr(rest[column], rest["alignment"]).statistic for rest in (part, *without)]
            bounded = found["families"] >= 3 and all(abs(rho) < 1 for rho in rhos)
            assert (found["low"] is not None) == (found["high"] is not None) == bounded
            assert not bounded or found["low"] < found["value"] < found["high"]
    assert summary["correlations"]["log_ratio"]["accurate"]["networks"] < len(ranked)


def test_results_without_maps_give_the_other_figures_and_one_line(tmp_path):
    gaussians = benchmarks.load("gaussians")
    for result in committed(gaussians).values():
        put(tmp_path / "results", gaussians, result, mapped=False)
    folders = ["-r", str(tmp_path / "results"), "-o", str(tmp_path / "figures")]
    done = CliRunner().invoke(app, ["figures", "-b", "gaussians", *folders])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "figures").iterdir()} == FILES
    assert [line.rpartition("/")[2] for line in done.stdout.split("written: ")[1:]] == [
        f"{name}\n" for name in ("paths.png", "paths.pdf", "scatter.png", "scatter.pdf", "summary.json")
    ]
    (line,) = done.stderr.splitlines()
    assert line.startswith("no gradient maps of control/bayes, gaussians/standard, gaussians/gradient-norm-0.01")
    assert len(json.loads((tmp_path / "figures" / "summary.json").read_text())["without_maps"]) == 5


def test_models_without_a_result_are_not_drawn(digits, shipped, tmp_path):
    blind = shipped["control/random-init"]
    put(tmp_path, digits, shipped["control/bayes"])
    put(tmp_path, digits, shipped["digits/standard"])
    for strength in (1.0, 2.0, 3.0):
        put(tmp_path, digits, shipped["digits/noise-0.6"], id=f"mine/{strength}", strength=strength)
    rows = blind.rows.assign(control=False)
    card = {**shipped["digits/noise-0.6"].document["card"], "strength": 9.0}
    put(tmp_path, digits, results.Result(rows, {**blind.document, "card": card}), id="mine/collapsed")
    study = read_study(tmp_path, digits)
    (path,) = paths.main_paths(study)
    assert [point.strength for point in path.points] == [1.0, 2.0, 3.0]
    assert "above chance" in next(n for n in study.models if n.card.id == "mine/collapsed").status


def test_too_few_models_no_results_and_damaged_maps_are_one_clear_line(digits, shipped, tmp_path):
    for name in ("control/bayes", "digits/standard", "digits/noise-0.6"):
        put(tmp_path / "few", digits, shipped[name])
    put(tmp_path / "bad", digits, shipped["control/bayes"])
    put(tmp_path / "bad", digits, shipped["digits/standard"])
    broken = {**shipped["digits/noise-0.6"].document, "maps": {"sample_ids": ["1"], "shape": [1, 8, 8]}}
    broken |= {"revision": columns.REVISION, "benchmark_digest": digits.digest()}
    path = results.path_of(tmp_path / "bad", digits, "digits/noise-0.6")
    results.write(path, results.Result(shipped["digits/noise-0.6"].rows, broken), columns.schema(digits))
    cases = {
        "few": "digits@1: no family has 3 strengths of small-cnn silu among the 2 complete results",
        "none": "no results of digits@1",
        "bad": "digits@1: no family has 3 strengths of small-cnn silu among the 1 complete results",
    }
    for name, message in cases.items():
        done = CliRunner().invoke(
            app, ["figures", "-b", "digits@1", "-r", str(tmp_path / name), "-o", str(tmp_path / "figures")]
        )
        assert done.exit_code == 2
        *left_out, line = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line
        damaged = [f"left out: {path}: not a readable results file (field 'maps.images' is missing)"]
        assert [other.partition(";")[0] for other in left_out] == (damaged if name == "bad" else [])
    assert not (tmp_path / "figures").exists()


def test_an_output_that_is_a_file_is_one_clear_line(folder, digits, tmp_path):
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(ResultsError, match=r"figures/paths.png: cannot write .*give another --output"):
        draw_all(folder, digits, tmp_path / "figures")
    assert (tmp_path / "figures").read_text() == "mine"


def test_eight_families_stand_in_rows_of_four_without_overlap():
    figure, blocks = path_charts.layout(8, 3)
    boxes = [axis.get_position() for column in blocks for axis in column]
    assert len(boxes) == 24
    assert len({round(box.x0, 6) for box in boxes}) == 4
    assert len({round(box.y0, 6) for box in boxes}) == 6
    for index, a in enumerate(boxes):
        assert min(a.x0, a.y0) > 0
        assert max(a.x1, a.y1) < 1
        assert not any(a.overlaps(b) for b in boxes[index + 1 :])
    assert figure.get_figwidth() < 12


def test_units_on_the_axes_are_of_families_that_exist():
    assert set(legend.UNITS) == set(FAMILIES) - {"standard"}


def test_gradients_lie_below_the_right_strength_with_the_measured_cosine(study):
    noise = next(path for path in paths.main_paths(study) if path.family == "noise")
    figure = gradients.draw(study, noise)
    titles = [axis.get_title().splitlines()[0] for axis in figure.axes[:6]]
    assert titles == ["image", "Bayes control", "0 (standard)", "0.15", "0.6", "2.5"]
    sample = study.benchmark.samples[0]
    for axis, strength in zip(figure.axes[3:6], noise.points, strict=True):
        measured = strength.models[0].rows.set_index("sample_id").loc[sample, "alignment_cosine"]
        assert axis.get_xlabel() == f"{measured:.2f}"


def test_maps_come_back_within_their_resolution():
    rng = np.random.default_rng(0)
    images, gradients = rng.random((3, 3, 20, 30)), 1e-6 * rng.standard_normal((3, 3, 20, 30))
    gradients[1, 0, 0, 0] = np.nan
    content = json.loads(json.dumps(thumbnails.encode(["a", "b", "c"], images, gradients)))
    found = thumbnails.decode(content, "mine")
    assert found.sample_ids == ("a", "b", "c")
    assert content["gradients"][1] is None
    assert np.isnan(found.gradients[1]).all()
    np.testing.assert_allclose(found.images, images, atol=0.5 / 255 + 1e-6)
    for kept, gradient in zip(found.gradients[::2], gradients[::2], strict=True):
        scale = np.quantile(np.abs(gradient), 0.995)
        np.testing.assert_allclose(kept, (gradient / scale).clip(-1, 1), atol=0.5 / 127 + 1e-6)


def test_large_maps_are_averaged_down_and_a_vanishing_gradient_stays_one():
    rng = np.random.default_rng(1)
    images = rng.random((1, 1, 224, 160))
    content = thumbnails.encode(["a"], images, np.zeros_like(images))
    assert content["shape"] == [1, 64, 46]
    found = thumbnails.decode(content, "mine")
    assert found.images.mean() == pytest.approx(images.mean(), abs=1e-3)
    assert (found.gradients == 0).all()
    coarse = rng.random((1, 1, 64, 64))
    blocks = thumbnails.encode(["a"], np.kron(coarse, np.ones((2, 2))), np.ones((1, 1, 128, 128)))
    assert blocks["shape"] == [1, 64, 64]
    np.testing.assert_allclose(thumbnails.decode(blocks, "mine").images, coarse, atol=0.003)


def test_runs_keep_maps_that_agree_with_their_rows(tmp_path, digits, digits_splits, noise_trained):
    pagbench.run("digits/noise-0.6", benchmark=digits, limit=2, batch_size=1, results=tmp_path)
    found = {result.name: result for result in results.read_all(tmp_path, digits)}
    source = found["digits/noise-0.6"]
    kept = thumbnails.decode(source.document["maps"], "mine")
    shown = digits_splits.test.select(digits.samples[: thumbnails.COUNT])
    assert kept.sample_ids == digits.samples[: thumbnails.COUNT]
    np.testing.assert_allclose(kept.images, shown.images, atol=0.003)
    gradient = geometry.log_odds_gradient(noise_trained, shown.images, shown.labels).gradient
    assert (geometry.cosine(torch.tensor(kept.gradients), gradient) > 0.995).all()
    bayes = thumbnails.decode(found["control/bayes"].document["maps"], "bayes")
    cosine = geometry.cosine(torch.tensor(kept.gradients[:2]), torch.tensor(bayes.gradients[:2]))
    np.testing.assert_allclose(cosine, source.rows["alignment_cosine"], atol=0.02)
    assert not source.difference(results.Provenance.model_validate({**source.document, "maps": None}))


def test_pictures_are_the_same_bytes_each_time(tmp_path):
    figure, _ = path_charts.layout(1, 1)
    for kind in ("png", "pdf"):
        first, second = (canvas.save(figure, tmp_path / f"{name}.{kind}").read_bytes() for name in "ab")
        assert first == second
    assert len(list(tmp_path.iterdir())) == 4
