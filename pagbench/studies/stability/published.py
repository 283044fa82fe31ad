"""What a results folder says of the models that are measured again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pagbench import results
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, statistics
from pagbench.ranking.board import build_board
from pagbench.ranking.summaries import Summary, summarise_result
from pagbench.results import Result

_FEWEST = 2


@dataclass(frozen=True)
class Published:
    """A model of the results folder.

    Attributes:
        name: its id.
        family: of its training.
        status: the leaderboard's.
        rows: in the benchmark's order.
        weights: hash of its network's.
    """

    name: str
    family: str
    status: str
    rows: pd.DataFrame
    weights: str

    @property
    def ranked(self) -> bool:
        """Whether it has a rank; it is a control else."""
        return self.status == eligibility.RANKED


def read(folder: Path, benchmark: Benchmark) -> list[Published]:
    """Ranked models by rank, then controls with a result and all images; of others nothing can be compared.

    Raises:
        ResultsError: see `results.map_results`.
    """
    weights = statistics.resampling_weights(len(benchmark.samples), seed=benchmark.seed)

    def kept(result: Result) -> tuple[Summary, Result]:
        return summarise_result(result, benchmark, weights), result

    found = results.map_results(folder, benchmark, kept)
    table = build_board([summary for summary, _ in found], benchmark)
    of = {summary.name: result for summary, result in found}
    chosen = []
    for _, row in table.iterrows():
        name, status = str(row["model"]), str(row["status"])
        result = of[name]
        if status not in (eligibility.RANKED, "control") or len(result.rows) < len(benchmark.samples):
            continue
        rows = result.rows.set_index("sample_id").loc[list(benchmark.samples)]
        chosen.append(Published(name, str(row["family"]), status, rows, result.provenance.weights_sha256))
    return chosen


def check_enough(found: Sequence[Published], benchmark: Benchmark) -> None:
    """Refuses what is no ranking.

    Raises:
        ResultsError: fewer than two models are ranked.
    """
    ranked = sum(model.ranked for model in found)
    if ranked < _FEWEST:
        raise ResultsError(
            f"{benchmark.label}: {ranked} ranked models that can be measured here, a ranking needs {_FEWEST}; "
            f"measure more with `pagbench run --benchmark {benchmark.name}`"
        )
