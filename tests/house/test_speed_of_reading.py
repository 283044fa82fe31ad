"""Commands that read few results or none start fast: their imports wait until a command needs them.

Work is counted, not timed: modules that a process loads, against those of `import pandas`, and files that it opens.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "leaderboard" / "results"
SHOW = ("show", "--results", str(RESULTS))
BOARD = ("leaderboard", "--results", str(RESULTS), "--benchmark")
COUNTED = """
import json, runpy, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
sys.argv = ["pagbench", *sys.argv[1:]]
try:
    runpy.run_module("pagbench", run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code, left.code
with open({report!r}, "w") as file:
    json.dump({{"modules": sorted(sys.modules), "opened": opened}}, file)
"""


@dataclass
class Work:
    modules: set[str]
    results: list[str]
    """Each opening of a results file of this repository."""


def work(command, folder):
    """What a command loads and opens, in a process of its own."""
    report = folder / "work.json"
    program = COUNTED.format(report=str(report))
    subprocess.run([sys.executable, "-c", program, *command], stdout=subprocess.DEVNULL, check=True)
    counted = json.loads(report.read_text())
    results = [name for name in counted["opened"] if name.startswith(str(RESULTS)) and name.endswith(".parquet")]
    return Work(set(counted["modules"]), results)


@pytest.fixture(scope="module")
def pandas():
    """How many modules `import pandas` loads here."""
    program = "import pandas, sys; print(len(sys.modules))"
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@pytest.mark.parametrize(
    "command", [["--help"], ["list", "models"], ["list", "measures"], ["show", "digits@1"], ["doctor"]]
)
def test_a_command_loads_fewer_modules_than_pandas_does(pandas, command, tmp_path):
    loaded = work(command, tmp_path).modules
    assert not loaded & {"torch", "pandas", "scipy", "matplotlib"}
    assert len(loaded) < pandas


@pytest.mark.parametrize(
    "command",
    [
        [*SHOW, "gaussians/standard"],  # its rank among all needs the whole board
        [*BOARD, "gaussians@1"],
        pytest.param([*SHOW, "digits/noise-0.6"], marks=pytest.mark.slow),
        pytest.param([*BOARD, "fashion-mnist@1"], marks=pytest.mark.slow),
    ],
)
def test_a_board_that_was_read_before_opens_each_of_its_files_twice_at_most(pandas, command, tmp_path, monkeypatch):
    """The first reading keeps the summaries of its files; the second looks whether the files are still the same."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    first, again = (work(command, tmp_path) for _ in range(2))
    assert len(first.results) > 2 * len(set(first.results))
    assert 0 < len(again.results) <= 2 * len(set(again.results))
    assert "torch" not in again.modules
    assert len(again.modules) < 2 * pandas
