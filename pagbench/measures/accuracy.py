"""Accuracy, negative log-likelihood, confidence."""

from jaxtyping import Float
from torch import Tensor

from pagbench.measures.observation import Observation


def measure(seen: Observation) -> dict[str, Float[Tensor, "b"]]:
    """`correct`, `nll` (nats) and `confidence` of each image."""
    log_probabilities = seen.logits.log_softmax(dim=1)
    labels = seen.batch.labels
    return {
        "correct": (seen.logits.argmax(dim=1) == labels).to(seen.logits),
        "nll": -log_probabilities.gather(1, labels[:, None])[:, 0],
        "confidence": log_probabilities.amax(dim=1).exp(),
    }
