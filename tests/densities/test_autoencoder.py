"""The autoencoder's tangent space is that of its decoder's Jacobian, however it is computed."""

import json

import pytest
import torch
from torch import nn

from pagbench import benchmarks, geometry
from pagbench.data import Dataset
from pagbench.densities import autoencoder, empirical, manifolds
from pagbench.densities.autoencoder import Autoencoder, AutoencoderManifold
from pagbench.errors import DataError, WeightsError
from pagbench.storage import assets, weights


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder((2, 8, 12), latent=5, width=8).double()


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(6, 2, 8, 12, generator=torch.Generator().manual_seed(1))


def jacobian_by_output_pixel(network, x):
    """The reference's way: one backward pass per pixel."""
    rows = []
    for image in x.double():
        code = network.encoder(image[None]).detach()
        rows.append(torch.autograd.functional.jacobian(lambda z: network.decoder(z).flatten(), code)[:, 0])
    return torch.stack(rows)


def test_forward_mode_gives_the_jacobian_of_one_backward_pass_per_pixel(network, pixels):
    found = AutoencoderManifold(network, 5).jacobian(pixels)
    torch.testing.assert_close(found, jacobian_by_output_pixel(network, pixels), rtol=1e-10, atol=1e-12)


def test_basis_is_orthonormal_and_spans_the_jacobian(network, pixels):
    basis = AutoencoderManifold(network, 5).tangent_basis(pixels)
    assert basis.shape == (6, 192, 5)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(5, dtype=basis.dtype).expand(6, 5, 5), rtol=0, atol=1e-10)
    columns = jacobian_by_output_pixel(network, pixels)
    torch.testing.assert_close(geometry.project(basis, columns), columns, rtol=0, atol=1e-8)


def test_basis_of_an_image_does_not_depend_on_its_batch(network, pixels):
    manifold = AutoencoderManifold(network, 5)
    alone, together = manifold.tangent_basis(pixels[2:3]), manifold.tangent_basis(pixels)[2:3]
    torch.testing.assert_close(alone @ alone.mT, together @ together.mT, rtol=0, atol=1e-10)


def collapsed(dead):
    """A decoder that ignores some of its latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Autoencoder((1, 8, 8), latent=6, width=8).double()
    network.decoder[0].weight.data[:, :dead] *= 1e-6
    return network


@pytest.mark.parametrize("dead", [1, 3])
def test_latents_that_the_decoder_ignores_are_left_out(dead):
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    basis = AutoencoderManifold(collapsed(dead), 6 - dead).tangent_basis(x)
    alive = jacobian_by_output_pixel(collapsed(dead), x)[:, :, dead:]
    torch.testing.assert_close(geometry.project(basis, alive), alive, rtol=0, atol=1e-6 * float(alive.abs().max()))
    with pytest.raises(DataError, match=rf"varies in {6 - dead} directions at an image, the manifold's rank is 6"):
        AutoencoderManifold(collapsed(dead), 6).tangent_basis(x)


def test_a_linear_decoder_has_its_column_space_everywhere():
    network = Autoencoder((1, 4, 4), latent=3, width=8).double()
    network.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 3).double())
    linear = nn.Linear(3, 16).double()
    network.decoder = nn.Sequential(linear, nn.Unflatten(1, (1, 4, 4)))
    basis = AutoencoderManifold(network, 3).tangent_basis(torch.rand(5, 1, 4, 4))
    expected = torch.linalg.qr(linear.weight.detach()).Q
    torch.testing.assert_close(basis @ basis.mT, (expected @ expected.T).expand(5, 16, 16), rtol=0, atol=1e-10)


def test_the_shipped_autoencoders_latents_all_matter():
    """On constant images too, which no data set contains: the decoder's rank is full there as well."""
    benchmark = benchmarks.load("fashion-mnist@1")
    density = empirical.EmpiricalDensity(torch.rand(10, 1, 28, 28), torch.arange(10), classes=10)
    train = Dataset(("0",), torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.long))
    manifold = manifolds.load(benchmark, density, train)
    basis = manifold.tangent_basis(torch.full((1, 1, 28, 28), 0.25))
    assert basis.shape == (1, 784, benchmark.manifold.rank)


def test_a_file_of_something_else_is_one_line(tmp_path, network):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError, match="cannot read"):
        autoencoder.read(path, None, 5)
    weights.write(network, path)
    with pytest.raises(WeightsError, match="holds None, expected 'autoencoder'"):
        autoencoder.read(path, None, 5)
    weights.write(network, path, metadata={"kind": "autoencoder", "config": json.dumps({"latent": 5})})
    with pytest.raises(WeightsError, match="not an autoencoder's configuration"):
        autoencoder.read(path, None, 5)
    weights.write(network, path, metadata={"kind": "autoencoder", "config": json.dumps(network.config)})
    with pytest.raises(WeightsError, match="the card says 000000000000"):
        autoencoder.read(path, "0" * 64, 5)
    assert autoencoder.read(path, None, 5).tangent_basis(torch.rand(1, 2, 8, 12)).shape == (1, 192, 5)
    assert assets.find(str(path)) == path
