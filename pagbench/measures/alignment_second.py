"""Alignment of the input gradient with the Bayes target of the benchmark's second score model."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.errors import ContractError
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
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
