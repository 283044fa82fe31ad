"""Infinitesimal responses, exact: no directions are drawn."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`on_sensitivity` = ‖J P‖_F/√k and `off_sensitivity` = ‖J (I - P)‖_F/√(d - k), J the Jacobian of softmax f.

    One backward pass per class. For u uniform on the unit sphere of the tangent space, E‖J u‖² = ‖J P‖²_F/k.
    """
    jacobian = context.forward_pass.probability_jacobian().mT
    tangent = geometry.project(context.batch.basis, jacobian)
    d, k = context.batch.basis.shape[1:]
    return {
        "on_sensitivity": torch.linalg.matrix_norm(tangent) / k**0.5,
        "off_sensitivity": torch.linalg.matrix_norm(jacobian - tangent) / (d - k) ** 0.5,
    }
