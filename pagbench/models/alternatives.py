"""What a network may have been trained on instead: other ranges of pixels, other layouts, another order of classes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from torch import Tensor

from pagbench.cards import ModelCard
from pagbench.models.classifier import say
from pagbench.models.registry import Origin


class Alternative(NamedTuple):
    """Other images than those that the network is given.

    Attributes:
        name: what they are, after "on images".
        change: pixels in [0, 1] → pixels for the classifier, before its card's mean and std.
        advice: what to do where the network tells these apart better.
    """

    name: str
    change: Callable[[Tensor], Tensor]
    advice: str


class Order(NamedTuple):
    """Another order of classes.

    Attributes:
        name: of it, after "with classes".
        predicted: classes in this order, shape (n,).
        advice: what to do where they match the labels better.
    """

    name: str
    predicted: Int[Tensor, "n"]
    advice: str


_RANGES = {
    "from -1 to 1": ((0.5,), (0.5,)),
    "normalised as for ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Ranges that networks are trained on, as the mean and std that lead there from [0, 1]."""

_LARGEST_RANGE = {"from 0 to 255": ((0.0,), (1 / 255,))}
"""Tried last: biases hardly count there, and many a network does well."""

_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "with red and blue exchanged": lambda x: x.flip(1),
    "transposed": lambda x: x.mT,
    "inverted, as 1 - x": lambda x: 1 - x,
    "mirrored": lambda x: x.flip(3),
    "turned upside down": lambda x: x.flip(2),
    "turned by 180 degrees": lambda x: x.flip(2, 3),
    "turned left by 90 degrees": lambda x: x.rot90(1, (2, 3)),
    "turned right by 90 degrees": lambda x: x.rot90(-1, (2, 3)),
}
_FOR_SQUARES = ("transposed", "turned left by 90 degrees", "turned right by 90 degrees")


def ranges(card: ModelCard, images: Float[Tensor, "n c h w"], origin: Origin) -> Iterator[Alternative]:
    """The card's range left out or made twice, others in its place, and others that the network makes a second time.

    The likeliest come first.

    Args:
        card: its mean and std are what the classifier does with pixels.
        images: of the benchmark, whose own mean and std are tried too.
        origin: where a user gives fields of the card.
    """
    own = images.mean((0, 2, 3)).tolist(), images.std((0, 2, 3)).tolist()
    m, s = _per_channel(card.mean or (0.0,)), _per_channel(card.std or (1.0,))
    if card.mean is not None:
        advice = "leave mean and std out: the network normalises by itself"
        yield Alternative("without the mean and std that it is given with", lambda x: x * s + m, advice)
        advice = "its mean and std are meant for images that were normalised before"
        yield Alternative("with its mean and std applied twice", lambda x: (x - m) / s, advice)
    for name, (mean, std) in {**_RANGES, "normalised by their own mean and std": own, **_LARGEST_RANGE}.items():
        if len(mean) not in (1, images.shape[1]):
            continue
        fields = {"mean": [round(value, 6) for value in mean], "std": [round(value, 6) for value in std]}
        other = _per_channel(mean), _per_channel(std)
        there, back = partial(_affine, other, (m, s), True), partial(_affine, other, (m, s), False)
        yield Alternative(name, there, f"pixels come in [0, 1]: {say(origin, fields)}")
        yield Alternative(
            f"mapped back as if they were {name}", back, "the network normalises its images twice: take one away"
        )


def _affine(other: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], there: bool, x: Tensor) -> Tensor:
    """What a classifier with its own mean and std makes the images into which another mean and std lead, or back."""
    (a, b), (m, s) = other, own
    return ((x - a) / b if there else x * b + a) * s + m


def layouts(shape: tuple[int, int, int]) -> Iterator[Alternative]:
    """Images with other channels, turned, mirrored or inverted, as far as their shape (c, h, w) has such."""
    channels, height, width = shape
    for name, change in _LAYOUTS.items():
        if (name.startswith("with red") and channels != 3) or (name in _FOR_SQUARES and height != width):
            continue
        yield Alternative(name, change, f"the network was trained on images {name}: turn them back inside it")


def orders(outputs: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Iterator[Order]:
    """Orders of classes that people mix up; and one that is fitted to half of the images, for the others."""
    count, predicted = outputs.shape[1], outputs.argmax(1)
    as_text = torch.tensor(sorted(range(count), key=str))
    advice = "are its classes in another order? return one output per class, in the order of the labels"
    negated = "the right class has the smallest output: return the negative of these distances or losses"
    yield Order("of the smallest output", outputs.argmin(1), negated)
    yield Order("shifted up by one", (predicted + 1) % count, advice)
    yield Order("shifted down by one", (predicted - 1) % count, advice)
    yield Order("reversed", count - 1 - predicted, advice)
    yield Order("sorted as text, 10 before 2", as_text[predicted], advice)
    yield Order("placed as in their order as text", as_text.argsort()[predicted], advice)
    yield Order("fitted to the other half of the images", _fitted(predicted, labels, count), advice)


def _fitted(predicted: Int[Tensor, "n"], labels: Int[Tensor, "n"], classes: int) -> Int[Tensor, "n"]:
    """Predictions in the order of classes that suits the other half of the images best."""
    other = predicted.clone()
    halves = torch.arange(len(labels)) % 2
    for half in (0, 1):
        pairs = np.eye(classes) / 2  # what is not seen stays as it is
        chosen = halves == half
        np.add.at(pairs, (predicted[chosen].numpy(), labels[chosen].numpy()), 1)
        order = torch.from_numpy(linear_sum_assignment(pairs, maximize=True)[1])
        other[~chosen] = order[predicted[~chosen]]
    return other


def gains(gained: int, lost: int, level: float, chance: float = 0.5) -> bool:
    """Whether so many gains against so many losses are significant, by the exact one-sided binomial test."""
    return gained > 0 and bool(binomtest(gained, gained + lost, chance, alternative="greater").pvalue < level)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)
