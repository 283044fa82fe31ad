"""The leaderboard as a static site: opens from disk, asks nothing of any host. No torch."""

from pagbench.reports.site.building import build

__all__ = ["build"]
