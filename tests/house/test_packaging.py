"""What pip installs: the files of the package, the packages that come with it, and the versions that are declared."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from commands import invoke
from packaging.requirements import Requirement

import pagbench

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def script(name):
    """A module of `.ci`, which no package holds."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_wheel_gets_every_file_of_the_package():
    package = ROOT / "pagbench"
    shipped = {
        path for glob in SETTINGS["tool"]["setuptools"]["package-data"]["pagbench"] for path in package.glob(glob)
    }
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - shipped == set()


def test_contents_names_what_a_file_lacks_and_has_too_much():
    tracked = {"pagbench/a.py", "pagbench/b.yaml"}
    differences = script("contents").differences
    assert differences(tracked | {"pagbench-1.dist-info/METADATA", "pagbench/"}, tracked) == []
    assert differences({"pagbench/a.py", "pagbench/c.py"}, tracked) == [
        "pagbench/b.yaml is missing",
        "pagbench/c.py is not in git",
    ]


def test_lowest_versions_are_printed_as_constraints():
    command = [sys.executable, ROOT / ".ci/constraints.py", "ray", "site"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    extras = PROJECT["optional-dependencies"]
    declared = [Requirement(line) for line in (*PROJECT["dependencies"], *extras["ray"], *extras["site"])]
    assert len(printed) == len(declared) and printed == sorted(printed)
    versions = dict(line.split("==") for line in printed)
    assert all(
        versions[one.name] in one.specifier and f">={versions[one.name]}" in str(one.specifier) for one in declared
    )


@pytest.mark.parametrize("requirement", ["torch", "torch==2.8", "torch<3", "torch>=2.8; python_version < '3.12'"])
def test_a_requirement_without_a_lowest_version_is_refused(requirement):
    with pytest.raises(ValueError, match="no lowest version"):
        script("constraints").lowest(requirement)


def test_constraints_keep_extras_of_others_and_upper_bounds_apart():
    lowest = script("constraints").lowest
    assert lowest("moto[s3,server]>=5.0.12") == "moto==5.0.12" and lowest("a-b>=1.2,<2") == "a-b==1.2"


def required(name):
    """Packages that an installed one asks for here, without its extras."""
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def test_the_core_pins_nobodys_packages_exactly():
    """Packages of one project that are released together, as PyTorch with CUDA is, count as one."""
    together = {"torch", "torchvision", "pydantic", "httpx2", "cuda-toolkit"}
    known, waiting, pins = set(), [Requirement(line).name for line in PROJECT["dependencies"]], []
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in known or name in together:
            continue
        known.add(name)
        for requirement in required(name):
            waiting.append(requirement.name)
            exact = [one for one in requirement.specifier if one.operator in ("==", "===") and "*" not in one.version]
            pins += [f"{name} asks for {requirement}"] if exact else []
    assert {"timm", "lpips", "huggingface-hub", "tqdm"} <= known and not pins


def test_the_core_has_no_upper_bounds():
    bounded = [line for line in PROJECT["dependencies"] if any(mark in line for mark in ("<", "~", "=="))]
    assert not bounded, "say why beside it, and name it here"


def test_one_version_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert pagbench.__version__ == PROJECT["version"] == cited["version"]
    assert invoke("--version").output == f"pagbench {pagbench.__version__}\n"


def test_python_versions_are_those_that_are_tested():
    named = re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
    (lowest,) = [step["with"] for step in jobs["lowest"]["steps"] if "python-version" in step.get("with", {})]
    assert lowest["python-version"] == named[0]


def test_the_lowest_versions_of_all_extras_are_tested():
    text = (ROOT / ".ci/lowest").read_text(encoding="utf-8")
    (everything,) = PROJECT["optional-dependencies"]["all"]
    listed = re.search(r"constraints\.py ([\w ]+) \|", text)[1]
    assert everything == f"pagbench[{listed.replace(' ', ',')}]"
