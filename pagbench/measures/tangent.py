"""How much of the input gradient lies in the tangent space."""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`gradient_norm`, `tangent_energy` and its chance level in the tangent space of another image."""
    return {
        "gradient_norm": context.gradient.flatten(1).norm(dim=1),
        "tangent_energy": geometry.tangent_energy(context.batch.basis, context.gradient),
        "tangent_energy_chance": geometry.tangent_energy(context.batch.chance_basis, context.gradient),
    }
