"""Measures models on samples of a benchmark, a batch at a time, and keeps nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from pagbench import columns, data, measures
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.columns import BLOCKS
from pagbench.errors import ContractError, PagbenchError, first_line
from pagbench.measures import MeasureContext
from pagbench.measures.calibration import Temperature, fit_temperature
from pagbench.measures.judge import Judge
from pagbench.models import devices
from pagbench.models.classifier import Classifier
from pagbench.models.devices import BatchSize, retry_on_oom
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.results import thumbnails
from pagbench.running import targets

_UNKNOWN = Temperature(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Settings:
    """How models are measured; nothing here but the seed changes a row.

    Attributes:
        batch_size: images at a time; None for as many as fit.
        device: where to compute.
        seed: of noise and permutation.
        measures: optional ones, beside the benchmark's own.
    """

    batch_size: int | None
    device: torch.device
    seed: int
    measures: tuple[str, ...] = ()


class Session:
    """One benchmark loaded once; targets are computed when the first model needs them.

    Args:
        benchmark: the definition.
        ids: samples that will be measured.
        settings: how.
    """

    def __init__(self, benchmark: Benchmark, ids: Sequence[str], settings: Settings) -> None:
        self.benchmark, self.ids, self.settings = benchmark, ids, settings
        self.splits = data.splits(benchmark)
        self._targets: targets.Targets | None = None
        self.judge = Judge(benchmark, self.splits, settings.device)

    @property
    def targets(self) -> targets.Targets:
        """Of the session's samples, and of those that are measured in one block with them."""
        if self._targets is None:
            parts = [self._blocks(self.ids, measure) for measure in self.settings.measures if measure in BLOCKS]
            ids = list(dict.fromkeys([*self.ids, *(name for blocks in parts for block in blocks for name in block)]))
            self._targets = targets.compute(
                self.benchmark, self.splits, ids, seed=self.settings.seed, device=self.settings.device
            )
        return self._targets

    def rows(self, model: LoadedModel, ids: Sequence[str], measure: str | None = None) -> Iterator[pd.DataFrame]:
        """Rows of a model on some of the session's samples, as each batch is finished.

        Args:
            model: the model.
            ids: the samples; where a measure depends on whole blocks of samples, the rows of these blocks are returned.
            measure: an optional measure; None for the benchmark's own.

        Raises:
            ContractError: the network returns what is no result. Whatever else it raises is for `guarded`.
        """
        classifier = model.classifier.to(self.settings.device)
        temperature = self._temperature(classifier) if measure is None else _UNKNOWN

        def measured(batch: Sequence[str]) -> pd.DataFrame:
            with sampled(classifier, batch):
                return self._rows(model.card, classifier, temperature, batch, measure)

        if measure in BLOCKS:
            yield from map(measured, self._blocks(ids, measure))
        else:
            yield from self._batch_size().parts(self.targets.ordered(ids), measured)

    def pictures(self, model: LoadedModel, measure: str) -> dict[str, Any]:
        """Images that a model's gradient makes of the first samples, as plain JSON values for thumbnails.

        What was there before comes with the Bayes control only, since it is the same for all; or with every model
        where a benchmark has no such control.
        """
        ids = columns.samples_of(self.benchmark, measure)[: thumbnails.GENERATED]
        shared = self.benchmark.bayes in (None, model.card.id)
        made = self.made(model.classifier, ids, measure)
        kept = {name: images.cpu().numpy() for name, images in made.items() if shared or name.startswith(measure)}
        return thumbnails.encode_generated(ids, kept)

    def made(self, classifier: Classifier, ids: Sequence[str], measure: str) -> Mapping[str, Float[Tensor, "b c h w"]]:
        """Images that a classifier's gradient makes of some samples, and what was there before (its `pictures`)."""
        classifier = classifier.to(self.settings.device)
        with sampled(classifier, ids), devices.single_precision():
            return measures.load_pictures(measure)(self._observation(classifier, _UNKNOWN, ids))

    def _observation(self, classifier: Classifier, temperature: Temperature, ids: Sequence[str]) -> MeasureContext:
        batch = self.targets.batch(ids)
        return MeasureContext(classifier, batch, self.benchmark, temperature, self.settings.seed, self.judge)

    @property
    def first_batch(self) -> int:
        """Images at a time where nothing is known yet of the memory that they take."""
        return self._batch_size().size

    def _batch_size(self) -> BatchSize:
        return BatchSize(self.settings.batch_size, self.benchmark, self.settings.device)

    def _blocks(self, missing: Sequence[str], measure: str) -> list[Sequence[str]]:
        """The benchmark's whole blocks that the missing samples are in, for a measure that depends on them."""
        return blocks(self.benchmark, missing, BLOCKS[measure])

    @torch.no_grad()
    def _temperature(self, classifier: Classifier) -> Temperature:
        if not self.benchmark.needs("calibration"):
            return Temperature(math.nan, math.nan, math.nan)  # no one asks for it
        calibration, device = self.splits.calibration, self.settings.device

        def logits(size: int) -> Tensor:
            return torch.cat([classifier(part.images.to(device)) for part in calibration.chunks(size)])

        return fit_temperature(retry_on_oom(self.first_batch, logits), calibration.labels, seed=self.settings.seed)

    def _rows(
        self,
        card: ModelCard,
        classifier: Classifier,
        temperature: Temperature,
        ids: Sequence[str],
        measure: str | None,
    ) -> pd.DataFrame:
        context = self._observation(classifier, temperature, ids)
        if not context.logits.isfinite().all():
            raise ContractError(
                f"{card.id}: NaN or infinite outputs among samples {ids[0]} to {ids[-1]}; check the weights"
            )
        names = self.benchmark.measures if measure is None else (measure,)
        measured = {column: value for name in names for column, value in measures.load(name)(context).items()}
        identity = {
            "benchmark": self.benchmark.name,
            "version": self.benchmark.version,
            "entrant": card.id,
            "family": card.family,
            "strength": card.strength,
            "control": card.control,
            "seed": self.settings.seed,
            "sample_id": list(ids),
            "label": context.batch.labels.cpu().numpy(),
        }
        return pd.DataFrame({**identity, **_checked(measured, self.benchmark, names, len(ids), card.id)})


def progress_bar(enabled: bool) -> Progress:
    """A bar that counts images and estimates the time that is left; on stderr, nothing where it is not enabled."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images, left:"),
        TimeRemainingColumn(), disable=not enabled, console=Console(stderr=True),
    )  # fmt: skip


@contextmanager
def guarded(model: str, measure: str | None = None) -> Iterator[None]:
    """Full float32, and one clear line for whatever a third party's network raises, so that other models go on.

    Raises:
        ContractError: the network fails.
    """
    during = "it is measured" if measure is None else f"{measure!r} is measured"
    try:
        with devices.single_precision():
            yield
    except PagbenchError:
        raise
    except (Exception, SystemExit) as error:
        if devices.is_out_of_memory(error):
            images = "one image"
            if measure in BLOCKS:
                images = f"{BLOCKS[measure]} images, fewer of which would change the rows,"
            advice = "use a larger device, or --device cpu"
            raise ContractError(f"{model}: out of memory with {images} at a time while {during}; {advice}") from None
        raise ContractError(
            f"{model}: fails while {during} ({first_line(error)}); finished batches are kept"
        ) from error


def blocks(benchmark: Benchmark, wanted: Sequence[str], size: int) -> list[Sequence[str]]:
    """The benchmark's samples in blocks of one size, those blocks that have a wanted one."""
    parts = [benchmark.samples[start : start + size] for start in range(0, len(benchmark.samples), size)]
    return [part for part in parts if not set(wanted).isdisjoint(part)]


def _checked(
    measured: Mapping[str, Tensor], benchmark: Benchmark, measures: Sequence[str], size: int, model: str
) -> dict[str, np.ndarray]:
    """Measured columns as arrays, exactly those of the schema; NaN means not scored, infinity is refused."""
    expected = [column.name for column in columns.sample_columns(benchmark, measures)]
    if set(measured) != set(expected):
        raise ContractError(
            f"measures of {benchmark.label} returned {sorted(set(measured) ^ set(expected))} against the schema"
        )
    arrays = {name: measured[name].detach().double().cpu().numpy() for name in expected}
    for name, values in arrays.items():
        if values.shape != (size,) or np.isinf(values).any():
            raise ContractError(
                f"{model}: measure {name} returned {values.shape} values, expected {size} finite or NaN"
            )
    return arrays
