"""Leading eigenvectors of operators that are known by their products only."""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

_OVERSAMPLING = 8
_COPIES = 64
"""Images that pass a network at a time when directions are pushed through it."""

Function = Callable[[Tensor], Tensor]


def leading_eigenvectors(
    product: Callable[[Float[Tensor, "b d m"]], Float[Tensor, "b d m"]],
    start: Float[Tensor, "b d"],
    rank: int,
    *,
    tolerance: float = 1e-8,
    most: int = 100,
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d k"]]:
    """The k largest eigenvalues, in descending order, and their eigenvectors, of symmetric operators.

    Block Krylov iteration with Rayleigh-Ritz (Musco & Musco 2015, arXiv 1504.05477), from a block of k and a few more
    vectors that is the same for all images: block power iteration that keeps every block, so that large negative
    eigenvalues, which trained networks have, do not hide the positive ones. Exact once the blocks fill the space.

    Args:
        product: multiplies each image's operator with its block of vectors; of one that is not symmetric, the
            symmetric part on the space of the blocks counts.
        start: gives the number of images, the dimension, precision and device.
        rank: k.
        tolerance: of the mean squared sine between successive subspaces, where it stops.
        most: products after which it stops in any case.
    """
    dimension = start.shape[1]
    width = min(dimension, rank + max(_OVERSAMPLING, rank // 4))
    noise = torch.randn(dimension, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    block = torch.linalg.qr(noise).Q.to(start.dtype).to(start.device).expand(len(start), -1, -1)
    basis = images = start.new_zeros(len(start), dimension, 0)
    values, vectors = start.new_zeros(len(start), rank), block[:, :, :rank]
    for _ in range(most):
        basis, images = torch.cat([basis, block], dim=2), torch.cat([images, product(block)], dim=2)
        small = basis.mT @ images
        ritz, rotation = torch.linalg.eigh((small + small.mT) / 2)
        previous, vectors = vectors, basis @ rotation.flip(2)[:, :, :rank]
        values = ritz.flip(1)[:, :rank]
        moved = 1 - (previous.mT @ vectors).square().sum((1, 2)) / rank
        left = min(width, dimension - basis.shape[2])
        if left == 0 or moved.max() < tolerance:
            break
        block = _orthogonal_to(basis, images[:, :, -block.shape[2] :])[:, :, :left]
    return values, vectors.contiguous()


def _orthogonal_to(basis: Float[Tensor, "b d n"], block: Float[Tensor, "b d m"]) -> Float[Tensor, "b d m"]:
    """Orthonormal columns that, with the basis, span the block; twice, since once leaves rounding errors."""
    for _ in range(2):
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q
    return block


@torch.no_grad()
def push(function: Function, x: Float[Tensor, "b *n"], v: Float[Tensor, "b n_flat m"]) -> Float[Tensor, "b d m"]:
    """J v, J the Jacobian of a function of each image: forward mode, a few directions at a time."""

    def pushed(at: Tensor, direction: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # the only attention with forward mode
            warnings.simplefilter("ignore", FutureWarning)  # torch's forward mode warns of its own deprecated parts
            return torch.func.jvp(function, (at,), (direction,))[1]

    return _by_directions(pushed, x, v, x.shape[1:])


def pull(
    function: Function, x: Float[Tensor, "b *n"], v: Float[Tensor, "b d m"], shape: torch.Size
) -> Float[Tensor, "b n_flat m"]:
    """Jᵀ v, J the Jacobian of a function of each image with values of that shape: reverse mode."""

    def pulled(at: Tensor, covector: Tensor) -> Tensor:
        out: Tensor = torch.func.vjp(function, at)[1](covector)[0]
        return out.detach()

    return _by_directions(pulled, x, v, shape)


def _by_directions(apply: Callable[[Tensor, Tensor], Tensor], x: Tensor, v: Tensor, shape: torch.Size) -> Tensor:
    """Applies it to one copy of an image for each of its vectors."""
    found = []
    for part in v.split(max(1, _COPIES // len(x)), dim=2):
        copies = x.repeat_interleave(part.shape[2], dim=0)
        flat = apply(copies, part.mT.reshape(len(copies), *shape)).flatten(1)
        found.append(flat.reshape(len(x), part.shape[2], -1).mT)
    return torch.cat(found, dim=2)
