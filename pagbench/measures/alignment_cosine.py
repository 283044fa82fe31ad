"""Alignment of the input gradient with the Bayes target, by their cosine."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`alignment_cosine` and its chance level."""
    return {
        "alignment_cosine": geometry.cosine(context.gradient, context.batch.target),
        "alignment_cosine_chance": geometry.cosine(context.gradient, context.batch.chance_target),
    }
