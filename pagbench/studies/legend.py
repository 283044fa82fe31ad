"""What stands for what in every drawing: colours of families, names of regimes, units of strengths."""

from collections.abc import Iterable, Sequence

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


def family_colours(
    families: Iterable[str], standard: str, palette: Sequence[str] = FAMILY_COLOURS, ink: str = INK
) -> dict[str, str]:
    """Colour of each family, by name; the networks without regularisation come first and have the ink's.

    With more families than colours, colours come back.
    """
    found = set(families)
    colours = {name: palette[index % len(palette)] for index, name in enumerate(sorted(found - {standard}))}
    return ({standard: ink} if standard in found else {}) | colours
