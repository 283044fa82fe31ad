"""The script that compares a GPU with the CPU, as far as a machine without one can try it."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("gpu")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_a_value_that_is_missing_on_one_side_is_no_agreement(gpu):
    here = pd.DataFrame({"nll": [1.0, np.nan, 3.0], "correct": [1.0, 0.0, 1.0]})
    assert gpu.largest_difference(here, here)[1] == 0
    assert gpu.largest_difference(here.fillna(2.0), here) == ("nll", np.inf)
    assert gpu.largest_difference(here.mask(here == 3.0), here) == ("nll", np.inf)


def test_a_difference_is_held_against_size_and_column(gpu):
    here = pd.DataFrame({"nll": [3.0, 4.0], "correct": [1.0, 1.0]})
    column, excess = gpu.largest_difference(here.add(pd.DataFrame({"nll": [0.01, 0.0], "correct": [0.0, 0.0]})), here)
    assert column == "nll"
    assert excess == pytest.approx(0.01 / (3 + np.sqrt(12.5)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, and the whole script would run")
def test_without_a_device_one_line_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nothing measured: device 'cuda' is not usable here")
    assert len(said.err.splitlines()) == 1
