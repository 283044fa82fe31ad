"""PGD within the tangent space and within its complement.

On- and off-manifold adversarial examples after Stutz, Hein & Schiele 2019, arXiv 1812.00740, linearised: the
perturbation lies in the tangent space, or is orthogonal to it.
"""

from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures import pgd
from pagbench.measures.context import MeasureContext, not_scored


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`pgd_on_manifold` and `pgd_off_manifold`, L2 at the benchmark's epsilon, unclipped as the responses are.

    NaN where the benchmark has no manifold.
    """
    basis, epsilon = context.batch.basis, context.benchmark.epsilon
    if epsilon is None:
        return not_scored(context, "pgd_on_manifold", "pgd_off_manifold")
    return {
        "pgd_on_manifold": pgd.survives(context, "l2", epsilon, lambda v: geometry.project(basis, v)),
        "pgd_off_manifold": pgd.survives(context, "l2", epsilon, lambda v: v - geometry.project(basis, v)),
    }
