"""The pre-flight checks: what a model does on some of a benchmark's images, before anything is measured."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Bool, Float
from scipy.stats import binomtest
from torch import Tensor, nn

from pagbench import data, geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.data import Dataset
from pagbench.errors import ContractError, first_line
from pagbench.models import devices
from pagbench.models.classifier import Classifier
from pagbench.models.devices import retry_on_oom
from pagbench.models.loading import LoadedModel
from pagbench.models.registry import Request
from pagbench.results.preflight import Check, Preflight, Refusal, Verdict
from pagbench.storage import global_state

IMAGES = 256
"""Images of the measured split, evenly spaced, that accuracy is compared on."""

_PROBED = 32
_CONFIDENCE = 0.999
_SIGNIFICANCE = 1e-3
_BATCH_TOLERANCE = 1e-3
_TOLERANCE = 0.05
_DISAGREEING = 0.05
_DIRECTIONS = 2
_CHANGE = {torch.float64: 1e-4, torch.float32: 0.1}
_LONGEST_STEP = {torch.float64: 1e-5, torch.float32: 1e-2}
_ROUNDINGS = 64

_RANGES = {
    "0 to 255": ((0.0,), (1 / 255,)),
    "-1 to 1": ((0.5,), (0.5,)),
    "normalised as for ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Other ranges that networks are trained on, as the mean and std that lead there from [0, 1]."""


@global_state.known()
def preflight(model: LoadedModel, benchmark: Benchmark, *, device: torch.device, batch_size: int) -> Preflight:
    """Checks a model: its contract (already kept), then outputs, range, batches, gradients, accuracy and cost.

    Nothing here changes a row. A check whose code the network makes fail is itself a failed check.

    Args:
        model: it is moved to the device.
        benchmark: whose images are shown.
        device: where to compute.
        batch_size: images at a time; fewer where memory does not hold them.

    Raises:
        DataError: the benchmark's images are not there.
        torch.OutOfMemoryError: memory does not hold one image.
    """
    return retry_on_oom(batch_size, lambda size: _preflight(model, benchmark, device, size))


def _preflight(model: LoadedModel, benchmark: Benchmark, device: torch.device, batch_size: int) -> Preflight:
    classifier = model.classifier.to(device)
    examination = _Examination(model.card, classifier, probe(benchmark), benchmark, device, batch_size)
    return Preflight(checks=(*model.checks, *examination.checks()))


def examine(request: Request, benchmark: Benchmark, *, device: torch.device, batch_size: int) -> Preflight:
    """Loads and checks a model; of one that breaks its contract, the checks until then.

    Raises:
        PagbenchError: it cannot be loaded, or the benchmark's images are not there.
    """
    try:
        return preflight(request.load(benchmark), benchmark, device=device, batch_size=batch_size)
    except Refusal as refused:
        return refused.preflight
    except (MemoryError, RuntimeError) as error:
        if not devices.is_out_of_memory(error):
            raise
        raise ContractError(f"{request.card.id}: out of memory with one image at a time; use a larger device") from None


@lru_cache(maxsize=1)
@global_state.known()
def probe(benchmark: Benchmark) -> Dataset:
    """Up to 256 of the images that are measured, evenly spaced, since some data sets lie sorted by class."""
    count = min(IMAGES, len(benchmark.samples))
    ids = [benchmark.samples[index * len(benchmark.samples) // count] for index in range(count)]
    return data.splits(benchmark).test.select(ids)


def _check(name: str, *, bad: bool, found: str, expected: str = "", advice: str = "") -> Check:
    """A check that is passed or flagged; a passed one needs no advice."""
    verdict: Verdict = "flag" if bad else "pass"
    return Check(name=name, verdict=verdict, found=found, expected=expected, advice=advice if bad else "")


@dataclass(frozen=True)
class _Examination:
    """One classifier on some of a benchmark's images; most methods are the check of their name."""

    card: ModelCard
    classifier: Classifier
    samples: Dataset
    benchmark: Benchmark
    device: torch.device
    batch_size: int

    def checks(self) -> Iterator[Check]:
        """All checks, or the first alone where it fails."""
        finite = self._guarded(self.finite)
        yield finite
        if finite.verdict == "pass":
            others = (self.range, self.batch, self.gradients, self.derivatives, self.accuracy, self.cost)
            yield from map(self._guarded, others)

    def _guarded(self, check: Callable[[], Check]) -> Check:
        """The check, failed where the network raises anything but the lack of memory."""
        try:
            return check()
        except Exception as error:  # a third party's network may raise anything
            if devices.is_out_of_memory(error):
                raise
            found, advice = f"the network fails ({first_line(error)})", "run it on such images by itself and mend it"
            return Check(name=check.__name__, verdict="fail", found=found, advice=advice)

    def finite(self) -> Check:
        """Whether the outputs are finite on real images."""
        bad = int((~self._outputs.isfinite().all(1)).sum())
        if bad:
            found = f"NaN or infinite outputs on {bad} of {len(self._outputs)} images"
            return Check(name="finite", verdict="fail", found=found, advice="check the weights")
        return Check(name="finite", verdict="pass", found=f"finite outputs on {len(self._outputs)} images")

    def range(self) -> Check:
        """Whether the images in another range would be told apart better (exact sign test on some of them)."""
        some = self._spread(_PROBED)
        x, labels, right = self.samples.images[some], self.samples.labels[some], self._right[some]
        accuracies, better = [f"accuracy {_share(right)} on pixels {x.min():.2f} to {x.max():.2f}"], None
        for name, (mean, std) in _RANGES.items():
            if len(mean) not in (1, x.shape[1]):
                continue
            m, s = (torch.tensor(part).reshape(1, -1, 1, 1) for part in (mean, std))
            try:
                other = self._logits((x - m) / s).argmax(1) == labels
            except Exception as error:  # a network may refuse pixels that are none
                if devices.is_out_of_memory(error):
                    raise
                accuracies.append(f"refused {name}")
                continue
            accuracies.append(f"{_share(other)} {name}")
            gained, lost = int((other & ~right).sum()), int((right & ~other).sum())
            if gained and binomtest(gained, gained + lost, alternative="greater").pvalue < _SIGNIFICANCE:
                better = f"mean {[round(v, 4) for v in mean]} and std {[round(v, 4) for v in std]}"
        expected, advice = "best on [0, 1]" if better else "", f"pixels come in [0, 1]: give its card {better}"
        return _check("range", bad=better is not None, found="; ".join(accuracies), expected=expected, advice=advice)

    def batch(self) -> Check:
        """Whether an image's logits are the same alone, in a batch, and in the shuffled batch."""
        x = self.samples.images[self._spread(_PROBED // 2)]
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        together = self._logits(x, size=len(x))
        centred = together - together.mean(1, keepdim=True)
        others = (self._logits(x, size=1), self._logits(x[order], size=len(x))[order.argsort()])
        changed = max(float((other - together).abs().max()) for other in others)
        change = changed / max(float(centred.abs().max()), torch.finfo(torch.float32).tiny) if changed else 0.0
        found = f"logits alone, in a batch and shuffled differ by {change:.1g} of the largest"
        advice = "use running statistics in its normalisation layers; images must not see each other"
        expected = f"at most {_BATCH_TOLERANCE:g}"
        return _check("batch", bad=change > _BATCH_TOLERANCE, found=found, expected=expected, advice=advice)

    def gradients(self) -> Check:
        """On how many images the strict protocol's gradient can be scored."""
        lost = total = 0
        for part in self._probed():
            gradient = self._gradient(part)
            lost += int((~gradient.flatten(1).isfinite().all(1)).sum())
            total += len(gradient)
        found = f"zero, below float32's resolution or not finite on {lost} of {total} images"
        advice = "look for saturated probabilities, rounding, and clipping before the network"
        return _check("gradients", bad=lost > 0, found=found, expected="0" if lost else "", advice=advice)

    def derivatives(self) -> Check:
        """Autograd against central differences, along the gradient and along random directions.

        First in float64 with short steps, which seldom meet the kinks of ReLU; where a network has float32 inside, or
        disagrees, in float32 with the steps of the measure `faithfulness`.
        """
        compared = disagreeing = 0
        precision = ""
        for dtype in (torch.float64, torch.float32):
            agreed = self._agreement(dtype)
            if agreed is None:
                continue
            compared, disagreeing, precision = len(agreed), int((~agreed).sum()), str(dtype).removeprefix("torch.")
            if disagreeing <= _DISAGREEING * compared:
                break
        if not compared:
            return Check(name="derivatives", verdict="unknown", found="no gradient to compare with differences")
        found = f"autograd and finite differences ({precision}) disagree on {disagreeing} of {compared} images"
        expected, bad = f"at most {_DISAGREEING:.0%}", disagreeing > _DISAGREEING * compared
        advice = "the backward pass is masked or another function's; give it the gradient of what it computes"
        return _check("derivatives", bad=bad, found=found, expected=expected, advice=advice)

    def _agreement(self, dtype: torch.dtype) -> Bool[Tensor, "n"] | None:
        """Of the images that have a gradient, which agree; None where the network does not run in this precision."""
        if dtype is torch.float32:
            return torch.cat([self._agree(self.classifier, part) for part in self._probed()])
        try:
            network = copy.deepcopy(self.classifier).to(dtype)
            parts = (Dataset(part.ids, part.images.to(dtype), part.labels) for part in self._probed())
            return torch.cat([self._agree(network, part) for part in parts])
        except Exception:  # tensors that do not move, lack of memory, a device without float64: float32 will tell
            return None

    def _agree(self, classifier: nn.Module, part: Dataset) -> Bool[Tensor, "n"]:
        dtype = part.images.dtype
        logits, gradient = geometry.log_odds_gradient(classifier, part.images, part.labels)
        scored = gradient.flatten(1).isfinite().all(1)
        gradient, logits = gradient.flatten(1)[scored], logits[scored]
        x, labels = part.images[scored], part.labels[scored]
        if not len(x):
            return scored[:0]
        norm = gradient.norm(dim=1)[:, None, None]
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(_DIRECTIONS, x[0].numel(), generator=generator, dtype=torch.float64)
        random = nn.functional.normalize(drawn, dim=1).to(x).expand(len(x), -1, -1)
        along = torch.cat([gradient[:, None] / norm, random], dim=1)
        steps = along * (_CHANGE[dtype] / norm).clamp(max=_LONGEST_STEP[dtype])
        predicted, measured = geometry.log_odds_changes(classifier, x, labels, gradient, steps)
        rounding = _ROUNDINGS * torch.finfo(dtype).eps * logits.abs().amax(1)
        agree = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for group in (slice(0, 1), slice(1, None)):  # a gradient that lacks a part is right along itself
            error = (predicted - measured)[:, group].norm(dim=1)
            agree &= error <= _TOLERANCE * predicted[:, group].norm(dim=1) + rounding
        return agree

    def accuracy(self) -> Check:
        """Whether the published accuracy lies in the Clopper–Pearson interval of that on these images."""
        right, published = self._right, self.card.published_accuracy
        interval = binomtest(int(right.sum()), len(right)).proportion_ci(_CONFIDENCE, method="exact")
        bounds = f"{interval.low:.3f} to {interval.high:.3f} at {_CONFIDENCE:.1%}"
        found = f"{_share(right)} on {len(right)} images ({bounds})"
        if published is None:
            return Check(name="accuracy", verdict="unknown", found=found, expected="nothing is published")
        if self.card.dataset != self.benchmark.data_name or self.card.input_shape != self.benchmark.input_shape:
            expected = f"{published:.3f} on other images"
            return Check(name="accuracy", verdict="unknown", found=found, expected=expected)
        bad, expected = not interval.low <= published <= interval.high, f"{published:.3f}, the published one"
        advice = "check weights, normalisation and preprocessing"
        return _check("accuracy", bad=bad, found=found, expected=expected, advice=advice)

    def cost(self) -> Check:
        """Time of one image, with and without its gradient; peak memory on a CUDA device."""
        part = self._probed()[0]
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        count = len(part.ids)
        forward = self._seconds(lambda: self._logits(part.images, size=count))
        both = self._seconds(lambda: self._gradient(part))
        found = f"{1e3 * forward / count:.2g} ms an image, {1e3 * both / count:.2g} ms with its gradient"
        if self.device.type == "cuda":
            found += f", {torch.cuda.max_memory_allocated(self.device) / 2**20:.0f} MiB for {count} images"
        return Check(name="cost", verdict="pass", found=f"{found} ({self.device.type})")

    def _seconds(self, work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    @cached_property
    def _outputs(self) -> Float[Tensor, "n k"]:
        return self._logits(self.samples.images)

    @property
    def _right(self) -> Bool[Tensor, "n"]:
        return self._outputs.argmax(1) == self.samples.labels

    @torch.no_grad()
    def _logits(self, images: Float[Tensor, "n c h w"], size: int | None = None) -> Float[Tensor, "n k"]:
        """Logits on the CPU."""
        parts = images.split(size or self.batch_size)
        return torch.cat([self.classifier(part.to(self.device)).cpu() for part in parts])

    def _gradient(self, part: Dataset) -> Float[Tensor, "n c h w"]:
        return geometry.log_odds_gradient(self.classifier, part.images, part.labels).gradient

    def _probed(self) -> list[Dataset]:
        """The images whose gradients are taken, in batches, on the device."""
        chosen = self._spread(_PROBED)
        images, labels = self.samples.images[chosen].to(self.device), self.samples.labels[chosen].to(self.device)
        ids = tuple(self.samples.ids[index] for index in chosen)
        return list(Dataset(ids, images, labels).chunks(self.batch_size))

    def _spread(self, count: int) -> Sequence[int]:
        """Positions of so many of the images, evenly spaced."""
        count = min(count, len(self.samples.ids))
        return [index * len(self.samples.ids) // count for index in range(count)]


def _share(right: Bool[Tensor, "n"]) -> str:
    return f"{right.double().mean():.3f}"
