"""Measures models on samples of a benchmark, a batch at a time, and keeps nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import columns, data, measures
from pagbench.benchmarks import Benchmark, partners
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
from pagbench.running import targets
from pagbench.running.config import RunConfig
from pagbench.storage import global_state

_UNKNOWN = Temperature(np.nan, np.nan, np.nan)


class Session:
    """One benchmark loaded once; targets are computed when the first model needs them.

    Args:
        config: the run.

    Raises:
        DataError: the data set is missing or not what its card says, or partners are of one class that should not be.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.benchmark = config, config.benchmark
        self.splits = data.splits(self.benchmark)
        partners.check_classes(self.benchmark, self.splits.test.labels.tolist())
        self.judge = Judge(self.benchmark, self.splits, config.device)

    @cached_property
    def targets(self) -> targets.Targets:
        """Of the run's samples, and of those that are measured in one block with them."""
        ids = dict.fromkeys(self.config.ids)
        for measure in self.config.measures:
            for block in self._blocks(self.config.ids, measure) if measure in BLOCKS else ():
                ids |= dict.fromkeys(block)
        return targets.compute(self.benchmark, self.splits, list(ids), seed=self.config.seed, device=self.config.device)

    @global_state.known()
    def rows(self, model: LoadedModel, ids: Sequence[str], measure: str | None = None) -> Iterator[pd.DataFrame]:
        """Rows of a model on some of the run's samples, as each batch is finished.

        Args:
            model: the model.
            ids: the samples; where a measure depends on whole blocks of samples, the rows of these blocks are returned.
            measure: an optional measure; None for the benchmark's own.

        Raises:
            ContractError: the network returns something else than logits. Its own errors are for `guarded`.
        """
        classifier = model.classifier.to(self.config.device)
        temperature = self._temperature(classifier) if measure is None else _UNKNOWN
        measure_batch = partial(self._measure_batch, model, temperature, measure)
        if measure in BLOCKS:
            return map(measure_batch, self._blocks(ids, measure))
        return self._batch_size().parts(self.targets.ordered(ids), measure_batch)

    @global_state.known()
    def generated(
        self, classifier: Classifier, ids: Sequence[str], measure: str
    ) -> Mapping[str, Float[Tensor, "b c h w"]]:
        """Images that a classifier's gradient makes of some samples, and those that it began with (its `pictures`)."""
        classifier = classifier.to(self.config.device)
        with sampled(classifier, ids):
            return measures.load_pictures(measure)(self._context(classifier, _UNKNOWN, ids))

    def _context(self, classifier: Classifier, temperature: Temperature, ids: Sequence[str]) -> MeasureContext:
        batch = self.targets.batch(ids)
        return MeasureContext(classifier, batch, self.benchmark, temperature, self.config.seed, self.judge)

    @property
    def first_batch(self) -> int:
        """Images at a time before it is known how much memory they take."""
        return self._batch_size().size

    def _batch_size(self) -> BatchSize:
        return BatchSize(self.config.batch_size, self.benchmark, self.config.device)

    def _blocks(self, missing: Sequence[str], measure: str) -> list[Sequence[str]]:
        """The benchmark's samples in the blocks that a measure depends on, those blocks that have a missing one."""
        samples, size = self.benchmark.samples, BLOCKS[measure]
        blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
        return [block for block in blocks if not set(missing).isdisjoint(block)]

    @torch.no_grad()
    def _temperature(self, classifier: Classifier) -> Temperature:
        if not self.benchmark.needs("calibration"):
            return _UNKNOWN
        calibration, device = self.splits.calibration, self.config.device

        def logits(size: int) -> Tensor:
            return torch.cat([classifier(part.images.to(device)) for part in calibration.chunks(size)])

        return fit_temperature(retry_on_oom(self.first_batch, logits), calibration.labels, seed=self.config.seed)

    @global_state.known()
    def _measure_batch(
        self, model: LoadedModel, temperature: Temperature, measure: str | None, ids: Sequence[str]
    ) -> pd.DataFrame:
        with sampled(model.classifier, ids):
            context = self._context(model.classifier, temperature, ids)
            if not context.logits.isfinite().all():
                raise ContractError(
                    f"{model.card.id}: NaN or infinite outputs among samples {ids[0]} to {ids[-1]}; check the weights"
                )
            names = self.benchmark.measures if measure is None else (measure,)
            measured: dict[str, Tensor] = {}
            for name in names:
                measured |= measures.load(name)(context)
        identity = {
            "benchmark": self.benchmark.name,
            "version": self.benchmark.version,
            "entrant": model.card.id,
            "family": model.card.family,
            "strength": model.card.strength,
            "control": model.card.control,
            "seed": self.config.seed,
            "sample_id": list(ids),
            "label": context.batch.labels.cpu().numpy(),
        }
        return pd.DataFrame({**identity, **_checked(measured, self.benchmark, names, len(ids), model.card.id)})


@contextmanager
def guarded(model: str, measure: str | None = None) -> Iterator[None]:
    """Known global state, and one clear line for whatever a third party's network raises, so that other models go on.

    Raises:
        ContractError: the network fails.
    """
    during = "it is measured" if measure is None else f"{measure!r} is measured"
    try:
        with global_state.known():
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
