"""What following gradients makes, on the site: images of results files, values, and what they are held against."""

import dataclasses
import html
import re
import shutil
from io import BytesIO
from urllib.parse import unquote, urlparse

import ability_results
import numpy as np
import pytest
from ability_results import BENCHMARK, MEASURED, VANISHING, WITHOUT
from browser import screenshot
from PIL import Image
from table_studies import page_of as page_of_benchmark

from pagbench import columns, results
from pagbench.errors import ResultsError
from pagbench.ranking import statistics
from pagbench.reports.site import abilities, board_columns, building, comparison, models, table
from pagbench.reports.site.rendering import render
from pagbench.results import thumbnails
from pagbench.studies import baselines
from pagbench.studies.models import read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("abilities")
    ability_results.write(place / "results")
    return place


@pytest.fixture(scope="module")
def read(folder):
    return read_study(folder / "results", BENCHMARK)


@pytest.fixture(scope="module")
def shown(folder, read):
    """The site of these results."""
    building.write([read], folder / "site")
    return folder / "site"


def written(name, image, folder):
    """Images as a results file has them, shape (n, h, w)."""
    measure = next(measure for measure in columns.ABILITIES if image in columns.MEASURES[measure].images)
    kept = results.read(
        results.path_of(folder / "results", BENCHMARK, name, measure),
        columns.schema(BENCHMARK, measure),
    )
    return thumbnails.decode_generated(kept.document["made"], name)[image].images[:, 0]


def cells(picture, view):
    """Grey values of a line's images, in [0, 1], shape (n, h, w)."""
    x, y, width, height = map(int, view)
    grey = np.asarray(Image.open(BytesIO(picture)).convert("RGBA"), float)[y : y + height, x : x + width, 0] / 255
    return np.stack([grey[:, start : start + height] for start in range(0, width, height + 1)])


def page_of(read, name):
    return render(next(page for page in models.pages([read]) if page.path == f"models/{name}.html"))


def test_lines_hold_the_images_of_the_results_files(folder, read):
    pictures = dict(abilities.files([read]))
    assert set(pictures) == {f"images/digits@1+made/{name}.png" for name in MEASURED}
    for model in read.models:
        for name in model.made:
            tile = abilities.image_line(read, model, name, "")
            found = cells(pictures[tile.path], (tile.x, tile.y, tile.width, tile.height))
            np.testing.assert_allclose(found, written(model.card.id, name, folder), atol=1 / 127)


def test_images_of_other_samples_stand_in_no_line(read):
    model = read.named("digits/standard")
    odd = thumbnails.GeneratedImages((*BENCHMARK.samples[3:5], "nobody"), np.ones((3, 1, 8, 8), np.float32))
    other = dataclasses.replace(model, made={"denoising": odd, "something": odd})
    changed = dataclasses.replace(read, models=(other,))
    ((_, picture),) = abilities.files([changed])
    tile = abilities.image_line(changed, other, "denoising", "")
    opaque = np.asarray(Image.open(BytesIO(picture)).convert("RGBA"))[1:9, 1:-1, 3].reshape(8, -1)
    assert [place for place in range(thumbnails.GENERATED) if opaque[:, 9 * place : 9 * place + 8].all()] == [3, 4]
    assert (opaque > 0).sum() == 2 * 64
    assert tile.whole[1] == 8 + 2


def test_compared_models_show_their_own_images_of_the_same_samples(folder, shown, page):
    pair = ["digits/standard", "digits/noise-0.6"]
    opened(page, shown, pair)
    for title, before, name in (
        ("Generated from the class's Gaussian", ["before_generation"], "generation"),
        ("Generated from noise", ["before_generation_noise"], "generation_noise"),
        ("Denoised", ["before_denoising", "clean"], "denoising"),
        ("In-painted", ["before_inpainting", "clean"], "inpainting"),
    ):
        part = page.locator("#made > div", has=page.get_by_role("heading", name=title, exact=True))
        expected = [written("control/bayes", one, folder) for one in before]
        expected += [written(one, name, folder) for one in pair]
        lines = part.locator("svg").all()
        assert [text for text in part.locator("dt").all_inner_texts() if text in MEASURED] == pair
        for line, images in zip(lines, expected, strict=True):
            address = line.locator("image").evaluate("image => image.href.baseVal")
            file = shown / "compare" / unquote(urlparse(address).path)
            view = line.get_attribute("viewBox").split()
            np.testing.assert_allclose(cells(file.read_bytes(), view), images, atol=1 / 127)
            assert line.locator("image").evaluate("image => image.getBBox().width") > 0
    screenshot(page, "compare-made")


def opened(page, shown, ids):
    page.goto(f"{(shown / 'compare/digits@1.html').as_uri()}#{','.join(one.replace('/', '%2F') for one in ids)}")
    page.wait_for_selector("#table tbody tr")


def test_compared_models_have_the_paired_differences_of_their_abilities(shown, read, page):
    opened(page, shown, ["digits/standard", "digits/noise-0.6"])
    rows = [line.locator("td").all_inner_texts() for line in page.locator("#table tbody tr").all()]
    found = dict(zip(comparison.statistics(read), rows, strict=True))
    assert set(abilities.COLUMNS) < set(found)
    for name in abilities.COLUMNS:
        ours, theirs = (read.named(one).replicates[name] for one in ("digits/noise-0.6", "digits/standard"))
        expected = statistics.interval(ours - theirs)
        value, bounds, _ = found[name][2].split("\n")
        assert float(value) == pytest.approx(expected.value, abs=0.06)
        assert list(map(float, bounds.strip("[]").split(", "))) == pytest.approx(expected[1:], abs=0.06)


def test_who_has_no_result_and_who_was_not_measured_is_said(shown, page):
    opened(page, shown, ["digits/standard", VANISHING, WITHOUT])
    said = page.locator("#made dl").first.locator("dd").all_inner_texts()
    assert said[2:] == ["no result: there is no gradient to follow", "not measured"]
    opened(page, shown, [WITHOUT])
    assert not page.locator("#following").is_visible()


@pytest.mark.parametrize(
    ("column", "better"), [("generation_noise_recognised", -1), ("denoising_psnr_0.5", -1), ("inpainting_psnr", -1)]
)
def test_the_table_is_sorted_by_an_ability(shown, read, page, column, better):
    page.goto((shown / "benchmarks/digits@1.html").as_uri())
    page.locator(f'[data-sort="{column}"]').click()
    names = page.locator("tbody[data-section=ranked] th.model a:not(.badge)").all_text_contents()
    values = [read.entries[name][column] for name in names]
    assert values[-1] is None and names[-1] == WITHOUT
    assert values[:-1] == sorted(values[:-1], key=lambda value: better * value)


def test_few_of_the_columns_are_shown_at_first_and_levels_are_none(read):
    listed = {column["name"]: column for column in table.content(read, [])["table"]["data"]["columns"]}
    own = {name for name in listed if name.startswith(columns.ABILITIES)}
    assert {name for name in own if listed[name]["default"]} == {
        "generation_noise_recognised", "denoising_psnr_0.5", "inpainting_psnr",
    }  # fmt: skip
    assert not [name for name in own if re.search("_chance|_ceiling|_tv_|_denoiser_", name)]
    assert {name for name in read.board if str(name).startswith(columns.ABILITIES)} == {
        f"{name}{end}" for name in (*own, *baselines.baseline_columns(read.board)) for end in ("", "_low", "_high")
    }


def test_columns_are_held_against_doing_nothing_real_images_and_other_methods(read):
    rows = read.named("control/bayes").rows
    expected = {
        "generation_noise_recognised": {
            "doing nothing": "generation_noise_recognised_chance", "real images": "generation_recognised_ceiling",
        },
        "generation_kid": {"doing nothing": "generation_kid_chance"},
        "denoising_ssim_1": {
            "doing nothing": None, "a total-variation filter": "denoising_ssim_tv_1",
            "the score's denoiser": "denoising_ssim_denoiser_1",
        },
        "inpainting_psnr": {"doing nothing": None, "the score's denoiser": "inpainting_psnr_ceiling"},
        "alignment_cosine": {},
    }  # fmt: skip
    for column, sources in expected.items():
        found = dict(baselines.every(read.board, column))
        assert found == pytest.approx(
            {words: 0.0 if name is None else float(rows[name].mean()) for words, name in sources.items()}
        )
        if sources:
            assert baselines.chance(read, column) == pytest.approx(found["doing nothing"])


def test_the_notes_of_the_table_name_what_first_columns_are_held_against(read):
    (note,) = [note for note in table.content(read, [])["table"]["notes"] if "following the gradient" in note]
    found = dict(baselines.every(read.board, "denoising_psnr_0.5"))
    assert f"a total-variation filter {found['a total-variation filter']:.3f}" in note


def test_the_page_of_a_model_has_its_abilities_between_what_they_are_held_against(read):
    page = page_of(read, "digits/noise-0.6")
    table = page[page.index('<table class="abilities">') :].partition("</table>")[0]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert len(rows) == len(abilities.COLUMNS)
    for name, (value, interval, nothing, reference, bayes, others) in zip(abilities.COLUMNS, rows, strict=True):
        entry = read.entries["digits/noise-0.6"]
        assert float(value) == pytest.approx(entry[name], abs=0.06) and interval.startswith("[")
        assert float(nothing) == pytest.approx(baselines.chance(read, name), abs=6e-4)
        for anchor, text in (("digits/standard", reference), ("control/bayes", bayes)):
            assert float(text) == pytest.approx(read.entries[anchor][name], abs=6e-4)
        assert all(level.words in html.unescape(others) for level in baselines.others(read.board, name))
    for name in ("control/bayes", "digits/standard", "digits/noise-0.6"):
        assert page.count(f"images/digits@1+made/{name}.png") == (10 if name == "control/bayes" else 4)


def test_a_gradient_that_vanishes_has_no_result(read):
    page = page_of(read, VANISHING)
    assert "<strong>No result:</strong>" in page and "+made/" not in page


def test_a_model_without_abilities_has_its_page(read):
    page = page_of(read, WITHOUT)
    assert "What its gradient can do" not in page and "Where it stands" in page


def test_the_leaders_are_those_with_the_best_values(read):
    found = abilities.leaders(read, board_columns.describe(read))
    ranked = read.board[read.board["status"] == "ranked"].set_index("model")
    columns_led = ("generation_noise_recognised", "generation_noise_kid", "denoising_psnr_0.5", "inpainting_psnr")
    best = [ranked[name].idxmin() if name.endswith("kid") else ranked[name].idxmax() for name in columns_led]
    assert [leader.model for leader in found] == best
    assert all(0 <= leader.indistinct < 3 for leader in found)
    text = render(page_of_benchmark(read))
    sentence = re.sub(r"<.*?>|\s+", " ", text.partition('<ul class="leaders">')[2].partition("</ul>")[0])
    assert all(leader.does in sentence for leader in found)


def test_nobody_denoises_of_the_published_models_and_somebody_in_paints(digits_study, described):
    found = {leader.does: leader for leader in abilities.leaders(digits_study, described)}
    ranked = digits_study.board[digits_study.board["status"] == "ranked"].set_index("model")
    assert found["denoises"].model == ranked["denoising_psnr_0.5"].idxmax()
    assert found["denoises"].shortfall == "that is less than a tenth of what a total-variation filter gains"
    assert found["in-paints best"].model == ranked["inpainting_psnr"].idxmax() and not found["in-paints best"].shortfall


@pytest.mark.parametrize(
    ("column", "chance", "best", "said"),
    [
        ("denoising_psnr_0.5", 0.0, (0.1, -0.1, 0.3), "not told apart from doing nothing"),
        ("denoising_psnr_0.5", 0.0, (0.29, 0.2, 0.4), "less than a tenth of what another gains"),
        ("denoising_psnr_0.5", 0.0, (0.31, 0.2, 0.4), ""),
        ("generation_noise_kid", 5.0, (4.9, 4.5, 5.1), "not told apart from doing nothing"),
        ("generation_noise_kid", 5.0, (4.0, 3.5, 4.5), ""),
    ],
)
def test_a_superlative_needs_more_than_doing_nothing(described, column, chance, best, said):
    others = [baselines.Baseline("another", 3.0)] if column.startswith("denoising") else []
    held = described[column]._replace(chance=chance, others=others)
    shortfall = abilities._shortfall(held, statistics.Interval(*best))
    assert said in shortfall and bool(said) == bool(shortfall)


def test_damaged_images_are_told_in_one_line(folder, tmp_path):
    name = "digits/standard"
    shutil.copytree(folder / "results" / "digits@1", tmp_path / "digits@1")
    for damaged in ({"generation": {"sample_ids": ["1"]}}, {"generation": {}}, 3, {"generation": None}):
        ability_results.write_one(tmp_path, name, "generation", said={"made": damaged})
        with pytest.raises(ResultsError, match=r"not a readable results file \(field 'made") as error:
            read_study(tmp_path, BENCHMARK)
        assert "\n" not in str(error.value) and f"{name}.parquet" in str(error.value)


def test_pages_are_no_wider_than_a_phone(shown, page):
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("models/digits/noise-0.6.html", "compare/digits@1.html"):
        page.goto((shown / path).as_uri())
        page.locator(".lines svg").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        screenshot(page, f"abilities-{path.partition('/')[0]}-390")
