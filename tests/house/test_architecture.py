"""The arrows of the package: what may import what, and what starts without torch."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pagbench

ROOT = Path(pagbench.__file__).parent

ORDER = [
    {"errors"},
    {"cards"},
    {"storage", "columns"},
    {"data"},
    {"benchmarks", "geometry"},
    {"results", "densities"},
    {"ranking", "models"},
    {"measures", "training"},
    {"running"},
    {"studies", "submissions"},
    {"reports"},
    {"cli"},
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


def test_the_house_is_small_enough_to_know():
    """Eighteen names at the top, at most five of them plain modules, on twelve floors."""
    names = {room(path) for path in sources()} - {"__main__"}
    modules = {name for name in names if (ROOT / f"{name}.py").is_file()}
    assert names == set().union(*ORDER), "a new room needs a place in ORDER"
    assert len(names) <= 18 and len(modules) <= 5 and len(ORDER) <= 12


def test_imports_point_down():
    floor = {name: level for level, names in enumerate(ORDER) for name in names} | {"__main__": len(ORDER)}
    upward = {
        f"{path.relative_to(ROOT)} must not import {other}"
        for path in sources()
        for other in imported_rooms(path)
        if other != room(path) and floor[other] >= floor[room(path)]
    }
    assert not upward


def module_name(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_when_loaded(path, modules):
    """Modules that loading this one loads; imports within functions and for type checkers wait."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pagbench"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def test_no_module_imports_itself_by_way_of_others():
    modules = {module_name(path): path for path in sources()}
    graph = {name: set(imported_when_loaded(path, modules)) & modules.keys() - {name} for name, path in modules.items()}
    assert tuple(graphlib.TopologicalSorter(graph).static_order())  # or CycleError names the cycle


def test_every_test_lies_in_a_room():
    """A room's tests are found by its name; what concerns the whole house is in `house`, documents in `docs`."""
    tests = Path(__file__).parent.parent
    folders = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    assert folders <= {*set().union(*ORDER), "house", "docs", "leaderboard"}


def test_only_geometry_differentiates_with_respect_to_inputs():
    """Training differentiates losses; no measure calls autograd by itself."""
    callers = {room(path) for path in sources() if "autograd.grad(" in path.read_text()}
    assert callers == {"geometry", "training"}


STATEMENTS = [
    "import pagbench.results, pagbench.ranking.statistics, pagbench.ranking.regimes, pagbench.ranking.render",
    "import pagbench.cli.listing",
    "import pagbench; pagbench.leaderboard",
    "import pagbench.studies.models, pagbench.studies.stability.ranking, pagbench.studies.stability.report",
    "from pagbench import benchmarks, models; [models.find(name) for name in models.names()]",
    "import pagbench.cli",
    "from pagbench.models import sources; [sources.find(name) for name in sources.SOURCES]",
    "from pagbench.cli import listing; listing.all_models()",
    "from pagbench import models; models.find('smoothing/cifar10/resnet110/noise_0.25')",
    "from pagbench.cli import listing; listing.all_models('robustbench')",
    "import pagbench.submissions.check, pagbench.submissions.create, pagbench.submissions.add",
    "import pagbench.submissions.check_results, pagbench.results.comparison, pagbench.submissions.changes",
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


LIGHT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout, suppress
counts = {}
def count(name):
    counts[name] = [len(sys.modules), sorted({module.partition(".")[0] for module in sys.modules})]
import pagbench
dir(pagbench)
count("import")
from pagbench.cli import main
for arguments in (["--version"], ["rnu"], ["--help"]):
    sys.argv = ["pagbench", *arguments]
    with suppress(SystemExit), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        main()
    count(arguments[0])
print(json.dumps(counts))
"""


def test_looking_at_pagbench_loads_little():
    """Modules are counted, not seconds, so that no other program of the machine counts; one process, as above."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    unwanted = HEAVY | {"matplotlib", "numpy", "pandas", "pyarrow", "requests", "scipy", "torchvision", "yaml"}
    assert {name for _, loaded in counts.values() for name in loaded} & unwanted == set()
    most = {"import": 200, "--version": 320, "rnu": 400, "--help": 520}
    assert {name: number for name, (number, _) in counts.items() if number > most[name]} == {}
    assert "typer" not in counts["import"][1]
