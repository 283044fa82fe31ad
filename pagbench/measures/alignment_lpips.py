"""Perceptual alignment: similarity of the input gradient with the Bayes target by LPIPS."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.errors import ContractError
from pagbench.measures import lpips
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
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
