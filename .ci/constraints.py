"""Prints the lowest versions that pyproject.toml declares, as constraints for pip.

Usage: python .ci/constraints.py [EXTRA ...] > constraints.txt
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirement: str) -> str:
    """The constraint that holds a requirement at its lowest version.

    Raises:
        ValueError: it declares none.
    """
    declared = re.fullmatch(r"([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)(?:,.*)?", requirement)
    if declared is None:
        raise ValueError(f"no lowest version: {requirement!r}; declare it as name>=version")
    return f"{declared[1]}=={declared[2]}"


def constraints(extras: list[str]) -> list[str]:
    """Of the core and some extras, in order of their names."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    declared = list(project["dependencies"])
    for extra in extras:
        declared += project["optional-dependencies"][extra]
    return sorted(lowest(requirement) for requirement in declared)


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))
