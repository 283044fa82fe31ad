"""Summaries of a results folder; those of files that have not changed come from the cache folder."""

import hashlib
import json
import time
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

import pagbench
from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.ranking import resampling
from pagbench.ranking.copies import Network
from pagbench.ranking.eligibility import Evidence
from pagbench.ranking.recipes import Recipe
from pagbench.ranking.summaries import Summary, compared, summarise_result
from pagbench.results.agreement import Claims, voice_of
from pagbench.results.folders import ModelFiles, OnWarning, map_models
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification
from pagbench.storage import files
from pagbench.storage.cache import root

_KEPT_S = 30 * 24 * 3600.0
"""Summaries that nobody has read for so long are removed."""
_TOUCHED_S = 24 * 3600.0
_PLAIN = ("control", "seed", "images", "unscored", "no_result")


def read_summaries(folder: Path, benchmark: Benchmark, on_warning: OnWarning | None = None) -> list[Summary]:
    """Summaries of every model of a results folder, with the replicates that models are compared by.

    The rows of a few models at a time are in memory.

    Args:
        folder: the results folder.
        benchmark: the definition.
        on_warning: as for `results.map_results`.

    Raises:
        ResultsError: see `results.map_results`.
    """
    kept = SummaryCache()

    @cache
    def drawn() -> resampling.Resampling:
        return resampling.resample_samples(benchmark)

    def summary(model: ModelFiles) -> tuple[Claims, Summary] | None:
        made = summary_of(model)
        if made is None:
            return None
        voice = voice_of(submitted=model.submitted, record=made.evidence.verification)
        return Claims(made.name, voice, made.target_weights, made.labels), made

    def summary_of(model: ModelFiles) -> Summary | None:
        digest = model.digest()
        known = None if digest is None else kept.load(digest)
        if known is not None:
            return known
        result = model.read()
        if result is None:
            return None
        made = compared(summarise_result(result, benchmark, drawn()), benchmark)
        if digest is not None and digest == model.digest():  # nobody has written to the files meanwhile
            kept.store(digest, made)
        return made

    listed = map_models(folder, benchmark, summary, on_warning, claims=lambda pair: pair[0])
    return [made for _, made in listed]


class SummaryCache:
    """Summaries by the digest of the files that they are of (`pagbench.results.folders.ModelFiles.digest`).

    A summary counts only for the code that made it. Damaged ones are made anew; where the folder cannot be written to,
    nothing is kept.
    """

    def __init__(self) -> None:
        self._folder = root() / "summaries" / _code_digest()
        self._pruned = False

    def load(self, digest: str) -> Summary | None:
        """The summary of files with this digest; None where there is none."""
        path = self._folder / digest
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > _TOUCHED_S:
                path.touch()
            return _decoded(content)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, digest: str, summary: Summary) -> None:
        """Keeps a summary; removes old ones first."""
        with suppress(OSError):
            if not self._pruned:
                self._pruned = True
                _prune(self._folder.parent)
            with files.replacing(self._folder / digest) as temporary:
                temporary.write_bytes(_encoded(summary))


def _prune(folder: Path) -> None:
    oldest = time.time() - _KEPT_S
    for path in folder.glob("*/*"):
        with suppress(OSError):  # another process removes it, too
            if path.stat().st_mtime < oldest:
                path.unlink()
                path.parent.rmdir()  # fails where other summaries are left in it


def _code_digest() -> str:
    """Hash of all code that a summary depends on."""
    package = Path(pagbench.__file__).parent
    rooms = ("benchmarks", "cards", "results", "ranking")
    sources = [
        package / "columns.py",
        *sorted((package / "measures").glob("*.yaml")),  # they declare the columns
        *(p for r in rooms for p in sorted((package / r).glob("*.py"))),
    ]
    sha256 = hashlib.sha256(f"{pagbench.__version__} {columns.REVISION} {np.__version__}".encode())
    for path in sources:
        sha256.update(path.read_bytes())
    return sha256.hexdigest()[:16]


def _encoded(summary: Summary) -> bytes:
    """A line of JSON, then labels and replicates; all under a checksum."""
    evidence = summary.evidence
    preflight, verification = evidence.preflight, evidence.verification
    header = {
        "name": summary.name,
        "entry": summary.entry,
        "evidence": {name: getattr(evidence, name) for name in _PLAIN},
        "preflight": None if preflight is None else preflight.model_dump(mode="json"),
        "verification": None if verification is None else verification.model_dump(mode="json"),
        "measured": summary.measured.hex(),
        "labels": len(summary.labels),
        "target_weights": dict(summary.target_weights),
        "network": summary.network,
        "recipe": summary.recipe,
        "training_seed": summary.training_seed,
        "replicates": [[name, values.dtype.str, len(values)] for name, values in summary.replicates.items()],
        "rank_replicates": len(summary.rank_replicates),
    }
    content = (
        json.dumps(header).encode()
        + b"\n"
        + summary.labels.tobytes()
        + summary.rank_replicates.tobytes()
        + b"".join(map(bytes, summary.replicates.values()))
    )
    return zlib.crc32(content).to_bytes(4, "little") + content


def _decoded(content: bytes) -> Summary:
    if zlib.crc32(content[4:]) != int.from_bytes(content[:4], "little"):
        raise ValueError("damaged")
    line, _, values = content[4:].partition(b"\n")
    header = json.loads(line)
    preflight, verification = header["preflight"], header["verification"]
    evidence = Evidence(
        **header["evidence"],
        preflight=None if preflight is None else Preflight.model_validate(preflight),
        verification=None if verification is None else Verification.model_validate(verification),
    )
    labels = np.frombuffer(values, np.int16, header["labels"])
    ranked = np.frombuffer(values, count=header["rank_replicates"], offset=labels.nbytes)
    replicates, start = {}, labels.nbytes + ranked.nbytes
    for name, kind, count in header["replicates"]:
        replicates[name] = np.frombuffer(values, np.dtype(kind), count, start)
        start += replicates[name].nbytes
    return Summary(
        header["name"],
        header["entry"],
        evidence,
        bytes.fromhex(header["measured"]),
        replicates,
        ranked,
        labels,
        header["target_weights"],
        None if header["network"] is None else Network(header["network"][0], tuple(header["network"][1])),
        None if header["recipe"] is None else Recipe(*header["recipe"]),
        header["training_seed"],
    )
