"""The theorems of Srinivas, Bordt & Lakkaraju 2023 (arXiv 2305.19101) as experiments on densities in closed form.

Each experiment is a module with `measure`, which returns values found and expected, and `claims`, which compares them;
its namesake in `charts` draws them. Theorems are worded and numbered as we understand them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure

from pagbench.errors import ResultsError
from pagbench.figures import canvas
from pagbench.theory import charts, distractor, equivalence, flat, ridge, sphere
from pagbench.theory.claims import Claim

__all__ = ["EXPERIMENTS", "Claim", "Experiment", "check"]

Values = TypeVar("Values")


@dataclass(frozen=True)
class Experiment(Generic[Values]):
    """What is measured, what is claimed of it, and its figure.

    Attributes:
        title: a few words.
        measure: runs it; the same values each time.
        claims: compares what was found with what was expected.
        draw: the figure, of values and claims.
    """

    title: str
    measure: Callable[[], Values]
    claims: Callable[[Values], list[Claim]]
    draw: Callable[[Values, Sequence[Claim]], Figure]


EXPERIMENTS: dict[str, Experiment[Any]] = {
    "equivalence": Experiment(
        "robustness off the manifold and the gradient", equivalence.measure, equivalence.claims, charts.equivalence.draw
    ),
    "flat": Experiment("Bayes gradients on flat manifolds", flat.measure, flat.claims, charts.flat.draw),
    "sphere": Experiment("Bayes gradients on a sphere", sphere.measure, sphere.claims, charts.sphere.draw),
    "distractor": Experiment(
        "Bayes gradients beside a distractor", distractor.measure, distractor.claims, charts.distractor.draw
    ),
    "ridge": Experiment("three regimes of ridge regression", ridge.measure, ridge.claims, charts.ridge.draw),
}


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
            canvas.save_palette(experiment.draw(values, found[name]), output / f"theory-{name}.png")
    return found
