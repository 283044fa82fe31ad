"""Measures are what their declarations say."""

from pathlib import Path

import pytest

from pagbench import benchmarks, columns, measures
from pagbench.columns import Measure
from pagbench.errors import CardError, UnknownNameError

FOLDER = Path(columns.__file__).parent / "measures"


@pytest.mark.parametrize("name", columns.REGISTRY)
def test_every_measure_is_a_function(name):
    assert callable(measures.load(name))
    if columns.MEASURES[name].images:
        assert callable(measures.load_pictures(name))


def test_every_declaration_is_registered_and_every_column_is_declared_once():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(columns.REGISTRY)
    names = [column.name for measure in columns.MEASURES.values() for column in measure.columns]
    assert len(set(names)) == len(names)


def test_unknown_measures_are_refused():
    with pytest.raises(UnknownNameError, match="unknown measure 'acuracy'; closest: accuracy"):
        measures.load("acuracy")
    with pytest.raises(UnknownNameError, match="unknown ability 'accuracy'"):
        measures.load_pictures("accuracy")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "alignment_cosin",
            r"field 'measures.0': unknown measure 'alignment_cosin'; closest: alignment_cos",
        ),
        (
            "pgd",
            "field 'measures.0': the measure pgd is optional; leave it to `pagbench run --measures pgd`",
        ),
    ],
)
def test_benchmarks_refuse_measures_that_are_unknown_or_optional(name, message):
    content = benchmarks.load("sphere").model_dump()
    with pytest.raises(CardError, match=message) as refused:
        benchmarks.Benchmark.parse({**content, "measures": (name, *content["measures"])}, "sphere")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optional": True, "mandatory": True}, "optional or mandatory, not both"),
        ({"block": 64}, "are for optional measures"),
        ({"package": "ray"}, "are for optional measures"),
        ({"optional": True, "package": "numpy"}, "no extra of pagbench installs the package 'numpy'"),
        ({"needs": ["beauty"]}, "field 'needs.0'"),
        ({"weight": 2}, "field 'weight'"),
        (
            {"columns": [{"name": "a", "unit": "", "higher_is_better": None, "summary": "b", "up": True}]},
            "columns.0.up",
        ),
        ({"columns": [{"name": "a", "unit": "", "higher_is_better": None}]}, "columns.0.summary"),
    ],
)
def test_declarations_that_say_what_is_not_understood_are_refused(changes, message):
    column = {"name": "a", "unit": "", "higher_is_better": True, "summary": "b"}
    with pytest.raises(CardError, match=message):
        Measure.parse({"columns": [column], **changes}, "a.yaml")
