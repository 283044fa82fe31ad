"""How many random draws an image needs: what responses and Jacobian norms scatter between images, and within them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.validation import Passes, Spread
from pagbench.data import Dataset, Splits
from pagbench.densities import manifolds, scores
from pagbench.measures.response import l1_change
from pagbench.models import loading, registry
from pagbench.running.config import RunConfig
from pagbench.running.session import Session
from pagbench.running.targets import sample_noise
from pagbench.storage import cache, global_state
from pagbench.training import components

IMAGES = 200
"""Images that are enough to know a variance to a tenth."""

_DIRECTIONS = 8
"""What first editions take."""

_PROBES = 32
"""Of more classes than these and one, so many combinations stand for the norm itself."""

_CHUNK = 32


@global_state.known()
def measure(benchmark: Benchmark, splits: Splits, images: Dataset, device: torch.device) -> Passes | None:
    """The scatter of responses and of Jacobian norms of the benchmark's reference network.

    Args:
        benchmark: the definition.
        splits: its data.
        images: some of its samples, two at least.
        device: where to compute.

    Returns:
        None where the benchmark has no manifold or no reference.

    Raises:
        PagbenchError: the reference is not on this machine, or cannot be used; nothing is downloaded for this.
    """
    if benchmark.manifold is None or benchmark.reference is None:
        return None
    with cache.going_offline():
        model = loading.load(registry.find(benchmark.reference), benchmark, device)
    config = RunConfig(benchmark=benchmark, ids=images.ids, device=device, seed=benchmark.seed)
    classifier = Session(config).measured(model)
    fitted = components.with_autoencoder(benchmark, device)
    manifold = manifolds.load(fitted, scores.load(benchmark, splits.train), splits.train)
    parts = [_of_part(benchmark, classifier, manifold, part, device) for part in images.chunks(_CHUNK)]
    on, off, on_jacobian, off_jacobian = (torch.cat(column) for column in zip(*parts, strict=True))
    return Passes(
        model=benchmark.reference,
        images=len(images.ids),
        responses=_spreads(on, off, "response", "log_ratio", power=1),
        directions=benchmark.directions,
        jacobian=_spreads(on_jacobian, off_jacobian, "jacobian", "log_ratio_infinitesimal", power=0.5),
        probes=benchmark.probes,
    )


def _of_part(
    benchmark: Benchmark, classifier: nn.Module, manifold: manifolds.Manifold, part: Dataset, device: torch.device
) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"], Float[Tensor, "b p"], Float[Tensor, "b p"]]:
    """Responses on and off the manifold along each direction, and squared gradients of each combination likewise."""
    rank, pixels, classes = benchmark.rank, benchmark.dimension, benchmark.classes
    images = part.images.to(device)
    basis = manifold.tangent_basis(images).cpu().double()
    most = min(_DIRECTIONS, rank, pixels - rank)
    noise = torch.stack([sample_noise(benchmark.seed, "response", name, (pixels, most)) for name in part.ids])
    passed = geometry.ForwardPass(classifier, images, keep=True)
    logits = passed.logits[:, None]
    assert benchmark.epsilon is not None  # a manifold goes with step lengths
    responses = []
    for steps in geometry.directions(basis, noise):
        moved = geometry.moved_logits(classifier, images, steps.float().to(device), (benchmark.epsilon,))
        responses.append(l1_change(moved[:, 0], logits).cpu().double())
    shape = (classes, min(_PROBES, classes - 1))
    drawn = torch.stack([sample_noise(benchmark.seed, "jacobian", name, shape) for name in part.ids])
    gradients = passed.probability_gradients(geometry.contrasts(drawn).to(logits)).mT.cpu().double()
    tangent = geometry.project(basis, gradients)
    inside = (classes - 1) * tangent.square().sum(1) / rank
    outside = (classes - 1) * (gradients - tangent).square().sum(1) / (pixels - rank)
    return responses[0], responses[1], inside, outside


def _spreads(
    on: Float[Tensor, "n m"], off: Float[Tensor, "n m"], what: str, ratio: str, power: float
) -> tuple[Spread, ...]:
    """Of both columns and of power·log(off/on), a ratio of means, to first order; none of what does not scatter."""
    columns = {f"on_{what}": on, f"off_{what}": off, ratio: power * (off / off.mean() - on / on.mean())}
    return tuple(spread for name, values in columns.items() if (spread := spread_of(name, values)) is not None)


def spread_of(column: str, values: Float[Tensor, "n m"]) -> Spread | None:
    """The scatter of values of n images and m exchangeable draws; None where it cannot be told.

    Variances of means over fewer draws follow from it, for any draws that are exchangeable: orthonormal ones are,
    though they are not independent.
    """
    if values.shape[1] < 2:
        return None
    between, within = float(values.mean(1).var()), float(values.var(1).mean())
    if not (between > 0 and within >= 0):  # NaN is neither
        return None
    return Spread(column=column, draws=values.shape[1], between=between, within=within)
