"""What measures see: one classifier on one batch of images with the benchmark's targets."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.measures.calibration import Calibrated, Temperature
from pagbench.measures.judge import Judge
from pagbench.models.classifier import Classifier


class SecondScores(NamedTuple):
    """What a second score model says of each image.

    Attributes:
        target: s(x|y) - s(x) at the second target's sigma.
        chance_target: that of each image's partner.
        conditional: s(x|y) at the paper protocol's sigma.
        marginal: s(x) at that sigma.

    What the model does not say, or the benchmark does not ask, is None.
    """

    target: Float[Tensor, "b c h w"] | None
    chance_target: Float[Tensor, "b c h w"] | None
    conditional: Float[Tensor, "b c h w"] | None
    marginal: Float[Tensor, "b c h w"] | None


@dataclass(frozen=True)
class Batch:
    """Images with everything about them that does not depend on the classifier.

    Attributes:
        images: pixels in [0, 1].
        labels: true classes.
        target: Bayes target b = s(x|y) - s(x).
        chance_target: the target of each image's partner, another image.
        basis: orthonormal tangent basis, d = c·h·w; no columns where the benchmark has no manifold.
        chance_basis: the partner's tangent basis.
        on: m orthonormal directions in the tangent space; none without a manifold.
        off: m orthonormal directions in its complement.
        embedding: LPIPS embedding of the target; None where the benchmark has no LPIPS.
        chance_embedding: the partner's.
        second: scores of the second score model; None where the benchmark has none.
        noise_parts: unit tangent and normal part of one noise vector, m = 1, NaN for images that get no responses;
            with the paper protocol and a manifold only.
        ids: of the samples, for draws of their own.
        profile: the target at each of the benchmark's sigmas, NaN where it vanishes; None where it has no sigmas.
        chance_profile: the partner's.
    """

    images: Float[Tensor, "b c h w"]
    labels: Int[Tensor, "b"]
    target: Float[Tensor, "b c h w"]
    chance_target: Float[Tensor, "b c h w"]
    basis: Float[Tensor, "b d k"]
    chance_basis: Float[Tensor, "b d k"]
    on: Float[Tensor, "b _ d"]
    off: Float[Tensor, "b m d"]
    embedding: Float[Tensor, "b f"] | None = None
    chance_embedding: Float[Tensor, "b f"] | None = None
    second: SecondScores | None = None
    noise_parts: geometry.Directions | None = None
    ids: tuple[str, ...] = ()
    profile: Float[Tensor, "b s c h w"] | None = None
    chance_profile: Float[Tensor, "b s c h w"] | None = None


@dataclass(frozen=True)
class MeasureContext:
    """One classifier on one batch; what several measures need is computed once.

    Attributes:
        uncalibrated: the classifier as it was loaded.
        batch: images and targets.
        benchmark: the definition.
        temperature: fitted on the calibration split; 1 for a control where the benchmark's outputs are calibrated.
        seed: of what a measure draws, beside the sample's id.
        judged_by: who judges images; None where no measure asks.
    """

    uncalibrated: Classifier
    batch: Batch
    benchmark: Benchmark
    temperature: Temperature
    seed: int = 0
    judged_by: Judge | None = None

    @property
    def judge(self) -> Judge:
        """Who judges images that the classifier's gradient makes."""
        assert self.judged_by is not None  # the session gives it to the measures that ask
        return self.judged_by

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Of what depends on the batch's images and draws only."""
        return self.batch.ids, self.seed

    @cached_property
    def classifier(self) -> nn.Module:
        """What is measured: the classifier with calibrated logits where the benchmark says so."""
        return calibrated(self.uncalibrated, self.benchmark, self.temperature)

    @cached_property
    def forward_pass(self) -> geometry.ForwardPass:
        """The batch's only forward pass that is differentiated."""
        return geometry.ForwardPass(self.classifier, self.batch.images, keep=self.benchmark.needs("further_gradients"))

    @cached_property
    def logits(self) -> Float[Tensor, "b k"]:
        """Logits of the batch."""
        return self.forward_pass.logits

    @property
    def raw_logits(self) -> Float[Tensor, "b k"]:
        """Logits of the batch as the network gives them."""
        return self.logits * self.classifier.temperature if isinstance(self.classifier, Calibrated) else self.logits

    def release(self) -> None:
        """Frees what backward passes need, before a measure that differentiates by itself; the logits stay."""
        vars(self)["logits"] = self.logits
        vars(self).pop("forward_pass", None)

    @cached_property
    def gradient(self) -> Float[Tensor, "b c h w"]:
        """Input gradient of the log-odds of the true class; NaN where it is not scored."""
        return self.forward_pass.log_odds_gradient(self.batch.labels)


def calibrated(classifier: Classifier, benchmark: Benchmark, temperature: Temperature) -> nn.Module:
    """A classifier as a benchmark measures it: as it is where the benchmark or the model has no temperature for it."""
    if benchmark.gradient != "calibrated" or not np.isfinite(temperature.value):
        return classifier
    return Calibrated(classifier, temperature.value)


def not_scored(context: MeasureContext, *names: str) -> dict[str, Float[Tensor, "b"]]:
    """Columns of NaN, for a measure that a model has no value of."""
    return {name: torch.full_like(context.logits[:, 0], torch.nan) for name in names}
