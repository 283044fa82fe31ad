"""How two quantities go together over all ranked models: rank correlations that do not take families for chance."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, statistics
from pagbench.ranking.joining import ON_TARGET
from pagbench.ranking.statistics import Interval
from pagbench.studies import legend
from pagbench.studies.models import Study

LOG_RATIOS = ("log_ratio", "log_ratio_infinitesimal")
"""Columns of the leaderboard that say how much more robust a model is off the manifold than on it."""
ACCURATE = 0.8
"""Share of the reference's accuracy that an accurate model has."""
_MIN_MODELS = 3


class Correlation(NamedTuple):
    """Spearman's rho of two columns of the leaderboard.

    Attributes:
        rho: with its 95 % interval over families, `statistics.clustered_spearman`.
        models: number of points.
        families: number of families they are of.
    """

    rho: Interval
    models: int
    families: int

    @property
    def text(self) -> str:
        """In one line, for people."""
        rho, count = self.rho, f"{self.models} models in {self.families} families"
        if np.isnan(rho.value):
            return f"ρ not defined ({count})"
        interval = "[no interval]" if np.isnan(rho.low) else legend.bounds(rho.low, rho.high)
        return f"ρ = {legend.number(rho.value)} {interval}, {count}"


def points(study: Study) -> pd.DataFrame:
    """Rows of the leaderboard that have a rank, with `architecture` (and activation) and `accurate`.

    Raises:
        ResultsError: there are fewer than three.
    """
    board = study.board[study.board["status"] == eligibility.RANKED]
    if len(board) < _MIN_MODELS:
        raise ResultsError(
            f"{study.benchmark.label}: {len(board)} ranked models, a correlation needs {_MIN_MODELS}; "
            "measure more with `pagbench run`"
        )
    makes = {model.card.id: " ".join(filter(None, model.make)) or "unknown" for model in study.models}
    best = board["accuracy"].max() if study.reference is None else study.reference.replicates["accuracy"][0]
    return board.assign(architecture=board["model"].map(makes), accurate=board["accuracy"] >= ACCURATE * best)


def correlations(study: Study) -> dict[str, dict[str, Correlation]]:
    """Correlation with alignment of each measured column of `LOG_RATIOS`, over `all` models and the `accurate` ones.

    Raises:
        ResultsError: fewer than three models have a rank.
    """
    table = points(study)
    measured = [column for column in LOG_RATIOS if column in table and table[column].notna().any()]
    return {column: over_parts(table, column, "alignment") for column in measured}


def over_parts(table: pd.DataFrame, first: str, second: str) -> dict[str, Correlation]:
    """Correlation of two columns over `all` rows of `points` and the `accurate` ones."""
    parts = {"all": table, "accurate": table[table["accurate"]]}
    return {name: correlation(part, first, second) for name, part in parts.items()}


def correlation(part: pd.DataFrame, first: str, second: str) -> Correlation:
    """Correlation of two columns over the rows that have both, without those that are trained on the target."""
    known = part[part[first].notna() & part[second].notna()]
    if "track" in known:
        known = known[known["track"] != ON_TARGET]
    x, y = (known[name].to_numpy(float) for name in (first, second))
    rho = statistics.clustered_spearman(x, y, known["family"].tolist())
    return Correlation(rho, len(known), known["family"].nunique())
