"""Figures of the theorems, one for each experiment of `pagbench.studies.theory`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pagbench.errors import ResultsError
from pagbench.reports.figures import canvas
from pagbench.reports.figures.theory import distractor, equivalence, flat, ridge, sphere
from pagbench.studies.theory import EXPERIMENTS, Claim

DRAW: dict[str, Callable[[Any, Sequence[Claim]], Figure]] = {
    "equivalence": equivalence.draw,
    "flat": flat.draw,
    "sphere": sphere.draw,
    "distractor": distractor.draw,
    "ridge": ridge.draw,
}
"""The figure of each experiment, of what was measured and what is claimed of it."""


def check(output: Path, *, advance: Callable[[str], object] = lambda title: None) -> dict[str, list[Claim]]:
    """Runs every experiment and draws `theory-<name>.png` of each.

    Args:
        output: folder for the figures.
        advance: called with the title of the next experiment.

    Returns:
        The claims of each experiment, found or not.

    Raises:
        ResultsError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{output}: not a folder ({error.strerror}); give another --output") from None
    found = {}
    for name, experiment in EXPERIMENTS.items():
        advance(experiment.title)
        values = experiment.measure()
        found[name] = experiment.claims(values)
        with canvas.style():
            canvas.save_palette(DRAW[name](values, found[name]), output / f"theory-{name}.png")
    return found
