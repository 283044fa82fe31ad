"""Networks as graphs of known operations: data that anyone may send, checked before any of it is computed."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pagbench.cards import ModelCard
from pagbench.models.graphs import graph, network


def build_for(card: ModelCard, folder: Path, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of a card that names a graph.

    Args:
        card: the card.
        folder: where it lies, and the graph beside it.
        state: weights by name.

    Raises:
        GraphError: the graph is missing, not the card's, not allowed, or not within the bounds.
    """
    assert card.graph and card.input_shape and card.classes  # by the card's validation
    found = graph.read(folder / card.graph, card.graph_sha256)
    return network.build(found, state, card.input_shape, card.classes, card.graph)
