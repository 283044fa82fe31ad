"""Own models in their place among published ones."""

from collections.abc import Sequence
from typing import NamedTuple

from pagbench.benchmarks import Benchmark
from pagbench.ranking.summaries import Summary
from pagbench.results.agreement import check_same_targets


class Joined(NamedTuple):
    """Own and published models together.

    Attributes:
        summaries: of all.
        own: ids of the own ones.
    """

    summaries: list[Summary]
    own: set[str]


def join(own: Sequence[Summary], published: Sequence[Summary], benchmark: Benchmark) -> Joined:
    """Own models among published ones.

    Anchors and controls are the published ones: every run has rows of them, too. Any other model that is published
    under the same id gives way to one's own.

    Raises:
        ResultsError: they were measured against different networks.
    """
    theirs = {model.name for model in published if model.evidence.control or model.name in benchmark.anchors}
    mine = [model for model in own if model.name not in theirs]
    names = {model.name for model in mine}
    summaries = [*(model for model in published if model.name not in names), *mine]
    check_same_targets((model.name, model.target_weights) for model in summaries)
    return Joined(summaries, names)
