"""Infinitesimal responses from a few random combinations of the outputs, however many classes there are."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.errors import ContractError
from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`on_jacobian` and `off_jacobian`, unbiased estimates of ‖J P‖²_F/k and ‖J (I - P)‖²_F/(d - k).

    J is the Jacobian of softmax f, which annihilates the ones vector from the left, for probabilities sum to 1. Its
    squared norm is therefore K - 1 times the mean over unit combinations of the K outputs that are orthogonal to it;
    the benchmark's number of orthonormal ones is drawn for each sample. K - 1 of them give the norm itself.

    Raises:
        ContractError: the benchmark says no number of probes.
    """
    probes, classes = context.benchmark.probes, context.logits.shape[1]
    if probes is None:
        raise ContractError("the benchmark says no number of probes; take the measure sensitivity")
    noise = [
        geometry.generator(context.seed, "jacobian", name).standard_normal((classes, probes))
        for name in context.batch.ids
    ]
    combinations = geometry.contrasts(torch.from_numpy(np.stack(noise))).to(context.logits)
    gradients = context.forward_pass.probability_gradients(combinations).mT
    tangent = geometry.project(context.batch.basis, gradients)
    d, k = context.batch.basis.shape[1:]
    weight = (classes - 1) / probes
    return {
        "on_jacobian": weight * tangent.square().sum((1, 2)) / k,
        "off_jacobian": weight * (gradients - tangent).square().sum((1, 2)) / (d - k),
    }
