"""The pre-flight checks: what a model does on some of a benchmark's images, before anything is measured."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from scipy.stats import binomtest, fisher_exact, mannwhitneyu
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pagbench import data, geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.data import Dataset
from pagbench.errors import ContractError, PagbenchError, first_line
from pagbench.models import alternatives, devices, outputs
from pagbench.models.alternatives import Alternative, gains
from pagbench.models.classifier import Classifier, check_output
from pagbench.models.devices import retry_on_oom
from pagbench.models.loading import LoadedModel
from pagbench.models.registry import Request
from pagbench.models.smoothing import smoothed_network
from pagbench.results.preflight import Check, Preflight, Refusal, Verdict
from pagbench.storage import global_state

IMAGES = 256
"""Images of the measured split, evenly spaced, that accuracy is compared on."""

_PROBED = 32
_FEWEST = 32
"""Images below which an accuracy at chance says nothing."""
_CONFIDENCE = 0.999
_SIGNIFICANCE = 1e-3
_ALIKE = 0.01
_MENDED = 0.45
_OUTWARD, _BESIDE = 0.05, 1e-3
_SIDE_STEPS = (1e-4, 1e-6)
_KINK, _LASTING = 0.02, 0.1
_AROUND, _ALIKE_AROUND = 8, 0.6
"""Gradients beside an image, and their least cosine with that at it: honest networks were seen to have .62 and more."""
_MEMBERSHIP = 1e-4
_FEWEST_MEMBERS = 100
_BATCH_TOLERANCE = 1e-3
_TOLERANCE = 0.05
_DISAGREEING = 0.05
_FOREIGN = 0.5
"""Of the images. ReLU networks with float32 inside were seen to disagree on 2 of 32, where steps cross their kinks."""
_DIRECTIONS = 2
_CHANGE = {torch.float64: 1e-4, torch.float32: 0.1}
_LONGEST_STEP = {torch.float64: 1e-5, torch.float32: 1e-2}
_ROUNDINGS = 64
_LARGEST_ROUNDING = 2.0**-11
"""Of what the outputs of an image differ by: that of float16."""

_LOW_PRECISION = {
    torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.qint8, torch.quint8, torch.qint32,
}  # fmt: skip


@global_state.known()
def preflight(
    model: LoadedModel, benchmark: Benchmark, *, device: torch.device, batch_size: int, images: int = IMAGES
) -> Preflight:
    """Checks a model: its contract (already kept), then outputs, range, batches, gradients, accuracy and cost.

    Nothing here changes a row. A check whose code the network makes fail is itself a failed check.

    Args:
        model: it is moved to the device.
        benchmark: whose images are shown.
        device: where to compute.
        batch_size: images at a time; fewer where memory does not hold them.
        images: how many are shown at most.

    Raises:
        DataError: the benchmark's images are not there.
        torch.OutOfMemoryError: memory does not hold one image.
    """
    shown = probe(benchmark, min(images, IMAGES))
    classifier = model.classifier.to(device)

    def checked(size: int) -> Preflight:
        examination = _Examination(model, classifier, shown, benchmark, device, size)
        return Preflight(checks=(*model.checks, *examination.checks()), images=len(shown.ids))

    return retry_on_oom(batch_size, checked)


def examine(request: Request, benchmark: Benchmark, *, device: torch.device, batch_size: int) -> Preflight:
    """Loads and checks a model; of one that breaks its contract, the checks until then.

    Raises:
        PagbenchError: it cannot be loaded, or the benchmark's images are not there.
    """
    try:
        return preflight(request.load(benchmark, device), benchmark, device=device, batch_size=batch_size)
    except Refusal as refused:
        return refused.preflight
    except (MemoryError, RuntimeError) as error:
        if not devices.is_out_of_memory(error):
            raise
        raise ContractError(f"{request.card.id}: out of memory with one image at a time; use a larger device") from None


@lru_cache(maxsize=2)
@global_state.known()
def probe(benchmark: Benchmark, images: int = IMAGES) -> Dataset:
    """So many of the images that are measured, evenly spaced, since some data sets lie sorted by class."""
    return _some(data.splits(benchmark).test, images)


def _some(images: Dataset, most: int) -> Dataset:
    count = min(most, len(images.ids))
    return images.select([images.ids[index * len(images.ids) // count] for index in range(count)])


def _log_odds(logits: Float[Tensor, "n k"], images: Dataset) -> Float[Tensor, "n"]:
    """Of the true class against the likeliest other one, which is above 0 where the image is classified right."""
    true = images.labels[:, None]
    return (logits.gather(1, true) - logits.scatter(1, true, -torch.inf).amax(1, keepdim=True))[:, 0]


def _check(name: str, *, bad: bool, found: str, expected: str = "", advice: str = "") -> Check:
    """A check that is passed or flagged; a passed one needs no advice."""
    verdict: Verdict = "flag" if bad else "pass"
    return Check(name=name, verdict=verdict, found=found, expected=expected, advice=advice if bad else "")


@dataclass(frozen=True)
class _Examination:
    """One classifier on some of a benchmark's images; most methods are the check of their name."""

    model: LoadedModel
    classifier: Classifier
    samples: Dataset
    benchmark: Benchmark
    device: torch.device
    batch_size: int

    @property
    def card(self) -> ModelCard:
        """The model's."""
        return self.model.card

    def checks(self) -> Iterator[Check]:
        """All checks, or the first alone where it fails."""
        finite = self._guarded(self.finite)
        yield finite
        if finite.verdict == "pass":
            others = (
                self.output, self.precision, self.range, self.layout, self.classes, self.batch, self.gradients,
                self.derivatives, self.steps, self.accuracy, self.training_accuracy, self.membership, self.cost,
            )  # fmt: skip
            yield from map(self._guarded, others)

    def _guarded(self, check: Callable[[], Check]) -> Check:
        """The check, failed where the network raises anything but the lack of memory."""
        try:
            with global_state.known():  # whatever an earlier check's passes have done
                return check()
        except PagbenchError:
            raise  # as where a batch takes too long
        except (Exception, SystemExit) as error:  # a third party's network may raise anything
            if devices.is_out_of_memory(error):
                raise
            found, advice = f"the network fails ({first_line(error)})", "run it on such images by itself and mend it"
            if check.__name__ in ("steps", "derivatives"):
                advice += "; they lead a little outside [0, 1]"
            return Check(name=check.__name__, verdict="fail", found=found, advice=advice)

    def finite(self) -> Check:
        """Whether the outputs are finite on real images."""
        bad = int((~self._outputs.isfinite().all(1)).sum())
        if bad:
            found = f"NaN or infinite outputs on {bad} of {len(self._outputs)} images"
            return Check(name="finite", verdict="fail", found=found, advice="check the weights")
        return Check(name="finite", verdict="pass", found=f"finite outputs on {len(self._outputs)} images")

    @torch.no_grad()
    def steps(self) -> Check:
        """Whether the outputs are finite as far from the images as the benchmark's longest steps lead."""
        longest = max(self.benchmark.epsilons, default=0.0)
        part = self._probed()[0]
        direction = torch.randn(part.images[0].numel(), generator=torch.Generator().manual_seed(0))
        steps = (direction / direction.norm()).to(part.images).expand(len(part.ids), 1, -1)
        moved = geometry.moved_logits(self.classifier, part.images, steps, (longest, -longest))
        found = f"outputs at steps of {longest:g} from {len(part.ids)} images"
        if moved.isfinite().all():
            return Check(name="steps", verdict="pass", found=f"finite {found}")
        advice = "let it take pixels a little outside [0, 1]"
        return Check(name="steps", verdict="fail", found=f"NaN or infinite {found}", advice=advice)

    def output(self) -> Check:
        """Whether the network returns what its card says, by the values on all images."""
        base = _base(self.classifier)
        return check_output(outputs.recognise(self._raw), base.output, self.model.declared, self.model.origin)

    def precision(self) -> Check:
        """Whether anything inside the network, or its outputs, is of lower precision than float32."""
        with _Watch() as watch:
            self._logits(self.samples.images[self._spread(2)])
        bits = outputs.significant_bits(self._raw)
        found = "float32 or more throughout"
        if watch.seen:
            kinds = sorted(str(kind).removeprefix("torch.") for kind in watch.seen)
            found = f"computes in {' and '.join(kinds)} inside"
        elif bits < outputs.FLOAT_BITS:
            found = f"outputs have {bits} significant bits: they passed through {outputs.HALVES[bits]}"
        elif (rounding := outputs.rounding(self._raw)) > _LARGEST_ROUNDING:
            found = f"all outputs of an image are alike: rounding is {rounding:.1g} of what they differ by"
        bad = found != "float32 or more throughout"
        advice = "take autocast, .half() and terms that all outputs share out of the forward pass, and return float32"
        return _check("precision", bad=bad, found=found, expected="float32" if bad else "", advice=advice)

    def range(self) -> Check:
        """Whether images in another range would be told apart better."""
        return self._unless_explained("range")

    def layout(self) -> Check:
        """Whether images with other channels, turned or inverted would be told apart better."""
        return self._unless_explained("layout")

    def classes(self) -> Check:
        """Whether the outputs would match the labels better in another order."""
        return self._unless_explained("classes")

    def _unless_explained(self, name: str) -> Check:
        """What was found, but for what gains where another alternative gains more: one fault looks like several."""
        check, gained = self._tried[name]
        best = max(self._tried, key=lambda other: self._tried[other][1])
        if check.verdict == "pass" or name == best or gained == self._tried[best][1]:
            return check
        found = f"{check.found}, and more by what {best} says"
        return Check(name=name, verdict="unknown", found=found, expected="best as given")

    @cached_property
    def _tried(self) -> dict[str, tuple[Check, int]]:
        """Each check of an alternative, with how many images its best one gains."""
        ranges = list(alternatives.ranges(self.card, self.samples.images, self.model.origin))
        layouts = list(alternatives.layouts(self.benchmark.input_shape))
        return {
            "range": self._better("range", ranges),
            "layout": self._better("layout", layouts),
            "classes": self._better_order(),
        }

    def _better(self, name: str, others: Sequence[Alternative]) -> tuple[Check, int]:
        """Whether other images gain significantly (exact sign test, Bonferroni's correction), and which gain most.

        They must also mend nearly half of the errors: an honest network that is regularised too much may gain some by
        images of less contrast. Images that are told apart already come last: where too few of the others are gained,
        they are not tried. Of those that gain alike, the first is the likeliest.
        """
        right, images, labels, level = self._right, self.samples.images, self.samples.labels, _level(others)
        wrong = ~right
        count = int(wrong.sum())
        fewest = max(math.ceil(-math.log2(level)), math.ceil(_MENDED * count))
        found, best, most = f"accuracy {_share(right)}", None, 0
        tried = others if count >= fewest else []
        for other in tried:
            try:
                gained = int((self._logits(other.change(images[wrong])).argmax(1) == labels[wrong]).sum())
                if gained < fewest:
                    continue
                kept = self._logits(other.change(images[right])).argmax(1) if right.any() else labels[right]
            except PagbenchError:
                raise
            except Exception as error:  # a network may refuse pixels that are none
                if devices.is_out_of_memory(error):
                    raise
                continue
            after = gained + int((kept == labels[right]).sum())
            change = after - int(right.sum())
            significant = gains(after, len(right) - after, level, self._chance)
            significant = significant and gains(gained, gained - change, level) and change >= _MENDED * count
            if significant and change > most + (_ALIKE * len(right) if best else 0):
                best, most = other, change
        if best is not None:
            found += f"; {float(right.double().mean()) + most / len(right):.3f} on images {best.name}"
            return Check(name=name, verdict="flag", found=found, expected="best as given", advice=best.advice), most
        few = f"no other can gain significantly on {count} wrong images"
        found += f"; none of {len(tried)} others mends the errors" if tried else f"; {few}"
        return Check(name=name, verdict="pass", found=found), 0

    def _better_order(self) -> tuple[Check, int]:
        """The same for orders of classes."""
        orders = list(alternatives.orders(self._outputs, self.samples.labels))
        right, labels, level = self._right, self.samples.labels, _level(orders)
        found, best, most = f"accuracy {_share(right)}", None, 0
        for order in orders:
            other = order.predicted == labels
            gained, lost = int((~right & other).sum()), int((right & ~other).sum())
            if gained - lost > most and gains(gained, lost, level):
                best, most = order, gained - lost
        if best is None:
            return Check(name="classes", verdict="pass", found=f"{found} with outputs in the order of the labels"), 0
        found += f"; {float(right.double().mean()) + most / len(right):.3f} with classes {best.name}"
        return Check(name="classes", verdict="flag", found=found, expected="best as given", advice=best.advice), most

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
        """On how many images the strict protocol's gradient can be scored, and why not on the others."""
        infinite = small = total = 0
        for part in self._probed():
            passed = geometry.ForwardPass(self.classifier, part.images, keep=True)
            scored = passed.log_odds_gradient(part.labels).flatten(1).isfinite().all(1)
            finite = passed.raw_log_odds_gradient(part.labels).flatten(1).isfinite().all(1)
            infinite, small = infinite + int((~finite).sum()), small + int((finite & ~scored).sum())
            total += len(scored)
        lost = [f"not finite on {infinite}"] if infinite else []
        lost += [f"zero or below float32's resolution on {small}"] if small else []
        found = f"{' and '.join(lost) or 'finite and not zero on all'} of {total} images"
        advice = "look for saturated probabilities, rounding, and clipping before the network"
        if infinite:
            advice = "look for square roots, norms, logarithms and divisions at zero"
        return _check(
            "gradients", bad=bool(lost), found=found, expected="finite and not zero" if lost else "", advice=advice
        )

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
        if bad and self._clips():
            found += "; pixels beyond 0 and 1 change no output: the network clips its pixels"
            advice = "take the clip to [0, 1] out of the network; pixels come in that range"
        elif bad and self._has_kinks():
            found += (
                "; on all a thousandth beside the images they agree: it has kinks at the images, as at equal pixels"
            )
            return Check(name="derivatives", verdict="pass", found=found, kind="kinks")
        flagged = _check("derivatives", bad=bad, found=found, expected=expected, advice=advice)
        return flagged.model_copy(update={"kind": "foreign"}) if disagreeing > _FOREIGN * compared else flagged

    def _clips(self) -> bool:
        """Whether nothing changes where the darkest, or the brightest, pixels become more so, as it does otherwise."""
        x = torch.cat([part.images for part in self._probed()]).cpu()
        before = self._logits(x)

        def is_flat(end: Bool[Tensor, "n c h w"], step: float) -> bool:
            return torch.equal(before, self._logits(x + step * end))

        ends = ((x <= 0, -_OUTWARD), (x >= 1, _OUTWARD))
        return any(bool(end.any()) and is_flat(end, step) and not is_flat(end, -step) for end, step in ends)

    def _has_kinks(self) -> bool:
        """Whether the network has kinks at the images, which is why autograd and differences disagree there.

        At equal pixels, max-pools meet ties, and ReLU without biases zeros. On nearly all images where they disagree,
        the slopes on the two sides must differ and hold as the steps get shorter, which those of jumps do not; beside
        the images autograd must be right, and nearly of the direction that it has at them. A gradient that is masked or
        forged on the images alone has no kink there.
        """
        beside = self._agreement(torch.float64, beside=_BESIDE)
        if beside is None or not len(beside) or int((~beside).sum()) > _DISAGREEING * len(beside):
            return False
        network = copy.deepcopy(self.classifier).double()
        excused = []
        for part in self._probed():
            exact = Dataset(part.ids, part.images.double(), part.labels)
            agreed = self._agree(network, exact)
            if len(agreed) < len(part.ids):
                return False
            excused.append(agreed | self._kinked(network, exact))
        every = torch.cat(excused)
        return int((~every).sum()) <= _DISAGREEING * len(every)

    def _kinked(self, network: nn.Module, part: Dataset) -> Bool[Tensor, "b"]:
        """Which images lie on a kink of the log-odds, where autograd's gradient is much like those around it."""
        x, generator = part.images, torch.Generator().manual_seed(0)

        def noise() -> Tensor:
            return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)

        def gradient(images: Tensor) -> Tensor:
            return geometry.log_odds_gradient(network, images, part.labels).gradient

        @torch.no_grad()
        def log_odds(images: Tensor) -> Tensor:
            return geometry.log_odds(network(images), part.labels)

        own = gradient(x)
        around = torch.stack([gradient(x + _BESIDE * noise()) for _ in range(_AROUND)]).mean(0)
        alike = geometry.cosine(own, around) >= _ALIKE_AROUND
        here = log_odds(x)
        kinked, lasting = torch.zeros_like(alike), torch.ones_like(alike)
        for direction in (own, *(noise() for _ in range(_DIRECTIONS))):
            step = direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
            (ahead, behind), (ahead_near, behind_near) = (
                ((log_odds(x + h * step) - here) / h, (here - log_odds(x - h * step)) / h) for h in _SIDE_STEPS
            )
            scale = torch.maximum(ahead_near.abs(), behind_near.abs()) + 1e-12
            kinked |= (ahead_near - behind_near).abs() > _KINK * scale
            for far, near in ((ahead, ahead_near), (behind, behind_near)):
                lasting &= (far - near).abs() <= _LASTING * scale + 1e-6
        return kinked & lasting & alike

    def _agreement(self, dtype: torch.dtype, beside: float = 0.0) -> Bool[Tensor, "n"] | None:
        """Of the images that have a gradient, which agree; None where the network does not run in this precision.

        Args:
            dtype: the precision.
            beside: standard deviation of noise that is added to the images.
        """
        if dtype is torch.float32:
            return torch.cat([self._agree(self.classifier, part) for part in self._probed()])
        generator = torch.Generator().manual_seed(0)
        try:
            network = copy.deepcopy(self.classifier).to(dtype)
            agreed = []
            for part in self._probed():
                noise = torch.randn(part.images.shape, generator=generator, dtype=dtype).to(part.images.device)
                moved = Dataset(part.ids, part.images.to(dtype) + beside * noise, part.labels)
                agreed.append(self._agree(network, moved))
            return torch.cat(agreed)
        except PagbenchError:
            raise
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
        """Whether the accuracy is above chance, and the published one in its Clopper–Pearson interval."""
        right, published = self._right, self.card.published_accuracy
        count, chance = int(right.sum()), self._chance
        interval = binomtest(count, len(right)).proportion_ci(_CONFIDENCE, method="exact")
        bounds = f"{interval.low:.3f} to {interval.high:.3f} at {_CONFIDENCE:.1%}"
        found = f"{_share(right)} on {len(right)} images ({bounds})"
        at_chance = not gains(count, len(right) - count, _SIGNIFICANCE, chance)
        if at_chance and not self.card.control:
            if len(right) < max(_FEWEST, min(IMAGES, len(self.benchmark.samples))):
                return Check(
                    name="accuracy", verdict="unknown", found=found, expected="more images to tell", kind="few"
                )
            advice = "check weights, class order, normalisation and preprocessing"
            expected = f"above chance, {chance:.3f}"
            return Check(name="accuracy", verdict="flag", found=found, expected=expected, advice=advice)
        if published is None:
            return Check(name="accuracy", verdict="unknown", found=found, expected="nothing is published")
        if self.card.dataset != self.benchmark.data_name or self.card.input_shape != self.benchmark.input_shape:
            expected = f"{published:.3f} on other images"
            return Check(name="accuracy", verdict="unknown", found=found, expected=expected)
        bad, expected = not interval.low <= published <= interval.high, f"{published:.3f}, the published one"
        advice = "check weights, normalisation and preprocessing"
        return _check("accuracy", bad=bad, found=found, expected=expected, advice=advice)

    def training_accuracy(self) -> Check:
        """Whether the declared training accuracy lies in the interval of that on images of the training split."""
        declared, name = self.card.training_accuracy, "training_accuracy"
        if declared is None or self.card.dataset != self.benchmark.data_name:
            return Check(name=name, verdict="unknown", found="none is declared for this benchmark's training split")
        seen = _some(data.splits(self.benchmark).train, len(self.samples.ids))
        if not seen.ids:
            return Check(name=name, verdict="unknown", found="the benchmark has no training split")
        right = self._logits(seen.images).argmax(1) == seen.labels
        interval = binomtest(int(right.sum()), len(right)).proportion_ci(_CONFIDENCE, method="exact")
        bounds = f"{interval.low:.3f} to {interval.high:.3f} at {_CONFIDENCE:.1%}"
        found = f"{_share(right)} on {len(right)} images of the training split ({bounds})"
        bad, expected = not interval.low <= declared <= interval.high, f"{declared:.3f}, the declared one"
        advice = (
            "check weights, activation, normalisation and preprocessing; declare that of the network as it is measured"
        )
        return _check(name, bad=bad, found=found, expected=expected, advice=advice)

    def membership(self) -> Check:
        """Whether the measured images are told apart better than others, as where they were among its training images.

        One-sided, by the rank-sum test of the log-odds and by Fisher's exact test of two shares: of images that are
        classified right, and of those that are not in the lowest tenth of the log-odds, where what was learnt by heart
        is missing.
        """
        others = _some(data.splits(self.benchmark).calibration, len(self.samples.ids))
        advice = (
            "train it without the images that are measured (pagbench splits); a network that has seen them has no rank"
        )
        if self.card.trained_on == "measured":
            found = "its card says that measured images may be among those it was trained on"
            return _check("membership", bad=True, found=found, advice=advice)
        if min(len(others.ids), len(self.samples.ids)) < _FEWEST_MEMBERS:
            found = f"fewer than {_FEWEST_MEMBERS} measured or calibration images, which are too few to compare"
            return Check(name="membership", verdict="unknown", found=found)
        measured, other = _log_odds(self._outputs, self.samples), _log_odds(self._logits(others.images), others)
        both = torch.cat([measured, other])
        above = ([measured > level, other > level] for level in (0.0, float(both.quantile(0.1))))
        tests = [fisher_exact([[int(p.sum()), int((~p).sum())] for p in parts], "greater") for parts in above]
        if len(both.unique()) > 1:
            tests.append(mannwhitneyu(measured, other, alternative="greater"))
        p = min(1.0, len(tests) * min(float(test.pvalue) for test in tests))  # any may be small by chance
        found = (
            f"accuracy {_share(measured > 0)} and median log-odds {measured.median():.2f} on {len(measured)} measured, "
            f"{_share(other > 0)} and {other.median():.2f} on {len(other)} calibration images (p = {p:.1g})"
        )
        bad = p < _MEMBERSHIP
        return _check(
            "membership", bad=bad, found=found, expected="no better on the measured" if bad else "", advice=advice
        )

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
    @torch.no_grad()
    def _raw(self) -> Float[Tensor, "n k"]:
        """What the network itself returns, on the CPU; of a smoothed one, without its noise."""
        base = _base(self.classifier)
        return torch.cat([base.raw(part.to(self.device)).cpu() for part in self._parts()])

    @cached_property
    def _outputs(self) -> Float[Tensor, "n k"]:
        if _base(self.classifier) is self.classifier:
            logits = self.classifier.logits(self._raw)
            return logits.to(torch.promote_types(logits.dtype, torch.float32))
        return self._logits(self.samples.images)

    @property
    def _chance(self) -> float:
        """Accuracy of whoever names the commonest class."""
        return int(self.samples.labels.bincount().max()) / len(self.samples.labels)

    def _parts(self) -> Sequence[Float[Tensor, "b c h w"]]:
        return self.samples.images.split(self.batch_size)

    @property
    def _right(self) -> Bool[Tensor, "n"]:
        return self._outputs.argmax(1) == self.samples.labels

    @torch.no_grad()
    def _logits(self, images: Float[Tensor, "n c h w"], size: int | None = None) -> Float[Tensor, "n k"]:
        """Logits on the CPU."""
        parts = images.split(size or self.batch_size)
        logits = torch.cat([self.classifier(part.to(self.device)).cpu() for part in parts])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

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


def _base(classifier: Classifier) -> Classifier:
    """The classifier that smoothing stands around, or itself."""
    smoothed = smoothed_network(classifier)
    return classifier if smoothed is None or not isinstance(smoothed.network, Classifier) else _base(smoothed.network)


def _level(tried: Sequence[object]) -> float:
    """The level of significance of each of several trials."""
    return _SIGNIFICANCE / len(tried)


class _Watch(TorchFunctionMode):
    """Sees of which low precisions the results of PyTorch's functions are, though not within TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, list | tuple) else (result,):
            if isinstance(part, Tensor) and part.dtype in _LOW_PRECISION:
                self.seen.add(part.dtype)
        return result
