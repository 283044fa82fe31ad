"""Measures how robust the published models are: `python leaderboard/attacks.py BENCHMARK [MODEL]...`.

PGD on all images, AutoAttack on one block of them. By default of all models that have results and whose weights are
here, and of the Bayes control; of the other controls the gradient leads an attack nowhere. Finished rows are kept, and
skipped by the next run; the models' other rows stay as they are. `leaderboard/compact.py` goes after it.
"""

import sys

from abilities import RESULTS, published

import pagbench
from pagbench import benchmarks, columns
from pagbench.models import registry


def main(benchmark: str, *models: str) -> None:
    """Adds the rows of both attacks."""
    names = models or attacked(benchmark)
    for measure, limit in (("pgd", None), ("adversarial", columns.BLOCKS["adversarial"])):
        pagbench.run(
            names, benchmark=benchmark, measures=[measure], limit=limit, anchors=False, results=RESULTS, progress=True
        )


def attacked(benchmark: str) -> list[str]:
    """Ids of the models whose weights are here, and of the Bayes control."""
    bayes = benchmarks.load(benchmark).bayes
    return [name for name in published(benchmark) if name == bayes or registry.find(name).has_weights]


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("which benchmark? for example: python leaderboard/attacks.py digits")
    main(*sys.argv[1:])
