"""Signal and distractor: the known pixels are found, the density is exact, and the benchmark says what it should."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from closed_forms import central_differences, covariances, gaussian_classes, images_of, normal
from scipy.stats import multivariate_normal
from torch import nn

import pagbench
from pagbench import benchmarks, data, geometry, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard, MixtureRecipe
from pagbench.cli import listing
from pagbench.data import Dataset, distractor
from pagbench.data.base import LoadedImages
from pagbench.data.distractor import DistractorCard
from pagbench.data.idx import IdxCard
from pagbench.densities import manifolds, mixture, scores
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.gaussian_mixture import GaussianMixture
from pagbench.densities.signal_distractor import Mask, SignalDistractor
from pagbench.errors import CardError, DataError
from pagbench.models.controls import BayesClassifier
from pagbench.ranking import render
from pagbench.storage import assets

pytestmark = pytest.mark.usefixtures("short_runs")

CARD = DistractorCard(kind="distractor", source=IdxCard(kind="mnist"), seed=3)
COUNT, CLASSES = 120, 3


def source_images():
    """Three classes of 28×28 noise around their own patterns."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    patterns = rng.choice([0.42, 0.58], size=(CLASSES, 28, 28))
    images = np.clip(patterns[labels] + rng.uniform(-0.3, 0.3, (COUNT, 28, 28)), 0, 1)[:, None]
    return LoadedImages(images.astype(np.float32), labels)


@pytest.fixture(scope="module")
def source():
    """Stands in for the files of MNIST."""
    published = IdxCard.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IdxCard, "load", lambda card: source_images() if card == CARD.source else published(card))
        data.splits.cache_clear()
        images, labels, _ = source_images()
        yield torch.from_numpy(images), torch.from_numpy(labels)
    data.splits.cache_clear()


@pytest.fixture(scope="module")
def fashion():
    """All of Fashion-MNIST, where it is installed."""
    card = benchmarks.load("fashion-distractor").dataset.source
    if (absent := card.missing()) is not None:
        pytest.skip(f"not installed: {absent}")
    found = data.load(card)
    return found.images, found.labels


@pytest.fixture(scope="module")
def tiny(source):
    """A published definition with less of everything."""
    fields = {
        **benchmarks.load("fashion-distractor@1").model_dump(),
        "name": "tiny-distractor",
        "dataset": CARD,
        "classes": CLASSES,
        "samples": [str(index) for index in range(12)],
        "calibration": [str(index) for index in range(12, 24)],
        "training": None,
        "epsilons": (2.8, 28.0),
        "directions": 4,
    }
    return Benchmark.parse(fields, "tiny")


@pytest.fixture(scope="module")
def tiny_splits(tiny):
    return data.splits(tiny)


@pytest.fixture(scope="module")
def rows(tiny):
    return pagbench.run({"linear": linear_network()}, benchmark=tiny, batch_size=8)


def linear_network():
    """Takes each pattern for its class wherever it is, and cannot tell it from a distractor."""
    images, labels = (torch.from_numpy(array) for array in source_images()[:2])
    means = torch.stack([images[labels == label].mean(0) for label in range(CLASSES)]).flatten(1)
    both = torch.cat([means, means], dim=1) - means.mean()
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 784, CLASSES))
    with torch.no_grad():
        network[1].weight.copy_(both)
        network[1].bias.copy_(-both.square().sum(1) / 4)
    return network


def test_glyphs_are_few_distinct_and_drawn_in_black_and_white():
    glyphs = distractor.glyphs()
    assert glyphs.shape == (4, 1, 28, 28)
    assert glyphs.dtype == torch.float32
    assert set(glyphs.unique().tolist()) == {0, 1}
    torch.testing.assert_close(glyphs, glyphs.flip(3), rtol=0, atol=0)
    torch.testing.assert_close(glyphs, glyphs.mT, rtol=0, atol=0)
    apart = torch.cdist(glyphs.flatten(1), glyphs.flatten(1)) + 100 * torch.eye(4)
    assert apart.min() > 10


def test_every_image_stands_beside_a_glyph_on_the_drawn_side(source):
    found = data.load(CARD)
    images, labels = found.images, found.labels
    assert images.shape == (COUNT, 1, 56, 28)
    assert torch.equal(labels, source[1])
    above = distractor.signal_above(CARD, COUNT)
    upper, lower = images.chunk(2, dim=2)
    assert torch.equal(torch.where(above[:, None, None, None], upper, lower), source[0])
    beside = torch.where(above[:, None, None, None], lower, upper)
    shown = (beside[:, None] == distractor.glyphs()).flatten(2).all(dim=2)
    assert (shown.sum(dim=1) == 1).all()
    assert (shown.sum(dim=0) > COUNT / 8).all()


def test_sides_and_glyphs_depend_on_the_seed_and_on_nothing_else(source):
    above = distractor.signal_above(CARD, 10_000)
    assert torch.equal(above[:50], distractor.signal_above(CARD, 50))
    assert above.float().mean() == pytest.approx(0.5, abs=0.02)
    other = distractor.signal_above(CARD.model_copy(update={"seed": 4}), 10_000)
    assert (above == other).float().mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(data.load(CARD).images, data.load(CARD).images)


def test_the_side_is_told_from_the_pixels_of_every_image(source):
    images = data.load(CARD).images
    above, known = distractor.signal_above(CARD, COUNT), distractor.glyphs()
    assert torch.equal(distractor.find_signal_above(images, known), above)
    assert torch.equal(distractor.find_signal_above(images.double(), known), above)
    assert torch.equal(distractor.signals(images, known), source[0])
    noisy = images + 0.1 * normal(0, *images.shape).float()
    assert torch.equal(distractor.find_signal_above(noisy, known), above)


def test_an_image_without_a_distractor_is_refused():
    with pytest.raises(DataError, match=r"image 1 of 2: both halves are equally far from every glyph"):
        glyph = distractor.glyphs()[:1]
        images = torch.cat([torch.cat([glyph, glyph / 2], dim=2), torch.full((1, 1, 56, 28), 0.5)])
        distractor.find_signal_above(images, distractor.glyphs())


def test_no_image_of_fashion_mnist_is_near_a_glyph(fashion):
    """So that the half that is one is the distractor, for all 70,000 images."""
    images, _ = fashion
    assert len(images) == 70_000
    assert torch.cdist(images.flatten(1), distractor.glyphs().flatten(1)).min() > 5


@pytest.mark.parametrize("name", ["fashion-distractor@1", "mnist-distractor@1"])
def test_step_lengths_are_those_of_pixel_noise_on_one_half(name):
    benchmark = benchmarks.load(name)
    np.testing.assert_allclose(benchmark.epsilons, 28 * np.logspace(-2, 0, 5), rtol=2e-3)
    assert len(benchmark.samples) == 256
    assert all(60_000 <= int(sample) < 70_000 for sample in benchmark.samples)


def test_samples_of_fashion_mnist_are_balanced(fashion):
    samples = [int(sample) for sample in benchmarks.load("fashion-distractor").samples]
    counts = fashion[1][samples].bincount()
    assert set(counts.tolist()) == {25, 26}


HALF = (2, 2, 3)
"""Two channels, so that the halves of an image do not lie one after the other."""


def halves(seed=0, count=7):
    return normal(seed, count, *HALF), torch.tensor([0, 1, 2, 0, 0, 1, 2])[:count]


def tiny_density():
    """Seven signals in three classes, two distractors."""
    signal = EmpiricalDensity(*halves(), classes=3)
    return SignalDistractor(signal, EmpiricalDensity(normal(5, 2, *HALF), torch.zeros(2, dtype=torch.long), classes=1))


def composites():
    """Every image that the process can generate, with its class; all are equally likely."""
    signals, labels = halves()
    pairs = [(s, d) for s in signals for d in normal(5, 2, *HALF)]
    images = [torch.cat(order, dim=1) for s, d in pairs for order in ((s, d), (d, s))]
    return torch.stack(images), labels.repeat_interleave(4)


SIGMAS = pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])


@SIGMAS
def test_density_is_the_sum_over_everything_that_can_be_generated(sigma):
    images, labels = composites()
    x = normal(9, 5, 2, 4, 3)
    d = x[0].numel()
    squared = (x[:, None] - images).flatten(2).square().sum(dim=2)
    terms = -squared / (2 * sigma**2) - d / 2 * math.log(2 * math.pi * sigma**2) - math.log(len(images))
    expected = torch.stack([terms[:, labels == label].logsumexp(dim=1) for label in range(3)], dim=1)
    constant = math.log(7 * 2) + d / 2 * math.log(2 * math.pi * sigma**2)  # that empirical densities leave out
    assert (tiny_density().log_joint(x, sigma) - constant - expected).abs().max() < 1e-10


@SIGMAS
def test_scores_and_posterior_covariance_are_those_of_everything_that_can_be_generated(sigma):
    density, every = tiny_density(), EmpiricalDensity(*composites(), classes=3)
    x = normal(9, 5, 2, 4, 3)
    assert (density.class_scores(x, sigma) - every.class_scores(x, sigma)).abs().max() < 1e-10
    assert (density.posterior_covariance(x, sigma) - every.posterior_covariance(x, sigma)).abs().max() < 1e-10


def test_density_of_normalised_parts_is_normalised():
    signal, beside = gaussian_classes(0, d=6), gaussian_classes(20, d=6, classes=2)
    x = normal(9, 5, 1, 2, 6)
    found = SignalDistractor(GaussianMixture(signal), GaussianMixture(beside)).log_joint(x, 0.4)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for label, (mean, covariance) in enumerate(zip(signal.means, covariances(signal, 0.4), strict=True)):
        for other, spread in zip(beside.means, covariances(beside, 0.4), strict=True):
            for here, there in ((0, 1), (1, 0)):
                one = multivariate_normal(mean, covariance).pdf(x[:, 0, here])
                two = multivariate_normal(other, spread).pdf(x[:, 0, there])
                expected[:, label] += torch.from_numpy(one * two) / (2 * 2 * 3)
    assert (found - expected.log()).abs().max() < 1e-9


@SIGMAS
def test_autograd_of_the_log_density_gives_the_scores(sigma):
    density = tiny_density()
    x = normal(9, 5, 2, 4, 3).requires_grad_(True)
    joint = density.log_joint(x, sigma)
    for label in range(3):
        (gradient,) = torch.autograd.grad(joint[:, label].sum(), x, retain_graph=True)
        assert (gradient - density.class_scores(x, sigma)[:, label]).abs().max() < 1e-8
    (gradient,) = torch.autograd.grad(joint.logsumexp(dim=1).sum(), x)
    assert (gradient - density.score(x, sigma)).abs().max() < 1e-8


def test_class_scores_are_the_gradients_of_the_log_density():
    density, x = tiny_density(), normal(9, 3, 2, 4, 3)
    differences = central_differences(lambda at: density.log_joint(at, 0.7), x)
    assert (density.class_scores(x, 0.7).flatten(2) - differences).abs().max() < 1e-7


def test_the_bayes_gradient_leaves_the_signal_only_where_the_side_is_uncertain():
    """Signals around 0 and distractors around 4: sigma decides how well they are told apart."""
    signals, labels = normal(0, 30, 1, 1, 6), torch.arange(30) % 3
    beside = images_of(4 + 0.1 * normal(1, 2, 6))
    density = SignalDistractor(
        EmpiricalDensity(signals, labels, classes=3),
        EmpiricalDensity(beside, torch.zeros(2, dtype=torch.long), classes=1),
    )
    x = torch.cat([signals[:9], beside[:1].expand(9, -1, -1, -1)], dim=2)
    outside = []
    for sigma in (0.8, 2.0, 4.0, 8.0):
        gradient = geometry.log_odds_gradient(BayesClassifier(density, sigma), x, labels[:9]).gradient
        outside.append(float(gradient[:, :, 1].norm() / gradient.norm()))
    assert outside[0] < 1e-10
    assert outside[1:] == sorted(outside[1:])
    assert outside[3] > 0.1


def test_mask_is_made_of_the_pixels_of_the_signal(tiny, tiny_splits):
    manifold = manifolds.load(tiny, scores.load(tiny, tiny_splits.train), tiny_splits.train)
    assert isinstance(manifold, Mask)
    test = tiny_splits.test
    basis = manifold.tangent_basis(test.images)
    assert basis.shape == (12, 1568, 784)
    marked = basis.sum(dim=2).reshape(12, 2, 784)
    above = distractor.signal_above(CARD, COUNT)[[int(name) for name in test.ids]]
    assert set(above.tolist()) == {True, False}
    assert torch.equal(marked, torch.stack([above, ~above], dim=1)[..., None].expand(-1, -1, 784).float())
    assert torch.equal(basis.sum(dim=1), torch.ones(12, 784))


def test_mask_keeps_channels_together():
    known = normal(0, 2, *HALF)
    image = torch.cat([known[:1], normal(1, 1, *HALF)], dim=2)
    basis = Mask(known).tangent_basis(image)
    marked = basis.sum(dim=2).reshape(2, 4, 3)
    assert basis.shape == (1, 24, 12)
    assert marked[:, 2:].eq(1).all()
    assert marked[:, :2].eq(0).all()


def test_cards_that_do_not_fit_are_refused(tiny, tiny_splits, digits, digits_splits):
    score = scores.load(tiny, tiny_splits.train)
    smaller = tiny.model_copy(update={"manifold": ManifoldCard(kind="mask", rank=700)})
    with pytest.raises(CardError, match="manifold 'mask' has rank 784, its card says 700"):
        manifolds.load(smaller, score, tiny_splits.train)
    masked = digits.model_copy(update={"manifold": ManifoldCard(kind="mask", rank=32)})
    with pytest.raises(CardError, match="manifold 'mask' does not fit data set 'digits'"):
        manifolds.load(masked, score, tiny_splits.train)
    scored = digits.model_copy(update={"score": tiny.score})
    with pytest.raises(CardError, match="'signal-distractor' does not fit data set 'digits'"):
        scores.load(scored, digits_splits.train)


def test_the_bayes_control_ignores_the_distractor(rows):
    bayes = rows[rows["entrant"] == "control/bayes"]
    assert len(bayes) == 12
    np.testing.assert_allclose(bayes["tangent_energy"], 1, atol=1e-6)
    np.testing.assert_allclose(bayes["alignment_cosine"], 1, atol=1e-4)
    assert (bayes["gradient_faithful"] == 1).all()
    for column in ("response_2.8", "response_28", "sensitivity"):
        assert (bayes[f"on_{column}"] > 10 * bayes[f"off_{column}"]).all(), column


def test_an_untrained_network_spreads_its_gradient_over_both_halves(tiny):
    rows = pagbench.run("control/random-init", benchmark=tiny, batch_size=8).set_index("entrant")
    assert rows.loc["control/random-init", "tangent_energy"].mean() == pytest.approx(0.5, abs=0.1)


def test_a_network_that_cannot_tell_signal_from_distractor_reacts_to_both(rows):
    own = rows[rows["entrant"] == "linear"]
    np.testing.assert_allclose(own["tangent_energy"], 0.5, atol=1e-5)
    np.testing.assert_allclose(own["on_sensitivity"], own["off_sensitivity"], rtol=1e-4)


@pytest.fixture(scope="module")
def second(tiny, tmp_path_factory):
    """The second edition with less of everything: a mixture that was fitted to the signals, in a file."""
    images, labels = (torch.from_numpy(array) for array in source_images()[:2])
    recipe = MixtureRecipe(components=1, rank=2, directions=16)
    path = tmp_path_factory.mktemp("mixture") / "signals.safetensors"
    digest = mixture.write(mixture.fit(images, labels, classes=CLASSES, recipe=recipe), path, "{}")
    published = benchmarks.load("fashion-distractor@2").model_dump()
    less = {name: tiny.model_dump()[name] for name in ("name", "dataset", "classes", "samples", "calibration")}
    score = {"kind": "signal-distractor", "weights": str(path), "weights_sha256": digest}
    return Benchmark.parse({**published, **less, "training": None, "score": score, "sigmas": [0.5, 1.0, 2.0]}, "second")


def test_the_second_editions_target_is_the_mixtures_on_the_signal_either_way_up(second):
    parts = data.splits(second)
    alone = mixture.read(Path(second.score.weights), second.score.weights_sha256)
    density, test = scores.load(second, parts.train), parts.test
    above = distractor.find_signal_above(test.images, distractor.glyphs())
    assert set(above.tolist()) == {True, False}
    expected = alone.log_odds_gradient(distractor.signals(test.images, distractor.glyphs()), 1.0, test.labels)
    upper, lower = density.log_odds_gradient(test.images, 1.0, test.labels).chunk(2, dim=2)
    on, off = (torch.where(above[:, None, None, None], *pair) for pair in ((upper, lower), (lower, upper)))
    torch.testing.assert_close(on, expected, rtol=1e-6, atol=1e-9)
    assert off.abs().max() < 1e-9 * on.abs().max()


def test_the_second_edition_runs_end_to_end(second, tmp_path):
    rows = pagbench.run({"linear": linear_network()}, benchmark=second, batch_size=8, results=tmp_path)
    bayes = rows[rows["entrant"] == "control/bayes"]
    assert len(bayes) == 12 == len(rows) / 2
    np.testing.assert_allclose(bayes["tangent_energy"], 1, atol=1e-6)
    np.testing.assert_allclose(bayes["alignment_cosine"], 1, atol=1e-4)
    assert (bayes["on_response_2.8"] > 10 * bayes["off_response_2.8"]).all()
    assert rows["alignment_at_0.5"].notna().all() and not rows.filter(like="sensitivity").size
    found = pagbench.leaderboard(tmp_path, benchmark=second).set_index("model")
    assert found.loc["linear", "status"].startswith("no result: no temperature"), "no calibration image is wrong"
    assert found.loc["linear", "alignment"] > 0.7 and found["regime"].isna().all()
    for result in results.read_all(tmp_path, second):
        assert result.document["networks"] == {
            "score": {"weights_sha256": second.score.weights_sha256, "sigma": 1.0, "sigma_used": 1.0}
        }


def test_the_shipped_mixture_is_the_density_of_garments_beside_glyphs(fashion):
    """At sigma 1 the side is certain for every garment, and what is left on the glyph is nothing."""
    edition = benchmarks.load("fashion-distractor")
    garments, labels = (part[60_000:60_012] for part in fashion)
    density = scores.build(edition.score, edition, Dataset((), garments[:0], labels[:0]))
    alone = mixture.read(assets.find(edition.score.weights), edition.score.weights_sha256)
    expected = alone.log_odds_gradient(garments, edition.sigma, labels)
    glyph = distractor.glyphs()[:1].expand(12, -1, -1, -1)
    for order, place in (((garments, glyph), 0), ((glyph, garments), 1)):
        found = density.log_odds_gradient(torch.cat(order, dim=2), edition.sigma, labels).chunk(2, dim=2)
        torch.testing.assert_close(found[place], expected, rtol=1e-6, atol=1e-9)
        assert found[1 - place].abs().max() < 1e-6 * expected.abs().max()


def test_both_editions_measure_the_same_images_and_the_second_in_rounds_of_classes(fashion):
    first, second = (benchmarks.load(f"fashion-distractor@{version}") for version in (1, 2))
    assert set(first.samples) == set(second.samples) and second.epsilon == first.epsilon
    labels = fashion[1][[int(sample) for sample in second.samples]].tolist()
    assert all(len(set(labels[start : start + 10])) == 10 for start in range(0, 250, 10))
    garments = benchmarks.load("fashion-mnist@2")
    assert (second.score.weights_sha256, second.sigma) == (garments.score.weights_sha256, garments.sigma)


def test_without_a_reference_only_the_bayes_control_is_measured_beside_the_models(rows, tiny):
    assert set(rows["entrant"]) == {"linear", "control/bayes"}
    board = pagbench.leaderboard(rows, benchmark=tiny).set_index("model")
    assert board.loc["linear", "rank"] == 1
    assert board.loc["control/bayes", "status"] == "control"
    assert board["regime"].isna().all()
    alone = pagbench.leaderboard(rows[rows["entrant"] == "linear"], benchmark=tiny).set_index("model")
    assert alone.loc["linear", "alignment"] == board.loc["linear", "alignment"]
    assert alone["regime"].isna().all()


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_tables_without_a_reference_say_so(rows, tiny, form):
    text = render.FORMATS[form](pagbench.leaderboard(rows, benchmark=tiny), tiny)
    assert "linear" in text
    assert "None" not in text
    if form in ("table", "markdown"):
        assert "No regimes are judged" in " ".join(text.split())


def test_a_models_row_is_shown_without_a_reference(tiny, tmp_path, monkeypatch):
    pagbench.run("control/bayes", benchmark=tiny, limit=4, batch_size=4, results=tmp_path)
    monkeypatch.setattr(benchmarks, "names", lambda: [tiny.label])
    monkeypatch.setattr(benchmarks, "load", lambda name: tiny)
    shown = listing.describe_model("control/bayes", tmp_path)
    assert "# tiny-distractor@1 in" in shown
    assert "tangent_energy" in shown


def test_benchmarks_without_published_results_are_documented():
    """The document is generated; `tests/test_docs.py` compares it with what the code says now."""
    text = (Path(__file__).parent.parent.parent / "leaderboard" / "README.md").read_text(encoding="utf-8")
    assert "No results are published; `pagbench run --benchmark mnist-distractor@1` measures." in text
