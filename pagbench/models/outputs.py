"""What a network returns, judged by its values on real images: logits, probabilities, or what is neither."""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

Output = Literal["logits", "probabilities", "log-probabilities"]

_SUM_TOLERANCE = 1e-4
FLOAT_BITS = 24
"""Significant bits of a float32."""
HALVES = {8: "bfloat16", 11: "float16"}
"""Lower precisions by their significant bits."""
_ROUNDED = 0.9
"""Share of the distinct values that are of low precision where all were rounded, and chance leaves 2^-13."""
_FEWEST_VALUES = 16
_CLAMPED = 0.01
"""Share of the outputs that equal the largest or smallest one, beyond one an image."""
_NEAR = 1e-3
"""Share of an image's usual range of outputs that counts as near a bound."""
_PILED = 0.1
"""Share of the outputs, beyond one an image, that lie near the largest or smallest one of saturated functions."""
_NEAR_BOUND = 1e-2
"""The same for the smallest output alone."""
_SIMPLEX = 0.95
"""Of the largest possible ratio of the largest to the smallest centred output; networks that return logits were seen to
reach .82 of it with four classes and .5 with ten."""
_LEAST_RANGE = 0.5
"""Of values between 0 and 1 that may be sigmoids; small logits may lie there by chance."""
_MOST_ADDED = 0.5
"""Logarithm of what probabilities sum to with a constant that was added to each; that of equal logits is larger."""
_FEWEST_CLASSES = 4
"""With fewer, logits may reach that ratio, too."""
_FEWEST_IMAGES = 8
"""On fewer, any sum is as good as constant."""

RETURN_LOGITS = "return the logits: what the last layer gives, before any softmax or sigmoid"
_RETURN_LOG = "return the logits, or the logarithm of the mean of the softmaxes"
_REMOVE = "return the logits as the last layer gives them"


class Kind(NamedTuple):
    """What outputs are.

    Attributes:
        name: in a few words.
        output: as cards say it; None for what pagbench does not take.
        advice: what to return instead; empty for what pagbench takes.
    """

    name: str
    output: Output | None
    advice: str = ""


LOGITS, PROBABILITIES = Kind("logits", "logits"), Kind("probabilities", "probabilities")
LOG_PROBABILITIES = Kind("log-probabilities", "log-probabilities")


def kind_of(raw: Float[Tensor, "b k"]) -> Output:
    """Which of the three these outputs of a network are, by their signs and sums; see `recognise` for all else.

    >>> p = torch.tensor([[0.2, 0.8]])
    >>> kind_of(p), kind_of(p.log()), kind_of(p.log() + 1)
    ('probabilities', 'log-probabilities', 'logits')
    """
    values, tolerance = raw.double(), _tolerance(raw)
    if bool((values >= 0).all()) and _all_near(values.sum(1), 1.0, tolerance):
        return "probabilities"
    if bool((values <= 0).all()) and _all_near(values.logsumexp(1), 0.0, tolerance):
        return "log-probabilities"
    return "logits"


def recognise(raw: Float[Tensor, "b k"]) -> Kind:
    """What these outputs on many real images are.

    Whatever no rule tells apart from logits is taken for logits: bounded values such as cosines, functions of
    distances, log-sigmoids, and all that a positive factor or a term shared by all classes does to logits.

    >>> z = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    >>> [recognise(part).name for part in (z, 100 * z.softmax(1), z.sigmoid())]
    ['logits', 'probabilities times 100', 'values between 0 and 1 that do not sum to 1']

    Args:
        raw: finite, in the precision in which the network returns them.
    """
    values = raw.double()
    if bool((values == values[:1]).all()):
        return LOGITS  # a constant is no evidence of anything; other checks find it
    plain = kind_of(raw)
    if len(values) < _FEWEST_IMAGES:
        return next(kind for kind in (LOGITS, PROBABILITIES, LOG_PROBABILITIES) if kind.output == plain)
    return next(_matching(values, _tolerance(raw), plain), LOGITS)


def _matching(values: Float[Tensor, "b k"], tolerance: float, plain: Output) -> Iterator[Kind]:
    """All that the outputs could be, the most likely first."""
    if plain == "probabilities":
        yield from _changed_probabilities(values)
        yield PROBABILITIES
    elif plain == "log-probabilities":
        clamped = _clamped(values, {0.0})
        if clamped is not None:
            yield Kind(f"log-probabilities clamped at {clamped:.3g}", None, f"remove the clamp, or {RETURN_LOGITS}")
        yield from _up_to_a_shift(values)
        yield LOG_PROBABILITIES
    yield from _by_sums(values, tolerance)
    shifted = bool(((values == 0).sum(1) == 1).all()) and float(values.min()) == 0  # the smallest was taken from all
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and high - low > _LEAST_RANGE and not shifted:
        yield _within_unit_interval(values, values.sum(1), tolerance)
    yield from _by_bounds(values, shifted)
    yield from _up_to_a_shift(values)


def _by_sums(values: Float[Tensor, "b k"], tolerance: float) -> Iterator[Kind]:
    """What a sum over classes tells that is the same for all images."""
    low, high, classes = float(values.min()), float(values.max()), values.shape[1]
    total, log_total = float(values.sum(1).median()), float(values.logsumexp(1).median())

    variation = float((values - values.mean(0)).abs().max())

    def constant(of: Tensor, value: float) -> bool:  # against the outputs themselves, which may hardly vary either
        return _all_near(of, value, tolerance * min(max(1.0, abs(value)), 10 * variation))

    if low >= 0 and total > 0 and constant(values.sum(1), total):
        if constant(values.sum(1), classes - 1.0) and high <= 1 and classes > 2:
            yield Kind("one minus probabilities", None, RETURN_LOGITS)
        yield Kind(f"probabilities times {total:.3g}", None, f"{_RETURN_LOG}; neither their sum nor percent")
    if high <= 0 and total < 0 and constant(values.sum(1), total):
        yield Kind("negated probabilities", None, RETURN_LOGITS)
    if low >= 0 and constant((-values).logsumexp(1), 0.0):
        yield Kind("negated log-probabilities, which are losses", None, f"return their negative, or {RETURN_LOGITS}")
    if low >= 0 and constant((values / (1 + values)).nan_to_num(nan=1.0).sum(1), 1.0):
        yield Kind("odds p/(1 - p)", None, RETURN_LOGITS)
    if classes > 2 and constant(values.sigmoid().sum(1), 1.0):
        yield Kind("log-odds log p/(1 - p) of each class", None, RETURN_LOGITS)
    added = math.expm1(log_total) / classes if tolerance < log_total < _MOST_ADDED else 0.0
    if added and constant(values.logsumexp(1), log_total) and low >= math.log(added) - 1e-3:
        yield Kind(f"log(p + {added:.2g})", None, f"add nothing to probabilities, or {RETURN_LOGITS}")


def _by_bounds(values: Float[Tensor, "b k"], shifted: bool) -> Iterator[Kind]:
    """What bounds tell that outputs reach, or near which they pile up."""
    low, high = float(values.min()), float(values.max())
    ranges = values.amax(1) - values.amin(1)
    span = float(ranges.median())
    if (bound := _clamped(values, set())) is not None and not shifted:
        yield Kind(f"values clamped at {bound:.3g}", None, f"{_REMOVE}, without ReLU, clamp or tanh")
    for bound in (0.0, 1.0):
        if bound <= low <= bound + _NEAR_BOUND * span and not shifted:
            what = f"values above {bound:g} (exponentials, odds, evidence or distances)"
            yield Kind(what, None, f"{RETURN_LOGITS}, or exponential; of distances their negative")
    for bound in (low, high, 0.0):
        if _pile(values, bound, span):
            yield Kind(f"values that saturate at {bound:.3g}", None, RETURN_LOGITS)
    if values.shape[1] > 2 and _all_near(ranges, span, _SUM_TOLERANCE * span):
        yield Kind("values scaled to one range in each image", None, _REMOVE)


def _changed_probabilities(values: Float[Tensor, "b k"]) -> Iterator[Kind]:
    """Probabilities that are not a softmax of logits: clamped, mixed with a constant, or a softmax of such."""
    clamped = _clamped(values, {0.0, 1.0})
    if clamped is not None:
        yield Kind(f"probabilities clamped at {clamped:.3g}", None, f"remove the clamp, or {RETURN_LOGITS}")
    low = float(values.min())
    if low > _SUM_TOLERANCE and _pile(values, low, float((values.amax(1) - low).median())):
        yield Kind(f"probabilities mixed with a constant, never below {low:.3g}", None, RETURN_LOGITS)
    exact = values[values.amin(1) > torch.finfo(torch.float32).tiny]
    if len(exact) >= max(_FEWEST_IMAGES, len(values) // 2):  # rounding to 0 makes any softmax look like one of two
        yield from _up_to_a_shift(exact.log())


def _up_to_a_shift(values: Float[Tensor, "b k"]) -> Iterator[Kind]:
    """What is seen in the differences of an image's outputs alone, whatever was added to all of them."""
    ties = [(values == end[:, None]).sum(1) - 1 for end in (values.amin(1), values.amax(1))]
    if any(int(tied.sum()) > _CLAMPED * values.numel() for tied in ties):
        advice = f"{_REMOVE}, without ReLU or clamp and without masks"
        yield Kind("outputs of which many are equal within an image", None, advice)
    centred, classes = values - values.mean(1, keepdim=True), values.shape[1]
    low, high = float(centred.min()), float(centred.max())
    # a vector without a mean reaches its bound where all but one of its parts are as small as any ever is
    if classes >= _FEWEST_CLASSES and max(high / -low, -low / high) >= _SIMPLEX * (classes - 1):
        yield Kind("probabilities after a shift, a factor or a second softmax", None, RETURN_LOGITS)


def _pile(values: Float[Tensor, "b k"], bound: float, span: float) -> bool:
    """Whether many outputs, beyond one an image, lie near a bound."""
    near = ((values - bound).abs() <= _NEAR * span).sum(1)
    return int((near - 1).clamp(min=0).sum()) > _PILED * values.numel()


def _within_unit_interval(values: Float[Tensor, "b k"], sums: Float[Tensor, "b"], tolerance: float) -> Kind:
    clamped = _clamped(values, {0.0, 1.0})
    if clamped is not None and bool((sums >= 1 - tolerance).all()):
        return Kind(f"probabilities clamped at {clamped:.3g}", None, f"remove the clamp, or {RETURN_LOGITS}")
    if bool((sums <= 1 + tolerance).all()):
        advice = f"{RETURN_LOGITS}, and cut classes off there"
        return Kind("probabilities with a class cut off", None, advice)
    return Kind("values between 0 and 1 that do not sum to 1", None, RETURN_LOGITS)


def _clamped(values: Float[Tensor, "b k"], natural: set[float]) -> float | None:
    """The largest or smallest output where so many equal it that they were clamped there; None where they were not.

    Args:
        values: outputs.
        natural: values that saturation reaches without a clamp.
    """
    for bound in (float(values.min()), float(values.max())):
        per_image = (values == bound).sum(1)
        beyond = int((per_image - 1).clamp(min=0).sum())
        images = int((per_image > 0).sum())
        shifted = images == len(values)  # as where the largest logit is taken from all
        if bound not in natural and (
            beyond > _CLAMPED * values.numel() or (not shifted and images > max(2, 0.05 * len(values)))
        ):
            return bound
    return None


def _tolerance(raw: Float[Tensor, "b k"]) -> float:
    """By how much rounding may move a sum of probabilities."""
    return max(_SUM_TOLERANCE, 4 * 2.0 ** -significant_bits(raw))


def _all_near(values: Tensor, expected: float, tolerance: float) -> bool:
    return bool(((values - expected).abs() <= tolerance).all())


def significant_bits(raw: Tensor) -> int:
    """Of how many significant bits outputs are: 8 or 11 where they passed through bfloat16 or float16, else 24.

    >>> z = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    >>> significant_bits(z), significant_bits(z.half().float()), significant_bits(z.bfloat16())
    (24, 11, 8)
    """
    values = raw.detach().float().unique()
    values = values[(values != values.round()) & values.isfinite()]  # whole numbers are exact in any precision
    if len(values) < _FEWEST_VALUES:
        return FLOAT_BITS
    pattern = values.view(torch.int32)
    for bits in HALVES:
        if float(((pattern & ((1 << (FLOAT_BITS - bits)) - 1)) == 0).double().mean()) >= _ROUNDED:
            return bits
    return FLOAT_BITS


class Taken(NamedTuple):
    """Logits out of what a network returns.

    Attributes:
        take: takes them out of another output of the same network.
        source: where they stand; empty where the network returns them alone.
    """

    take: Callable[[object], Tensor]
    source: str


def taken(returned: object, shape: tuple[int, int]) -> Taken:
    """The logits in a tuple, dict or dataclass that a network returns: what it calls so, or the one tensor that fits.

    Args:
        returned: by the network.
        shape: batch and classes.

    Raises:
        ValueError: there is none, or it is not obvious which; the message says what there is.
    """
    parts = _parts(returned)
    fitting = {name: part for name, part in parts.items() if isinstance(part, Tensor) and part.shape == shape}
    name = "logits" if "logits" in fitting else next(iter(fitting), None)
    kind = type(returned).__name__
    if name is None or (len(fitting) > 1 and name != "logits"):
        described = ", ".join(f"{part} {_shape(value)}" for part, value in list(parts.items())[:8])
        raise ValueError(f"{kind} of {described}" if described else kind)
    return Taken(lambda output: cast(Tensor, _parts(output)[name]), f"{name} of {kind}")


def _parts(returned: object) -> dict[str, object]:
    if isinstance(returned, dict):
        return {str(name): value for name, value in returned.items()}
    if isinstance(returned, tuple) and hasattr(returned, "_fields"):
        return dict(zip(returned._fields, returned, strict=True))
    if isinstance(returned, list | tuple):
        return {f"item {index}": value for index, value in enumerate(returned)}
    return dict(vars(returned)) if hasattr(returned, "__dict__") else {}


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def rounding(raw: Float[Tensor, "b k"]) -> float:
    """The step between neighbouring numbers, as a share of what the outputs of an image differ by; median of images.

    It is large where all outputs share a term, which changes no prediction and takes the digits of the differences.

    >>> z = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    >>> rounding(z) < 1e-7 < 1e-2 < rounding(z + 1e6)
    True
    """
    spread = raw.amax(1) - raw.amin(1)
    shares = torch.finfo(raw.dtype).eps * raw.abs().amax(1) / spread
    return float(shares[spread > 0].median()) if bool((spread > 0).any()) else 0.0
