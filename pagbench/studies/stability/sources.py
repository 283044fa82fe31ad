"""Target maps and tangent spaces of a benchmark's images under every setting, kept on disk with its other targets."""

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset, Splits
from pagbench.densities import manifolds, scores
from pagbench.running import targets
from pagbench.running.targets.files import TargetFiles
from pagbench.studies.stability.ways import Target
from pagbench.training import parts

_PART = 16
"""Images whose tangent spaces are computed together."""


class Sources:
    """Score models and manifolds, loaded when the first image needs them.

    Args:
        benchmark: the definition.
        splits: its data.
        device: where to compute.
    """

    def __init__(self, benchmark: Benchmark, splits: Splits, device: torch.device) -> None:
        self._benchmark, self._splits, self._device = benchmark, splits, device
        self._manifolds: dict[ManifoldCard, manifolds.Manifold] = {}
        networks = targets.Computation(benchmark, splits, benchmark.seed, device).records()
        size = targets.size_of(benchmark)
        self._files = TargetFiles(benchmark, seed=benchmark.seed, device=device, networks=networks, size=size)

    def target(self, target: Target, images: Dataset) -> Float[Tensor, "n c h w"]:
        """What gradients are compared with at these images.

        Raises:
            CardError: the score model has no such part.
            DataError: it vanishes at an image.
        """
        return self.kept((repr(target),), images, lambda: {"map": self._target(target, images)})["map"]

    def basis(self, card: ManifoldCard, images: Dataset) -> Float[Tensor, "n d k"]:
        """Orthonormal tangent bases at these images.

        Raises:
            CardError: the manifold does not fit the benchmark, or has another rank.
            DataError: it has fewer directions than its rank at an image.
        """
        return self.kept((card.digest(),), images, lambda: {"basis": self._basis(card, images)})["basis"]

    def kept(
        self, what: tuple[str, ...], images: Dataset, compute: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors about these images, from disk or computed now."""
        place = self._files.place((*images.ids, *what), images.fingerprint())
        with self._files.alone(place):
            found = self._files.read(place)
            if found is None:
                found = dict(compute())
                self._files.write(place, found)
        return {name: tensor.to(self._device) for name, tensor in found.items()}

    @cached_property
    def _score(self) -> scores.ScoreModel:
        return scores.load(self._benchmark, self._splits.train)

    @cached_property
    def _second(self) -> scores.ScoreModel:
        return scores.load_second(self._benchmark, self._splits.train)

    def _target(self, target: Target, images: Dataset) -> Float[Tensor, "n c h w"]:
        model, definition = (self._second, self._of_second()) if target.second else (self._score, self._benchmark)
        if target.part == "difference":
            definition = definition.model_copy(update={"sigma": target.sigma})
            return targets.bayes_target(model, definition, images, self._device).float()
        labels = images.labels if target.part == "conditional" else None
        return model.score(images.images.to(self._device), target.sigma, labels).float()

    def _of_second(self) -> Benchmark:
        assert self._benchmark.second is not None  # by the choices
        return self._benchmark.model_copy(update={"score": self._benchmark.second.score})

    def _basis(self, card: ManifoldCard, images: Dataset) -> Float[Tensor, "n d k"]:
        if card not in self._manifolds:
            self._manifolds[card] = self._built(card)
        manifold = self._manifolds[card]
        return torch.cat(
            [manifold.tangent_basis(part.images.to(self._device)).float() for part in images.chunks(_PART)]
        )

    def _built(self, card: ManifoldCard) -> manifolds.Manifold:
        if card.recipe is not None:  # one autoencoder for all ranks
            own = parts.with_autoencoder(self._benchmark, self._device).manifold
            assert own is not None
            card = own.model_copy(update={"rank": card.rank})
        return manifolds.build(card, self._benchmark, self._score, self._splits.train)
