"""The one contract behind which every network stands."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pagbench.errors import described
from pagbench.models import outputs, wrappers
from pagbench.models.outputs import Kind, Output
from pagbench.models.registry import Origin
from pagbench.results.preflight import Check, Preflight, Refusal


class Classifier(nn.Module):
    """Pixels in [0, 1], shape (b, c, h, w) → logits, shape (b, k); in eval mode, frozen, differentiable in the pixels.

    Resizing, normalisation and the conversion of probabilities to log-probabilities (which are logits) happen here and
    nowhere else.

    Args:
        network: takes normalised pixels; it is put in eval mode and its parameters are frozen.
        output: what the network returns.
        mean: subtracted from the pixels, per channel; None for none.
        std: divides the pixels, per channel; None for none.
        size: height and width that the network takes; None for those of the images.
        resize: how images of another size are brought to it, with antialiasing.
        take: takes the outputs out of what the network returns, where that is a tuple, a dict or the like.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        output: Output = "logits",
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        size: tuple[int, int] | None = None,
        resize: Literal["bilinear", "bicubic"] = "bilinear",
        take: Callable[[object], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.output = output
        self.size = size
        self.resize = resize
        self.take = take
        self.register_buffer("mean", torch.tensor(mean or (0.0,)).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std or (1.0,)).reshape(1, -1, 1, 1))
        wrappers.freeze(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of pixels in [0, 1] (steps a little outside are allowed: responses are not clipped)."""
        return self.logits(self.raw(x))

    def raw(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """What the network itself returns of pixels in [0, 1]."""
        returned = self.network(self.prepare(x))
        out: Tensor = returned if self.take is None or isinstance(returned, Tensor) else self.take(returned)
        return out

    def logits(self, raw: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Logits of what the network returns."""
        return raw.clamp(min=torch.finfo(raw.dtype).tiny).log() if self.output == "probabilities" else raw

    def prepare(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """What the network is given: pixels in [0, 1], resized and normalised."""
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            x = interpolate(x, self.size, mode=self.resize, antialias=True)
        return (x - self.mean) / self.std


class _Advice(NamedTuple):
    """What to look at where a network breaks its contract, in the terms of how it was given."""

    shape: str
    classes: str
    pixels: str


_ADVICE: dict[Origin, _Advice] = {
    "card": _Advice(
        "check `input_shape`, `resize` and `architecture` in its card",
        "check `classes` and `architecture` in its card",
        "check its weights, and `mean` and `std` in its card",
    ),
    "function": _Advice(
        "bring the pixels to its shape inside the network, or let the function return "
        "{'input_shape': (channels, height, width), 'resize': 'bilinear'} beside it",
        "let the network that the function builds return one value for each class",
        "check its weights, and the mean and std that the function returns beside it",
    ),
    "module": _Advice(
        "bring the pixels to its shape inside the network",
        "let it return one value for each class",
        "check its weights, and that it takes pixels from 0 to 1",
    ),
}


def check_contract(
    classifier: Classifier, probe: Float[Tensor, "b c h w"], classes: int, name: str, origin: Origin = "module"
) -> tuple[Check, ...]:
    """Tries a classifier on a few images before anything is measured.

    Args:
        classifier: on the device of the probe.
        probe: pixels in [0, 1].
        classes: number of classes that it should tell apart.
        name: of the model, for errors.
        origin: where fields of its card are given.

    Returns:
        The checks, all passed.

    Raises:
        Refusal: names what was got, what was expected and what to do.
    """
    passed: list[Check] = []
    for check in _contract(classifier, probe, classes, name, origin):
        passed.append(check)
        if check.verdict == "fail":
            raise Refusal(name, Preflight(checks=tuple(passed)))
    return tuple(passed)


def _contract(
    classifier: Classifier, probe: Float[Tensor, "b c h w"], classes: int, name: str, origin: Origin
) -> Iterator[Check]:
    raw = raw_output(classifier, probe, name, origin)
    with torch.no_grad():
        logits, again = classifier(probe), classifier(probe)
    shape = tuple(probe.shape[1:])
    if logits.shape != (len(probe), classes):
        expected = f"{(len(probe), classes)}: one value per class"
        advice = _ADVICE[origin].classes
        if logits.shape == (len(probe), classes + 1):
            advice = "leave a background class out before the softmax"
        yield _fail("input", f"output of shape {tuple(logits.shape)}", expected, advice)
    resized = "" if classifier.size in (None, shape[1:]) else f", resized to {classifier.size} ({classifier.resize})"
    yield Check(name="input", verdict="pass", found=f"images of shape {shape}{resized}")
    if not logits.isfinite().all():
        found = f"NaN or infinite outputs on {len(probe)} images in [0, 1]"
        yield _fail("output", found, "", _ADVICE[origin].pixels)
    output = check_output(outputs.recognise(raw), classifier.output, classifier.output, origin)
    if output.verdict == "fail":  # what else there is to say of it needs the benchmark's images
        yield output
    if not torch.equal(logits, again):
        advice = "fix its noise, or smooth it: smoothed:SIGMA:MODEL"
        yield _fail("determinism", "two calls on the same images differ", "", advice)
    yield Check(name="determinism", verdict="pass", found="two calls on the same images agree")
    with torch.enable_grad():
        if not classifier(probe.clone().requires_grad_(True)).requires_grad:
            found = "the output does not depend differentiably on the pixels"
            yield _fail("gradients", found, "", "remove detach() or no_grad()")


def _fail(name: str, found: str, expected: str, advice: str) -> Check:
    return Check(name=name, verdict="fail", found=found, expected=expected, advice=advice)


def say(origin: Origin, fields: Mapping[str, Any]) -> str:
    """What a user does to give these fields of a card.

    >>> say("card", {"output": "probabilities"})
    'set `output: probabilities` in its card'
    """
    if origin == "card":
        return f"set {' and '.join(f'`{name}: {value}`' for name, value in fields.items())} in its card"
    if origin == "function":
        return f"let the function return {dict(fields)} beside the network"
    if "mean" in fields:
        return "normalise inside the network: " + ", ".join(f"{name} {value}" for name, value in fields.items())
    return outputs.RETURN_LOGITS


_CONVERSION = {"logits": "", "probabilities": ", converted to logits", "log-probabilities": ", which are logits"}


def check_output(kind: Kind, assumed: Output, declared: Output, origin: Origin) -> Check:
    """Log-probabilities are logits; probabilities and what is none must not be confused; all else is doubtful.

    Args:
        kind: what the outputs are by their values.
        assumed: what the classifier takes them for.
        declared: what the model says that they are.
        origin: where it says so.
    """
    said = f"{declared} by its card" if origin == "card" else declared
    if kind.output is None:
        return Check(name="output", verdict="flag", found=kind.name, expected=said, advice=kind.advice)
    if (kind.output == "probabilities") == (assumed == "probabilities"):
        return Check(name="output", verdict="pass", found=f"{kind.name}{_CONVERSION[kind.output]}", expected=said)
    if kind.output == "probabilities":
        return _fail("output", "outputs are probabilities", said, say(origin, {"output": "probabilities"}))
    advice = say(origin, {"output": kind.output}) if origin != "module" else outputs.RETURN_LOGITS
    return _fail("output", f"outputs do not sum to 1: {kind.name}", said, advice)


_FAILURES = {
    r"BFloat16|Half|[Dd]ouble": "its weights are float32 here: take casts to other precisions out of the forward pass",
    r"NVIDIA|CUDA|cuda": "it moves itself to a GPU: run it with --device cuda, or take .cuda() out",
    r"Guard failed|dynamic": "export it with a batch of any size",
}
"""What to do, by what the errors of PyTorch say."""
_OF_SHAPES = r"(?i)shape|size|dimension|channel|mat1|input\[|out of range|too many indices"


@torch.no_grad()
def raw_output(
    classifier: Classifier, probe: Float[Tensor, "b c h w"], name: str, origin: Origin = "module"
) -> Float[Tensor, "b k"]:
    """What the network itself returns.

    Raises:
        Refusal: it fails, or returns anything but a matrix.
    """
    try:
        raw = classifier.raw(probe)
    except Exception as error:  # a third party's code may raise anything
        reason = described(error)
        found = f"fails on images of shape {tuple(probe.shape)} on {probe.device.type} ({reason})"
        advice = _FAILURES | {_OF_SHAPES: _ADVICE[origin].shape}
        words = [text for pattern, text in advice.items() if re.search(pattern, reason)]
        failed = _fail("input", found, "", words[0] if words else "")
        raise Refusal(name, Preflight(checks=(failed,))) from error
    if not isinstance(raw, Tensor) or raw.ndim != 2:
        got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        failed = _fail("output", f"output {got}", "a tensor of logits of shape (batch, classes)", "return that alone")
        raise Refusal(name, Preflight(checks=(failed,)))
    return raw
