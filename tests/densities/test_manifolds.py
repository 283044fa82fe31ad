"""Tangent spaces by different routes are those of closed forms, and agreement tells how far two of them are apart."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from pagbench import benchmarks, data
from pagbench.cards import AutoencoderRecipe, ManifoldCard
from pagbench.data import Dataset, sphere
from pagbench.densities import autoencoder, autoencoder_kl, local_pca, manifolds, posterior, scores
from pagbench.densities.autoencoder import Autoencoder, AutoencoderManifold
from pagbench.densities.autoencoder_kl import DecoderJacobian
from pagbench.densities.diffusion import Denoiser, DiffusionScore
from pagbench.densities.subspace import leading_eigenvectors, pull, push
from pagbench.errors import CardError, DataError, WeightsError
from pagbench.running import targets
from pagbench.storage import cache
from pagbench.studies import tangents
from pagbench.training import components

CPU = torch.device("cpu")


def normal(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smallest_cosine(a, b):
    return float(torch.linalg.svdvals(a.double().mT @ b.double()).min())


@pytest.mark.parametrize("least", [0.0, -1.5])
def test_iteration_finds_the_eigenvectors_of_a_decomposition(least):
    """Eigenvalues as of a denoiser: ten large ones, a spread of small ones, and negative ones as networks have them."""
    bases = torch.linalg.qr(normal(0, 3, 60, 60)).Q
    values = torch.cat([torch.linspace(1, 0.5, 10), torch.linspace(0.1, least, 50)]).double()
    operators = (bases * values) @ bases.mT
    found, vectors = leading_eigenvectors(lambda v: operators @ v, normal(1, 3, 60), 10)
    expected = torch.linalg.eigh(operators)
    torch.testing.assert_close(found, expected.eigenvalues.flip(1)[:, :10], rtol=0, atol=1e-8)
    assert smallest_cosine(vectors, expected.eigenvectors[:, :, -10:]) > 1 - 1e-7


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder((1, 8, 8), latent=6, width=8).double()


@pytest.fixture(scope="module")
def kl(tmp_path_factory):
    """A tiny `AutoencoderKL` as diffusers writes it, with attention in its middle; codes of 1×4×4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = AutoencoderKL(
            in_channels=1, out_channels=1, latent_channels=1, block_out_channels=(8, 8), norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=8,
        )  # fmt: skip
    folder = tmp_path_factory.mktemp("kl")
    made.save_pretrained(folder / "vae")
    return folder, made


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_forward_and_reverse_products_are_adjoint(network, kl, images):
    vae = kl[1].double()
    decoders = [
        (network.decoder, network.encoder(images.double()).detach()),
        (lambda z: vae.decode(z).sample, normal(2, 3, 1, 4, 4)),
    ]
    for decode, code in decoders:
        v, w = normal(3, 3, code[0].numel(), 2), normal(4, 3, 64, 2)
        forward, backward = push(decode, code, v), pull(decode, code, w, images.shape[1:])
        torch.testing.assert_close((w * forward).sum(1), (backward * v).sum(1), rtol=1e-8, atol=1e-10)
    vae.float()


def test_both_routes_to_a_decoders_jacobian_agree(network, images):
    exact = AutoencoderManifold(network, 4).tangent_basis(images)
    iterated = DecoderJacobian(network.encoder, network.decoder, 4, products=100).tangent_basis(images.double())
    assert smallest_cosine(exact, iterated) > 1 - 1e-6


def test_the_tangent_space_of_a_linear_decoder_is_its_span(images):
    decoder = nn.Sequential(nn.Linear(5, 64).double(), nn.Unflatten(1, (1, 8, 8)))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5).double())
    found = DecoderJacobian(encoder, decoder, 5).tangent_basis(images.double())
    span = torch.linalg.qr(decoder[0].weight.detach()).Q
    assert smallest_cosine(found, span.expand(3, 64, 5)) > 1 - 1e-9


def test_diffusers_autoencoder_gives_the_leading_directions_of_its_decoder(kl, images):
    folder, vae = kl
    found = autoencoder_kl.read(str(folder), None, 3).tangent_basis(images)
    with torch.no_grad():
        codes = vae.encode(2 * images - 1).latent_dist.mean
    for code, basis in zip(codes, found, strict=True):
        decoded = torch.autograd.functional.jacobian(lambda z: vae.decode(z[None]).sample.flatten(), code)
        left = torch.linalg.svd(decoded.reshape(64, 16), full_matrices=False).U[:, :3]
        assert smallest_cosine(basis, left) > 0.999
    torch.testing.assert_close(found.mT @ found, torch.eye(3).expand(3, 3, 3), rtol=0, atol=1e-5)


def test_a_decoder_with_too_few_directions_and_a_foreign_repository_are_refused(kl, images, tmp_path):
    decoder = nn.Sequential(nn.Linear(5, 64).double(), nn.Unflatten(1, (1, 8, 8)))
    decoder[0].weight.data[:, 2:] = 0
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5).double())
    with pytest.raises(DataError, match="fewer than 4 directions"):
        DecoderJacobian(encoder, decoder, 4).tangent_basis(images.double())
    with pytest.raises(WeightsError, match="has neither vae/config"):
        autoencoder_kl.read(str(tmp_path), None, 3)


class ExactDenoiser(Denoiser):
    """A closed-form denoiser on [-1, 1], in place of a network."""

    def __init__(self, density, benchmark):
        nn.Module.__init__(self)
        self.density, self.classes = density, benchmark.classes
        self.config = {"input_shape": benchmark.input_shape}
        self.anchor = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, sigma, labels):
        return 2 * self.density.denoise((x + 1) / 2, float(sigma[0]) / 2) - 1


@pytest.fixture(scope="module")
def gaussians():
    benchmark = benchmarks.load("gaussians")
    splits = data.splits(benchmark)
    return benchmark, splits, scores.load(benchmark, splits.train)


def test_the_denoisers_jacobian_of_gaussians_spans_their_span(gaussians):
    benchmark, splits, density = gaussians
    x = splits.test.images[:4]
    network = DiffusionScore(ExactDenoiser(density, benchmark))
    rank = benchmark.manifold.rank
    found = posterior.DenoiserJacobian(network, 0.1, rank).tangent_basis(x)
    known = manifolds.load(benchmark, density, splits.train)
    assert smallest_cosine(found, posterior.PosteriorCovariance(density, 0.1, rank).tangent_basis(x)) > 1 - 1e-6
    assert smallest_cosine(found, known.tangent_basis(x)) > 1 - 1e-3
    torch.testing.assert_close(manifolds.agreement(posterior.DenoiserJacobian(network, 0.1, rank), known, x).min(),
                               torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-3)  # fmt: skip


def test_the_denoisers_eigenspace_on_a_sphere_is_its_tangent_space():
    benchmark = benchmarks.load("sphere")
    benchmark = benchmark.model_copy(update={"dataset": benchmark.dataset.model_copy(update={"radius": 2.0})})
    images, labels = sphere.sample(benchmark.dataset)
    train = Dataset(tuple(map(str, range(len(images)))), images, labels)
    density, x = scores.load(benchmark, train), images[:20]
    tangent = manifolds.load(benchmark, density, train).tangent_basis(x)
    found = posterior.PosteriorCovariance(density, 0.2, 6).tangent_basis(x)
    assert smallest_cosine(found, tangent) > 0.99


def test_local_principal_directions_of_a_linear_set_are_its_span(monkeypatch):
    span = torch.linalg.qr(normal(0, 30, 4)).Q
    points = (normal(1, 200, 4) @ span.T).reshape(200, 1, 5, 6)
    x = points[:3]
    whole = local_pca.LocalPca(points, 12, 4)
    assert smallest_cosine(whole.tangent_basis(x), span.expand(3, 30, 4)) > 1 - 1e-9
    by_distance = torch.cdist(x.flatten(1), points.flatten(1)).argsort(1)[:, :12]
    assert whole.nearest(x).equal(by_distance)
    monkeypatch.setattr(local_pca, "_PART", 30 * 17)
    assert local_pca.LocalPca(points, 12, 4).nearest(x).equal(by_distance)
    with pytest.raises(DataError, match="fewer than 5 directions"):
        local_pca.LocalPca(points, 12, 5).tangent_basis(x)


class Fixed:
    def __init__(self, basis):
        self.basis = basis

    def tangent_basis(self, x):
        return self.basis.expand(len(x), *self.basis.shape)


def test_agreement_of_nested_orthogonal_and_random_spaces():
    basis, x = torch.linalg.qr(normal(0, 60, 60)).Q, torch.zeros(1, 1, 6, 10)
    inner, outer, other = (Fixed(basis[:, part]) for part in (slice(5), slice(9), slice(9, 20)))
    assert manifolds.agreement(inner, outer, x).item() == pytest.approx(1)
    assert manifolds.agreement(outer, other, x).item() == pytest.approx(0, abs=1e-12)
    random = [Fixed(torch.linalg.qr(normal(seed, 60, 9)).Q) for seed in range(1, 101)]
    mean = sum(manifolds.agreement(inner, each, x).item() for each in random) / 100
    assert mean == pytest.approx(manifolds.chance(5, 9, 60), abs=0.02)


@pytest.fixture
def by_recipe(digits, tmp_path, monkeypatch):
    """Digits with an autoencoder that is trained when it is first needed."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    recipe = AutoencoderRecipe(latent=12, width=8, epochs=1)
    return digits.model_copy(update={"manifold": ManifoldCard(kind="autoencoder", rank=10, recipe=recipe)})


def test_an_autoencoder_is_fitted_on_first_use_and_kept(by_recipe, digits_splits, monkeypatch):
    ids = by_recipe.samples[:2]
    found = targets.compute(by_recipe, digits_splits, ids, seed=0, device=CPU)
    basis = found.batch(ids).basis
    assert basis.shape == (2, 64, 10)
    (path,) = (cache.root() / "fitted").rglob("*.safetensors")
    assert found.networks["manifold"]["weights_sha256"] == autoencoder.read(path, None, 10).weights_sha256
    monkeypatch.setattr(components, "train", None)  # a second training would call it
    again = targets.compute(by_recipe, digits_splits, ids, seed=0, device=CPU)
    torch.testing.assert_close(again.batch(ids).basis, basis)
    other = by_recipe.manifold.recipe.model_copy(update={"seed": 1})
    reseeded = by_recipe.model_copy(update={"manifold": by_recipe.manifold.model_copy(update={"recipe": other})})
    with pytest.raises(TypeError):
        components.with_autoencoder(reseeded, CPU)


def test_manifolds_that_need_more_than_they_get_say_so(by_recipe, digits, digits_splits):
    density = scores.load(digits, digits_splits.train)
    with pytest.raises(CardError, match="not trained yet"):
        manifolds.load(by_recipe, density, digits_splits.train)
    card = ManifoldCard(kind="local-pca", rank=5, neighbours=20)
    basis = manifolds.build(card, digits, density, digits_splits.train).tangent_basis(digits_splits.test.images[:2])
    assert basis.shape == (2, 64, 5)
    card = ManifoldCard(kind="posterior-covariance", rank=5, sigma=0.7)
    wider = manifolds.build(card, digits, density, digits_splits.train)
    assert isinstance(wider, posterior.PosteriorCovariance)


def test_tangent_spaces_of_a_benchmark_are_compared_with_estimates(gaussians):
    """On Gaussians the closed-form posterior has the very span; nearest neighbours come close to it."""
    benchmark = gaussians[0]
    found = tangents.compare(benchmark, images=6, device=CPU)
    assert not found.left_out
    table = found.table.set_index(["first", "second"])
    exact = table.loc["span", "posterior-covariance of gaussian-mixture, sigma 0.06"]
    near = table.loc["span", "local-pca of 32 neighbours"]
    assert exact["agreement"] > 0.999
    assert 0.8 < near["agreement"] < exact["agreement"]
    assert near["chance"] == benchmark.manifold.rank / benchmark.dimension
    assert len(table) == 3


def test_an_estimate_that_cannot_be_made_is_left_out_with_its_reason(gaussians):
    narrow = ManifoldCard(kind="posterior-covariance", rank=8, sigma=1e-5)
    pca = ManifoldCard(kind="local-pca", rank=8, neighbours=10**6)
    found = tangents.compare(gaussians[0], [narrow, pca], images=2, device=CPU)
    assert "neighbours of" in found.left_out[-1]
