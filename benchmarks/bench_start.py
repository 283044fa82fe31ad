"""How long commands take that need no network, from the first to the last instruction."""

import subprocess
import sys
from pathlib import Path

import pairs
import pytest

RESULTS = Path(__file__).parent.parent / "leaderboard" / "results"
LEADERBOARD = ["leaderboard", "--results", str(RESULTS), "--benchmark", "fashion-mnist@1"]


@pytest.mark.parametrize(("arguments", "most"), [(["--help"], 0.5), (LEADERBOARD, 2.0)], ids=["help", "leaderboard"])
def test_start(benchmark, told, arguments, most):
    command = [sys.executable, "-m", "pagbench", *arguments]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5, warmup_rounds=1)
    models = "" if arguments == ["--help"] else ", 65 published models"
    told(pairs.limit(f"`pagbench {arguments[0]}`{models}, wall time", list(benchmark.stats.stats.data), most))
