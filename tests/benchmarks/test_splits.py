"""Which images are measured: the public splits, their table, and the command."""

import csv
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from commands import assert_one_line, invoke
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pagbench
from pagbench import benchmarks, data
from pagbench.benchmarks import splits


@pytest.mark.parametrize("label", benchmarks.names())
def test_the_table_has_every_image_once_in_its_split(label):
    definition = benchmarks.load(label)
    rows = list(splits.table(definition))
    assert len({row.sample_id for row in rows}) == len(rows) == splits.count(definition)
    named = {
        split: {row.sample_id for row in rows if row.split == split} for split in ("train", "calibration", "measured")
    }
    assert named["measured"] == set(definition.samples) and named["calibration"] == set(definition.calibration)
    if definition.training is not None:
        assert named["train"] == set(definition.training)


@pytest.mark.parametrize("label", ["digits@1", "digits@2", "gaussians", "sphere"])
def test_the_table_is_that_of_the_data(label):
    definition, found = benchmarks.load(label), pagbench.splits(label)
    rows = list(splits.table(definition))
    assert [row.sample_id for row in rows] == list(data.load(definition.dataset).ids)
    assert {row.sample_id for row in rows if row.split == "train"} == set(found.train.ids)
    assert pagbench.splits(definition) is found


def test_an_index_is_the_publishers_own(digits):
    images = load_digits().images / 16
    measured = [row.index for row in splits.table(digits) if row.split == "measured"]
    order = [pagbench.splits("digits").test.ids.index(str(index)) for index in measured]
    assert np.array_equal(pagbench.splits("digits").test.images[order, 0].numpy(), images[measured].astype(np.float32))
    parts = Counter((row.part, row.split) for row in splits.table(benchmarks.load("fashion-mnist@1")))
    assert parts[("test", "measured")] == 1000 and parts[("train", "train")] == 59_000
    last = list(splits.table(benchmarks.load("fashion-mnist@1")))[-1]
    assert (last.sample_id, last.part, last.index) == ("69999", "test", 9999)


def test_an_ordinary_split_trains_on_most_of_what_is_measured(digits):
    """The reason why there is a table."""
    chosen, _ = train_test_split(np.arange(1797), test_size=0.2, random_state=0)
    assert len(set(map(str, chosen)) & set(digits.samples)) > 250


def test_the_command_writes_the_table(tmp_path, digits):
    done = invoke("splits", "digits", "--output", tmp_path / "new" / "splits.csv")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "new" / "splits.csv").read_text()
    assert text == splits.to_csv(digits) == invoke("splits", "digits@1").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["sample_id", "split", "part", "index"] and len(rows) == 1797
    assert_one_line(invoke("splits", "digit"), "unknown benchmark 'digit'")
    (tmp_path / "file").write_text("")
    assert_one_line(invoke("splits", "digits", "--output", tmp_path / "file" / "x.csv"), "cannot write it")


def test_no_torch_is_imported_for_it():
    code = "import sys, pagbench; from pagbench.benchmarks import splits, load; splits.to_csv(load('fashion-mnist'))"
    subprocess.run([sys.executable, "-c", f"{code}; pagbench.splits; assert 'torch' not in sys.modules"], check=True)
