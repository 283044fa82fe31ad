"""Measures models on samples of a benchmark, a batch at a time, and keeps nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench import columns, data, measures
from pagbench.benchmarks import Benchmark
from pagbench.columns import BLOCKS
from pagbench.errors import ContractError, PagbenchError, described
from pagbench.measures import MeasureContext
from pagbench.measures.calibration import NONE, ONE, Temperature, fit_temperature
from pagbench.measures.context import calibrated
from pagbench.measures.judge import Judge
from pagbench.models import devices
from pagbench.models.classifier import Classifier
from pagbench.models.devices import BatchSize, retry_on_oom
from pagbench.models.loading import LoadedModel
from pagbench.models.smoothing import sampled
from pagbench.running import targets
from pagbench.running.config import RunConfig
from pagbench.storage import global_state


class Session:
    """One benchmark loaded once; targets are computed when the first model needs them.

    Args:
        config: the run.

    Raises:
        DataError: the data set is missing or not what its card says.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.benchmark = config, config.benchmark
        self.splits = data.splits(self.benchmark)
        self.judge = Judge(self.benchmark, self.splits, config.device)
        self._temperatures: WeakKeyDictionary[Classifier, Temperature] = WeakKeyDictionary()

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
        temperature = self._asked_temperature(model, measure)
        measure_batch = partial(self._measure_batch, model, temperature, measure)
        if measure in BLOCKS:
            return map(measure_batch, self._blocks(ids, measure))
        return self._batch_size().parts(self.targets.ordered(ids), measure_batch)

    @global_state.known()
    def generated(self, model: LoadedModel, ids: Sequence[str], measure: str) -> Mapping[str, Float[Tensor, "b c h w"]]:
        """Images that a model's gradient makes of some samples, and those that it began with (its `pictures`)."""
        temperature = self._asked_temperature(model, measure)
        with sampled(model.classifier, ids):
            return measures.load_pictures(measure)(self._context(model, temperature, ids))

    @global_state.known()
    def measured(self, model: LoadedModel) -> nn.Module:
        """The classifier as the benchmark measures it: with calibrated logits where it says so."""
        classifier = model.classifier.to(self.config.device)
        if self.benchmark.gradient is None:
            return classifier
        return calibrated(classifier, self.benchmark, self.temperature(model))

    def _context(self, model: LoadedModel, temperature: Temperature, ids: Sequence[str]) -> MeasureContext:
        batch, classifier = self.targets.batch(ids), model.classifier.to(self.config.device)
        return MeasureContext(classifier, batch, self.benchmark, temperature, self.config.seed, self.judge)

    def _asked_temperature(self, model: LoadedModel, measure: str | None) -> Temperature:
        """The temperature where a measure asks for it: optional ones do only where all outputs are divided by it.

        To be called outside `sampled`, for the calibration images are no samples.
        """
        asked = measure is None or self.benchmark.gradient == "calibrated"
        return self.temperature(model) if asked else NONE

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
    def temperature(self, model: LoadedModel) -> Temperature:
        """Of a model's outputs on the calibration images, fitted once; NaN where the benchmark or the model has none.

        Where all outputs are divided by it, that of a control is 1: the Bayes control's gradient is the target by
        definition, and others only bound the columns.
        """
        classifier = model.classifier.to(self.config.device)
        if classifier not in self._temperatures:
            self._temperatures[classifier] = self._fitted(classifier, control=model.card.control)
        return self._temperatures[classifier]

    def _fitted(self, classifier: Classifier, *, control: bool) -> Temperature:
        if not self.benchmark.needs("calibration"):
            return NONE
        exact = self.benchmark.gradient == "calibrated"
        if exact and control:
            return ONE
        calibration, device = self.splits.calibration, self.config.device

        def logits(size: int) -> Tensor:
            return torch.cat([classifier(part.images.to(device)) for part in calibration.chunks(size)])

        fitted = retry_on_oom(self.first_batch, logits)
        return fit_temperature(fitted, calibration.labels, seed=self.config.seed, exact=exact)

    @global_state.known()
    def _measure_batch(
        self, model: LoadedModel, temperature: Temperature, measure: str | None, ids: Sequence[str]
    ) -> pd.DataFrame:
        with sampled(model.classifier, ids):
            context = self._context(model, temperature, ids)
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
            advice = "use a larger device, or the CPU (device cpu)"
            raise ContractError(f"{model}: out of memory with {images} at a time while {during}; {advice}") from None
        raise ContractError(f"{model}: fails while {during} ({described(error)}); finished batches are kept") from error


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
