"""How far the ranking depends on the target: rank correlation with what another target or protocol says."""

from typing import NamedTuple

import pandas as pd

from pagbench.benchmarks import Benchmark
from pagbench.ranking import eligibility
from pagbench.ranking.statistics import Interval, clustered_spearman, kendall

OTHERS = {
    "alignment_second_corrected": "the second target",
    "alignment_lpips_corrected": "LPIPS",
    "alignment_cosine_corrected": "the cosine",
    "paper_alignment": "the paper protocol",
}
FEWEST = 5


class Agreement(NamedTuple):
    """Rank correlation of the board's alignment with another column, over ranked models.

    Attributes:
        column: the other column.
        spearman: rho with its 95 % interval, families drawn whole.
        kendall: tau.
        models: number of models.
    """

    column: str
    spearman: Interval
    kendall: float
    models: int


def agreements(board: pd.DataFrame, benchmark: Benchmark) -> list[Agreement]:
    """Agreement with every other alignment that the board has; none with fewer than five ranked models."""
    ranked = board[board["status"] == eligibility.RANKED]
    own = (benchmark.alignment, f"{benchmark.alignment}_corrected")
    others = [name for name in OTHERS if name in board and name not in own]
    others = [name for name in others if ranked[name].notna().all()]
    if len(ranked) < FEWEST:
        return []
    return [_agreement(ranked, name, benchmark.seed) for name in others]


def _agreement(ranked: pd.DataFrame, column: str, seed: int) -> Agreement:
    x, y = ranked["alignment"].to_numpy(float), ranked[column].to_numpy(float)
    spearman = clustered_spearman(x, y, ranked["family"].tolist(), seed=seed)
    return Agreement(column, spearman, kendall(x, y), len(ranked))


def sentence(found: Agreement) -> str:
    """One line for below a table."""
    rho = found.spearman
    return (
        f"Ranking by {OTHERS[found.column]} ({found.column}): Spearman {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}] "
        f"with this one, Kendall {found.kendall:.2f}, over {found.models} ranked models (families drawn whole)."
    )
