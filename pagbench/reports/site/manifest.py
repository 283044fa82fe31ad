"""What a build has written, so that the next one replaces and removes its own files, and nobody else's."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

PLACE = "assets/manifest.json"


class Manifest(BaseModel):
    """The files of a build, below the site's folder, with the sha256 of each; the manifest itself is not among them."""

    files: dict[str, str]


def content(written: Mapping[str, bytes]) -> bytes:
    """The manifest of these files."""
    hashes = {path: hashlib.sha256(written[path]).hexdigest() for path in sorted(written)}
    return (json.dumps({"files": hashes}, indent=0) + "\n").encode()


def leftovers(output: Path, written: Collection[str]) -> list[Path]:
    """Files of the build before that are no part of this one, and that nobody has changed since.

    A manifest that is missing or damaged names none. A path in it that leads out of the folder, straight or by a link,
    is passed over.

    Args:
        output: the site's folder.
        written: paths of this build, below it.
    """
    before = _read(output)
    gone = sorted(before.keys() - set(written))
    return [output / path for path in gone if _is_unchanged(output, path, before[path])]


def foreign(output: Path, written: Mapping[str, bytes]) -> Path | None:
    """A file in the way of this build that no build has written; None where there is none.

    Args:
        output: the site's folder.
        written: contents of this build by path; a file that holds the same already is not in the way.
    """
    before = _read(output)
    if not before and (output / PLACE).is_file():
        return output / PLACE  # damaged, or of some other application
    found = (output / path for path in written if path not in before)
    return next((place for place in found if place.is_file() and not _holds(place, output, written)), None)


def _holds(place: Path, output: Path, written: Mapping[str, bytes]) -> bool:
    try:
        return place.read_bytes() == written[place.relative_to(output).as_posix()]
    except OSError:
        return False


def _read(output: Path) -> dict[str, str]:
    try:
        return Manifest.model_validate_json((output / PLACE).read_bytes()).files
    except (OSError, ValidationError):
        return {}


def _is_unchanged(output: Path, path: str, sha256: str) -> bool:
    try:
        place = (output / path).resolve(strict=True)
        inside = place.is_relative_to(output.resolve()) and place == output.resolve() / path
        return inside and hashlib.sha256(place.read_bytes()).hexdigest() == sha256
    except (OSError, ValueError):  # gone already, no file, or no path at all
        return False
