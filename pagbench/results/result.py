"""Rows of one model and where they come from, and whether two of them are of one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from pagbench.cards import ModelCard
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification

_IDENTITY = ("format", "revision", "benchmark_digest", "weights_sha256", "behaviour", "seed")
_FINGERPRINT_TOLERANCE = 1e-3


class Provenance(BaseModel):
    """What a results file must say of itself; see `pagbench.running.provenance.gather` for all that it does say."""

    model_config = ConfigDict(extra="allow")

    format: int
    revision: int
    benchmark_digest: str
    card: ModelCard
    behaviour: str
    weights_sha256: str
    seed: int
    fingerprint: list[float]
    preflight: Preflight | None = None


@dataclass(frozen=True)
class Result:
    """Rows of one model on one benchmark, and where they come from.

    Attributes:
        rows: one row per sample, columns of `pagbench.columns.schema`; null (NaN) means not scored.
        provenance: format, benchmark, benchmark_digest, card, behaviour, weights_sha256, seed, command, versions,
            device, ...
        verification: what a rerun of some of the rows has found; None where there was none of this very file.
        path: the merged file that they were read from, or will be in; None for rows that were just measured.
    """

    rows: pd.DataFrame
    provenance: Mapping[str, Any]
    verification: Verification | None = None
    path: Path | None = None

    @property
    def preflight(self) -> Preflight | None:
        """The model's pre-flight card; None in results that were measured without one."""
        kept = self.provenance.get("preflight")
        return None if kept is None else Preflight.model_validate(kept)

    def same_as(self, provenance: Mapping[str, Any]) -> bool:
        """Whether rows measured under the other provenance would be these rows."""
        return not self.difference(provenance)

    def difference(self, provenance: Mapping[str, Any]) -> str:
        """Names what differs, with both values shortened; empty where nothing does.

        Outputs on probe images are compared too, within rounding: code and attributes that no hash sees change them.
        So are the weights behind the benchmark's targets, where both know them.
        """
        found = [
            f"{key} {str(self.provenance[key])[:12]} instead of {str(provenance[key])[:12]}"
            for key in _IDENTITY
            if self.provenance[key] != provenance[key]
        ]
        ours, theirs = target_weights(self.provenance), target_weights(provenance)
        found += [
            f"{part} weights {ours[part][:12]} instead of {theirs[part][:12]}"
            for part in sorted(set(ours) & set(theirs))
            if ours[part] != theirs[part]
        ]
        here, there = np.array(self.provenance["fingerprint"]), np.array(provenance["fingerprint"])
        scale = max(1e-6, float(np.abs(there).max(initial=0)))
        if here.shape != there.shape or not np.abs(here - there).max(initial=0) <= _FINGERPRINT_TOLERANCE * scale:
            found.append("other outputs on the probe images")
        return ", ".join(found)


def target_weights(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Hash of each network behind a benchmark's targets, by its part: score, manifold, second, paper."""
    parts = provenance.get("networks", {}).items()
    return {part: record["weights_sha256"] for part, record in parts if "weights_sha256" in record}
