"""One model on one block of images under every setting."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry
from pagbench.cards import ManifoldCard
from pagbench.errors import ContractError
from pagbench.measures.response import l1_change
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import sampled
from pagbench.studies.stability import similarities
from pagbench.studies.stability.blocks import Block
from pagbench.studies.stability.replicates import CHANCE, CORRECT, OFF, ON, TANGENT, VALUE, key
from pagbench.studies.stability.ways import Alignment, Choice, Gradient, Response, Similarity, Way


class _Moved(NamedTuple):
    """Responses to each direction."""

    on: Float[Tensor, "n m"]
    off: Float[Tensor, "n m"]


class Pass:
    """One classifier on one block; what several settings need is computed once.

    Args:
        classifier: the classifier.
        block: the images.
    """

    def __init__(self, classifier: Classifier, block: Block) -> None:
        self._classifier, self._block = classifier, block
        self._gradients: dict[Gradient, Tensor] = {}
        self._embedded: dict[tuple[Gradient, Similarity], Tensor] = {}
        self._responses: dict[tuple[ManifoldCard, int], _Moved] = {}

    @cached_property
    def _forward(self) -> geometry.ForwardPass:
        return geometry.ForwardPass(self._classifier, self._block.images, keep=True)

    @property
    def logits(self) -> Float[Tensor, "n classes"]:
        """Logits of the block."""
        return self._forward.logits

    def gradient(self, name: Gradient) -> Float[Tensor, "n c h w"]:
        """The gradient of one scalar of the logits; NaN where it is not scored."""
        if name not in self._gradients:
            self._gradients[name] = self._differentiated(name)
        return self._gradients[name]

    def _differentiated(self, name: Gradient) -> Float[Tensor, "n c h w"]:
        passed, labels = self._forward, self._block.labels
        match name:
            case "log-odds":
                return passed.log_odds_gradient(labels)
            case "sum of logits":
                return passed.logit_sum_gradient()
            case "log-sum-exp":
                return passed.logsumexp_gradient()
        of_class = {
            "logit of the label": passed.logit_gradient,
            "logit of the prediction": lambda _: passed.logit_gradient(passed.logits.argmax(dim=1)),
            "margin": passed.margin_gradient,
            "log p": passed.log_probability_gradient,
            "p": passed.probability_gradient,
        }
        return of_class[name](labels)

    def alignment(self, way: Alignment) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Similarity with each image's target, and with its partner's."""
        place = (way.gradient, way.similarity)
        if place not in self._embedded:
            self._embedded[place] = similarities.embed(way.similarity, self.gradient(way.gradient))
        own, targets = self._embedded[place], self._block.embedded(way.target, way.similarity)
        partners = targets[self._block.partners(way.seed)]
        chance = similarities.compare(way.similarity, own, partners)
        return similarities.compare(way.similarity, own, targets[: len(own)]), chance

    def tangent_energy(self, gradient: Gradient, manifold: ManifoldCard) -> Float[Tensor, "n"]:
        """Share of a gradient's energy in the tangent space."""
        return geometry.tangent_energy(self._block.bases[manifold], self.gradient(gradient))

    def responses(self, way: Response) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Mean responses to the first directions on and off the manifold, of the benchmark's length."""
        place = (way.manifold, way.seed)
        if place not in self._responses:
            steps = self._block.steps(way.manifold, way.seed)
            self._responses[place] = _Moved(*(self._moved(part) for part in steps))
        on, off = (part[:, : way.directions].mean(dim=1) for part in self._responses[place])
        return on, off

    def _moved(self, steps: Float[Tensor, "n m d"]) -> Float[Tensor, "n m"]:
        epsilon = self._block.benchmark.epsilon
        assert epsilon is not None  # where there is a manifold
        moved = geometry.moved_logits(self._classifier, self._block.images, steps, (epsilon,))
        return l1_change(moved[:, 0], self.logits[:, None])


def measure(classifier: Classifier, block: Block, choices: Sequence[Choice]) -> pd.DataFrame:
    """A classifier's row per image of a block, columns as `ranking.key` says; NaN: not scored.

    Raises:
        ContractError: the network returns what is no result.
    """
    with sampled(classifier, block.ids):
        seen = Pass(classifier, block)
        if not seen.logits.isfinite().all():
            raise ContractError(f"NaN or infinite outputs among samples {block.ids[0]} to {block.ids[-1]}")
        found = {CORRECT: (seen.logits.argmax(dim=1) == block.labels).float()}
        for choice in choices:
            for setting in choice.settings:
                measured = _quantities(seen, block, choice, setting.way)
                found |= {key(choice, setting, quantity): value for quantity, value in measured.items()}
    return pd.DataFrame({name: value.detach().cpu().numpy() for name, value in found.items()}, index=list(block.ids))


def _quantities(seen: Pass, block: Block, choice: Choice, way: Way) -> dict[str, Float[Tensor, "n"]]:
    """What a setting needs of the block; nothing where that is in the published rows."""
    manifold = block.benchmark.manifold
    if isinstance(way, Alignment):
        measured = dict(zip((VALUE, CHANCE), seen.alignment(way), strict=True))
        if choice.moves_regimes and manifold is not None and manifold in block.bases:
            measured[TANGENT] = seen.tangent_energy(way.gradient, manifold)
        return measured
    if isinstance(way, Response) and block.bases:
        responses = dict(zip((ON, OFF), seen.responses(way), strict=True))
        return responses | {TANGENT: seen.tangent_energy("log-odds", way.manifold)}
    return {}
