"""The theorems of Srinivas, Bordt & Lakkaraju 2023 (arXiv 2305.19101) as experiments on densities in closed form.

Each experiment is a module with `measure`, which returns measured and expected values, and `claims`, which compares
them; `pagbench.reports.figures.theory` draws them. Theorems are worded and numbered as we understand them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pagbench.storage import global_state
from pagbench.studies.theory import distractor, equivalence, flat, ridge, sphere
from pagbench.studies.theory.claims import Claim

__all__ = ["EXPERIMENTS", "Claim", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """What is measured, and what is claimed of it.

    Attributes:
        title: a few words.
        measure: runs it; the same values each time.
        claims: compares measured with expected values.
    """

    title: str
    measure: Callable[[], Any]
    claims: Callable[[Any], list[Claim]]


_known = global_state.known()

EXPERIMENTS: dict[str, Experiment] = {
    "equivalence": Experiment(
        "robustness off the manifold and the gradient", _known(equivalence.measure), equivalence.claims
    ),
    "flat": Experiment("Bayes gradients on flat manifolds", _known(flat.measure), flat.claims),
    "sphere": Experiment("Bayes gradients on a sphere", _known(sphere.measure), sphere.claims),
    "distractor": Experiment("Bayes gradients beside a distractor", _known(distractor.measure), distractor.claims),
    "ridge": Experiment("three regimes of ridge regression", _known(ridge.measure), ridge.claims),
}
