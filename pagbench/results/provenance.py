"""Where the rows of a results file come from, as typed, frozen values. No torch."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pagbench.cards import ModelCard
from pagbench.results.plain import Digest, Line, Moment
from pagbench.results.preflight import Preflight
from pagbench.results.thumbnails import EncodedImages, EncodedThumbnails

_PROBES, _OUTPUTS = 1_000, 100_000
"""The most probe images, and the most outputs on all of them."""
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Outputs = Annotated[list[float], Field(max_length=_OUTPUTS)]
_Versions = Annotated[dict[Line, Line], Field(max_length=100)]


class _Strict(BaseModel):
    """Nothing is converted: a number in a text is none. Fields of other versions are passed over."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Network(_Strict):
    """A network behind the targets of a benchmark."""

    weights_sha256: Digest | None = None
    """None where only its noise level is known."""


class Run(_Strict):
    """One of the runs that a file's rows are from; None where nobody has said."""

    rows: _Count
    started: Moment | None = None
    command: str | None = None
    versions: _Versions | None = None
    commit: Line | None = None
    device: Line | None = None
    numerics: dict[Line, Any] | None = None
    published: Digest | None = None
    """Sha256 of the published results file that the rows were taken from; None for rows that the run measured."""


class Provenance(_Strict):
    """Where rows come from: all that pagbench reads of it; see `pagbench.running.provenance.gather`."""

    format: _Count
    revision: _Count
    benchmark: Line = ""
    """Label, `name@version`; empty in files that others have made."""
    benchmark_digest: Digest
    card: ModelCard
    behaviour: Digest
    weights_sha256: Digest
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    fingerprint: _Outputs
    """Outputs on probe images."""
    gradient_fingerprint: Annotated[list[_Outputs | None], Field(max_length=_PROBES)] | None = None
    """Products of input gradients on these images with random directions; None in results of version 0.1.0."""
    real_fingerprint: _Outputs | None = None
    """Outputs on some of the benchmark's images; None in results of before."""
    preflight: Preflight | None = None
    """None in results that were measured without these checks."""
    wall_seconds: _Seconds = 0.0
    networks: Annotated[dict[Line, Network], Field(max_length=20)] = {}
    """The networks behind the benchmark's targets, by part: score, manifold, second, paper, judge."""
    maps: EncodedThumbnails | None = None
    """Thumbnails of the benchmark's first images."""
    gallery: EncodedThumbnails | None = None
    """Thumbnails of the best, median and worst aligned images."""
    runs: Annotated[list[Run], Field(max_length=10_000)] = []
    """Which run measured how many of the rows, where there were several."""
    made: Annotated[dict[Line, EncodedImages], Field(max_length=20)] | None = None
    """Generated images, by name."""
    started: Moment | None = None
    command: str | None = None
    versions: _Versions | None = None
    commit: Line | None = None
    device: Line | None = None
    precision: Line | None = None
    numerics: dict[Line, Any] | None = None

    @property
    def all_published(self) -> bool:
        """Whether all rows were taken from published results files."""
        return bool(self.runs) and all(run.published is not None for run in self.runs)

    @property
    def target_weights(self) -> dict[str, str]:
        """Hash of each network behind the benchmark's targets, by part."""
        return {part: net.weights_sha256 for part, net in self.networks.items() if net.weights_sha256 is not None}
