"""The arrows of the package: what may import what, and what starts without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pagbench

ROOT = Path(pagbench.__file__).parent

ORDER = [
    {"errors"},
    {"cards"},
    {"storage", "benchmarks"},
    {"columns"},
    {"results", "data", "geometry"},
    {"ranking", "densities"},
    {"models"},
    {"measures", "training"},
    {"running"},
    {"studies", "submissions"},
    {"reports"},
    {"cli"},
    {"__main__"},
]
"""Rooms from the ground up: a room may import from those below it and from itself."""


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "pagbench":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pagbench."):
            yield node.module.split(".")[1]


def sources():
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    floor = {name: level for level, names in enumerate(ORDER) for name in names}
    here = room(path)
    assert here in floor, f"{here} is a new room: give it a place in ORDER"
    for other in imported_rooms(path):
        assert other == here or floor[other] < floor[here], f"{here} must not import {other}"


def test_only_geometry_differentiates_with_respect_to_inputs():
    """Training differentiates losses; no measure calls autograd by itself."""
    callers = {room(path) for path in sources() if "autograd.grad(" in path.read_text()}
    assert callers == {"geometry", "training"}


STATEMENTS = [
    "import pagbench.results, pagbench.ranking.statistics, pagbench.ranking.regimes, pagbench.ranking.render",
    "import pagbench.cli.listing",
    "import pagbench; pagbench.leaderboard",
    "import pagbench.studies.stability.ranking, pagbench.studies.stability.table, pagbench.studies.stability.report",
    "from pagbench import benchmarks, models; [models.find(name) for name in models.names()]",
    "import pagbench.cli",
    "from pagbench.models import sources; [sources.of(name) for name in sources.SOURCES]",
    "from pagbench.cli import listing; listing.all_models()",
    "from pagbench import models; models.find('smoothing/cifar10/resnet110/noise_0.25')",
    "from pagbench.cli import listing; listing.all_models('robustbench')",
    "import pagbench.submissions.findings, pagbench.submissions.checking, pagbench.submissions.drafting",
    "import pagbench.submissions.claims, pagbench.submissions.claimed, pagbench.submissions.comparison",
    "import pagbench.submissions.adding, pagbench.submissions.changes, pagbench.submissions.containers",
]
HEAVY = {"torch", "sklearn", "lpips", "robustbench", "timm"}


def test_the_reading_half_starts_without_torch():
    """One process runs all, for starting it costs most: what is not loaded after the last, none of them loads.

    Figures come last, and may load matplotlib.
    """
    said = [(statement, HEAVY | {"matplotlib"}) for statement in STATEMENTS] + [
        ("import pagbench.reports.figures", HEAVY)
    ]
    code = "import sys\n" + "".join(
        f"{statement}\nloaded = {heavy} & set(sys.modules); assert not loaded, ({statement!r}, loaded)\n"
        for statement, heavy in said
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
