"""The steps that CONTRIBUTING gives for adding something are all that it takes: a copy of the package gets no more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pagbench

PACKAGE = Path(pagbench.__file__).parent
REPOSITORY = Path(__file__).parents[2]


def extend(root, files, lines):
    """Copies the package and the generator of the documentation below a folder, and adds to the copy.

    Args:
        root: the folder.
        files: text of each new file, by its path in the package.
        lines: for a file of the package the line after which a line is added, and that line.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "pagbench", copy_function=os.symlink, ignore=ignored)
    shutil.copytree(REPOSITORY / "docs", root / "docs", copy_function=os.symlink, ignore=ignored)
    for name, text in files.items():
        assert not (PACKAGE / name).exists()
        (root / "pagbench" / name).write_text(text, encoding="utf-8")
    for name, (before, added) in lines.items():
        text = (PACKAGE / name).read_text(encoding="utf-8")
        assert text.count(f"{before}\n") == 1, f"{name} has no such line any more: {before}"
        (root / "pagbench" / name).unlink()  # it is a link to the file that must not change
        (root / "pagbench" / name).write_text(text.replace(f"{before}\n", f"{before}\n{added}\n"), encoding="utf-8")


def run_python(root, code):
    """What a program prints that imports the copy."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FUNCTION = '''"""How {name} an image is."""

from jaxtyping import Float
from torch import Tensor

from pagbench.measures.context import MeasureContext


def measure(context: MeasureContext) -> dict[str, Float[Tensor, "b"]]:
    """`{name}` of each image."""
    return {{"{name}": context.batch.images.flatten(1).{statistic}(1)}}
'''
DECLARATION = """columns:
  - name: {name}
    unit: ""
    higher_is_better: null
    summary: The {statistic} of an image's pixels.
    header: {name}
    valid: [0, 1]
"""
GAUSSIANS = (PACKAGE / "benchmarks" / "gaussians@1.yaml").read_text(encoding="utf-8")
MEASURED = """
import sys
sys.path.append("docs")
import generate, pagbench
from pagbench import benchmarks
from pagbench.cli import listing
from pagbench.ranking import render
models = ["control/bayes", "gaussians/standard"]
rows = pagbench.run(models, benchmark="bright-gaussians", measures=["contrast"], limit=4, results="results")
assert rows["brightness"].between(0.1, 0.9).all() and rows["contrast"].between(0.01, 0.5).all()
assert {"brightness", "contrast"} <= set(pagbench.leaderboard("results", benchmark="bright-gaussians"))
assert "brightness" not in benchmarks.load("gaussians").measures
print(listing.all_measures(), generate._measures())
board = pagbench.leaderboard("results", benchmark="bright-gaussians")
print(render.to_table(board, benchmarks.load("bright-gaussians"), columns="all"))
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy with a data set, a measure that a benchmark takes and an optional one, and what two programs print."""
    root = tmp_path_factory.mktemp("extended")
    bright = GAUSSIANS.replace("name: gaussians\n", "name: bright-gaussians\ntrained_on: gaussians\n")
    files = {
        "data/stripes.py": STRIPES,
        "benchmarks/stripes@1.yaml": STRIPED,
        "measures/brightness.py": FUNCTION.format(name="brightness", statistic="mean"),
        "measures/brightness.yaml": DECLARATION.format(name="brightness", statistic="mean"),
        "benchmarks/bright-gaussians@1.yaml": bright.replace("alignment_cosine]", "alignment_cosine, brightness]"),
        "measures/contrast.py": FUNCTION.format(name="contrast", statistic="std"),
        "measures/contrast.yaml": "optional: true\n" + DECLARATION.format(name="contrast", statistic="std"),
    }
    lines = {
        "columns.py": ('    "inpainting",', '    "brightness",\n    "contrast",'),
        "data/__init__.py": ("DATASETS = (", '    "pagbench.data.stripes:StripesCard",'),
    }
    extend(root, files, lines)
    accuracy, _, measured = run_python(root, READ_STRIPES + MEASURED).partition("\n")
    return root, float(accuracy), measured


def test_a_measure_is_a_function_a_declaration_and_a_line(extended):
    root, _, printed = extended
    own = pq.read_schema(root / "results" / "bright-gaussians@1" / "control" / "bayes.parquet")
    assert own.names[-1] == "brightness"
    assert str(own.field("brightness").type) == "float"
    optional = pq.read_schema(root / "results" / "bright-gaussians@1+contrast" / "control" / "bayes.parquet")
    assert optional.names[-1] == "contrast"
    for line in (
        "| `brightness` |  |  | The mean of an image's pixels. |  |",
        "## contrast (optional: `pagbench run --measures contrast`)",
    ):
        assert line in printed.splitlines()
    listed = printed.partition("# Measures")[0]
    assert all(word in listed for word in ("brightness", "contrast, optional", "The std of an image's pixels."))
    (header,) = (line for line in printed.splitlines() if "accuracy ↑" in line)
    assert "brightness" in header and "contrast" in header


STRIPES = '''"""Stripes of two directions, drawn from a seed."""

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages


class StripesCard(DatasetCard):
    """Bright stripes under noise: class 0 along rows, class 1 along columns."""

    kind: Literal["stripes"]
    seed: int

    @property
    def facts(self) -> DatasetFacts:
        """The publisher's."""
        return DatasetFacts("Stripes", size="2 MB", license="CC0", place="`$PAGBENCH_DATA/stripes`", fetched=True)

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """Everything, where the test says so."""
        return "Stripes, 2 MB, in stripes" if "NO_STRIPES" in os.environ else None

    def load(self) -> LoadedImages:
        """100 images of shape (1, 6, 6)."""
        rng = np.random.default_rng(self.seed)
        labels = np.arange(100) % 2
        rows = np.broadcast_to((np.arange(6) % 2)[:, None], (6, 6))
        stripes = np.where(labels[:, None, None] == 0, rows, rows.T)
        pixels = np.clip(0.25 + 0.5 * stripes + 0.1 * rng.standard_normal((100, 6, 6)), 0, 1)
        return LoadedImages(pixels[:, None].astype(np.float32), labels)
'''
STRIPED = """
name: stripes
version: 1
title: Stripes
description: Two directions of stripes.
dataset: {kind: stripes, seed: 3}
samples: 0..19
calibration: []
input_shape: [1, 6, 6]
classes: 2
score: {kind: empirical}
sigma: 0.2
directions: 4
measures: [accuracy, faithfulness, alignment_cosine]
alignment: alignment_cosine
bayes: control/bayes
seed: 0
"""
READ_STRIPES = """
import os, sys
from pagbench import benchmarks
from pagbench.benchmarks import facts
from pagbench.errors import CardError
definition = benchmarks.load("stripes")
assert "torch" not in sys.modules
need = facts.of(definition).needs[0]
assert (need.what, need.download, need.license) == ("Stripes", "2 MB", "CC0")
try:
    benchmarks.Benchmark.parse({**definition.model_dump(), "dataset": {"kind": "strips", "seed": 3}}, "my.yaml")
except CardError as error:
    assert "'stripes'" in str(error) and "strips" in str(error), error
from pagbench.cli import doctor
assert doctor.readiness("stripes@1").state == "ok"
os.environ["NO_STRIPES"] = "1"
found = doctor.readiness("stripes@1")
assert (found.state, found.messages) == ("missing", ("Stripes, 2 MB, in stripes",))
assert found.commands == ("pagbench fetch --benchmark stripes@1",)
import pagbench
print(pagbench.run("control/bayes", benchmark="stripes", limit=8)["correct"].mean())
"""


def test_a_data_set_is_a_module_and_a_line(extended):
    _, accuracy, _ = extended
    assert accuracy == 1
