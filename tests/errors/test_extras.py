"""Packages that only extras of pagbench install."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from pagbench import errors

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        name: listed for name, listed in project["optional-dependencies"].items() if name not in ("all", "docs", "test")
    }
    packages = {re.split("[>=<]", entry)[0]: extra for extra, listed in extras.items() for entry in listed}
    assert packages == errors.EXTRAS
    (everything,) = project["optional-dependencies"]["all"]
    assert everything == f"pagbench[{','.join(sorted(extras))}]"


def test_a_missing_package_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(errors.MissingPackageError) as caught:
        errors.import_extra("diffusers.models")
    assert str(caught.value) == "diffusers is not installed; install it: pip install 'pagbench[diffusion]'"


def test_looking_for_a_package_does_not_import_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "foolbox"]:
        monkeypatch.delitem(sys.modules, name)
    errors.check_extra("foolbox")
    assert "foolbox" not in sys.modules


def test_a_package_that_lacks_a_module_is_one_line_too():
    with pytest.raises(errors.MissingPackageError, match=r"^diffusers is not installed; install it: pip install "):
        errors.import_extra("diffusers.nothing_of_this_name")
