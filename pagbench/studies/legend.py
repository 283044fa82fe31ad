"""What stands for what in every drawing and report: colours, names of regimes, units of strengths, numbers as text."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from pagbench.ranking import regimes

INK = "#1a1a1a"
FAMILY_COLOURS = (
    "#332288", "#CC6677", "#117733", "#DDAA33", "#55AADD", "#882255", "#44AA99", "#999933", "#AA4499", "#BB5522",
)  # fmt: skip
"""Paul Tol's "muted" scheme, two of its lighter colours darkened for markers."""
ON_LIGHT = (
    "#332288", "#CC6677", "#117733", "#B9820F", "#2F8BC2", "#882255", "#2B8F80", "#858524", "#AA4499", "#BB5522",
)  # fmt: skip
"""The same for thin lines on light screens: at least 3:1 against the ground (WCAG 2.2, 1.4.11)."""
ON_DARK = (
    "#9C92F2", "#E88A9A", "#3FB766", "#DDBB55", "#7CC4EE", "#D46A9C", "#5CCDBA", "#BDBD55", "#D685C8", "#E5854F",
)  # fmt: skip
"""The same hues for dark screens."""
REGIMES = {"weak": "weak", "bayes-aligned": "Bayes-aligned", "excessive": "excessive", regimes.BOUNDARY: "boundary"}
"""Names for readers."""
REGIME_COLOURS = {
    "weak": ("#ececec", "#3a3d43"),
    "bayes-aligned": ("#cfe4f5", "#1d3f5e"),
    "excessive": ("#fadcc6", "#54301b"),
}
"""Grounds behind text, for light and for dark screens; text keeps WCAG AA contrast on each. Figures have the first.

The boundary between regimes has no colour of its own: it is hatched or framed.
"""
UNITS = {
    "gradient-norm": "weight of ‖∇ loss‖²",
    "noise": "noise std (pixel units)",
    "smoothness": "weight of ‖Δ logits‖²",
    "adversarial": "L2 budget (pixel units)",
    "adversarial-linf": "L∞ budget (pixel units)",
    "smoothing": "noise std (pixel units)",
    "score-matching": "weight of 1 − cosine",
}
"""Short forms of the units in `pagbench.training.families`, which needs torch."""


NOISE_FAMILIES = ("noise", "smoothing")
"""Families whose strength is a noise level, so that it can be compared with a sigma."""


def family_colours(
    families: Collection[str], standard: str, palette: Sequence[str] = FAMILY_COLOURS, ink: str = INK
) -> dict[str, str]:
    """Colour of each family, by name; the models without regularisation come first and have the ink's.

    With more families than colours, colours come back.
    """
    regularised = sorted(set(families) - {standard})
    colours = {name: palette[index % len(palette)] for index, name in enumerate(regularised)}
    return ({standard: ink} if standard in families else {}) | colours


def number(value: float | None) -> str:
    """Two decimals, with a true minus; a dash where there is no value.

    >>> number(-0.123), number(None), number(math.nan)
    ('−0.12', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.2f}".replace("-", "−")


def bounds(low: float | None, high: float | None) -> str:
    """An interval likewise.

    >>> bounds(-0.123, 1.0), bounds(None, None)
    ('[−0.12, 1.00]', '–')
    """
    return "–" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def rounded(value: Any, digits: int = 6) -> Any:
    """A number of few significant digits, as JSON holds it; None where it is not finite. Other values are kept.

    >>> rounded(0.12345678), rounded(2.0), rounded(math.nan), rounded(None)
    (0.123457, 2, None, None)
    """
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short
