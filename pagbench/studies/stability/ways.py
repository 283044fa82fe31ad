"""Ways to measure alignment and responses: the benchmark's own with one field replaced is a setting of a choice."""

from dataclasses import dataclass
from typing import Literal

from pagbench.cards import ManifoldCard

Gradient = Literal[
    "sum of logits", "logit of the label", "logit of the prediction", "log p", "log-odds", "p", "margin", "log-sum-exp"
]
Comparison = Literal["cosine", "lpips", "ssim", "spearman", "coherence"]
Normalisation = Literal["max-abs", "99.5 % clip", "unit RMS", "3-std clip"]


@dataclass(frozen=True)
class Target:
    """What gradients are compared with.

    Attributes:
        sigma: noise level, pixel units.
        part: s(x|y) - s(x), or one of both.
        second: of the second score model instead of the first.
    """

    sigma: float
    part: Literal["difference", "conditional", "marginal"] = "difference"
    second: bool = False


@dataclass(frozen=True)
class Similarity:
    """How two maps are compared.

    Attributes:
        comparison: cosine; 1 - LPIPS; SSIM; Spearman's rho of magnitudes; radial spectral coherence.
        blur: standard deviation of a Gaussian that both are blurred with first, pixels.
        normalisation: of maps before LPIPS.
        side: of maps before LPIPS, at least; pixels.
        backbone: of LPIPS.
    """

    comparison: Comparison
    blur: float = 0.0
    normalisation: Normalisation = "max-abs"
    side: int = 64
    backbone: Literal["alex", "vgg", "squeeze"] = "alex"


@dataclass(frozen=True)
class Alignment:
    """One way to measure alignment.

    Attributes:
        gradient: which scalar of the logits is differentiated.
        target: what its gradient is compared with.
        similarity: how.
        seed: of the permutation that gives each image its partner, for the level of chance.
    """

    gradient: Gradient
    target: Target
    similarity: Similarity
    seed: int


@dataclass(frozen=True)
class Response:
    """One way to measure tangent energy and responses.

    Attributes:
        manifold: whose tangent spaces.
        directions: so many of the benchmark's on either side.
        seed: of the directions.
    """

    manifold: ManifoldCard
    directions: int
    seed: int


@dataclass(frozen=True)
class Rows:
    """One way to read the published rows, which needs no pass.

    Attributes:
        images: the first so many.
        epsilon: length of the steps whose responses are read; None where alignment is.
    """

    images: int
    epsilon: float | None = None


Way = Alignment | Response | Rows


@dataclass(frozen=True)
class Setting:
    """One value of a choice.

    Attributes:
        name: for people, within its choice.
        way: how models are measured under it; all else as published.
    """

    name: str
    way: Way


@dataclass(frozen=True)
class Choice:
    """A choice of the benchmark.

    Attributes:
        name: for files and people.
        summary: what is chosen, in a few words.
        ranking: column of the leaderboard whose ranking it concerns.
        settings: the published one first.
    """

    name: str
    summary: str
    ranking: str
    settings: tuple[Setting, ...]

    @property
    def published(self) -> Setting:
        """The published one."""
        return self.settings[0]

    @property
    def moves_regimes(self) -> bool:
        """Whether regimes are judged by it: by tangent energy of a gradient, and responses."""
        return self.name == "gradient" or self.ranking in ("tangent_energy", "log_ratio")
