"""What both sides of a comparison are given: CIFAR's size, ResNet-18, random weights and images of fixed seeds."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.models import resnet18

from pagbench import benchmarks, geometry
from pagbench.benchmarks import Benchmark
from pagbench.densities.autoencoder import Autoencoder, AutoencoderManifold
from pagbench.measures import Batch, MeasureContext, lpips, paper
from pagbench.measures.calibration import Temperature
from pagbench.models.classifier import Classifier

SHAPE, LATENT, CLASSES = (3, 32, 32), 128, 10


def network(seed: int = 0) -> nn.Module:
    """ResNet-18 with CIFAR's stem: a 3×3 convolution of stride 1, and no pooling after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = resnet18(num_classes=CLASSES)
        found.conv1, found.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return found.eval()


def autoencoder(width: int = 16) -> Autoencoder:
    """The convolutional autoencoder that `pagbench fit` trains, 128 latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(SHAPE, LATENT, width).eval()


class Images(NamedTuple):
    """Images with what the protocol needs of them."""

    pixels: Float[Tensor, "n 3 32 32"]
    labels: Int[Tensor, "n"]
    noise: Float[Tensor, "n 3 32 32"]
    scores: Float[Tensor, "n 3 32 32"]


def images(count: int, shape: tuple[int, int, int] = SHAPE) -> Images:
    """Uniform pixels, random labels; normal noise and, for a score that is given, normal maps."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(count, *shape, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    noise, scores = torch.randn(2, count, *shape, generator=generator)
    return Images(pixels, labels, noise, scores)


class Rows(NamedTuple):
    """The protocol's numbers of one model on a batch."""

    correct: Float[Tensor, "n"]
    on: Float[Tensor, "n e"]
    off: Float[Tensor, "n e"]
    alignment: Float[Tensor, "n"]


class Prepared(NamedTuple):
    """What the package computes once for all models: directions, and the embedding of the scores."""

    directions: geometry.Directions
    embedded: Float[Tensor, "n f"]


def prepare(manifold: AutoencoderManifold, given: Images) -> Prepared:
    """Tangent spaces, the noise split by them, and the scores embedded by LPIPS's network."""
    basis = manifold.tangent_basis(given.pixels).float()
    scaled = geometry.scale_to_unit_range(given.scores)
    return Prepared(paper.split_noise(basis, given.noise), lpips.embed(scaled, side=None))


def evaluate(classifier: nn.Module, given: Images, prepared: Prepared) -> Rows:
    """The protocol's numbers by the package: one forward pass is shared, all images move together."""
    passed = geometry.ForwardPass(classifier, given.pixels)
    gradient = geometry.scale_to_unit_range(passed.logit_gradient(given.labels))
    distance = lpips.distance(lpips.embed(gradient, side=None), prepared.embedded)
    on, off = (paper.responses(classifier, given.pixels, passed.logits, part) for part in prepared.directions)
    return Rows((passed.logits.argmax(1) == given.labels).float(), on, off, 1 - distance)


def alignment(classifier: nn.Module, given: Images, embedded: Float[Tensor, "n f"]) -> Float[Tensor, "n"]:
    """1 - LPIPS of the label's logit's gradients with scores that are embedded already."""
    gradient = geometry.ForwardPass(classifier, given.pixels).logit_gradient(given.labels)
    return 1 - lpips.distance(lpips.embed(geometry.scale_to_unit_range(gradient), side=None), embedded)


def score_model() -> Callable[[Tensor], Tensor]:
    """Scores by a network of the size of `google/ddpm-cifar10-32`, which `cifar10-paper@1` takes; random weights."""
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(128, 256, 256, 256),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=None, norm_eps=1e-6, freq_shift=1, flip_sin_to_cos=False, downsample_padding=0,
        ).eval()  # fmt: skip

    @torch.no_grad()
    def score(pixels: Tensor) -> Tensor:
        found: Tensor = -network(2 * pixels - 1, 144).sample
        return found

    return score


def definition(**changes: object) -> Benchmark:
    """`cifar10@1` with other step lengths, directions or measures."""
    return benchmarks.load("cifar10@1").model_copy(update=changes)


def context(classifier: Classifier, benchmark: Benchmark, batch: Batch) -> MeasureContext:
    """A classifier on a batch, its temperature taken as fitted."""
    return MeasureContext(classifier, batch, benchmark, Temperature(1.0, 1.0, 1.0))


def batch(benchmark: Benchmark, count: int) -> Batch:
    """Random images, targets, and tangent spaces of the benchmark's rank."""
    given, generator = images(count), torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(count, benchmark.dimension, benchmark.rank, generator=generator)).Q
    noise = torch.randn(count, benchmark.dimension, benchmark.directions, generator=generator)
    steps, order = geometry.directions(basis, noise), torch.arange(count).roll(1)
    embedding = lpips.embed(geometry.scale_to_unit_range(given.scores))
    return Batch(
        images=given.pixels, labels=given.labels, target=given.scores, chance_target=given.scores[order],
        basis=basis, chance_basis=basis[order], on=steps.on, off=steps.off,
        embedding=embedding, chance_embedding=embedding[order], ids=tuple(map(str, range(count))),
    )  # fmt: skip


def bare_passes(network: nn.Module, images: Tensor, forward: int, backward: int) -> Tensor:
    """The last gradient of so many passes and nothing else: one forward pass is differentiated, the others are not."""
    x = images.clone().requires_grad_(True)
    logits = network(x).sum(0)
    for index in range(backward):
        (gradient,) = torch.autograd.grad(logits[index % len(logits)], x, retain_graph=index + 1 < backward)
    with torch.no_grad():
        for _ in range(forward - 1):
            network(images)
    found: Tensor = gradient
    return found
