"""What speed rests on: the reference protocol's numbers, and no pass of a network more than is documented."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pagbench import benchmarks, geometry, measures
from pagbench.densities.autoencoder import Autoencoder, AutoencoderManifold, decoder_jacobian
from pagbench.measures import Batch, MeasureContext, lpips, paper
from pagbench.measures.calibration import Temperature
from pagbench.measures.context import SecondScores
from pagbench.models import architectures
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import SmoothedNetwork, sampled

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "benchmarks"))
import reference_protocol as reference  # noqa: E402
import setting  # noqa: E402

SHAPE = (1, 32, 32)


def network(shape):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architectures.build("strided-cnn", shape, 10).eval()


def test_the_reference_protocol_gives_the_same_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = Autoencoder(SHAPE, latent=6, width=4)
    given, plain, metric = setting.images(2, SHAPE), network(SHAPE), lpips.model(torch.device("cpu"))
    vectors = reference.tangent_vectors(autoencoder.decoder, autoencoder.encoder(given.pixels[:1])[0])
    expected = reference.evaluate(
        plain, given.pixels[0], int(given.labels[0]),
        vectors=vectors, noise=given.noise[0], score=given.scores[0], lpips=metric,
    )  # fmt: skip
    found = setting.evaluate(Classifier(plain), given, setting.prepare(AutoencoderManifold(autoencoder, 6), given))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_decoders_jacobian_is_that_of_its_layers(stride):
    """Kernels, strides, margins and activations other than those of our own decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stride)
        decoder = nn.Sequential(
            nn.Linear(4, 2 * 3 * 5), nn.Tanh(), nn.Unflatten(1, (2, 3, 5)),
            nn.ConvTranspose2d(2, 3, 2 * stride, stride=stride, padding=1), nn.GELU(),
            nn.Conv2d(3, 2, 5, padding=2), nn.SiLU(), nn.Conv2d(2, 1, 2),
        ).double()  # fmt: skip
    code = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = decoder_jacobian(decoder, code)
    for row, matrix in zip(code, found, strict=True):
        expected = torch.autograd.functional.jacobian(lambda z: decoder(z[None]).flatten(), row)
        torch.testing.assert_close(matrix, expected, rtol=1e-10, atol=1e-12)


class Counter(nn.Module):
    """Counts how often a network is passed, forward and backward."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.forwards, self.backwards = inner, 0, 0

    def forward(self, x):
        self.forwards += 1
        out = self.inner(x)
        if out.requires_grad:
            out.register_hook(self.passed_back)
        return out

    def passed_back(self, gradient):
        self.backwards += 1


def batch(benchmark, count=3, asked=3):
    """Random images and targets in the benchmark's shapes; the paper's responses of the first few only."""
    given = setting.images(count, benchmark.input_shape)
    generator = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(count, benchmark.dimension, benchmark.rank, generator=generator)).Q
    steps = geometry.directions(
        basis, torch.randn(count, benchmark.dimension, benchmark.directions, generator=generator)
    )
    noise = (torch.arange(count) < asked)[:, None, None]
    parts = geometry.Directions(*(part.where(noise, torch.nan) for part in paper.split_noise(basis, given.noise)))
    embedding = lpips.embed(geometry.scale_to_unit_range(given.scores))
    return Batch(
        given.pixels, given.labels, given.scores, given.noise, basis, basis, steps.on, steps.off, embedding, embedding,
        SecondScores(given.scores, given.noise, given.scores, given.noise), parts, tuple(map(str, range(count))),
    )  # fmt: skip


def documented():
    """Passes by measure, as docs/reference/performance.md has them for fashion-mnist@1."""
    text = (ROOT / "docs" / "reference" / "performance.md").read_text(encoding="utf-8")
    return {
        name: (int(ahead), int(back))
        for name, ahead, back in re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", text, re.M)
    }


def test_measures_pass_a_network_as_often_as_documented():
    """No attack succeeds, and none ends before its last step."""
    benchmark, table = benchmarks.load("fashion-mnist@1"), documented()
    some = replace(batch(benchmark), labels=torch.zeros(3, dtype=torch.long))
    assert set(table) == {*benchmark.measures, "pgd", "confined"}
    robust = network(benchmark.input_shape)
    robust[-1].bias.data[0] += 10
    counter = Counter(robust)
    context = MeasureContext(Classifier(counter), some, benchmark, Temperature(1.0, 1.0, 1.0))
    for measure, expected in table.items():
        counter.forwards = counter.backwards = 0
        measures.load(measure)(context)
        assert (counter.forwards, counter.backwards) == expected, measure


def test_a_released_observation_keeps_its_logits_and_can_be_differentiated_again():
    benchmark = benchmarks.load("fashion-mnist@1")
    counter = Counter(network(benchmark.input_shape))
    context = MeasureContext(Classifier(counter), batch(benchmark), benchmark, Temperature(1.0, 1.0, 1.0))
    gradient = context.forward_pass.logit_sum_gradient()
    context.release()
    assert context.logits.shape == (3, 10)
    assert counter.forwards == 1
    torch.testing.assert_close(context.forward_pass.logit_sum_gradient(), gradient)
    assert counter.forwards == 2


def test_the_papers_responses_of_some_of_a_batch_keep_the_draws_of_a_smoothed_model():
    benchmark = benchmarks.load("fashion-mnist@1")
    smoothed = SmoothedNetwork(
        network(benchmark.input_shape), benchmark.input_shape, sigma=0.1, samples=4, seed=0, per_sample=True
    )
    classifier, found = Classifier(smoothed), []
    for asked in (2, 3):
        some = batch(benchmark, asked=asked)
        with sampled(classifier, some.ids):
            found.append(
                measures.load("paper")(MeasureContext(classifier, some, benchmark, Temperature(1.0, 1.0, 1.0)))
            )
    some, every = (values["paper_on_response"] for values in found)
    assert some.isnan().tolist() == [False, False, True]
    assert torch.equal(some[:2], every[:2])
