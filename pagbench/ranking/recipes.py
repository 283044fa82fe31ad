"""Which training recipe a model is of: all that fixes its training but the seed. No torch."""

import hashlib
import json
from typing import NamedTuple

from pagbench.cards import ModelCard

_FIXED = (
    "family", "strength", "dataset", "architecture", "activation", "input_shape", "classes", "output", "mean", "std",
    "resize",
)  # fmt: skip
"""Fields of a card that are the same for all networks of a recipe."""
_AFTERWARDS = {"device", "torch", "threads", "accuracy", "stored_as"}
"""What a card records of a training that says where it ran, how well it ended and how its weights were rounded."""

_LATER = {"ema": 0.0, "precision": "float32", "augmentation": "none", "clip": 0.0}
"""What older cards do not record of a training: what all trainings had then."""


class Recipe(NamedTuple):
    """A training without its seed, and whose it is; networks with equal ones are of one recipe.

    Attributes:
        training: hash of all that fixes the training but the seed.
        place: what comes before the name in the ids of its networks, their authors' prefix.
        authors: as the cards say; empty where they do not.
        voice: how far the results are believed, `pagbench.results.agreement.voice_of`: what is submitted joins nothing
            that is published, and what nobody has verified nothing that somebody has.
    """

    training: str
    place: str
    authors: str
    voice: int


def recipe_of(card: ModelCard, voice: int) -> Recipe | None:
    """The recipe that a model's card declares; None for a model of its own.

    A model is of its own where its card has no training seed or records no training: controls, published networks of
    others, networks without a card. The id says nothing but whose it is.

    Args:
        card: the model's.
        voice: how far its results are believed, see `Recipe`.
    """
    if card.seed is None or not card.training or card.control:
        return None
    fields = card.model_dump(mode="json", include={*_FIXED})
    training = _LATER | card.training
    fields["training"] = {name: value for name, value in training.items() if name not in _AFTERWARDS}
    smoothing = card.smoothing  # `around` names the network that is smoothed, another one for each seed
    fields["smoothing"] = None if smoothing is None else smoothing.model_dump(mode="json", exclude={"around"})
    fields["trained_on_target"] = bool(card.trained_on_target)
    content = json.dumps(fields, sort_keys=True)
    place = card.id.rpartition("/")[0]
    return Recipe(hashlib.sha256(content.encode()).hexdigest()[:16], place, card.authors or "", voice)
