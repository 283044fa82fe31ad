"""How a network's per-sample values are distributed, drawn as SVG paths beside the medians of the anchors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pagbench.columns import Column, epsilon_name
from pagbench.site import standing
from pagbench.study import Network, Study

WIDTH, HEIGHT = 240.0, 80.0
_BINS = 24
_OUTER = 0.005


@dataclass(frozen=True)
class Mark:
    """A median on the axis: of the network itself or of an anchor."""

    kind: str
    """own, reference or bayes; names its style."""
    label: str
    value: str
    at: float


@dataclass(frozen=True)
class Histogram:
    """Values of one column over images.

    Attributes:
        column: what is counted.
        bars: an SVG path in a box of `WIDTH` by `HEIGHT`.
        low: left end of the axis, as text.
        high: right end.
        marks: medians.
        scored: how many images have a value.
    """

    column: Column
    bars: str
    low: str
    high: str
    marks: tuple[Mark, ...]
    scored: int

    @property
    def description(self) -> str:
        """The picture in words."""
        medians = ", ".join(f"{mark.label} {mark.value}" for mark in self.marks)
        return f"Histogram of {self.column.name} over {self.scored} images from {self.low} to {self.high}. {medians}."


def histograms(study: Study, network: Network) -> list[Histogram]:
    """Of the measures that a page shows first and of what they are made of; those with a value on some image."""
    benchmark = study.benchmark
    names = [benchmark.alignment, "alignment_second", "tangent_energy"]
    if benchmark.epsilon is not None:
        names += [epsilon_name(name, benchmark.epsilon) for name in ("on_response", "off_response")]
    names += ["confidence", "gradient_norm"]
    known = standing.documented(benchmark)
    chosen = [name for name in names if name in network.rows and np.isfinite(_values(network, name)).any()]
    return [_histogram(study, network, known[name]) for name in chosen]


def _values(network: Network, name: str) -> NDArray[np.float64]:
    return network.rows[name].to_numpy(np.float64)


def _histogram(study: Study, network: Network, column: Column) -> Histogram:
    values = _values(network, column.name)
    values = values[np.isfinite(values)]
    compared = [("own", "median", network), ("reference", "unregularised reference's", study.reference)]
    compared += [("bayes", "Bayes control's", study.named(study.benchmark.bayes))]
    medians = [
        (kind, label, float(np.nanmedian(_values(other, column.name))))
        for kind, label, other in compared
        if other is not None
        and (kind == "own" or other is not network)
        and np.isfinite(_values(other, column.name)).any()
    ]
    places = [*np.quantile(values, [_OUTER, 1 - _OUTER]), *(median for _, _, median in medians)]
    low, high = float(min(places)), float(max(places))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    marks = (
        Mark(kind, label, f"{median:.3g}", round(WIDTH * (median - low) / (high - low), 1))
        for kind, label, median in medians
    )
    return Histogram(column, _bars(values, low, high), f"{low:.3g}", f"{high:.3g}", tuple(marks), len(values))


def _bars(values: NDArray[np.float64], low: float, high: float) -> str:
    """One closed outline; what lies outside the axis counts in the outermost bars."""
    counts, _ = np.histogram(np.clip(values, low, high), bins=_BINS, range=(low, high))
    tops = HEIGHT * (1 - counts / max(1, counts.max()))
    width = WIDTH / _BINS
    steps = "".join(f"V{top:.4g}H{width * (index + 1):.4g}" for index, top in enumerate(tops))
    return f"M0 {HEIGHT:g}{steps}V{HEIGHT:g}Z"
