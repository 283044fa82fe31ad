"""On- and off-manifold responses: how far the output moves for a step of given length along and off the manifold."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.columns import epsilon_name
from pagbench.measures.observation import Observation
from pagbench.models.classifier import Classifier


def l1_change(
    moved: Float[Tensor, "*#batch k"], logits: Float[Tensor, "*#batch k"], temperature: float = 1.0
) -> Float[Tensor, "*#batch"]:
    """‖softmax(moved/T) - softmax(logits/T)‖₁, in [0, 2]."""
    return ((moved / temperature).softmax(dim=-1) - (logits / temperature).softmax(dim=-1)).abs().sum(dim=-1)


@torch.no_grad()
def moved_logits(
    classifier: Classifier, x: Float[Tensor, "b c h w"], steps: Float[Tensor, "b m d"], epsilons: Sequence[float]
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


def measure(seen: Observation) -> dict[str, Float[Tensor, "b"]]:
    """`on_response_<e>` and `off_response_<e>`, their calibrated values at the benchmark's epsilon, the temperature."""
    columns: dict[str, Tensor] = {}
    logits = seen.logits[:, None, None]
    primary = seen.benchmark.epsilons.index(seen.benchmark.epsilon)
    for side, steps in (("on", seen.batch.on), ("off", seen.batch.off)):
        moved = moved_logits(seen.classifier, seen.batch.images, steps, seen.benchmark.epsilons)
        response = l1_change(moved, logits).mean(dim=2)
        for index, epsilon in enumerate(seen.benchmark.epsilons):
            columns[epsilon_name(f"{side}_response", epsilon)] = response[:, index]
        calibrated = l1_change(moved[:, primary], logits[:, 0], seen.temperature.value)
        columns[f"{side}_response_calibrated"] = calibrated.mean(dim=1)
    for name, value in zip(("temperature", "temperature_low", "temperature_high"), seen.temperature, strict=True):
        columns[name] = torch.full_like(columns["on_response_calibrated"], value)
    return columns
