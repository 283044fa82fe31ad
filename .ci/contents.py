"""Compares a wheel and a source archive with what git has of the package.

Usage: python .ci/contents.py WHEEL ARCHIVE
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST = 20 * 10**6
"""Bytes: twice what the shipped weights take; the results of the leaderboard have twice as many."""


def differences(held: set[str], tracked: set[str]) -> list[str]:
    """What a file lacks of the package, and what of it git does not have."""
    inside = {name for name in held if name.startswith("pagbench/") and not name.endswith("/")}
    return [f"{name} is missing" for name in sorted(tracked - inside)] + [
        f"{name} is not in git" for name in sorted(inside - tracked)
    ]


def main(wheel: str, archive: str) -> int:
    """Prints the differences, if any; returns the exit status."""
    listed = subprocess.run(["git", "ls-files", "pagbench"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = set(listed.stdout.splitlines())
    with zipfile.ZipFile(wheel) as opened:
        held = {wheel: set(opened.namelist())}
    with tarfile.open(archive) as unpacked:
        held[archive] = {file.name.partition("/")[2] for file in unpacked if file.isfile()}
    faults = [f"{path}: {text}" for path, names in held.items() for text in differences(names, tracked)]
    surplus = {name.partition("/")[0] for name in held[archive]} & {"leaderboard", "docs", "tests", "benchmarks"}
    faults += [f"{archive}: holds {name}/, which only the repository needs" for name in sorted(surplus)]
    for path in held:
        if (size := Path(path).stat().st_size) > LARGEST:
            faults.append(f"{path}: {size} bytes, expected at most {LARGEST}")
    print("\n".join(faults) or f"{len(tracked)} files of the package in both")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
