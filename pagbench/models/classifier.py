"""The one contract behind which every network stands."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pagbench.errors import first_line
from pagbench.results.preflight import Check, Preflight, Refusal

Output = Literal["logits", "probabilities", "log-probabilities"]

_SUM_TOLERANCE = 1e-4


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
    ) -> None:
        super().__init__()
        self.network = network
        self.output = output
        self.size = size
        self.resize = resize
        self.register_buffer("mean", torch.tensor(mean or (0.0,)).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std or (1.0,)).reshape(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of pixels in [0, 1] (steps a little outside are allowed: responses are not clipped)."""
        out: Tensor = self.network(self.prepare(x))
        return out.clamp(min=torch.finfo(out.dtype).tiny).log() if self.output == "probabilities" else out

    def prepare(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """What the network is given: pixels in [0, 1], resized and normalised."""
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            x = interpolate(x, self.size, mode=self.resize, antialias=True)
        return (x - self.mean) / self.std


def check_contract(
    classifier: Classifier, probe: Float[Tensor, "b c h w"], classes: int, name: str, *, declared: Output | None = None
) -> tuple[Check, ...]:
    """Tries a classifier on a few images before anything is measured.

    Args:
        classifier: on the CPU.
        probe: pixels in [0, 1].
        classes: number of classes that it should tell apart.
        name: of the model, for errors.
        declared: what its card says that it returns, where the classifier has found otherwise.

    Returns:
        The checks, all passed.

    Raises:
        Refusal: names what was got, what was expected and what to do.
    """
    passed: list[Check] = []
    for check in _contract(classifier, probe, classes, name, declared or classifier.output):
        passed.append(check)
        if check.verdict == "fail":
            raise Refusal(name, Preflight(checks=tuple(passed)))
    return tuple(passed)


def _contract(
    classifier: Classifier, probe: Float[Tensor, "b c h w"], classes: int, name: str, declared: Output
) -> Iterator[Check]:
    raw = raw_output(classifier, probe, name)
    with torch.no_grad():
        logits, again = classifier(probe), classifier(probe)
    shape = tuple(probe.shape[1:])
    if logits.shape != (len(probe), classes):
        expected = f"{(len(probe), classes)}: one value per class"
        yield _fail("input", f"output of shape {tuple(logits.shape)}", expected, "check `classes` and the architecture")
    resized = "" if classifier.size in (None, shape[1:]) else f", resized to {classifier.size} ({classifier.resize})"
    yield Check(name="input", verdict="pass", found=f"images of shape {shape}{resized}")
    if not logits.isfinite().all():
        found = f"NaN or infinite outputs on {len(probe)} images in [0, 1]"
        yield _fail("output", found, "", "check weights and normalisation")
    yield _check_output(kind_of(raw), classifier.output, declared)
    if not torch.equal(logits, again):
        advice = "fix its noise, or smooth it through a `smoothing` card"
        yield _fail("determinism", "two calls on the same images differ", "", advice)
    yield Check(name="determinism", verdict="pass", found="two calls on the same images agree")
    with torch.enable_grad():
        if not classifier(probe.clone().requires_grad_(True)).requires_grad:
            found = "the output does not depend differentiably on the pixels"
            yield _fail("gradients", found, "", "remove detach() or no_grad()")


def _fail(name: str, found: str, expected: str, advice: str) -> Check:
    return Check(name=name, verdict="fail", found=found, expected=expected, advice=advice)


_CONVERSION = {"logits": "", "probabilities": ", converted to logits", "log-probabilities": ", which are logits"}


def _check_output(kind: Output, assumed: Output, declared: Output) -> Check:
    """Log-probabilities are logits; only probabilities and what is none must not be confused."""
    if kind == "probabilities" != assumed:
        found = f"outputs are probabilities but the card says {assumed!r}"
        return _fail("output", found, "", "set `output: probabilities`")
    if assumed == "probabilities" != kind:
        return _fail("output", "outputs do not sum to 1 but the card says 'probabilities'", "", "set `output: logits`")
    found = f"{kind}{_CONVERSION[kind]}"
    return Check(name="output", verdict="pass", found=found, expected=f"{declared} by its card")


def kind_of(raw: Float[Tensor, "b k"]) -> Output:
    """What these outputs of a network are, by their signs and sums.

    >>> p = torch.tensor([[0.2, 0.8]])
    >>> kind_of(p), kind_of(p.log()), kind_of(p.log() + 1)
    ('probabilities', 'log-probabilities', 'logits')
    """
    if bool((raw >= 0).all()) and bool(((raw.sum(1) - 1).abs() < _SUM_TOLERANCE).all()):
        return "probabilities"
    if bool((raw <= 0).all()) and bool((raw.logsumexp(1).abs() < _SUM_TOLERANCE).all()):
        return "log-probabilities"
    return "logits"


@torch.no_grad()
def raw_output(classifier: Classifier, probe: Float[Tensor, "b c h w"], name: str) -> Float[Tensor, "b k"]:
    """What the network itself returns.

    Raises:
        Refusal: it fails, or returns anything but a matrix.
    """
    try:
        raw = classifier.network(classifier.prepare(probe))
    except Exception as error:  # a third party's code may raise anything
        found = f"fails on images of shape {tuple(probe.shape)} ({first_line(error)})"
        failed = _fail("input", found, "", "check input_shape and architecture")
        raise Refusal(name, Preflight(checks=(failed,))) from error
    if not isinstance(raw, Tensor) or raw.ndim != 2:
        got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        failed = _fail("output", f"output {got}", "a tensor of logits of shape (batch, classes)", "return that alone")
        raise Refusal(name, Preflight(checks=(failed,)))
    return raw
