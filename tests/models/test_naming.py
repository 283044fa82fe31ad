"""Patterns of ids and the ends of ids, as users type them."""

import subprocess
import sys

import pytest
from commands import assert_one_line, invoke

from pagbench import benchmarks
from pagbench.errors import ContractError, UnknownNameError
from pagbench.models import registry, sources

ENGSTROM = "Engstrom2019Robustness"


@pytest.mark.parametrize("around", ["", "smoothed:0.25:", "smoothed:0.25:10:"])
def test_a_pattern_stands_for_the_ids_that_it_matches(around):
    expected = [name for name in sources.load("robustbench").names() if name.startswith("robustbench/cifar10/L2/")]
    assert len(expected) > 10
    assert registry.expand(f"{around}robustbench/cifar10/L2/*") == [around + name for name in expected]


def test_a_pattern_leaves_out_what_nobody_can_load_here():
    found = registry.expand("digits/*")
    assert "digits/standard" in found and all(registry.find(name).is_usable for name in found)
    unusable = [name for name in registry.names() if name.startswith("digits/") and name not in found]
    assert unusable and all(registry.find(name).to_be_trained for name in unusable)


def test_the_end_of_an_id_stands_for_it_where_only_one_has_it():
    assert registry.expand("bayes") == ["control/bayes"]
    assert registry.find("NOISE-2.5.seed2").card.id == "digits/noise-2.5.seed2"
    assert registry.expand("standard", "digits") == ["digits/standard"]
    (request,) = registry.resolve("standard", benchmarks.load("sphere"))
    assert request.card.id == "sphere/standard"


def test_the_end_of_several_ids_lists_them():
    ends = [f"robustbench/cifar10/{threat}/{ENGSTROM}" for threat in ("L2", "Linf")]
    with pytest.raises(ContractError, match="is the end of 3 ids; name one of them") as caught:
        registry.find(ENGSTROM)
    assert all(name in str(caught.value) for name in ends)
    with pytest.raises(ContractError, match="is the end of 2 ids") as caught:
        registry.expand(ENGSTROM, "cifar10")
    assert "imagenet" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("robustbench/cifar10/L3/*", "robustbench/cifar10/L2/*"),
        ("digit/*", "digits/*"),
        ("Engstrom2019Robustnes", f"robustbench/cifar10/L2/{ENGSTROM}"),
        ("DIGITS/STANDART", "digits/standard"),
        ("robustbench/cifar10/l2/engstrom2019robustness", f"robustbench/cifar10/L2/{ENGSTROM}"),
    ],
)
def test_what_nothing_is_called_has_a_suggestion(name, meant):
    with pytest.raises(UnknownNameError) as caught:
        registry.resolve(name, benchmarks.load("digits"))
    assert meant in str(caught.value)


def test_commands_take_patterns(tmp_path):
    listed = invoke("fetch", "robustbench/cifar10/L2/E*", "--list").stdout
    assert ENGSTROM in listed
    for command in (["run"], ["check"], ["fetch"]):
        assert_one_line(invoke(*command, "digits/nothing*"), "digits/nothing*", "closest: digits/*")
    refused = invoke("run", "standard", "noise-0.6", "--id", "mine", "-r", tmp_path)
    assert_one_line(refused, "1 of --id for 2 models")


def test_a_wrong_command_line_costs_no_import_of_torch():
    wrong = [
        ["run", "digits/standrad"],
        ["run", "-b", "digit"],
        ["run", "digits/*", "nobody/*"],
        ["run", "digits/standard", "--measures", "adversrial"],
        ["run", "digits/standard", "--against", "/nowhere"],
        ["run", "digits/standard", "--no-such-option"],
        ["fetch", "digits/standrad"],
    ]
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom pagbench.cli import app\n"
        f"for arguments in {wrong}:\n"
        "    done = CliRunner().invoke(app, arguments)\n"
        "    assert done.exit_code == 2 and done.stderr.count('error: ') == 1, (arguments, done.output)\n"
        "    assert 'torch' not in sys.modules, arguments\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_close_are_not_suggested():
    assert_one_line(invoke("run", "-b", "digts"), "unknown benchmark 'digts'; closest: digits@2, digits@1")
    assert_one_line(invoke("run", "xyzzy"), "unknown model 'xyzzy'; see pagbench list models")
    assert_one_line(invoke("run", "xyzzy/*"), "unknown models 'xyzzy/*'; see pagbench list models")
