"""The protocol of arXiv 2305.19101 as one would write it down: one image, one step length, one direction at a time.

Written from the description of the protocol. Like the published scripts it takes a backward pass through the decoder
for each output pixel, lets autograd fill the decoder's parameters on the way, orthogonalises the tangent vectors of an
image for each model anew, evaluates every moved image by itself without `no_grad`, and compares maps pair by pair.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg import orth
from torch import Tensor, nn

EPSILONS: tuple[float, ...] = tuple(np.logspace(-3, 2, 20)[12:16].tolist())
"""The step lengths, L2 in units of pixels in [0, 1]."""


class Row(NamedTuple):
    """What the protocol says of a model on an image.

    Attributes:
        correct: whether the largest logit is the label's.
        on: response along the manifold, for each step length.
        off: response off the manifold, for each step length.
        alignment: 1 - LPIPS of the gradient of the label's logit with the score.
    """

    correct: bool
    on: list[float]
    off: list[float]
    alignment: float


def tangent_vectors(
    decoder: nn.Module, code: Float[Tensor, "latent"], pixels: Sequence[int] | None = None
) -> Float[Tensor, "latent d"]:
    """Derivatives of the decoder's output by each latent, by a backward pass for each output pixel.

    Args:
        decoder: code → image, both as batches.
        code: of one image.
        pixels: the output pixels that a backward pass is taken for, the others stay 0; None for all.
    """
    code = code.detach().clone().requires_grad_(True)
    out = decoder(code[None]).reshape(-1)
    vectors = torch.zeros(len(code), len(out))
    for pixel in range(len(out)) if pixels is None else pixels:
        out[pixel].backward(retain_graph=True)
        vectors[:, pixel] = code.grad
        code.grad.zero_()
    return vectors


def project(vectors: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float64]:
    """The part of flat noise in the span of tangent vectors, which are orthogonalised first."""
    basis = orth(vectors.T).T
    coefficients = np.zeros(len(basis))
    for index, direction in enumerate(basis):
        coefficients[index] = direction @ noise
    return coefficients @ basis


def responses(
    network: nn.Module, image: Float[Tensor, "c h w"], vectors: Float[Tensor, "latent d"], noise: Float[Tensor, "c h w"]
) -> tuple[list[float], list[float]]:
    """L1 changes of the softmax along the tangent and along the normal part of the noise, for each step length."""
    logits = network(image[None]).detach()
    tangent = torch.from_numpy(project(vectors.numpy(), noise.flatten().numpy())).reshape(noise.shape)
    normal = noise - tangent
    on, off = [], []
    for epsilon in EPSILONS:
        for part, found in ((tangent, on), (normal, off)):
            moved = (image + epsilon * part / part.norm()).to(torch.float32)
            change = network(moved[None]).detach().softmax(1) - logits.softmax(1)
            found.append(float(change.abs().sum()))
    return on, off


def alignment(
    network: nn.Module, image: Float[Tensor, "c h w"], label: int, score: Float[Tensor, "c h w"], lpips: Any
) -> float:
    """1 - LPIPS of the gradient of the label's logit and the score, each divided by its largest magnitude."""
    x = image[None].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(x)[0, label], x)
    return 1 - float(lpips(gradient / gradient.abs().max(), score[None] / score.abs().max()))


def evaluate(
    network: nn.Module,
    image: Float[Tensor, "c h w"],
    label: int,
    *,
    vectors: Float[Tensor, "latent d"],
    noise: Float[Tensor, "c h w"],
    score: Float[Tensor, "c h w"],
    lpips: Any,
) -> Row:
    """Everything about one model on one image, given the image's tangent vectors and score."""
    correct = int(network(image[None]).argmax()) == label
    on, off = responses(network, image, vectors, noise)
    return Row(correct, on, off, alignment(network, image, label, score, lpips))
