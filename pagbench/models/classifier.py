"""The one contract behind which every network stands."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pagbench.errors import ContractError, first_line

Output = Literal["logits", "probabilities", "log-probabilities"]


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
    classifier: Classifier, probe: Float[Tensor, "b c h w"], classes: int, name: str
) -> Float[Tensor, "b k"]:
    """Tries a classifier on a few images before anything is measured, and returns its logits there.

    Raises:
        ContractError: names what was got, what was expected and what to do.
    """
    raw, logits = _forward(classifier, probe, name)
    if logits.shape != (len(probe), classes):
        raise ContractError(
            f"{name}: output of shape {tuple(logits.shape)}, expected {(len(probe), classes)}: one value per class"
        )
    if not logits.isfinite().all():
        raise ContractError(
            f"{name}: NaN or infinite outputs on {len(probe)} images in [0, 1]; check weights and normalisation"
        )
    sums_to_one = bool((raw >= 0).all()) and bool(((raw.sum(1) - 1).abs() < 1e-4).all())
    if sums_to_one and classifier.output != "probabilities":
        raise ContractError(
            f"{name}: outputs are probabilities but the card says {classifier.output!r}; set `output: probabilities`"
        )
    if classifier.output == "probabilities" and not sums_to_one:
        raise ContractError(f"{name}: outputs do not sum to 1 but the card says 'probabilities'; set `output: logits`")
    if not torch.equal(logits, _forward(classifier, probe, name)[1]):
        raise ContractError(
            f"{name}: two calls on the same images differ; fix its noise, or smooth it through a `smoothing` card"
        )
    with torch.enable_grad():
        if not classifier(probe.clone().requires_grad_(True)).requires_grad:
            raise ContractError(
                f"{name}: the output does not depend differentiably on the pixels; remove detach() or no_grad()"
            )
    return logits


@torch.no_grad()
def _forward(classifier: Classifier, probe: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Raw network outputs and logits."""
    try:
        raw = classifier.network(classifier.prepare(probe))
    except Exception as error:  # a third party's code may raise anything
        reason = first_line(error)
        shape = tuple(probe.shape)
        raise ContractError(
            f"{name}: fails on images of shape {shape} ({reason}); check input_shape and architecture"
        ) from error
    if not isinstance(raw, Tensor) or raw.ndim != 2:
        got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        raise ContractError(f"{name}: output {got}, expected a tensor of logits of shape (batch, classes)")
    return raw, classifier(probe)
