"""From per-sample rows to a leaderboard: summaries with intervals, regimes, ranks, tables. No torch."""

from pagbench.ranking.board import leaderboard

__all__ = ["leaderboard"]
