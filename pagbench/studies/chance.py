"""What guessing gives: the level below which a column of the leaderboard says nothing."""

from pagbench.studies import levels
from pagbench.studies.networks import Study


def level(study: Study, column: str) -> float | None:
    """What a network that always names the commonest class has, or a gradient that knows nothing of the image.

    Of an ability, what there is before any gradient is followed.

    Args:
        study: of the benchmark.
        column: of its leaderboard.

    Returns:
        The same for all networks; None where there is no such level, as of the paper's own alignment.
    """
    benchmark = study.benchmark
    if column == "accuracy":
        return _commonest(study)
    if column == "tangent_energy" and benchmark.rank:
        return benchmark.rank / benchmark.dimension
    if column.endswith("_corrected") or (column == "alignment" and not benchmark.by_paper):
        return 0.0
    return levels.nothing(study.board, column)


def _commonest(study: Study) -> float:
    """Share of the commonest class, of the network with the most images."""
    labels = max((network.rows["label"] for network in study.networks), key=len, default=None)
    return 1 / study.benchmark.classes if labels is None else float(labels.value_counts(normalize=True).max())
