"""What the strict gradient must not see: a term that all logits share, and, up to a known mixture, a temperature."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import geometry
from pagbench.data import Dataset
from pagbench.submissions.findings import Finding

_TOLERANCE = 1e-3
_TEMPERATURES = (0.5, 2.0)


class _Shifted(nn.Module):
    """Adds c(x) to all logits, c linear with a slope as steep as the log-odds' and a value as large as the logits."""

    slope: Tensor

    def __init__(self, network: nn.Module, slope: Float[Tensor, "c h w"], offset: float) -> None:
        super().__init__()
        self.network, self.offset = network, offset
        self.register_buffer("slope", slope)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits + c(x)."""
        out: Tensor = self.network(x) + (x * self.slope).flatten(1).sum(1, keepdim=True) + self.offset
        return out


class _Cooled(nn.Module):
    """Divides the logits by a temperature."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits / T."""
        out: Tensor = self.network(x) / self.temperature
        return out


class _Against(nn.Module):
    """z_y and, as the only other class, the mean of the others under fixed weights: z_y - Σ w_j z_j is its log-odds."""

    def __init__(self, network: nn.Module, labels: Int[Tensor, "b"], weights: Float[Tensor, "b k"]) -> None:
        super().__init__()
        self.network, self.labels, self.weights = network, labels, weights

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2"]:
        """The two."""
        z = self.network(x)
        return torch.stack([(self.weights * z).sum(1), z.gather(1, self.labels[:, None])[:, 0]], dim=1)


def added_term(network: nn.Module, shown: Dataset) -> Finding:
    """Whether the log-odds gradient stays when the same c(x) is added to all logits, which changes no prediction."""
    x, labels = shown.images, shown.labels
    logits, gradient = geometry.log_odds_gradient(network, x, labels)
    scored = gradient.flatten(1).isfinite().all(1)
    if not scored.any():
        return Finding("warning", "added c(x)", "no gradient can be scored; look at the check of gradients")
    slope = gradient[scored].roll(1, 0).abs().mean(0)
    shifted = _Shifted(network, slope, float(logits.abs().max()))
    moved = geometry.log_odds_gradient(shifted, x, labels).gradient
    return _judged("added c(x)", _change(gradient[scored], moved[scored]), "adding c(x) to all logits")


def temperature(network: nn.Module, shown: Dataset) -> Finding:
    """Whether a temperature T does to the gradient what it must, and how much it turns it.

    T·∇ log-odds(z/T) = ∇z_y - Σ_{j≠y} w_j ∇z_j with w = softmax over j≠y of z/T. For two classes it does not depend
    on T; for more, T weighs the rivals, and the direction may turn: alignment is that of the outputs as they are.
    """
    x, labels = shown.images, shown.labels
    logits, gradient = geometry.log_odds_gradient(network, x, labels)
    rivals = logits.scatter(1, labels[:, None], -torch.inf)
    worst, turned = 0.0, 1.0
    for value in _TEMPERATURES:
        cooled = value * geometry.log_odds_gradient(_Cooled(network, value), x, labels).gradient
        mixture = _Against(network, labels, (rivals / value).softmax(1))
        expected = geometry.log_odds_gradient(mixture, x, torch.ones_like(labels)).gradient
        scored = (cooled + expected + gradient).flatten(1).isfinite().all(1)
        if scored.any():
            worst = max(worst, _change(expected[scored], cooled[scored]))
            same = nn.functional.cosine_similarity(gradient[scored].flatten(1), cooled[scored].flatten(1))
            turned = min(turned, float(same.mean()))
    turn = f"mean cosine of at least {turned:.2f} with that at T = 1"
    return _judged("temperature", worst, f"dividing all logits by T = 0.5 or 2 ({turn})")


def _change(expected: Float[Tensor, "n c h w"], found: Float[Tensor, "n c h w"]) -> float:
    """Largest relative difference of two gradients; one that is lost counts as wholly changed."""
    error = (found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    return float(error.nan_to_num(nan=1.0).max())


def _judged(subject: str, change: float, what: str) -> Finding:
    found = f"{what} makes the log-odds gradient differ by {change:.1g} from what it must be"
    if change <= _TOLERANCE:
        return Finding("ok", subject, found)
    advice = "its logits are too large or too alike for float32; take what they share out of the last layer"
    return Finding("error", subject, f"{found}, at most {_TOLERANCE:g} is rounding; {advice}")
