"""Images that are measured together, with what no entrant changes, and one entrant on them under every setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.errors import ContractError
from pagbench.measures.response import l1_change
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import sampled
from pagbench.remeasuring import similarities
from pagbench.sensitivity.choices import Alignment, Choice, Gradient, Response, Similarity, Target
from pagbench.sensitivity.ranking import CHANCE, CORRECT, OFF, ON, TANGENT, VALUE, key
from pagbench.targets import sample_noise


@dataclass(frozen=True)
class Block:
    """Consecutive images of the benchmark's cycle of partners.

    Attributes:
        benchmark: the definition.
        ids: of n images.
        images: pixels in [0, 1].
        labels: true classes.
        maps: targets of the n images and of the next in the cycle, which is the last one's partner.
        bases: tangent bases; none where no responses are measured.
    """

    benchmark: Benchmark
    ids: tuple[str, ...]
    images: Float[Tensor, "n c h w"]
    labels: Int[Tensor, "n"]
    maps: Mapping[Target, Float[Tensor, "m c h w"]]
    bases: Mapping[ManifoldCard, Float[Tensor, "n d k"]]
    _embedded: dict[tuple[Target, Similarity], Tensor] = field(default_factory=dict)
    _steps: dict[tuple[ManifoldCard, int], geometry.Directions] = field(default_factory=dict)

    def embedded(self, target: Target, similarity: Similarity) -> Tensor:
        """Targets of the n images and of the next one, embedded once for all entrants."""
        place = (target, similarity)
        if place not in self._embedded:
            self._embedded[place] = similarities.embed(similarity, self.maps[target])
        return self._embedded[place]

    def partners(self, seed: int) -> Int[Tensor, "n"]:
        """Places of the images' partners: the next in the cycle, or in another cycle through the block."""
        n = len(self.ids)
        if seed == self.benchmark.seed:
            return torch.arange(1, n + 1)
        cycle = np.random.default_rng([seed, n]).permutation(n)
        found = np.empty(n, dtype=np.int64)
        found[cycle] = np.roll(cycle, -1)
        return torch.from_numpy(found)

    def steps(self, manifold: ManifoldCard, seed: int) -> geometry.Directions:
        """The benchmark's directions in and off the tangent spaces, as many as these have room for."""
        place = (manifold, seed)
        if place not in self._steps:
            shape = (self.benchmark.dimension, min(self.benchmark.directions, manifold.rank))
            noise = torch.stack([sample_noise(seed, "response", name, shape) for name in self.ids])
            found = geometry.directions(self.bases[manifold].cpu().double(), noise)
            self._steps[place] = geometry.Directions(*(part.float().to(self.images.device) for part in found))
        return self._steps[place]


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
        if name == "log-odds":
            return passed.log_odds_gradient(labels)
        if name == "sum of logits":
            return passed.logit_sum_gradient()
        if name == "log-sum-exp":
            return passed.logsumexp_gradient()
        if name == "logit of the label":
            return passed.logit_gradient(labels)
        if name == "logit of the prediction":
            return passed.logit_gradient(passed.logits.argmax(dim=1))
        if name == "margin":
            return passed.margin_gradient(labels)
        return passed.log_probability_gradient(labels) if name == "log p" else passed.probability_gradient(labels)

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
    """A classifier's row per image of a block, columns as `pagbench.sensitivity.ranking.key` says; NaN: not scored.

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
                way = setting.way
                if isinstance(way, Alignment):
                    measured = dict(zip((VALUE, CHANCE), seen.alignment(way), strict=True))
                    if choice.regimes and block.bases:
                        measured[TANGENT] = seen.tangent_energy(way.gradient, block.benchmark.manifold)
                elif isinstance(way, Response) and block.bases:
                    measured = dict(zip((ON, OFF), seen.responses(way), strict=True))
                    measured[TANGENT] = seen.tangent_energy("log-odds", way.manifold)
                else:
                    continue
                found |= {key(choice, setting, quantity): value for quantity, value in measured.items()}
    return pd.DataFrame({name: value.detach().cpu().numpy() for name, value in found.items()}, index=list(block.ids))
