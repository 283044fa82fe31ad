"""Accuracy, negative log-likelihood, confidence."""

from jaxtyping import Float
from torch import Tensor

from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`correct`, `nll` (nats) and `confidence` of each image."""
    log_probabilities = context.logits.log_softmax(dim=1)
    labels = context.batch.labels
    return {
        "correct": (context.logits.argmax(dim=1) == labels).to(context.logits),
        "nll": -log_probabilities.gather(1, labels[:, None])[:, 0],
        "confidence": log_probabilities.amax(dim=1).exp(),
    }
