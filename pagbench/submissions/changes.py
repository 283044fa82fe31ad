"""Which submissions a branch adds or changes, and whether it keeps its hands off everything else. No torch."""

import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pagbench import plain_yaml
from pagbench.errors import PagbenchError
from pagbench.submissions.findings import Finding
from pagbench.submissions.folder import CARD

_DEPTH = 4
"""Parts of a submission's path below `leaderboard`: submissions, benchmark, and the two of the id."""


class ChangesError(PagbenchError):
    """What git answers instead of a difference."""


def submissions(leaderboard: Path, since: str) -> tuple[list[Path], list[Finding]]:
    """The folders of the submissions that changed since a revision, and what the changes must not do.

    Args:
        leaderboard: the folder `leaderboard` of a git checkout.
        since: a revision; compared is what changed since the branch left it.

    Raises:
        ChangesError: it is no checkout, or there is no such revision.
    """
    base = _git(leaderboard, "merge-base", "--end-of-options", since, "HEAD").strip()
    listed = _git(leaderboard, "diff", "--name-status", "--no-renames", "-z", base, "HEAD").split("\0")
    top = leaderboard.resolve().relative_to(_git(leaderboard, "rev-parse", "--show-toplevel").strip()).as_posix()
    changed = [(path, status) for status, path in zip(listed[::2], listed[1::2], strict=False)]
    touched: dict[str, None] = {}
    findings = []
    for path, status in changed:
        parts = PurePosixPath(path).parts
        own = PurePosixPath(*parts[: _DEPTH + 1])
        if parts[:2] != (top, "submissions") or len(parts) <= _DEPTH + 1:
            findings.append(Finding("error", path, "a pull request of a submission changes nothing but its own folder"))
        elif path.endswith(".verified.json") and status != "D":
            findings.append(Finding("error", path, "records of reruns are written by maintainers; leave it out"))
        else:
            touched[own.as_posix()] = None
    root = leaderboard.resolve().parent
    for name in touched:
        findings += _ownership(root, base, name)
    return [root / name for name in touched if (root / name).exists()], findings


def _ownership(root: Path, base: str, name: str) -> Iterator[Finding]:
    """A submission that was there may be changed or taken back by its authors, as its card names them."""
    before = _authors(_show(root, f"{base}:{name}/{CARD}"))
    if before is None:
        return
    after = _authors(_show(root, f"HEAD:{name}/{CARD}"))
    if after is None:
        yield Finding(
            "warning", name, f"removes a submission of {before}: a maintainer must confirm that they ask for it"
        )
    elif after != before:
        yield Finding("error", name, f"changes the authors of a submission of {before}; submit under another id")
    else:
        yield Finding("warning", name, f"changes a submission of {before}: a maintainer must confirm that it is theirs")


def _authors(card: str | None) -> str | None:
    if card is None:
        return None
    try:
        content = plain_yaml.read(card.encode())
    except plain_yaml.PlainError:
        return ""
    return str(content.get("authors")) if isinstance(content, dict) else ""


def _show(root: Path, place: str) -> str | None:
    try:
        return _git(root, "show", "--end-of-options", place)
    except ChangesError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, errors="replace"
        )
    except OSError as error:
        raise ChangesError(f"git cannot be run ({error.strerror}); install it, or name the folder") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no such revision"])[0]
        raise ChangesError(f"{folder}: git says {said!r}; check --since")
    return done.stdout
