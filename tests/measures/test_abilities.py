"""What gradients can do: budgets, judges against outside oracles, closed forms, and controls that must rank so."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from light import Linear, benchmark
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import nn
from typer.testing import CliRunner

import pagbench
from pagbench import benchmarks, columns, data, geometry, results
from pagbench.cli import app
from pagbench.densities import empirical
from pagbench.errors import ContractError, ResultsError
from pagbench.measures import denoising, generation, inpainting
from pagbench.measures.following import Ascent, follow, scaled
from pagbench.measures.judge import Judge, kid_influences
from pagbench.models import controls, registry
from pagbench.results import thumbnails
from pagbench.running.config import RunConfig
from pagbench.running.session import Session
from pagbench.storage import assets
from pagbench.submissions.check import check_fit

pytestmark = pytest.mark.usefixtures("short_runs")

BLOCK = 32
"""Images that are measured together here: half as many as elsewhere."""
CPU = torch.device("cpu")
CONTROLS = ("control/bayes", "control/sign-flipped", "control/random-init", "control/constant")


class Wavy(nn.Module):
    """Smooth logits of weights drawn by a seed, with a scale and a shift that is the same for all classes."""

    def __init__(self, seed, scale=1.0, shift=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(3, 16, generator=generator, dtype=torch.float64)
        self.scale, self.shift = scale, shift

    def forward(self, x):
        flat = x.double().flatten(1)
        return self.scale * (3 * flat @ self.weight.T).sin() + self.shift * flat.square().sum(1, keepdim=True)


def images(n, seed=0, side=4):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lengths(delta):
    return delta.flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def session(digits):
    return Session(RunConfig(benchmark=digits, ids=digits.samples, device=CPU, seed=digits.seed))


@pytest.fixture(scope="module", autouse=True)
def _smaller_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for name in columns.ABILITIES:
            patch.setitem(columns.BLOCKS, name, BLOCK)
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One block of digits, by the controls and two networks."""
    folder = tmp_path_factory.mktemp("abilities")
    names = [*CONTROLS, "digits/standard", "digits/noise-0.6"]
    rows = pagbench.run(names, benchmark=benchmark(BLOCK), measures=columns.ABILITIES, results=folder)
    return folder, rows.groupby("entrant")[rows.select_dtypes("number").columns].mean(), rows


# --- following ---


@given(st.integers(0, 99), st.floats(0.01, 3), st.integers(1, 12), st.floats(0.01, 2), st.booleans())
@settings(max_examples=15)
def test_no_image_leaves_its_budget_or_the_range_of_pixels(seed, epsilon, steps, share, some_protected):
    start, labels = images(5, seed), torch.arange(5) % 3
    protected = (images(5, seed + 1) > 0.5).to(start) if some_protected else None
    found = follow(Wavy(seed), start, labels, Ascent(epsilon, steps, share * epsilon), protected=protected)
    assert (lengths(found.images - start) <= epsilon * (1 + 1e-9)).all()
    assert torch.equal(found.images, found.images.clamp(0, 1))
    assert (lengths(found.images - start) > 0).all()


@given(st.integers(0, 99), st.floats(0.1, 50), st.floats(-5, 5))
@settings(max_examples=8)
def test_the_path_depends_on_the_log_odds_and_not_on_their_scale(seed, scale, shift):
    start, labels, budget = images(4, seed), torch.tensor([0, 1, 2, 0]), Ascent(1.0, 5, 0.2)
    plain = follow(Wavy(seed), start, labels, budget).images
    shifted = follow(Wavy(seed, 1.0, shift), start, labels, budget).images
    np.testing.assert_allclose(shifted, plain, atol=1e-8)
    linear, steeper = (follow(Steep(seed, by), start, labels % 2, budget).images for by in (1.0, scale))
    np.testing.assert_allclose(steeper, linear, atol=1e-8)


class Steep(Wavy):
    """Two classes: a positive scale of the logits is one of the log-odds."""

    def forward(self, x):
        return super().forward(x)[:, :2]


def test_following_raises_the_log_odds_and_the_opposite_sign_lowers_them():
    start, labels = images(30), torch.arange(30) % 3
    network, budget = Wavy(3), Ascent(0.2, 10, 0.02)
    moved = [follow(one, start, labels, budget).images for one in (network, controls.SignFlipped(network))]
    before, up, down = (network(x).log_softmax(1).gather(1, labels[:, None]).mean() for x in (start, *moved))
    assert down < before - 0.05 < before + 0.05 < up


def test_an_image_without_a_gradient_waits_where_it_is():
    start = images(3)
    found = follow(controls.Constant(3), start, torch.zeros(3, dtype=torch.long), Ascent(1.0, 4, 0.5))
    assert torch.equal(found.images, start)
    assert not found.scored.any()


def test_protected_pixels_are_pulled_back():
    start, labels, budget = images(20) * 0.5 + 0.25, torch.arange(20) % 3, Ascent(0.5, 40, 0.05)
    protected = torch.zeros_like(start)
    protected[:, :, :2] = 1
    free, held = (follow(Wavy(1), start, labels, budget, protected=p).images - start for p in (None, protected))
    assert lengths(held * protected).max() < budget.epsilon / 10 + budget.stride  # where the pull is the gradient's
    assert lengths(held * protected).mean() < 0.25 * lengths(free * protected).mean()
    assert lengths(held * (1 - protected)).mean() > lengths(free * (1 - protected)).mean()


def test_budgets_scale_with_the_root_of_the_dimension():
    one, four = scaled(40.0, 60, 1.0, 784), scaled(40.0, 60, 1.0, 4 * 784)
    assert four.epsilon == pytest.approx(2 * one.epsilon)
    assert one.epsilon == pytest.approx(40 / math.sqrt(192))
    assert four.stride / four.epsilon == pytest.approx(one.stride / one.epsilon)


# --- judges ---


def test_kid_is_the_unbiased_estimate_that_scikit_learns_kernel_gives():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 6)) + 0.5
    kernels = [polynomial_kernel(a, b, degree=3, gamma=1 / 6, coef0=1) for a, b in ((x, x), (y, y), (x, y))]
    within, other, across = (k[~np.eye(40, dtype=bool)].mean() for k in kernels)
    found = kid_influences(torch.from_numpy(x), torch.from_numpy(y))
    assert float(found.mean()) == pytest.approx(within + other - 2 * across, rel=1e-9)


def test_kid_of_classes_is_the_mean_over_pairs_of_one_class():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 4))
    labels = np.repeat([0, 1, 2], 10)
    each = [
        float(kid_influences(torch.from_numpy(x[labels == c]), torch.from_numpy(y[labels == c])).mean())
        for c in range(3)
    ]
    found = kid_influences(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(labels))
    assert float(found.mean()) == pytest.approx(np.mean(each), rel=1e-9)
    swapped = kid_influences(torch.from_numpy(np.roll(y, 10, axis=0)), torch.from_numpy(y), torch.from_numpy(labels))
    assert float(swapped.mean()) < float(found.mean()) + 1  # the same distribution in each class
    shifted = y + 3 * labels[:, None]
    rolled = np.roll(shifted, 10, axis=0)
    wrong = kid_influences(torch.from_numpy(rolled), torch.from_numpy(shifted), torch.from_numpy(labels))
    assert float(wrong.mean()) > 10 * abs(float(found.mean()))


def test_the_spread_of_kids_influences_is_that_of_the_estimate():
    rng = np.random.default_rng(2)
    estimates, errors = [], []
    for _ in range(300):
        x, y = torch.from_numpy(rng.standard_normal((64, 3)) + 1), torch.from_numpy(rng.standard_normal((64, 3)))
        found = kid_influences(x, y)
        estimates.append(float(found.mean()))
        errors.append(float(found.std()) / 8)
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.2)


@pytest.mark.parametrize("labels", [None, torch.arange(40) % 4])
def test_images_that_are_not_scored_have_no_part_in_kid(labels):
    rng = np.random.default_rng(3)
    x, y = torch.from_numpy(rng.standard_normal((40, 5)) + 1), torch.from_numpy(rng.standard_normal((40, 5)))
    scored = torch.from_numpy(rng.random(40) < 0.6)
    found = kid_influences(x, y, labels, scored)
    alone = kid_influences(x[scored], y[scored], None if labels is None else labels[scored])
    np.testing.assert_allclose(found[scored], alone)
    assert found[~scored].isnan().all()


def test_the_nearest_training_image_is_that_of_scikit_learn(session, digits_splits):
    x = digits_splits.test.images[:20]
    train = digits_splits.train.images.flatten(1).numpy()
    expected, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train).kneighbors(x.flatten(1).numpy())
    np.testing.assert_allclose(session.judge.nearest(x), expected[:, 0], rtol=1e-4)
    assert session.judge.nearest(digits_splits.train.images[:5]).max() == 0


def test_judges_are_good_and_no_published_model_is_built_like_them():
    models = {registry.find(name).card.architecture for name in registry.names()}
    for name in ("digits", "fashion-mnist"):
        card = registry.find(str(assets.judge(name))).card
        assert card.architecture not in models
        assert card.id not in registry.names()


def test_the_judge_of_digits_recognises_real_images(session, digits_splits):
    test = digits_splits.test
    assert session.judge.recognised(test.images, test.labels).mean() > 0.97
    assert session.judge.features(test.images[:3]).shape == (3, 64)


@pytest.mark.slow
def test_the_judge_is_no_model_and_rows_say_who_judged(measured, digits):
    card = registry.find(str(assets.judge("digits"))).card
    errors = [found for found in check_fit(card, digits) if found.level == "error"]
    assert [found.subject for found in errors] == ["weights"]
    for measure, known in (("inpainting", {"judge": card.weights_sha256}), ("denoising", {})):
        kept = results.store_of(measured[0], benchmark(BLOCK), "digits/noise-0.6", measure).load().document
        found = {part: record["weights_sha256"] for part, record in kept["networks"].items()}
        assert found == known


@pytest.fixture(scope="module")
def gaussians():
    found = benchmarks.load("gaussians")
    return found, data.splits(found), Judge(found, data.splits(found), CPU)


def test_where_no_judge_is_shipped_the_bayes_classifier_judges(gaussians):
    _, splits, judge = gaussians
    bayes = pagbench.load_model("control/bayes", benchmark="gaussians")
    x = splits.test.images[:50]
    expected = (bayes(x).argmax(1) == splits.test.labels[:50]).float()
    assert torch.equal(judge.recognised(x, splits.test.labels[:50]), expected)
    assert torch.equal(judge.features(x), x.flatten(1))


def test_everything_that_judges_is_on_the_device(gaussians):
    definition, splits, _ = gaussians
    digits = benchmarks.load("digits@1")
    for one, split in ((definition, splits), (digits, data.splits(digits))):
        judge = Judge(one, split, torch.device("meta"))
        tensors = [*judge.classifier.parameters(), *judge.classifier.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_classes_without_images_do_not_confuse_the_bayes_classifier():
    points, labels = images(6).float(), torch.arange(6) % 3
    some = empirical.SomeClasses(empirical.EmpiricalDensity(points, labels, classes=3), torch.tensor([1, 2, 3]), 4)
    found = controls.BayesClassifier(some, 0.1)(points)
    assert torch.equal(found.argmax(1), 1 + labels)
    assert (found[:, 0] == -torch.inf).all()
    assert found[:, 1:].isfinite().all()


def test_starts_have_mean_and_covariance_of_their_class(gaussians):
    _, splits, judge = gaussians
    ids, label = tuple(f"draw {i}" for i in range(3000)), 1
    drawn = judge.from_class(ids, torch.full((3000,), label), seed=0).flatten(1).double()
    train = splits.train.images[splits.train.labels == label].flatten(1).double()
    z = (drawn.mean(0) - train.mean(0)) / (train.std(0) / math.sqrt(3000))
    assert z.abs().max() < 4.5
    ratio = torch.linalg.eigvalsh(torch.cov(drawn.T))[-8:] / torch.linalg.eigvalsh(torch.cov(train.T))[-8:]
    np.testing.assert_allclose(ratio, 1, atol=0.12)


def test_starts_depend_on_seed_and_sample_alone(session, digits):
    ids, labels = digits.samples[:6], torch.arange(6)
    both = session.judge.from_class(ids, labels, 0), session.judge.from_noise(ids, 0)
    assert torch.equal(session.judge.from_class(ids[3:], labels[3:], 0), both[0][3:])
    assert torch.equal(session.judge.from_noise(ids[3:], 0), both[1][3:])
    assert not torch.equal(session.judge.from_class(ids, labels, 1), both[0])


def test_data_without_training_images_are_refused(digits, digits_splits):
    empty = data.Splits(digits_splits.test.select([]), digits_splits.calibration, digits_splits.test)
    with pytest.raises(ContractError, match="no training images"):
        Judge(digits, empty, CPU).from_noise(("1",), 0)


# --- the three abilities ---


@pytest.mark.parametrize("level", columns.NOISE_LEVELS)
def test_a_gradient_denoises_as_the_denoiser_predicts(gaussians, level):
    """E ‖x + δ - x0‖² - ‖x - x0‖² = E [‖δ‖² - 2 δ·(D(x) - x)] for the Bayes classifier and for a network."""
    definition, splits, judge = gaussians
    draws = 10 if level == 1 else 4  # the noise of the test statistic grows with that of the images
    clean = splits.test.images.repeat(draws, 1, 1, 1)
    labels, sigma = splits.test.labels.repeat(draws), level * definition.sigma
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noisy = clean + sigma * noise
    towards = judge.denoised(noisy, sigma, labels) - noisy
    for name in ("control/bayes", "gaussians/standard", "control/sign-flipped"):
        classifier = pagbench.load_model(name, benchmark="gaussians")
        made = denoising.denoise(classifier, noisy, denoising.predicted(classifier, noisy), sigma)
        delta = (made.images - noisy).flatten(1).double()
        found = 2 * (delta * (sigma * noise).flatten(1)).sum(1) + delta.square().sum(1)
        expected = delta.square().sum(1) - 2 * (delta * towards.flatten(1)).sum(1)
        assert stats.ttest_1samp((found - expected).numpy(), 0).pvalue > 1e-4
        assert (found - expected).mean().abs() < 0.1 * delta.square().sum(1).mean()
        if name == "control/bayes" and level == 1:  # the benchmark's sigma is the noise's: it knows its own denoiser
            first = geometry.log_odds_gradient(classifier, noisy[:50], labels[:50]).gradient
            score = judge.score
            expected_first = score.class_scores(noisy[:50], sigma)[torch.arange(50), labels[:50]]
            joint = score.log_joint(noisy[:50], sigma).softmax(1)
            own = joint[torch.arange(50), labels[:50]][:, None, None, None]
            others = (score.score(noisy[:50], sigma) - own * expected_first) / (1 - own)
            assert geometry.cosine(first.double(), expected_first - others).min() > 0.999
        wrong = delta.square().sum(1) + 2 * (delta * towards.flatten(1)).sum(1)
        if name == "control/bayes" and level == 1:
            assert stats.ttest_1samp((found - wrong).numpy(), 0).pvalue < 1e-4


def test_psnr_is_scikit_images(digits_splits):
    clean = digits_splits.test.images[:4]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(clean.numpy(), noisy.numpy(), strict=True)]
    np.testing.assert_allclose(denoising.quality(noisy, clean).psnr, expected, rtol=1e-5)
    assert denoising.quality(clean, clean).ssim.min() == 1
    assert torch.isfinite(denoising.quality(clean, clean).psnr).all()


def test_a_hole_is_filled_with_the_mean_of_the_rest(digits_splits):
    x = digits_splits.test.images[:30]
    holed = inpainting.make_holes(x, digits_splits.test.ids[:30], 0)
    assert (holed.patch.flatten(1).sum(1) == 4).all()
    assert torch.equal(holed.images * (1 - holed.patch), x * (1 - holed.patch))
    for one, patch, filled in zip(x, holed.patch, holed.images, strict=True):
        np.testing.assert_allclose(filled[patch == 1], one[patch == 0].mean(), rtol=1e-5)
    assert len({tuple(patch.flatten().tolist()) for patch in holed.patch}) > 15


def test_a_larger_image_has_the_papers_patch():
    holed = inpainting.make_holes(torch.rand(1, 3, 224, 224), ("a",), 0)
    assert holed.patch.sum() == 3 * 60 * 60


def test_the_sign_flipped_gradient_makes_each_ability_worse_than_doing_nothing(measured):
    _, means, _ = measured
    flipped, bayes = means.loc["control/sign-flipped"], means.loc["control/bayes"]
    for start in generation.STARTS:
        assert flipped[f"{start}_recognised"] <= max(0, flipped[f"{start}_recognised_chance"] - 0.01)
    for level in columns.NOISE_LEVELS:
        for what in ("psnr", "ssim"):
            assert flipped[f"denoising_{what}_label_{level:g}"] < min(0, bayes[f"denoising_{what}_label_{level:g}"])
            assert flipped[f"denoising_{what}_{level:g}"] < 0
        assert flipped[f"{start}_kid"] > bayes[f"{start}_kid"] + 1
    assert flipped["generation_kid"] > flipped["generation_kid_chance"] + 1
    assert flipped["inpainting_psnr"] < -1 < 1 < bayes["inpainting_psnr"]
    assert flipped["inpainting_recognised"] < flipped["inpainting_recognised_chance"]


def test_aligned_gradients_generate_and_random_ones_do_not(measured):
    _, means, _ = measured
    made = means["generation_noise_recognised"]
    assert made["digits/noise-0.6"] > 0.9
    assert made["control/random-init"] < 0.5
    assert means.loc["digits/noise-0.6", "generation_noise_kid"] < means.loc["digits/standard", "generation_noise_kid"]
    assert means.loc["digits/noise-0.6", "generation_noise_nearest"] > 1  # no copies


def test_anchors_stand_above_and_chance_and_ceiling_are_the_same_for_all(measured):
    _, means, rows = measured
    for level in columns.NOISE_LEVELS:
        assert (means[f"denoising_psnr_denoiser_{level:g}"] > means[f"denoising_psnr_{level:g}"].max() + 1).all()
    shared = [name for name in rows if name.endswith(("_chance", "_ceiling")) or "_tv_" in name or "_denoiser_" in name]
    shared = [name for name in shared if name.startswith(columns.ABILITIES)]
    assert len(shared) == 4 + 4 + 3 + 12 + 3
    assert (rows.groupby("sample_id")[shared].nunique() == 1).all(axis=None)


def test_a_constant_network_has_no_result(measured):
    folder, _, rows = measured
    own = rows[rows["entrant"] == "control/constant"]
    names = ["generation_kid", "generation_noise_recognised", "denoising_psnr_0.5", "inpainting_psnr"]
    assert own[names].isna().all(axis=None)
    assert own["inpainting_recognised_chance"].notna().all()
    board = pagbench.leaderboard(folder, benchmark=benchmark(BLOCK)).set_index("model")
    assert board.loc["control/constant", "status"].startswith("control; no result")
    assert board.loc["control/constant", names].isna().all()
    assert board.drop("control/constant")[names].notna().all(axis=None)


def test_rows_are_the_same_for_any_batch_size_and_in_shares(tmp_path, monkeypatch):
    """Of two blocks, the last of which is short."""
    definition, measures = benchmark(8 + 3), ("generation", "inpainting")
    for name in measures:
        monkeypatch.setitem(columns.BLOCKS, name, 8)
    monkeypatch.setattr(generation, "STEPS", 3)
    monkeypatch.setattr(inpainting, "_STEPS", 3)
    asked = {"measures": measures, "benchmark": definition, "anchors": False}
    whole = pagbench.run("digits/noise-0.6", results=tmp_path / "whole", batch_size=9, **asked)
    for shard in ("2/2", "1/2"):
        pagbench.run("digits/noise-0.6", results=tmp_path / "shares", batch_size=2, shard=shard, **asked)
    shared = pagbench.run("digits/noise-0.6", results=tmp_path / "shares", **asked)
    first = pagbench.run("digits/noise-0.6", results=tmp_path / "first", limit=5, **asked)
    names = [c.name for c in columns.sample_columns(definition, measures)]
    expected = whole.set_index("sample_id")[names]
    pd.testing.assert_frame_equal(shared.set_index("sample_id")[names], expected)
    pd.testing.assert_frame_equal(first.set_index("sample_id")[names], expected.iloc[:5])


def test_a_model_that_is_scored_on_some_images_only_is_told_so(tmp_path):
    pagbench.run({"mine": Shy()}, benchmark=benchmark(BLOCK), measures=["denoising"], results=tmp_path)
    row = pagbench.leaderboard(tmp_path, benchmark=benchmark(BLOCK)).set_index("model").loc["mine"]
    assert re.fullmatch(f"denoising on [1-9][0-9]* of {BLOCK} images", row[columns.PARTIAL_MEASURES])


class Shy(Linear):
    """Stops the gradient where the first pixel of a noisy image is negative."""

    def forward(self, x):
        hidden = (x[:, :1, :1, :1] < 0).to(x)
        return super().forward(hidden * x.detach() + (1 - hidden) * x)


def test_only_the_first_samples_are_asked_and_that_is_not_called_partial(tmp_path, monkeypatch):
    declared = columns.MEASURES["inpainting"]
    monkeypatch.setitem(columns.MEASURES, "inpainting", declared.model_copy(update={"first": BLOCK}))
    folder = tmp_path / "results"
    digits = benchmark(BLOCK + 8)
    pagbench.run({"mine": Linear()}, benchmark=digits, measures=["inpainting"], anchors=False, results=folder)
    stored = results.store_of(folder, digits, "mine", "inpainting").load()
    assert tuple(stored.rows["sample_id"]) == digits.samples[:BLOCK]
    assert not results.store_of(folder, digits, "mine", "inpainting").shards()
    board = pagbench.leaderboard(folder, benchmark=digits)
    assert columns.PARTIAL_MEASURES not in board or board[columns.PARTIAL_MEASURES].isna().all()
    assert board["inpainting_psnr"].notna().all()


def test_the_pictures_are_of_what_the_rows_speak_of(measured):
    folder, _, rows = measured
    digits = benchmark(BLOCK)
    kept = results.store_of(folder, digits, "digits/noise-0.6", "inpainting").load().document["made"]
    bayes = results.store_of(folder, digits, "control/bayes", "inpainting").load().document["made"]
    assert set(kept) == {"inpainting"}
    assert set(bayes) == {"inpainting", "before_inpainting", "clean"}
    made, before = (thumbnails.decode_generated(found, "mine") for found in (kept, bayes))
    own = rows[rows["entrant"] == "digits/noise-0.6"].set_index("sample_id")["inpainting_psnr"]
    holed = inpainting.make_holes(torch.from_numpy(before["clean"].images), made["inpainting"].sample_ids, digits.seed)
    np.testing.assert_allclose(before["before_inpainting"].images, holed.images, atol=0.04)
    for index, name in enumerate(made["inpainting"].sample_ids):
        shown = before["clean"], before["before_inpainting"], made["inpainting"]
        clean, filled, painted = (found.images[index] for found in shown)
        patch = holed.patch[index].numpy() == 1
        errors = [np.square(after - clean)[patch].mean() for after in (filled, painted)]
        if min(errors) > 0.01:  # a picture's levels of grey are coarser than smaller errors
            assert 10 * np.log10(errors[0] / errors[1]) == pytest.approx(own[name], abs=1.0)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 9))
def test_pictures_come_back_within_half_a_level(n, channels, side):
    x = np.random.default_rng(n).uniform(-0.1, 1.1, (n, channels, side, side)).astype(np.float32)
    ids = [str(i) for i in range(n)]
    found = thumbnails.decode_generated(thumbnails.encode_generated(ids, {"a": x, "b": 1 - x}), "mine")
    assert found["a"].sample_ids == tuple(ids)
    np.testing.assert_allclose(found["a"].images, x.clip(0, 1), atol=0.5 / 31 + 1e-6)


@pytest.mark.parametrize("damage", [{"images": "AAAA"}, {"shape": [1, 900, 8]}, {"sample_ids": None}, {"shape": []}])
def test_damaged_pictures_are_one_line(damage):
    good = thumbnails.encode_generated(["1"], {"denoising": np.zeros((1, 1, 4, 4), np.float32)})
    with pytest.raises(ResultsError, match="mine: the pictures in its results file are damaged"):
        thumbnails.decode_generated({"denoising": {**good["denoising"], **damage}}, "mine")


def test_blocks_are_measured_together():
    assert all(columns.MEASURES[name].block == 64 for name in columns.ABILITIES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "digits/standard", "--measures", "generate"],
            "unknown optional measure 'generate'; closest: generation",
        ),
        (["gradients", "digits/standard", "--task", "denoise"], "unknown task 'denoise'; closest: denoising"),
        (
            ["gradients", "-b", "samples-cifar10", "--task", "denoising"],
            "samples-cifar10@1: no trained model is",
        ),
    ],
)
def test_a_wrong_name_is_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize(("task", "rows"), [("generation", 4), ("denoising", 2), ("inpainting", 2)])
def test_a_picture_has_a_row_for_each_image_and_start(task, rows, tmp_path):
    from PIL import Image

    place = tmp_path / "made.png"
    asked = ["gradients", "digits/standard", "control/bayes", "--task", task, "--samples", "2", "-o", str(place)]
    done = CliRunner().invoke(app, [*asked[:-2], "--output", str(place)])
    assert done.exit_code == 0, done.output
    with Image.open(place) as picture:
        assert picture.height == pytest.approx(110 * (1.35 * rows + 0.4), abs=3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: abilities there against the CPU's")
@pytest.mark.parametrize("name", ["digits", "gaussians"])
def test_abilities_on_a_gpu_are_those_of_the_cpu(name):
    """On average: along a path the rounding of a device adds up. Of `gaussians` the Bayes classifier is the judge."""
    asked = {"benchmark": name, "measures": columns.ABILITIES, "limit": 5, "anchors": False}
    names = [c.name for c in columns.sample_columns(benchmarks.load(name), columns.ABILITIES)]
    here, there = (pagbench.run(f"{name}/standard", device=device, **asked)[names].mean() for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, rtol=0.05, atol=0.02)
