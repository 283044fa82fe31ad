"""Alignment of the input gradient with the Bayes targets of several noise levels, by their cosine."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.columns import sigma_name
from pagbench.errors import ContractError
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`alignment_at_<sigma>` and its chance level, of the one gradient; NaN where the target vanishes at that sigma.

    Raises:
        ContractError: the batch was built without these targets.
    """
    batch, sigmas = context.batch, context.benchmark.sigmas
    if sigmas is None or batch.profile is None or batch.chance_profile is None:
        raise ContractError("the batch has no targets of several noise levels; build it for a benchmark with sigmas")
    columns: dict[str, Tensor] = {}
    for name, targets in (("alignment_at", batch.profile), ("alignment_at_chance", batch.chance_profile)):
        for sigma, target in zip(sigmas, targets.unbind(1), strict=True):
            columns[sigma_name(name, sigma)] = geometry.cosine(context.gradient, target)
    return columns
