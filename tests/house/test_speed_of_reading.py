"""Commands that read few results or none start fast: their imports wait until a command needs them.

Processor time of a process, the best of a few, against that of `import pandas` in the same run: it says what was
imported, on every machine.
"""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BOARD = ("leaderboard", "--results", str(ROOT / "leaderboard" / "results"), "--benchmark")


def seconds(*arguments, attempts=3):
    times = []
    for _ in range(attempts):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.fixture(scope="module")
def pandas():
    """What `import pandas` takes here and now."""
    return seconds("-c", "import pandas")


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (["--help"], 1),
        (["list", "models"], 2),
        (["list", "measures"], 2),
        (["show", "digits@1"], 2),
        (["doctor"], 8),
    ],
)
def test_a_command_takes_so_many_imports_of_pandas_at_most(pandas, command, most):
    taken = seconds("-m", "pagbench", *command, attempts=2 if most < 5 else 1)
    assert taken < most * pandas, f"{taken:.2f} s against {pandas:.2f} s for pandas"


@pytest.mark.parametrize(
    "command",
    [
        ["show", "digits/noise-0.6"],  # its rank among all needs the whole board
        [*BOARD, "digits@1"],
        pytest.param([*BOARD, "fashion-mnist@1"], marks=pytest.mark.slow),
    ],
)
def test_a_board_that_was_read_before_takes_few_imports_of_pandas(pandas, command, tmp_path, monkeypatch):
    """The first reading keeps the summaries of its files."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    first, again = (seconds("-m", "pagbench", *command, attempts=1) for _ in range(2))
    assert again < 3.5 * pandas, f"{again:.2f} s against {pandas:.2f} s for pandas, {first:.2f} s at first"
