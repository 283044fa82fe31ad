"""The diffusion model's score is the closed form's, in pixel units, with and without a class."""

from types import SimpleNamespace

import pytest
import torch

from pagbench import benchmarks, data, geometry
from pagbench.densities import diffusion, scores
from pagbench.densities.diffusion import Denoiser, DiffusionScore
from pagbench.errors import TrainingError, UnknownNameError, WeightsError
from pagbench.training import Recipe, components

GAUSSIANS = benchmarks.load("gaussians")
SIGMA = 0.15


@pytest.fixture(scope="module")
def splits():
    return data.splits(GAUSSIANS)


@pytest.fixture(scope="module")
def exact(splits):
    return scores.load(GAUSSIANS, splits.train)


@pytest.fixture(scope="module")
def noisy(splits):
    noise = torch.randn(splits.test.images.shape, generator=torch.Generator().manual_seed(0))
    return splits.test.images + SIGMA * noise


class ExactDenoiser(Denoiser):
    """The closed-form denoiser on [-1, 1], in place of a network."""

    def __init__(self, density):
        torch.nn.Module.__init__(self)
        self.density, self.classes = density, GAUSSIANS.classes
        self.config = {"input_shape": GAUSSIANS.input_shape}
        self.anchor = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, sigma, labels):
        pixel_sigma = float(sigma[0]) / 2
        asked = None if (labels == self.classes).all() else labels
        return 2 * self.density.denoise((x + 1) / 2, pixel_sigma, asked) - 1


def test_score_of_an_exact_denoiser_is_the_closed_form_in_pixel_units(exact, noisy, splits):
    model = DiffusionScore(ExactDenoiser(exact))
    for labels in (None, splits.test.labels):
        expected = exact.score(noisy, SIGMA, labels)
        torch.testing.assert_close(model.score(noisy, SIGMA, labels), expected, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    recipe = Recipe(epochs=60, batch_size=100, learning_rate=0.03, ema=0.97, clip=1.0)
    return components.fit(GAUSSIANS, "diffusion", output=tmp_path_factory.mktemp("parts"), width=8, recipe=recipe)


@pytest.mark.slow
def test_a_trained_model_approaches_the_closed_form(fitted, exact, noisy, splits):
    model = diffusion.read(*fitted)
    found, expected = model.score(noisy, SIGMA), exact.score(noisy, SIGMA)
    assert geometry.cosine(found.double(), expected).mean() > 0.98
    assert 0.9 < float(found.norm() / expected.norm()) < 1.1
    conditional = model.score(noisy, SIGMA, splits.test.labels)
    own = exact.score(noisy, SIGMA, splits.test.labels)
    other = exact.score(noisy, SIGMA, (splits.test.labels + 1) % GAUSSIANS.classes)
    assert (conditional - own).norm() < 0.5 * (conditional - other).norm()
    assert scores.ScoreModel in type(model).__mro__ or isinstance(model, scores.ScoreModel)


@pytest.mark.slow
def test_the_null_label_is_another_answer_than_any_class(fitted, noisy):
    model = diffusion.read(*fitted)
    marginal = model.score(noisy[:4], SIGMA)
    for label in range(GAUSSIANS.classes):
        assert not torch.allclose(model.score(noisy[:4], SIGMA, torch.full((4,), label)), marginal, rtol=1e-2)


def test_preconditioning_leaves_a_large_signal_alone_and_trusts_the_network_with_noise():
    """Karras et al. 2022: skip → 1 for sigma → 0; the network's part → data_std · F for sigma → ∞."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser((1, 8, 8), 3, (8, 8), 0.5).eval()
    x, labels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3])
    with torch.no_grad():
        torch.testing.assert_close(denoiser(x, torch.full((2,), 1e-4), labels), x, rtol=0, atol=1e-3)
        far = denoiser(1e4 * x, torch.full((2,), 1e4), labels)
        raw = denoiser.unet(x, torch.full((2,), 250.0) * torch.tensor(1e4).log(), class_labels=labels).sample
    torch.testing.assert_close(far, 0.5 * raw, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 20.0])
def test_without_its_network_the_denoiser_is_the_best_one_of_gaussian_data(sigma, monkeypatch):
    """The network's input has unit variance (Karras et al. 2022, table 1)."""
    denoiser = Denoiser((1, 8, 8), 1, (8, 8), 0.7)
    given = []
    silent = lambda x, *_, **__: given.append(x) or SimpleNamespace(sample=torch.zeros_like(x))  # noqa: E731
    monkeypatch.setattr(denoiser.unet, "forward", silent)
    x = (0.49 + sigma**2) ** 0.5 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = denoiser(x, torch.full((4,), sigma), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found, 0.49 / (0.49 + sigma**2) * x)
    torch.testing.assert_close(given[0], x / (0.49 + sigma**2) ** 0.5)


def test_a_finished_part_is_kept_and_another_is_not_written_over_it(tmp_path):
    recipe = Recipe(epochs=1, batch_size=128)
    path, digest = components.fit(GAUSSIANS, "autoencoder", output=tmp_path, width=8, recipe=recipe)
    before = path.stat().st_mtime_ns
    assert components.fit(GAUSSIANS, "autoencoder", output=tmp_path, width=8, recipe=recipe) == (path, digest)
    assert path.stat().st_mtime_ns == before
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(TrainingError, match=r"already there, trained otherwise \(.*\"seed\": 0"):
        components.fit(GAUSSIANS, "autoencoder", output=tmp_path, width=8, recipe=recipe, seed=1)
    with pytest.raises(TrainingError, match="seed -1 is out of range"):
        components.fit(GAUSSIANS, "autoencoder", output=tmp_path, seed=-1)
    with pytest.raises(TrainingError, match=r"channels \(12, 24, 24\) by 8"):
        components.fit(GAUSSIANS, "diffusion", output=tmp_path, width=12)


def test_a_part_that_no_benchmark_has_is_one_line(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown part 'autoencodr'; closest: autoencoder"):
        components.fit(GAUSSIANS, "autoencodr", output=tmp_path)
    with pytest.raises(WeightsError, match="cannot read"):
        diffusion.read(tmp_path / "none.safetensors", None)
