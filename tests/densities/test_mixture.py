"""The mixture is the density that it says, however large the images are, and the same one on every machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from closed_forms import images_of, mixture_parameters, normal, orthonormal
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from scipy.stats import multivariate_normal

from pagbench import benchmarks, data
from pagbench.cards import ManifoldCard, MixtureRecipe, ScoreCard
from pagbench.data import Dataset, gaussians
from pagbench.densities import heldout, manifolds, mixture, scores
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.gaussian_mixture import GaussianMixture
from pagbench.densities.mixture import MixtureDensity, Parameters
from pagbench.densities.posterior import PosteriorCovariance
from pagbench.densities.scores import ClassMixture
from pagbench.errors import DataError, WeightsError
from pagbench.storage import weights

SIGMA = 0.4
RECIPE = MixtureRecipe(components=2, rank=3, directions=6)


def told(classes):
    """The mixture of one component a class that is told the parameters of Gaussian classes, in all directions."""
    d, r = classes.basis.shape
    n = len(classes.means)
    noise = torch.full((n,), classes.noise**2, dtype=torch.float64)
    return MixtureDensity(
        Parameters(
            centre=torch.zeros(d),
            directions=torch.eye(d),
            means=classes.means,
            bases=classes.basis.expand(n, d, r),
            variances=classes.variances.expand(n, r),
            noise=noise,
            outside=noise,
            log_weights=torch.full((n, 1), -np.log(n), dtype=torch.float64),
        )
    )


@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_told_the_parameters_it_is_the_exact_density_of_gaussians(sigma):
    benchmark = benchmarks.load("gaussians")
    classes = gaussians.parameters(benchmark.dataset)
    exact, mine = GaussianMixture(classes), told(classes)
    part = data.splits(benchmark).test.select(benchmark.samples[:20])
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(mine.log_joint(part.images, sigma), exact.log_joint(part.images, sigma), **close)
    for name in ("score", "log_odds_gradient", "denoise"):
        a, b = (getattr(density, name)(part.images, sigma, part.labels) for density in (mine, exact))
        torch.testing.assert_close(a, b, **close)
    covariances = (density.posterior_covariance(part.images, sigma) for density in (mine, exact))
    torch.testing.assert_close(*covariances, **close)


@pytest.mark.parametrize("sigma", [1e-3, 0.4, 5.0])
def test_log_density_is_that_of_its_gaussians_in_full(sigma):
    p = mixture_parameters(3)
    x = 0.5 + normal(5, 4, 12)
    identity = torch.eye(12, dtype=torch.float64)
    outer = identity - p.directions @ p.directions.T
    for label in range(3):
        total = 0
        for index in (2 * label, 2 * label + 1):
            u = p.directions @ p.bases[index]
            covariance = u @ p.variances[index].diag() @ u.T + p.noise[index] * p.directions @ p.directions.T
            covariance += p.outside[index] * outer + sigma**2 * identity
            mean = p.centre + p.directions @ p.means[index]
            density = multivariate_normal(mean.numpy(), covariance.numpy())
            total = total + p.log_weights.flatten()[index].exp().item() * density.pdf(x.numpy())
        found = MixtureDensity(p).log_joint(images_of(x), sigma)[:, label]
        np.testing.assert_allclose(found.numpy(), np.log(total), rtol=1e-9)


def test_posterior_covariance_is_the_jacobian_of_the_denoiser():
    density, x = MixtureDensity(mixture_parameters(1)), images_of(0.5 + normal(2, 3, 12))
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda at: density.denoise(at, SIGMA).flatten(), image[None]).reshape(
                12, 12
            )
            for image in x
        ]
    )
    torch.testing.assert_close(density.posterior_covariance(x, SIGMA), SIGMA**2 * jacobian, rtol=0, atol=1e-10)


@pytest.mark.parametrize("m", [7, 12])
def test_leading_eigenvectors_are_those_of_the_whole_covariance(m):
    density, x = MixtureDensity(mixture_parameters(1, m=m)), images_of(0.5 + normal(2, 6, 12))
    values, vectors = density.posterior_eigenvectors(x, SIGMA, 4)
    expected = torch.linalg.eigvalsh(density.posterior_covariance(x, SIGMA)).flip(1)[:, :4]
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(
        vectors.mT @ vectors, torch.eye(4, dtype=torch.float64).expand(6, 4, 4), rtol=0, atol=1e-12
    )
    _, whole = ClassMixture.posterior_eigenvectors(density, x, SIGMA, 4)
    assert (1 - manifolds.overlap(vectors, whole)).abs().max() < 1e-9
    torch.testing.assert_close(PosteriorCovariance(density, SIGMA, 4).tangent_basis(x), vectors, rtol=0, atol=0)
    with pytest.raises(DataError, match=f"{m + 1} leading directions of a mixture that varies in {m}; use a smaller"):
        density.posterior_eigenvectors(x, SIGMA, m + 1)


def test_it_tends_to_the_class_means_and_to_the_noise_alone():
    p = mixture_parameters(4)
    density, x = MixtureDensity(p), images_of(0.5 + normal(8, 3, 12))
    means = p.centre + p.means @ p.directions.T
    share = p.log_weights.softmax(1)
    label = torch.tensor([1, 1, 1])
    torch.testing.assert_close(
        density.denoise(x, 1e4, label).flatten(1),
        (share[1][:, None] * means[2:4]).sum(0).expand(3, 12),
        rtol=0,
        atol=1e-3,
    )
    torch.testing.assert_close(density.denoise(x, 1e-4, label), x, rtol=0, atol=1e-4)


def invented(count=240, d=(1, 4, 5), classes=3, seed=0):
    """Images of low-rank classes, with labels in no order."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(count) % classes))
    flat = torch.zeros(count, d[0] * d[1] * d[2])
    for label in range(classes):
        own = labels == label
        loads = orthonormal(label, flat.shape[1], 3).float()
        latent = torch.from_numpy(rng.standard_normal((int(own.sum()), 3))).float()
        flat[own] = (
            0.2 * label
            + latent @ loads.T
            + 0.1 * torch.from_numpy(rng.standard_normal((int(own.sum()), flat.shape[1]))).float()
        )
    return flat.unflatten(1, d), labels


def test_a_fit_finds_what_the_data_were_drawn_from():
    classes = gaussians.parameters(benchmarks.load("gaussians").dataset)
    generator = torch.Generator().manual_seed(0)
    d, r = classes.basis.shape
    labels = torch.arange(6000) % len(classes.means)
    latent = torch.randn(6000, r, generator=generator, dtype=torch.float64)
    points = classes.means[labels] + (latent * classes.variances[labels].sqrt()) @ classes.basis.T
    points += classes.noise * torch.randn(6000, d, generator=generator, dtype=torch.float64)
    recipe = MixtureRecipe(components=1, rank=r, directions=d)
    fitted = MixtureDensity(mixture.fit(images_of(points), labels, classes=len(classes.means), recipe=recipe))
    x, exact = images_of(points[:50]), GaussianMixture(classes)
    cosine = torch.nn.functional.cosine_similarity(
        fitted.log_odds_gradient(x, SIGMA, labels[:50]).flatten(1),
        exact.log_odds_gradient(x, SIGMA, labels[:50]).flatten(1),
    )
    assert cosine.min() > 0.97


def test_components_are_found_where_they_are():
    rng = np.random.default_rng(1)
    centres = torch.tensor([[0.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0]], dtype=torch.float64)
    own = torch.from_numpy(rng.integers(0, 3, 600))
    points = centres[own] + 0.2 * torch.from_numpy(rng.standard_normal((600, 4)))
    recipe = MixtureRecipe(components=3, rank=1, directions=3, seed=2)
    fitted = mixture.fit(images_of(points), torch.zeros(600, dtype=torch.long), classes=1, recipe=recipe)
    found = fitted.centre + fitted.means @ fitted.directions.T
    assert torch.cdist(centres, found).amin(1).max() < 0.1
    assert fitted.log_weights.exp().sum().item() == pytest.approx(1)


def test_a_mixture_denoises_unseen_images_better_than_the_training_images_do():
    images, labels = invented(240)
    unseen, unseen_labels = invented(60, seed=1)
    held_out = Dataset(tuple(map(str, range(60))), unseen, unseen_labels)
    recipe = MixtureRecipe(components=1, rank=3, directions=16)
    density = MixtureDensity(mixture.fit(images, labels, classes=3, recipe=recipe))
    empirical = EmpiricalDensity(images, labels, classes=3)
    better, worse = (heldout.denoising_error(score, held_out, 0.3).mean() for score in (density, empirical))
    assert better < 0.7 * worse
    assert (
        heldout.denoising_error(density, held_out, 0.3, seed=1) != heldout.denoising_error(density, held_out, 0.3)
    ).any()


def test_the_order_of_the_images_and_labels_does_not_matter_but_for_rounding():
    images, labels = invented()
    classes_first = labels.argsort(stable=True)
    a, b = (
        MixtureDensity(mixture.fit(images[order], labels[order], classes=3, recipe=RECIPE))
        for order in (torch.arange(len(labels)), classes_first)
    )
    torch.testing.assert_close(a.score(images[:20], SIGMA), b.score(images[:20], SIGMA), rtol=1e-6, atol=1e-6)


_ROWS = """
import sys, torch
from pagbench import benchmarks, data
from pagbench.cards import MixtureRecipe
from pagbench.densities import mixture
benchmark = benchmarks.load("digits@1")
splits = data.splits(benchmark)
recipe = MixtureRecipe(components=3, rank=8, directions=64)
for threads in (1, 2):
    torch.set_num_threads(threads)
    density = mixture.MixtureDensity(mixture.fit(splits.train.images, splits.train.labels, classes=10, recipe=recipe))
    targets = density.log_odds_gradient(splits.test.images, 0.35, splits.test.labels)
    torch.save(targets.flatten(1), f"{sys.argv[1]}/{threads}")
"""


def test_one_thread_and_two_give_the_same_targets(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}  # else one spins for the other
    subprocess.run([sys.executable, "-c", _ROWS, str(tmp_path)], check=True, env=environment)
    one, two = (torch.load(tmp_path / threads) for threads in ("1", "2"))
    assert ((one - two).norm(dim=1) / one.norm(dim=1)).max() < 1e-6


_LARGE = """
import resource, torch
from pagbench.densities.mixture import MixtureDensity, Parameters
torch.manual_seed(0)
d, m, r, n = 3072, 64, 8, 100
parameters = Parameters(
    torch.rand(d), torch.linalg.qr(torch.randn(d, m))[0], torch.randn(n, m), torch.linalg.qr(torch.randn(n, m, r))[0],
    torch.rand(n, r), torch.rand(n) + .1, torch.rand(n) + .1, torch.full((10, 10), -4.6))
density, labels = MixtureDensity(parameters), torch.arange(16) % 10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    x = torch.rand(16, 3, 32, 32)
    density.log_odds_gradient(x, 1.0, labels), density.posterior_eigenvectors(x, 1.0, 16)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_images_of_cifars_size_take_no_more_than_some_copies_of_themselves():
    found = subprocess.run([sys.executable, "-c", _LARGE], check=True, capture_output=True, text=True)
    assert int(found.stdout) < 150_000  # kilobytes; one d×d matrix of each image would be 1.2 million


def test_a_file_holds_the_density_to_the_rounding_of_its_numbers(tmp_path):
    images, labels = invented()
    fitted = mixture.fit(images, labels, classes=3, recipe=RECIPE)
    digest = mixture.write(fitted, tmp_path / "m.safetensors", "{}")
    back = mixture.read(tmp_path / "m.safetensors", digest)
    assert back.weights_sha256 == digest
    a, b = (
        density.log_odds_gradient(images[:40], SIGMA, labels[:40]).flatten(1)
        for density in (MixtureDensity(fitted), back)
    )
    assert torch.nn.functional.cosine_similarity(a, b).min() > 0.995
    identity = torch.eye(RECIPE.rank, dtype=torch.float64).expand(6, -1, -1)
    torch.testing.assert_close(back._p.bases.mT @ back._p.bases, identity, rtol=0, atol=1e-12)


def test_files_that_hold_no_mixture_are_refused_in_a_line(tmp_path):
    with pytest.raises(WeightsError, match="cannot read"):
        mixture.read(tmp_path / "missing.safetensors", None)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"kind": "autoencoder"})
    with pytest.raises(WeightsError, match="holds 'autoencoder', expected 'mixture'"):
        mixture.read(tmp_path / "other.safetensors", None)
    save_file({"a": torch.zeros(1)}, tmp_path / "part.safetensors", metadata={"kind": "mixture"})
    with pytest.raises(WeightsError, match=r"not a mixture's parameters \(a\); fit it anew"):
        mixture.read(tmp_path / "part.safetensors", None)
    fitted = mixture.fit(*invented(), classes=3, recipe=RECIPE)
    mixture.write(fitted, tmp_path / "m.safetensors", "{}")
    state = load_file(tmp_path / "m.safetensors")
    save_file(
        state | {"means": state["means"][:, :-1].contiguous()},
        tmp_path / "cut.safetensors",
        metadata={"kind": "mixture"},
    )
    with pytest.raises(WeightsError, match="shapes of a mixture's parameters do not fit together"):
        mixture.read(tmp_path / "cut.safetensors", None)
    save_file(state | {"noise": -state["noise"]}, tmp_path / "odd.safetensors", metadata={"kind": "mixture"})
    with pytest.raises(WeightsError, match="variances that are not positive"):
        mixture.read(tmp_path / "odd.safetensors", None)


def test_recipes_that_do_not_fit_the_data_are_refused_in_a_line():
    images, labels = invented(30)
    with pytest.raises(DataError, match="class 0 has 10 training images for 6 components; use fewer components"):
        mixture.fit(images, labels, classes=3, recipe=MixtureRecipe(components=6, rank=1, directions=2))
    with pytest.raises(DataError, match="21 directions of 20 pixels; use fewer"):
        mixture.fit(images, labels, classes=3, recipe=MixtureRecipe(components=1, rank=1, directions=21))
    with pytest.raises(ValueError, match="class 3 has no training image"):
        mixture.fit(images, labels, classes=4, recipe=RECIPE)
    with pytest.raises(ValidationError, match="rank 4 of components that differ in 3 directions"):
        MixtureRecipe(components=1, rank=4, directions=3)
    for fields in ({}, {"weights": "m.safetensors", "weights_sha256": "0" * 64, "recipe": RECIPE}):
        with pytest.raises(ValidationError, match="needs either weights, of a fitted one, or a recipe"):
            ScoreCard(kind="mixture", **fields)
    with pytest.raises(ValidationError, match="the field 'recipe' means nothing for kind 'empirical'"):
        ScoreCard(kind="empirical", recipe=RECIPE)


def test_components_of_single_images_and_constant_pixels_stay_finite():
    images, labels = invented(36)
    images[:, :, 0] = 0.5
    images[::2] = images[0]
    recipe = MixtureRecipe(components=5, rank=6, directions=12)
    density = MixtureDensity(mixture.fit(images, labels, classes=3, recipe=recipe))
    for sigma in (1e-3, 0.5):
        assert density.log_odds_gradient(images, sigma, labels).isfinite().all()


def test_a_recipe_is_fitted_once_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    recipe = MixtureRecipe(components=1, rank=2, directions=8)
    digits = benchmarks.load("digits@1")
    fitted = digits.model_copy(
        update={
            "score": ScoreCard(kind="mixture", recipe=recipe),
            "manifold": ManifoldCard(kind="posterior-covariance", rank=6),
        }
    )
    train = data.splits(digits).train
    first = scores.load_mixture(fitted, train)
    assert "fitting the mixture of digits@1 once and for all" in capsys.readouterr().err
    monkeypatch.setattr(mixture, "fit", lambda *args, **kwargs: pytest.fail("fitted again"))
    second = scores.load_mixture(fitted, train)
    assert second.weights_sha256 == first.weights_sha256
    assert isinstance(manifolds.load(fitted, first, train), PosteriorCovariance)
    (path,) = tmp_path.glob("fitted/*/mixture.safetensors")
    assert json.loads(weights.header(path)["training"])["recipe"] == recipe.model_dump()
    assert scores.is_fitted(fitted.score)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_recipes_file_does_not_depend_on_the_signs_that_a_library_gives_directions(tmp_path, monkeypatch, seed):
    images, labels = invented(40, seed=seed)
    train = Dataset(tuple(map(str, range(40))), images, labels)
    recipe = RECIPE.model_copy(update={"seed": seed})

    def fitted(machine):
        monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / machine))
        return mixture.fitted_once(recipe, train, 3, "invented@1")

    usual, eigh, calls = fitted("a"), torch.linalg.eigh, []

    def flipped(matrix):
        calls.append(matrix)
        values, vectors = eigh(matrix)
        signs = 1 - 2 * torch.randint(2, (len(values),), generator=torch.Generator().manual_seed(len(calls)))
        return torch.return_types.linalg_eigh((values, vectors * signs))

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    assert fitted("b").weights_sha256 == usual.weights_sha256 and calls
    plain = MixtureDensity(mixture.fit(images, labels, classes=3, recipe=recipe))
    torch.testing.assert_close(usual.log_joint(images, SIGMA), plain.log_joint(images, SIGMA), rtol=0.01, atol=0.1)


def test_a_recipe_of_more_classes_than_there_are_images_of_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    images, labels = invented(40)
    train = Dataset(tuple(map(str, range(40))), images, labels)
    for classes, line in ((4, "class 3 has no training image"), (2, "label 2 among 2 classes; labels go from 0 to 1")):
        with pytest.raises(DataError, match=f"^invented@1: its mixture cannot be fitted to .*: {line}$"):
            mixture.fitted_once(RECIPE, train, classes, "invented@1")
    assert not list(tmp_path.rglob("*.safetensors"))


_WRITTEN = """
import sys
from pathlib import Path
from pathlib import Path
from pagbench.densities import mixture
from closed_forms import mixture_parameters
print(mixture.write(mixture_parameters(0), Path(sys.argv[1]), "{}"))
"""


@pytest.mark.slow
def test_every_process_writes_the_same_bytes(tmp_path):
    place = str(Path(__file__).parent.parent / "helpers")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", _WRITTEN, str(tmp_path / "m.safetensors")]
    found = {subprocess.run(command, check=True, env=environment, capture_output=True).stdout for _ in range(3)}
    assert len(found) == 1
    assert mixture.read(tmp_path / "m.safetensors", found.pop().decode().strip()).most_directions == 7
