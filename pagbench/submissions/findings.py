"""What a check of a submission finds: one line each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pagbench.errors import printable

_LONGEST = 1_000
"""Characters of a line."""

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at.

    Attributes:
        level: `error` refuses the submission; `warning` is for a person to judge.
        subject: what was looked at: a file, a field of the card, a property of the network.
        message: what was found; where it is not ok, also what was expected and what to do.
    """

    level: Level
    subject: str
    message: str

    def __str__(self) -> str:
        """One line, whatever the submission's names hold: characters that a terminal may act on are spelt out."""
        line = f"{self.level}: {self.subject}: {self.message}"
        return printable(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


def refused(findings: Iterable[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.level == "error" for finding in findings)
