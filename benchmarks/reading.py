"""Times what reads results, on a folder that `big_results.py` has written: leaderboard, its table alone, and the site.

    python benchmarks/big_results.py /tmp/big --models 1000 --samples 10000
    python benchmarks/reading.py leaderboard /tmp/big --samples 10000
    python benchmarks/reading.py table /tmp/big --samples 10000
    python benchmarks/reading.py site /tmp/big --samples 10000

Prints seconds and the process's largest memory. Each is a process of its own, for memory is never given back.
"""

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from big_results import definition

from pagbench.benchmarks import Benchmark
from pagbench.ranking import leaderboard, render
from pagbench.reports.site import building


def board(folder: Path, benchmark: Benchmark) -> str:
    """The whole leaderboard, with intervals, ranks and regimes."""
    return f"{len(leaderboard(folder, benchmark=benchmark))} models"


def table(folder: Path, benchmark: Benchmark) -> str:
    """What `pagbench leaderboard` prints."""
    return f"{len(render.to_table(leaderboard(folder, benchmark=benchmark), benchmark).splitlines())} lines"


def site(folder: Path, benchmark: Benchmark) -> str:
    """Every page, written into a folder that is removed."""
    with tempfile.TemporaryDirectory() as output:
        return f"{len(building.write([networks.read_study(folder, benchmark)], Path(output)))} files"


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


PARTS: dict[str, Callable[[Path, Benchmark], str]] = {"leaderboard": board, "table": table, "site": site}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    asked = parser.parse_args()
    before = os.times()
    made = PARTS[asked.part](asked.folder, definition(asked.samples))
    after = os.times()
    computed = after.user + after.system - before.user - before.system
    sys.stdout.write(
        f"{asked.part}: {made}, {after.elapsed - before.elapsed:.1f} s, {computed:.1f} s of CPU, peak {peak():.2f} GB\n"
    )
