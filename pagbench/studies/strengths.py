"""Where strengths lie on an axis: log10, with the networks without regularisation at the left end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagbench.studies.paths import Path, Point


class Scale(NamedTuple):
    """The horizontal axis of one path.

    Attributes:
        points: the path, with its origin first where there is one.
        places: of the points, shape (n,).
        edges: of their cells, shape (n + 1,).
    """

    points: tuple[Point, ...]
    places: NDArray[np.float64]
    edges: NDArray[np.float64]


def scale(path: Path, start: Point | None) -> Scale:
    """Lays out a path; its origin is about as far from the first strength as strengths are from each other."""
    places = np.log10([point.strength for point in path.points])
    step = float(np.diff(places).mean()) if len(places) > 1 else 0.5
    points = path.points
    if start is not None:
        points, places = (start, *points), np.concatenate([[places[0] - 1.2 * step], places])
    middle = (places[1:] + places[:-1]) / 2
    return Scale(points, places, np.concatenate([[places[0] - step / 2], middle, [places[-1] + step / 2]]))
