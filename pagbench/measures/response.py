"""On- and off-manifold responses: how far the output moves for a step of given length along and off the manifold."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.columns import epsilon_name
from pagbench.measures.context import MeasureContext


def l1_change(
    moved: Float[Tensor, "*#batch k"], logits: Float[Tensor, "*#batch k"], temperature: float = 1.0
) -> Float[Tensor, "*#batch"]:
    """‖softmax(moved/T) - softmax(logits/T)‖₁, in [0, 2]."""
    return ((moved / temperature).softmax(dim=-1) - (logits / temperature).softmax(dim=-1)).abs().sum(dim=-1)


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`on_response_<e>` and `off_response_<e>`, and the temperature.

    Where outputs are not calibrated already, their calibrated values at the benchmark's epsilon, too.
    """
    columns: dict[str, Tensor] = {}
    logits = context.logits[:, None, None]
    primary = context.benchmark.epsilons.index(context.benchmark.epsilon)
    for side, steps in (("on", context.batch.on), ("off", context.batch.off)):
        moved = geometry.moved_logits(context.classifier, context.batch.images, steps, context.benchmark.epsilons)
        response = l1_change(moved, logits).mean(dim=2)
        for index, epsilon in enumerate(context.benchmark.epsilons):
            columns[epsilon_name(f"{side}_response", epsilon)] = response[:, index]
        if context.benchmark.gradient is None:
            calibrated = l1_change(moved[:, primary], logits[:, 0], context.temperature.value)
            columns[f"{side}_response_calibrated"] = calibrated.mean(dim=1)
    for name, value in zip(("temperature", "temperature_low", "temperature_high"), context.temperature, strict=True):
        columns[name] = torch.full_like(context.logits[:, 0], value)
    return columns
