"""Whether someone else has measured an entrant's rows again, and found them. No torch."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pagbench.errors import ResultsError

SELF_REPORTED = "self-reported"
_SUFFIX = ".verified.json"


class Verification(BaseModel):
    """The record of a rerun: some of a results file's rows were measured again and compared.

    It speaks of one file, named by its hash: where the file has changed since, it says nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    """Label, `name@version`."""
    entrant: str
    results_sha256: str
    """Of the results file whose rows were compared."""
    weights_sha256: str
    samples: int
    """How many of the benchmark's samples were measured again."""
    seed: int
    """Of the draw of these samples."""
    verdict: Literal["verified", "refuted"]
    reason: str = ""
    """What differs, where the verdict is refuted."""
    worst_column: str
    worst_difference: float
    """Largest difference of a value, in units of what is tolerated: at most 1 where verified."""
    by: str
    when: str
    """UTC, as 2026-11-23T12:00:00Z."""
    versions: dict[str, str]
    device: str

    def summary(self) -> str:
        """The verdict in a few words, for tables."""
        return f"{self.verdict} by {self.by}, {self.when[:10]}, {self.samples} images"


def path_of(results_file: Path) -> Path:
    """Where the record of a results file lies: beside it."""
    return results_file.with_name(f"{results_file.stem}{_SUFFIX}")


def of(results_file: Path) -> Verification | None:
    """The record of a results file; None where there is none of the file as it is now.

    Raises:
        ResultsError: the record is damaged.
    """
    path = path_of(results_file)
    try:
        found = Verification.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ResultsError(f"{path}: not a verification record ({str(error).splitlines()[0]}); delete it") from None
    current = hashlib.sha256(results_file.read_bytes()).hexdigest()
    return found if found.results_sha256 == current else None
