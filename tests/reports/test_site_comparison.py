"""The page that compares models, against `statistics.interval` of their paired differences."""

import dataclasses
import itertools

import numpy as np
import pytest
from browser import screenshot

from pagbench.ranking import statistics
from pagbench.reports.site import comparison
from pagbench.reports.site.board_columns import KEYS, interval_decimals
from pagbench.studies.models import Study


def test_codes_keep_an_interval(digits_study):
    """Of all pairs, to two hundredths of its half width."""
    drawn = [model for model in digits_study.models if model.paired]
    for name in comparison.statistics(digits_study):
        for a, b in itertools.pairwise(model for model in drawn if name in model.replicates):
            exact = a.replicates[name] - b.replicates[name]
            kept = decoded(comparison.coded(a.replicates[name][1:])) - decoded(comparison.coded(b.replicates[name][1:]))
            expected, found = statistics.interval(exact), statistics.interval(np.r_[exact[0], kept])
            if np.isfinite(expected.low):
                width = max(expected.high - expected.low, 1e-9)
                assert np.allclose(found, expected, atol=0.01 * width, rtol=0)


def decoded(coded):
    if coded is None:
        return np.full(statistics.REPLICATES, np.nan)
    low, step, text = coded
    alphabet = {character: place for place, character in enumerate(comparison.ALPHABET)}
    codes = np.array([alphabet[character] for character in text]).reshape(-1, 2) @ [64, 1]
    return np.where(codes == 4095, np.nan, low + codes * step)


def difference(read, name, baseline, column):
    """What the page must say: the paired difference, as `pagbench compare` has it."""
    a, b = read.named(name).replicates[column], read.named(baseline).replicates[column]
    found = statistics.difference(a, b)
    interval = statistics.Interval(found.value, found.low, found.high)
    return interval, np.mean((a - b)[1:] > 0) + np.mean((a - b)[1:] == 0) / 2


def opened(page, site, label, ids=()):
    fragment = ",".join(name.replace("/", "%2F") for name in ids)
    page.goto(f"{(site / 'compare' / f'{label}.html').as_uri()}#{fragment}")
    page.wait_for_selector("#table tbody tr")


def table(page):
    lines = page.locator("#table tbody tr").all()
    return [[cell.inner_text().split("\n") for cell in line.locator("th, td").all()] for line in lines]


def test_compared_models_show_the_paired_difference(site, page, digits_study):
    baseline, other = "digits/standard", "digits/gradient-norm-1"
    opened(page, site, "digits@1", [baseline, other])
    shown = dict(zip(comparison.statistics(digits_study), table(page), strict=True))
    for column in [name for name in shown if name in KEYS]:
        _, (own, _), _, (value, bounds, above) = shown[column]
        expected, probability = difference(digits_study, other, baseline, column)
        last = 10.0 ** -interval_decimals(expected)
        assert float(own) == pytest.approx(digits_study.entries[baseline][column], abs=last)
        assert float(value) == pytest.approx(expected.value, abs=0.5001 * last)
        low, high = map(float, bounds.strip("[]").split(", "))
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1.01 * last)  # a border may round apart
        said = above.removeprefix("above 0: ")
        assert probability == pytest.approx(float(said.strip("<> ")), abs=2e-3)
    expected, _ = difference(digits_study, other, baseline, "alignment")
    assert (
        page.locator(".sentence")
        .inner_text()
        .startswith(f"{other} is more aligned than {baseline} by {expected.value:.3f} [")
    )
    screenshot(page, "compare")


def test_gradients_of_all_are_shown_on_the_images_that_all_have(site, page, digits_study):
    opened(page, site, "digits@1", ["digits/standard", "digits/noise-0.6", "control/constant"])
    page.locator("#pictures svg").first.wait_for()
    said = [cell.get_attribute("aria-label") for cell in page.locator("#pictures svg").all()]
    samples = digits_study.named("digits/standard").thumbnails.sample_ids
    assert len(said) == 4 * len(samples)  # image, target, two gradients; the constant control has none
    for sample, image, target, first, second in zip(
        samples, said[::4], said[1::4], said[2::4], said[3::4], strict=True
    ):
        assert all(text.split(" of class")[0].split(";")[0].endswith(f"mage {sample}") for text in (image, target))
        assert f"digits/standard at image {sample};" in first and f"digits/noise-0.6 at image {sample};" in second
    loaded = "Array.from(document.querySelectorAll('#pictures image'), (each) => each.getBBox().width)"
    assert min(page.evaluate(loaded)) > 0


def test_another_model_and_another_baseline_can_be_chosen_and_stay_in_the_address(site, page, digits_study):
    opened(page, site, "digits@1")
    assert page.locator("#chosen a").all_inner_texts() == comparison.chosen(digits_study)
    page.fill("#network", "NOISE-2.5")
    page.keyboard.press("Enter")
    compared = page.locator("#chosen li")
    compared.nth(2).get_by_text("make it the baseline").click()
    compared.first.get_by_text("digits/noise-2.5").wait_for()
    compared.nth(2).get_by_text("remove").click()
    compared.nth(2).wait_for(state="detached")
    chosen = page.locator("#chosen a").all_inner_texts()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#table tbody tr")
    assert page.locator("#chosen a").all_inner_texts() == chosen == ["digits/noise-2.5", "digits/standard"]
    page.locator("#chosen a").first.click()
    assert page.locator("h1").inner_text() == "digits/noise-2.5"


def test_what_cannot_be_compared_is_refused_in_a_sentence(site, page):
    opened(page, site, "digits@1", ["digits/standard", "control/constant", "digits/none"])
    said = page.locator("#said").inner_text()
    assert "No model digits/none was measured on digits@1." in said and "control/constant has none" in said
    assert "the numbers of" not in said
    page.fill("#network", "noise")
    page.keyboard.press("Enter")
    assert "write more of it" in page.locator("#said").inner_text()


def test_a_comparison_with_a_model_without_a_result_says_so(site, page):
    opened(page, site, "digits@1", ["digits/standard", "control/sign-flipped"])
    said = page.locator("#said").inner_text()
    assert "the numbers of control/sign-flipped mean little: it has no result" in said
    assert "of digits/standard mean little" not in said


def test_models_of_other_images_or_other_noise_have_no_data(digits_study):
    part = Study(
        digits_study.benchmark,
        tuple(dataclasses.replace(n, paired=n.card.id != "digits/noise-0.6") for n in digits_study.models),
        digits_study.board,
    )
    assert "data/replicates/digits@1/digits/noise-0.6.js" not in dict(comparison.files([part]))
    assert "another seed, 0" in comparison.page(part).content["setting"]["networks"]["digits/noise-0.6"]


def test_comparison_on_another_benchmark(site, page):
    opened(page, site, "fashion-distractor@1")
    assert len(page.locator("#chosen a").all()) == 2


@pytest.mark.parametrize("width", [320, 360, 390])
def test_on_a_phone_values_stand_beside_the_names_of_measures(site, page, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto((site / "compare" / "digits@1.html").as_uri())
    page.wait_for_selector("#table tbody tr")
    frame = page.locator("#table").locator("..")
    inside = frame.evaluate("frame => frame.clientWidth")
    cells = page.locator("#table tbody tr").last.locator("th, td")
    widths = cells.evaluate_all("cells => cells.map((cell) => cell.offsetWidth)")
    assert widths[0] <= inside / 2.5 and sum(widths[:2]) <= inside
    frame.evaluate("frame => { frame.scrollLeft = 60; }")
    assert cells.first.evaluate("cell => cell.getBoundingClientRect().left") >= 0, "names stay where they are"
