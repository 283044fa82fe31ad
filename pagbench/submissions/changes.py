"""Which submissions a branch adds or changes, and whether it keeps its hands off everything else. No torch."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from pagbench.cards import ModelCard, plain_yaml
from pagbench.errors import CardError, PagbenchError
from pagbench.results import verification
from pagbench.submissions.check import broken_embargo
from pagbench.submissions.findings import Finding
from pagbench.submissions.folder import CARD, REPORT, RESULTS
from pagbench.submissions.report import Report

_DEPTH = 3
"""Parts of a submission's path below `submissions`: benchmark, and the two of the id."""
_PATIENCE_S = 60.0
_LARGEST_ANSWER = 4 * 2**20
"""Bytes that git may say."""
_MOST = 10_000
"""Paths that a branch may change; a submission has 64."""


class ChangesError(PagbenchError):
    """What git answers instead of a difference."""


def submissions(leaderboard: Path, since: str) -> tuple[list[Path], list[Finding]]:
    """The folders of the submissions that changed since a revision and are still there; what changes must not do.

    Args:
        leaderboard: the folder `leaderboard` of a git checkout.
        since: a revision; compared is what changed since the branch left it.

    Raises:
        ChangesError: it is no checkout, or there is no such revision.
    """
    leaderboard = Path(os.path.abspath(leaderboard))  # noqa: PTH100 (links stay as they are)
    root = _root(leaderboard)
    base = _git(root, "merge-base", "--end-of-options", since, "HEAD").strip()
    listed = _git(root, "diff", "--name-status", "--no-renames", "-z", base, "HEAD").split("\0")
    changed = {path: status for status, path in zip(listed[::2], listed[1::2], strict=False)}
    if len(changed) > _MOST:
        raise ChangesError(f"{root}: {len(changed)} paths change since {since}, at most {_MOST} are looked at")
    home = (*leaderboard.relative_to(root).parts, "submissions")
    touched: dict[str, None] = {}
    findings = []
    for path, status in changed.items():
        parts = PurePosixPath(path).parts
        root_parts = _submission(parts[len(home) :])
        if parts[: len(home)] != home or not root_parts:
            findings.append(Finding("error", path, "a pull request of a submission changes nothing but its own folder"))
        elif path.endswith(verification.SUFFIX) and (
            status != "D" or verification.results_file_of(path) not in changed
        ):
            findings.append(Finding("error", path, "records of reruns are for maintainers to write and to remove"))
        else:
            touched[PurePosixPath(*home, *root_parts).as_posix()] = None
    if not changed:
        findings.append(Finding("error", str(leaderboard), f"nothing is committed since {since}; commit a submission"))
    for name in touched:
        findings += _ownership(root, base, name)
    return [root / name for name in touched if _git(root, "ls-tree", "-z", "HEAD", "--", name)], findings


def _submission(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Which submission a file below `submissions` is of: its benchmark and its id; empty where it is of none.

    Ids of submitted networks have two parts, those of reports as many as the registry gives them.

    >>> _submission(("cifar10@2", "robustbench", "cifar10", "L2", "Standard", "report.yaml"))
    ('cifar10@2', 'robustbench', 'cifar10', 'L2', 'Standard')
    """
    if parts[-1:] == (REPORT,) and len(parts) > _DEPTH:
        return parts[:-1]
    if RESULTS in parts[_DEPTH:]:
        return parts[: parts.index(RESULTS, _DEPTH)]
    return parts[:_DEPTH] if len(parts) > _DEPTH else ()


def _root(leaderboard: Path) -> Path:
    """The checkout that a leaderboard lies in.

    It is looked for here and not by git, which would take a folder of a branch that is laid out as a repository for
    one, and run what its configuration says. No branch can have a file called `.git`.
    """
    root = next((folder for folder in leaderboard.parents if (folder / ".git").exists()), None)
    if root is None:
        raise ChangesError(f"{leaderboard}: in no git checkout; run this in one, or give --leaderboard")
    if leaderboard.resolve() != root.resolve() / leaderboard.relative_to(root):
        raise ChangesError(f"{leaderboard}: a symbolic link; name the folder itself")
    return root


def _ownership(root: Path, base: str, name: str) -> Iterator[Finding]:
    """A submission that was there may be changed or taken back by its authors, as its card names them."""
    older, newer = (_card(root, f"{revision}:{name}/{CARD}") for revision in (base, "HEAD"))
    before, now = (_report(root, f"{revision}:{name}/{REPORT}") for revision in (base, "HEAD"))
    if before is not None and (now is None or now.by != before.by):
        yield Finding("error", name, f"changes what {before.by} has reported; a maintainer must do that")
    elif before is not None:
        yield Finding("warning", name, f"changes what {before.by} has reported: a maintainer must confirm it")
    if older is None:
        return
    if newer is None and now is not None:
        yield Finding("error", name, f"puts a report in the place of a submission of {older.authors}")
        return
    authors = older.authors
    if newer is None:
        message = f"removes a submission of {authors}: a maintainer must confirm that they ask for it"
        yield Finding("warning", name, message)
        return
    if (broken := broken_embargo(older, newer)) is not None:
        yield Finding("error", name, broken.message)
    if newer.authors != authors:
        yield Finding("error", name, f"changes the authors of a submission of {authors}; submit under another id")
    else:
        yield Finding(
            "warning", name, f"changes a submission of {authors}: a maintainer must confirm that it is theirs"
        )


def _card(root: Path, blob: str) -> ModelCard | None:
    """A card as it is committed; None where there is none, or none that can be read, which the folder's checks say."""
    try:
        content = _yaml(root, blob)
        return None if content is None else ModelCard.parse(content, CARD)
    except CardError:
        return None


def _report(root: Path, blob: str) -> Report | None:
    """The same of a report."""
    try:
        return Report.model_validate(_yaml(root, blob))
    except ValidationError:
        return None


def _yaml(root: Path, blob: str) -> dict[str, Any] | None:
    """What a file holds as it is committed; None where there is none, or no plain YAML."""
    try:
        if int(_git(root, "cat-file", "-s", blob)) > plain_yaml.LARGEST_YAML:
            return None
        content = plain_yaml.parse_yaml(_git(root, "cat-file", "blob", blob).encode(errors="surrogateescape"))
    except (ChangesError, plain_yaml.PlainYamlError):
        return None
    return content if isinstance(content, dict) else None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "--git-dir", ".git", "--work-tree", ".", "--literal-pathspecs", *arguments]
    try:
        with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as child:
            clock = threading.Timer(_PATIENCE_S, child.kill)
            clock.start()
            assert child.stdout is not None
            answer = child.stdout.read(_LARGEST_ANSWER + 1)
            if len(answer) > _LARGEST_ANSWER:
                child.kill()
            child.wait()
            late = not clock.is_alive()
            clock.cancel()
            said.seek(0)
            reason = (said.read(10_000).decode(errors="replace").strip().splitlines() or ["no such revision"])[0]
    except OSError as error:
        raise ChangesError(f"git cannot be run ({error.strerror}); install it, or name the folder") from None
    if late or len(answer) > _LARGEST_ANSWER:
        raise ChangesError(f"{root}: more changes than a submission has, of which git goes on to speak; check --since")
    if child.returncode:
        raise ChangesError(f"{root}: git says {reason!r}; check --since")
    return answer.decode(errors="surrogateescape")
