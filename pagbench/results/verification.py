"""Verification records: whether a rerun of some of a model's rows has confirmed its results file. No torch."""

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pagbench.errors import ResultsError, first_line
from pagbench.results import plain
from pagbench.results.plain import Digest, Moment
from pagbench.storage import files
from pagbench.storage.files import read_regular, sha256_of

SELF_REPORTED = "self-reported"
UNDER_EMBARGO = "weights under embargo"
_FOLDER, SUFFIX = "_records", ".verified.json"
"""Readers of Parquet folders pass over names that begin with an underscore, as pyarrow and pandas do."""
_LARGEST = 1 << 20
LONGEST = 1000
"""Characters of one line of a record."""

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=LONGEST)]
"""Text without line breaks or control characters; of a record that is read, without hidden marks."""


class Verification(BaseModel):
    """The record of a rerun: some of a results file's rows were measured again and compared.

    It speaks of one file, named by its hash: where the file has changed since, it says nothing.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    benchmark: Line
    """Label, `name@version`."""
    model: Annotated[Line, Field(alias="entrant")]
    """Its id; `entrant` in the file, as every record has called it."""
    results_sha256: Digest
    """Of the results file whose rows were compared."""
    weights_sha256: Digest
    """Of the network that was measured again; of the one that the file names where none could be."""
    samples: Annotated[int, Field(ge=0, lt=2**31)]
    """How many of the benchmark's samples were measured again; 0 where the file alone is refuted."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Of the draw of these samples."""
    verdict: Literal["verified", "refuted"]
    reason: Line = ""
    """What differs, where the verdict is refuted."""
    worst_column: Line = ""
    worst_difference: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Largest difference of a value, in units of what is tolerated: at most 1 where verified."""
    by: Line
    when: Moment
    """UTC, as 2026-11-23T12:00:00Z."""
    versions: Annotated[dict[Line, Line], Field(max_length=100)]
    """Of pagbench, Python and the packages that compute."""
    commit: Line | None = None
    """Of pagbench's source, where it ran from a checkout."""
    device: Line

    def summary(self) -> str:
        """The verdict in a few words, for tables.

        >>> fields = {"benchmark": "digits@1", "entrant": "x", "results_sha256": "", "weights_sha256": "", "seed": 0}
        >>> fields |= {"samples": 50, "verdict": "verified", "by": "me", "when": "2026-11-23T12:00:00Z"}
        >>> Verification(**fields, versions={}, device="cpu").summary()
        'verified by rerun of 50 images (me, 2026-11-23)'
        """
        how = f"by rerun of {self.samples} images" if self.samples else "by the file itself"
        return f"{self.verdict} {how} ({self.by}, {self.when[:10]})"


def standing(record: Verification | None, embargo: str | None) -> str:
    """How far results are to be trusted, for tables: what a rerun found, or that there was none.

    Args:
        record: of the rerun.
        embargo: sha256 of the weights where they are kept back; None where they are not.

    >>> standing(None, None), standing(None, "0123456789abcdef")
    ('self-reported', 'self-reported, weights under embargo (sha256 0123456789ab…)')
    """
    if record is not None:
        return record.summary()
    return SELF_REPORTED if embargo is None else f"{SELF_REPORTED}, {UNDER_EMBARGO} (sha256 {embargo[:12]}…)"


def path_of(results_file: Path) -> Path:
    """Where the record of a results file lies: in the folder `_records` beside it.

    >>> path_of(Path("digits@2/digits/standard.parquet")).as_posix()
    'digits@2/digits/_records/standard.verified.json'
    """
    return results_file.parent / _FOLDER / f"{results_file.stem}{SUFFIX}"


def find(results_file: Path) -> Path:
    """The record of a results file where there is one, which older versions wrote beside the file itself."""
    path, older = path_of(results_file), results_file.with_name(f"{results_file.stem}{SUFFIX}")
    return older if older.exists() and not path.exists() else path


def results_file_of(record: str) -> str:
    """The path of the results file that a record of this path, at either place, speaks of.

    >>> results_file_of("digits/_records/standard.verified.json"), results_file_of("digits/standard.verified.json")
    ('digits/standard.parquet', 'digits/standard.parquet')
    """
    path = PurePosixPath(record)
    folder = path.parent.parent if path.parent.name == _FOLDER else path.parent
    return (folder / f"{path.name.removesuffix(SUFFIX)}.parquet").as_posix()


def write(results_file: Path, record: Verification) -> Path:
    """Puts a record at its place, instead of an older one.

    Raises:
        ResultsError: the disk refuses.
    """
    content = record.model_dump_json(indent=1, by_alias=True) + "\n"
    path = files.write(path_of(results_file), content)
    with suppress(OSError):  # an older one beside the file, which `find` passes over
        results_file.with_name(path.name).unlink()
    return path


def read(results_file: Path, benchmark: str, model: str, weights_sha256: str | None) -> Verification | None:
    """The record of a results file; None where there is none, or none of the file as it is now.

    Args:
        results_file: the file.
        benchmark: label of the benchmark that its rows are of.
        model: whose rows they are.
        weights_sha256: of the network that they are of, as the file says; None where that is not known.

    Raises:
        ResultsError: the record is damaged, or is of this very file but speaks of others' results.
    """
    path = find(results_file)
    record = _read(path)
    if record is None or record.results_sha256 != sha256(results_file):
        return None
    if (record.benchmark, record.model) != (benchmark, model):
        raise ResultsError(
            f"{path}: speaks of {record.model} on {record.benchmark}, expected {model} on {benchmark}; delete it"
        )
    if record.verdict == "verified" and weights_sha256 not in (None, record.weights_sha256):
        raise ResultsError(
            f"{path}: verifies the weights {record.weights_sha256[:12]}, but the results are of "
            f"{str(weights_sha256)[:12]}; delete it"
        )
    return record


def sha256(results_file: Path) -> str:
    """Of a results file's bytes, by which its record names it.

    Raises:
        ResultsError: it cannot be read.
    """
    try:
        return sha256_of(results_file)
    except OSError as error:
        raise ResultsError(f"{results_file}: cannot be read ({error.strerror or error})") from None


def _read(path: Path) -> Verification | None:
    try:
        return Verification.model_validate(plain.parse(read_regular(path, _LARGEST)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = plain.flaw(error) if isinstance(error, ValidationError) else first_line(error)
        reason = getattr(error, "strerror", None) or reason
        raise ResultsError(f"{path}: not a verification record ({reason}); delete it") from None
