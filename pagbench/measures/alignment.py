"""Perceptual alignment: similarity of the input gradient with the Bayes target, and with another image's target."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.errors import ContractError
from pagbench.measures import lpips
from pagbench.measures.context import MeasureContext


def measure_cosine(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`alignment_cosine` and its chance level."""
    return {
        "alignment_cosine": geometry.cosine(context.gradient, context.batch.target),
        "alignment_cosine_chance": geometry.cosine(context.gradient, context.batch.chance_target),
    }


def measure_second(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`alignment_second`, the cosine with the second score model's s(x|y) - s(x), and its chance level.

    Raises:
        ContractError: the batch was built without a second target.
    """
    second = context.batch.second
    if second is None or second.target is None or second.chance_target is None:
        raise ContractError("the batch has no second target; build it for a benchmark that names one")
    return {
        "alignment_second": geometry.cosine(context.gradient, second.target),
        "alignment_second_chance": geometry.cosine(context.gradient, second.chance_target),
    }


def measure_lpips(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`alignment_lpips` and its chance level.

    Raises:
        ContractError: the batch was built without embeddings of the targets.
    """
    if context.batch.embedding is None or context.batch.chance_embedding is None:
        raise ContractError("the batch has no LPIPS embeddings; build it for a benchmark with alignment_lpips")
    embedding = lpips.embed(geometry.scale_to_unit_range(context.gradient))
    return {
        "alignment_lpips": 1 - lpips.distance(embedding, context.batch.embedding),
        "alignment_lpips_chance": 1 - lpips.distance(embedding, context.batch.chance_embedding),
    }
