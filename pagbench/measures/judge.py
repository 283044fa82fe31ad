"""Judges images that a classifier's gradient has generated, by networks and data that did not generate them."""

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import ParamSpec, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.cards.plain_yaml import read_yaml
from pagbench.data import Dataset, Splits
from pagbench.densities import scores
from pagbench.errors import CardError, ContractError
from pagbench.models import controls
from pagbench.models.classifier import Classifier
from pagbench.models.registry import Request
from pagbench.storage import assets

T = TypeVar("T")
P = ParamSpec("P")

_CHUNK = 4096
"""Training images that are compared together."""
_NOISE = 0.25
"""Standard deviation of the noise around the mean image, where an image is to come from nothing."""


class Judge:
    """What a benchmark knows of images: its training split, its score model, and an independent classifier.

    That classifier saw the training split only and has an architecture that no published model has
    (`pagbench/storage/assets/judges`). Where a benchmark has none, its Bayes classifier judges.

    Args:
        benchmark: the definition.
        splits: its data.
        device: where to compute.
    """

    def __init__(self, benchmark: Benchmark, splits: Splits, device: torch.device) -> None:
        self._benchmark, self._splits, self._device = benchmark, splits, device
        self._known: dict[Hashable, object] = {}

    def once(self, key: Hashable, compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What does not depend on the model, computed for the first one that asks."""
        if key not in self._known:
            self._known[key] = compute(*args, **kwargs)
        return cast("T", self._known[key])

    @cached_property
    def score(self) -> scores.ScoreModel:
        """The benchmark's score model."""
        return scores.load(self._benchmark, self._splits.train)

    @cached_property
    def classifier(self) -> nn.Module:
        """The independent classifier.

        Raises:
            CardError: the benchmark has neither one of its own nor a Bayes classifier.
        """
        path = assets.judge(self._benchmark.data_name)
        if path is not None:
            card = ModelCard.read(path)
            return Request(card, path).load(self._benchmark).classifier.to(self._device)
        if not isinstance(self.score, scores.ClassMixture):
            raise CardError(f"{self._benchmark.label}: no independent classifier is shipped that judges its images")
        return Classifier(controls.BayesClassifier(self.score, self._benchmark.sigma)).to(self._device)

    def record(self) -> dict[str, dict[str, str]]:
        """Hash of the independent classifier's weights, for provenance; nothing where the Bayes classifier judges."""
        path = assets.judge(self._benchmark.data_name)
        return {} if path is None else {"judge": {"weights_sha256": str(read_yaml(path)["weights_sha256"])}}

    @torch.no_grad()
    def recognised(self, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """1 where the independent classifier finds the class, else 0."""
        return (self.classifier(x).argmax(dim=1) == labels).to(x)

    @torch.no_grad()
    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """What the independent classifier's last linear layer sees; the pixels where the Bayes classifier judges."""
        linear = [module for module in self.classifier.modules() if isinstance(module, nn.Linear)]
        if not linear:
            return x.flatten(1)
        context: list[Tensor] = []
        hook = linear[-1].register_forward_pre_hook(lambda _, inputs: context.append(inputs[0]))
        try:
            self.classifier(x)
        finally:
            hook.remove()
        return context[-1].flatten(1)

    @torch.no_grad()
    def denoised(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"], *, of_class: bool = False
    ) -> Float[Tensor, "b c h w"]:
        """D(x) = x + sigma² s(x): the mean of clean images given a noisy one, by the benchmark's score.

        Args:
            x: noisy images.
            sigma: standard deviation of their noise, pixel units.
            labels: their classes.
            of_class: D(x|y) instead. Each stands for the other where a score model has only one of them.
        """
        try:
            found = self.score.score(x, sigma, labels if of_class else None)
        except CardError:
            found = self.score.score(x, sigma, None if of_class else labels)
        return x + sigma**2 * found.to(x)

    def off_data(self, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """‖D(x) - x‖ at the benchmark's sigma, L2 in pixel units."""
        return (self.denoised(x, self._benchmark.sigma, labels) - x).flatten(1).norm(dim=1)

    @torch.no_grad()
    def nearest(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
        """L2 distance to the nearest training image, pixel units."""
        flat, found = x.flatten(1), torch.full_like(x[:, 0, 0, 0], torch.inf)
        for part in self._train().chunks(_CHUNK):
            images = part.images.to(x).flatten(1)
            nearest = images[torch.cdist(flat, images).argmin(1)]  # whose distances are rounded; that of a copy is 0
            found = found.minimum((flat - nearest).norm(dim=1))
        return found

    def from_class(self, ids: tuple[str, ...], labels: Int[Tensor, "b"], seed: int) -> Float[Tensor, "b c h w"]:
        """A draw from the Gaussian that is fitted to the training images of each sample's class, clipped to [0, 1].

        It has their mean and covariance, of full rank or not: mean + Σ_j z_j (x_j - mean)/√(n - 1), z standard normal.
        Clipping shrinks both where pixels are often black or white.
        """
        train, drawn = self._train(), torch.empty(len(ids), *self._benchmark.input_shape)
        classes = labels.cpu()
        for label in classes.unique().tolist():
            chosen = (train.labels == label).nonzero()[:, 0]
            if len(chosen) < 2:
                raise ContractError(f"{self._benchmark.label}: class {label} has {len(chosen)} training images, not 2")
            images = train.pixels[chosen]
            pixels = (images if isinstance(images, Tensor) else images.load()).flatten(1).double()
            mean = pixels.mean(0)
            for row in (classes == label).nonzero()[:, 0].tolist():
                z = torch.from_numpy(geometry.generator(seed, "generation", ids[row]).standard_normal(len(pixels)))
                sample = mean + (z @ pixels - z.sum() * mean) / np.sqrt(len(pixels) - 1)
                drawn[row] = sample.reshape(self._benchmark.input_shape).float()
        return drawn.clamp(0, 1).to(self._device)

    def from_noise(self, ids: tuple[str, ...], seed: int) -> Float[Tensor, "b c h w"]:
        """The mean training image and Gaussian noise of standard deviation 1/4, clipped to [0, 1]."""
        noise = [
            geometry.generator(seed, "generation/noise", name).standard_normal(self._benchmark.input_shape)
            for name in ids
        ]
        drawn = self._mean + _NOISE * torch.from_numpy(np.stack(noise))
        return drawn.float().clamp(0, 1).to(self._device)

    @cached_property
    def _mean(self) -> Float[Tensor, "c h w"]:
        train = self._train()
        return torch.stack([part.images.double().sum(0) for part in train.chunks(_CHUNK)]).sum(0) / len(train.ids)

    def _train(self) -> Dataset:
        if not self._splits.train.ids:
            raise ContractError(f"{self._benchmark.label}: has no training images, which generation begins with")
        return self._splits.train


def kid_influences(
    x: Float[Tensor, "n f"],
    y: Float[Tensor, "n f"],
    labels: Int[Tensor, "n"] | None = None,
    scored: Bool[Tensor, "n"] | None = None,
) -> Float[Tensor, "n"]:
    """Kernel inception distance (Bińkowski et al. 2018, arXiv 1801.01401): one value for each pair (x_i, y_i).

    Their mean is the unbiased estimate of MMD² under a cubic kernel of features (Gretton et al. 2012, Lemma 6). Only
    images of one class are compared, since one of another class is no success. No library has single influences.
    To first order resampling them resamples the estimate: their bootstrap intervals are the distance's, somewhat too
    wide where classes have few pairs. NaN where no two pairs can be compared.

    Args:
        x: features of one set.
        y: features of the other, paired by position.
        labels: class of each pair; the mean is over pairs of pairs of one class. None for one class.
        scored: pairs that count; NaN for the others. None for all.

    >>> kid_influences(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [1.0]]))
    tensor([0., 0.], dtype=torch.float64)
    """
    counted = torch.ones(len(x), dtype=torch.bool) if scored is None else scored.cpu()
    x, y = x.cpu().double(), y.cpu().double()  # not every device has doubles
    labels = None if labels is None else labels.cpu()
    cross = _kernel(x, y)
    h = _kernel(x, x) + _kernel(y, y) - cross - cross.T
    same = torch.ones_like(h) if labels is None else (labels[:, None] == labels).to(h)
    same = same.fill_diagonal_(0) * counted[:, None] * counted
    row = counted.sum() * (h * same).sum(1) / same.sum()
    return (2 * row - row[counted].mean()).where(counted, torch.nan)


def _kernel(x: Float[Tensor, "n f"], y: Float[Tensor, "m f"]) -> Float[Tensor, "n m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3
