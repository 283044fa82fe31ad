"""How a network's per-sample values are distributed, drawn as SVG paths beside the medians of the anchors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pagbench import columns
from pagbench.columns import Column
from pagbench.studies.networks import Network, Study, shown_columns

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
    known = {column.name: column for column in columns.sample_columns(benchmark)}
    chosen = [
        name for name in shown_columns(benchmark) if name in network.rows and np.isfinite(_values(network, name)).any()
    ]
    return [_histogram(study, network, known[name]) for name in chosen]


def _values(network: Network, name: str) -> NDArray[np.float64]:
    return network.rows[name].to_numpy(np.float64)


def _histogram(study: Study, network: Network, column: Column) -> Histogram:
    values = _values(network, column.name)
    values = values[np.isfinite(values)]
    medians = _medians(study, network, column.name)
    first, last = (float(end) for end in np.quantile(values, [_OUTER, 1 - _OUTER]))
    if last <= first:
        first, last = first - 0.5, last + 0.5
    places = [first, last, *(median for _, _, median in medians)]
    low, high = min(places), max(places)

    def position(value: float) -> float:
        return WIDTH * (value - low) / (high - low)

    marks = (Mark(kind, label, f"{median:.3g}", round(position(median), 1)) for kind, label, median in medians)
    counts, edges = np.histogram(np.clip(values, first, last), bins=_BINS, range=(first, last))
    outline = _outline(counts, [position(edge) for edge in edges])
    return Histogram(column, outline, f"{low:.3g}", f"{high:.3g}", tuple(marks), len(values))


def _medians(study: Study, network: Network, name: str) -> list[tuple[str, str, float]]:
    """Kind, label and median of the network and of the anchors, where they have values."""
    anchors = [
        ("reference", "unregularised", study.reference),
        ("bayes", "Bayes control", study.named(study.benchmark.bayes)),
    ]
    shown = [("own", "median", network), *(anchor for anchor in anchors if anchor[2] is not network)]
    return [
        (kind, label, float(np.nanmedian(_values(other, name))))
        for kind, label, other in shown
        if other is not None and np.isfinite(_values(other, name)).any()
    ]


def _outline(counts: NDArray[np.int64], edges: Sequence[float]) -> str:
    """One closed path around all bars."""
    tops = HEIGHT * (1 - counts / max(1, counts.max()))
    steps = "".join(f"V{top:.4g}H{edge:.4g}" for top, edge in zip(tops, edges[1:], strict=True))
    return f"M{edges[0]:.4g} {HEIGHT:g}{steps}V{HEIGHT:g}Z"
