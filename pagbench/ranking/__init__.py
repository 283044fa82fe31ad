"""From per-sample rows to a leaderboard: summaries with intervals, regimes, ranks, tables. No torch."""

from pagbench.ranking.board import leaderboard
from pagbench.ranking.pairs import compare

__all__ = ["compare", "leaderboard"]
