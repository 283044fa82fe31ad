"""Input gradients and their geometry, and the random draws of a sample.

Nothing else differentiates a classifier with respect to its input.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class InputGradient(NamedTuple):
    """Logits of a batch and the input gradient of one scalar of them."""

    logits: Float[Tensor, "b k"]
    gradient: Float[Tensor, "b c h w"]


def log_odds(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Log p_y/(1 - p_y) = z_y - logsumexp_{j≠y} z_j: unchanged by logits + c(x), and not saturating as p_y → 1.

    >>> logits = torch.tensor([[2.0, 0.0], [102.0, 100.0]])
    >>> log_odds(logits, torch.tensor([0, 1]))
    tensor([ 2., -2.])
    """
    chosen = nn.functional.one_hot(labels, logits.shape[1]).bool()
    rest = logits.masked_fill(chosen, -torch.inf).logsumexp(dim=1)
    return logits.gather(1, labels[:, None])[:, 0] - rest


class ForwardPass:
    """One forward pass of a batch: as many gradients as are asked for take a backward pass each, and no other forward.

    Each scalar is differentiated by itself. To add up the gradients of the logits instead would save backward passes,
    but where all logits share a large c(x) their differences would be lost to rounding.

    Args:
        classifier: the classifier.
        x: images.
        keep: whether more than one gradient will be asked for; without, the first one frees memory on its way back,
            which saves a twentieth of the time.

    Attributes:
        logits: of the batch.
    """

    def __init__(
        self, classifier: Callable[[Tensor], Tensor], x: Float[Tensor, "b c h w"], *, keep: bool = False
    ) -> None:
        self._keep = keep
        with torch.enable_grad():
            self._x = x.detach().clone().requires_grad_(True)
            self._logits = classifier(self._x)
        self.logits: Float[Tensor, "b k"] = self._logits.detach()

    def log_odds_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """∇x log p_y/(1 - p_y), the strict protocol's gradient.

        A gradient that is not finite, or so small that a step of length 1 would change the log-odds by less than
        float32 resolves in the (centred) logits, is returned as NaN: not scored.
        """
        gradient, logits = self.raw_log_odds_gradient(labels), self.logits
        resolution = torch.finfo(logits.dtype).eps * (logits - logits.mean(1, keepdim=True)).abs().amax(1)
        norm = gradient.flatten(1).norm(dim=1)
        scored = (norm > resolution) & gradient.flatten(1).isfinite().all(1)
        return gradient.where(scored[:, None, None, None], torch.nan)

    def raw_log_odds_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """The same as autograd returns it, of whatever size, finite or not."""
        with torch.enable_grad():
            return self._gradient(log_odds(self._logits, labels).sum())

    def logit_sum_gradient(self) -> Float[Tensor, "b c h w"]:
        """∇x Σ_k z_k. Adding c(x) to all logits changes it though no prediction changes: paper protocol only."""
        with torch.enable_grad():
            return self._gradient(self._logits.sum())

    def logit_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """∇x z_y. Adding c(x) to all logits changes it though no prediction changes: paper protocol only."""
        with torch.enable_grad():
            return self._gradient(self._logits.gather(1, labels[:, None]).sum())

    def logsumexp_gradient(self) -> Float[Tensor, "b c h w"]:
        """∇x log Σ_k exp z_k, an energy-based model's (Grathwohl et al. 2020). Adding c(x) to all logits changes it."""
        with torch.enable_grad():
            return self._gradient(self._logits.logsumexp(dim=1).sum())

    def log_probability_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """∇x log p_y = (1 - p_y) ∇x log p_y/(1 - p_y): of the same direction, but rounding is all of it as p_y → 1."""
        with torch.enable_grad():
            return self._gradient(self._logits.log_softmax(dim=1).gather(1, labels[:, None]).sum())

    def probability_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """∇x p_y = p_y ∇x log p_y: of that direction, and vanishing as p_y → 0, too."""
        with torch.enable_grad():
            return self._gradient(self._logits.softmax(dim=1).gather(1, labels[:, None]).sum())

    def margin_gradient(self, labels: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
        """∇x (z_y - max_{j≠y} z_j): unchanged by logits + c(x), and not saturating."""
        with torch.enable_grad():
            others = self._logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
            return self._gradient((self._logits.gather(1, labels[:, None])[:, 0] - others).sum())

    def squares_gradient(self) -> Float[Tensor, "b c h w"]:
        """Of the sum of squares of each image's outputs: a scalar that all of them decide, ties and all."""
        with torch.enable_grad():
            return self._gradient(self._logits.square().sum())

    def probability_jacobian(self) -> Float[Tensor, "b k d"]:
        """Jacobian of the softmax output, one backward pass per class."""
        with torch.enable_grad():
            columns = self._logits.softmax(dim=1).unbind(1)
            rows = [self._gradient(column.sum(), keep=index + 1 < len(columns)) for index, column in enumerate(columns)]
        return torch.stack([row.flatten(1) for row in rows], dim=1)

    def probability_gradients(self, combinations: Float[Tensor, "b p k"]) -> Float[Tensor, "b p d"]:
        """Gradients of linear combinations of the softmax output, one backward pass for each."""
        with torch.enable_grad():
            scalars = torch.einsum("bpk,bk->p", combinations, self._logits.softmax(dim=1)).unbind(0)
            rows = [self._gradient(scalar, keep=index + 1 < len(scalars)) for index, scalar in enumerate(scalars)]
        return torch.stack([row.flatten(1) for row in rows], dim=1)

    def _gradient(self, scalar: Tensor, *, keep: bool = False) -> Tensor:
        (gradient,) = torch.autograd.grad(
            scalar, self._x, retain_graph=keep or self._keep, materialize_grads=True, allow_unused=True
        )
        return gradient.detach()


def log_odds_gradient(
    classifier: Callable[[Tensor], Tensor], x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]
) -> InputGradient:
    """Logits and `ForwardPass.log_odds_gradient` of a batch."""
    passed = ForwardPass(classifier, x)
    return InputGradient(passed.logits, passed.log_odds_gradient(labels))


@torch.no_grad()
def moved_logits(
    classifier: nn.Module, x: Float[Tensor, "b c h w"], steps: Float[Tensor, "b m d"], epsilons: Sequence[float]
) -> Float[Tensor, "b e m k"]:
    """Logits at x + e·u for every step length e and unit direction u, unclipped.

    Args:
        classifier: the classifier.
        x: images.
        steps: unit directions per image.
        epsilons: step lengths, L2 in pixel units.
    """
    directions = steps.unflatten(2, x.shape[1:])
    lengths = []
    for epsilon in epsilons:
        # each forward pass holds the batch's own images in their order: memory does not grow with the number of steps
        logits = [classifier(x + epsilon * direction) for direction in directions.unbind(1)]
        lengths.append(torch.stack(logits, dim=1))
    return torch.stack(lengths, dim=1)


class Changes(NamedTuple):
    """Change of the log-odds from -u to +u, for every step u: what a gradient says, and central differences."""

    predicted: Float[Tensor, "b m"]
    found: Float[Tensor, "b m"]


def log_odds_changes(
    classifier: nn.Module,
    x: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"],
    gradient: Float[Tensor, "b d"],
    steps: Float[Tensor, "b m d"],
) -> Changes:
    """Compares a gradient of the log-odds with the log-odds themselves, at x + u and x - u.

    Args:
        classifier: the classifier, of the precision of x.
        x: images.
        labels: classes whose log-odds are taken.
        gradient: their gradient, as autograd gives it.
        steps: m short steps per image.
    """
    flat = x.flatten(1)[:, None]
    taken = (flat + steps) - (flat - steps)  # what remains of the steps after rounding
    # log-odds of small logits are differences of larger numbers, hence float64
    moved = moved_logits(classifier, x, steps, (1.0, -1.0)).double()
    classes = labels[:, None, None].expand(moved.shape[:3])
    ahead, behind = log_odds(moved.flatten(0, 2), classes.flatten()).unflatten(0, moved.shape[:3]).unbind(1)
    predicted = torch.einsum("bmd,bd->bm", taken, gradient)
    return Changes(predicted, (ahead - behind).to(predicted))


def project(basis: Float[Tensor, "b d k"], v: Float[Tensor, "b d *m"]) -> Float[Tensor, "b d *m"]:
    """Orthogonal projection onto the span of orthonormal columns, without forming the projector."""
    columns = v.flatten(2) if v.ndim > 2 else v[..., None]
    return (basis @ (basis.mT @ columns)).reshape(v.shape)


def tangent_energy(basis: Float[Tensor, "b d k"], gradient: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """‖P g‖²/‖g‖², in [0, 1]; k/d for a random direction. NaN where g vanishes."""
    g = gradient.flatten(1)
    inside = torch.einsum("bdk,bd->bk", basis, g)
    return (inside.square().sum(1) / g.square().sum(1)).clamp(max=1)


def cosine(a: Float[Tensor, "b *shape"], b: Float[Tensor, "b *shape"]) -> Float[Tensor, "b"]:
    """Cosine of the angle between flattened vectors, in [-1, 1]; NaN where one vanishes or is not finite.

    >>> cosine(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    tensor([-1., nan])
    """
    a, b = a.flatten(1), b.flatten(1)
    product = (a / a.norm(dim=1, keepdim=True)) * (b / b.norm(dim=1, keepdim=True))
    return product.sum(1).clamp(-1, 1)


def scale_to_unit_range(v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """V / max|v| per image, in [-1, 1]; NaN where v vanishes."""
    return v / v.abs().amax(dim=(1, 2, 3), keepdim=True)


class Directions(NamedTuple):
    """Orthonormal directions per image, in the tangent space and in its complement."""

    on: Float[Tensor, "b _ d"]
    off: Float[Tensor, "b m d"]


def directions(basis: Float[Tensor, "b d k"], noise: Float[Tensor, "b d m"]) -> Directions:
    """Splits Gaussian noise into its tangent and normal parts and orthonormalises each.

    Both are uniformly distributed (Haar) in their space and depend on the space only, not on its basis. Where the basis
    has no columns, there are no tangent directions, and the others are uniform in all of space.

    Args:
        basis: orthonormal tangent basis.
        noise: m ≤ min(k, d - k) standard normal vectors per image.
    """
    if basis.shape[2] == 0:
        return Directions(noise.mT[:, :0], _orthonormal_rows(noise))
    tangent = project(basis, noise)
    return Directions(_orthonormal_rows(tangent), _orthonormal_rows(noise - tangent))


def _orthonormal_rows(v: Float[Tensor, "b d m"]) -> Float[Tensor, "b m d"]:
    q, r = torch.linalg.qr(v)
    return (q * r.diagonal(dim1=1, dim2=2).sign()[:, None]).mT.contiguous()


def contrasts(noise: Float[Tensor, "b k p"]) -> Float[Tensor, "b p k"]:
    """Orthonormal combinations of k outputs whose coefficients sum to 0, uniformly distributed (Haar) among all such.

    Args:
        noise: p ≤ k - 1 standard normal vectors per image.
    """
    return _orthonormal_rows(noise - noise.mean(1, keepdim=True))


Norm = Literal["l2", "linf"]


def steepest(gradient: Float[Tensor, "b c h w"], norm: Norm) -> Float[Tensor, "b c h w"]:
    """The perturbation of norm 1 along which a gradient rises fastest; 0 where the gradient is."""
    return gradient / _length(gradient) if norm == "l2" else gradient.sign()


def into_ball(delta: Float[Tensor, "b c h w"], epsilon: float, norm: Norm) -> Float[Tensor, "b c h w"]:
    """The nearest perturbation of norm epsilon at most, per image."""
    if norm == "linf":
        return delta.clamp(-epsilon, epsilon)
    return delta * (epsilon / _length(delta)).clamp(max=1)


def _length(v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
    return v.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]


def generator(seed: int, purpose: str, sample_id: str, *index: int) -> np.random.Generator:
    """Random numbers that depend on the seed, the purpose and the sample's id, never on batches or order.

    Where a sample needs several generators, `index` tells them apart.

    >>> bool(generator(0, "response", "3").standard_normal() == generator(0, "response", "3").standard_normal())
    True
    """
    key = np.frombuffer(hashlib.sha256(f"{purpose}/{sample_id}".encode()).digest(), dtype=np.uint32)
    return np.random.default_rng([seed, *key.tolist(), *index])
