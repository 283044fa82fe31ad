"""Measures entrants again while one choice of the benchmark moves, for `pagbench.sensitivity`.

Each image passes forward once, and back once for each gradient; whatever else moves is computed from the same maps.
"""

from pagbench.remeasuring.entrants import run

__all__ = ["run"]
