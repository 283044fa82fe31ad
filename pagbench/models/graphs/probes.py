"""Images, and what a network's owner has it make of them: by these a graph shows that it is that network."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench.cards import ModelCard
from pagbench.errors import GraphError, excerpt, first_line
from pagbench.geometry import ForwardPass
from pagbench.storage import weights

_IMAGES = 4
_MOST_IMAGES = 16
OUTPUTS = 1e-4
"""Largest difference of outputs that is tolerated, as a fraction of the largest output."""
GRADIENTS = 1e-3
"""Length of a difference of gradients that is tolerated, as a fraction of the gradient's: kinks that are crossed by
rounding change a few of its paths."""


class Probes(NamedTuple):
    """Images as the network takes them, after `mean` and `std` of its card, and what it makes of them.

    Attributes:
        images: of float32.
        outputs: what it returns.
        gradients: with respect to each image, of the sum of squares of its outputs.
    """

    images: Float[Tensor, "b c h w"]
    outputs: Float[Tensor, "b k"]
    gradients: Float[Tensor, "b c h w"]


def noise(shape: tuple[int, int, int]) -> Float[Tensor, "b c h w"]:
    """Images of noise in [0, 1], the same each time."""
    return torch.rand(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def take(network: nn.Module, images: Float[Tensor, "b c h w"]) -> Probes:
    """What a network makes of images."""
    passed = ForwardPass(network, images)
    return Probes(images, passed.logits, passed.squares_gradient())


def read(path: Path, shape: tuple[int, int, int], classes: int) -> Probes:
    """Reads probes of a network that takes images of a shape.

    Raises:
        WeightsError: the file is missing or damaged.
        GraphError: it has other tensors than these, or of other shapes.
    """
    state = weights.read(path)
    count = len(state["images"]) if "images" in state and state["images"].ndim else 0
    expected = {"images": (count, *shape), "outputs": (count, classes), "gradients": (count, *shape)}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found != expected or not 0 < count <= _MOST_IMAGES:
        words = f"images and gradients of shape (n, {', '.join(map(str, shape))}), outputs of (n, {classes})"
        raise GraphError(f"{path}: has {str(found)[:200]}, expected {words}, n from 1 to {_MOST_IMAGES}")
    if any(value.dtype != torch.float32 or not value.isfinite().all() for value in state.values()):
        raise GraphError(f"{path}: has other numbers than finite ones of float32; write it anew")
    return Probes(**state)


def check(network: nn.Module, expected: Probes) -> str:
    """Compares what a network makes of probe images, in words.

    Raises:
        GraphError: its outputs or its gradients are others, or it fails.
    """
    try:
        found = take(network, expected.images)
    except Exception as error:  # PyTorch's own errors are of many kinds
        place = "".join(getattr(error, "__notes__", ())[:1])
        raise GraphError(f"the graph fails on the probe images: {place} ({excerpt(first_line(error), 300)})") from None
    scale = float(expected.outputs.abs().max())
    outputs = float((found.outputs - expected.outputs).abs().max()) / max(scale, torch.finfo(torch.float32).tiny)
    if not outputs <= OUTPUTS:
        raise GraphError(
            f"the graph's outputs differ from those of the probes by {outputs:.2g} of the largest, at most "
            f"{OUTPUTS:g} is tolerated; export the network as it was when the probes were made"
        )
    lengths = expected.gradients.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    differences = (found.gradients - expected.gradients).flatten(1).norm(dim=1) / lengths
    gradients = float(differences.max())
    if not gradients <= GRADIENTS:
        raise GraphError(
            f"the graph's gradients differ from those of the probes by {gradients:.2g} of their length, at most "
            f"{GRADIENTS:g} is tolerated; take detach(), no_grad() and hooks out of the network"
        )
    count = len(expected.images)
    return f"outputs and gradients are those of {count} probe images (differences {outputs:.1g} and {gradients:.1g})"


def check_files(card: ModelCard, folder: Path, network: nn.Module) -> str:
    """Compares a network with the probes beside its card, as `check` does.

    Raises:
        WeightsError, GraphError: there are none, or they are others.
    """
    assert card.probes and card.input_shape and card.classes  # by the card's validation
    return check(network, read(folder / card.probes, card.input_shape, card.classes))


def write(probes: Probes, path: Path) -> None:
    """Writes probes as safetensors.

    Raises:
        WeightsError: the disk refuses.
    """
    weights.write_tensors(probes._asdict(), path)
