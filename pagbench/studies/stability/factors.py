"""The factors of a benchmark: choices that could have been made otherwise, and the levels that each is moved to.

A level's variant says how models are measured under it: the benchmark's own variant with one field replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pagbench.benchmarks import Benchmark
from pagbench.cards import MANIFOLDS, ManifoldCard
from pagbench.errors import CardError

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
    """How alignment is measured.

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
    """How tangent energy and responses are measured.

    Attributes:
        manifold: whose tangent spaces.
        directions: so many of the benchmark's on either side.
        seed: of the directions.
    """

    manifold: ManifoldCard
    directions: int
    seed: int


@dataclass(frozen=True)
class PublishedRows:
    """How the published rows are read; no model is measured again.

    Attributes:
        images: the first so many.
        epsilon: length of the steps whose responses are read; None where alignment is.
    """

    images: int
    epsilon: float | None = None


Variant = Alignment | Response | PublishedRows


@dataclass(frozen=True)
class Level:
    """One level of a factor.

    Attributes:
        name: for people, unique within its factor.
        variant: how models are measured under it.
    """

    name: str
    variant: Variant


@dataclass(frozen=True)
class Factor:
    """A choice of the benchmark that is moved.

    Attributes:
        name: for files and people.
        summary: what is chosen, in a few words.
        ranking: column of the leaderboard whose ranking it concerns.
        levels: the published one first.
    """

    name: str
    summary: str
    ranking: str
    levels: tuple[Level, ...]

    @property
    def published(self) -> Level:
        """The published one."""
        return self.levels[0]

    @property
    def moves_regimes(self) -> bool:
        """Whether regimes are judged by it: by tangent energy of a gradient, and responses."""
        return self.name == "gradient" or self.ranking in ("tangent_energy", "log_ratio")


RESPONSES = 100
"""Images on which factors of the tangent space and of the steps are moved: one estimate takes seconds."""
SEEDS = (1, 2, 3)
"""Added to the benchmark's own."""
SIGMAS = {"× 1/4": 0.25, "× 1/2": 0.5, "× 1/√2": 0.5**0.5, "× √2": 2**0.5, "× 2": 2.0, "× 4": 4.0}
GRADIENTS: dict[Gradient, str] = {
    "sum of logits": "∇ Σ z",
    "logit of the label": "∇ z of the label",
    "logit of the prediction": "∇ z of the prediction",
    "log p": "∇ log p",
    "p": "∇ p",
    "margin": "∇ margin",
    "log-sum-exp": "∇ log-sum-exp",
}
TARGETS: dict[str, Literal["conditional", "marginal"]] = {"s(x|y)": "conditional", "s(x)": "marginal"}
SIMILARITIES = {
    "cosine": Similarity("cosine"),
    "LPIPS": Similarity("lpips"),
    "cosine (blur 1)": Similarity("cosine", blur=1.0),
    "cosine (blur 2)": Similarity("cosine", blur=2.0),
    "cosine (blur 4)": Similarity("cosine", blur=4.0),
    "SSIM": Similarity("ssim"),
    "Spearman of magnitudes": Similarity("spearman"),
    "spectral coherence": Similarity("coherence"),
}
NORMALISATIONS: tuple[Normalisation, ...] = ("99.5 % clip", "unit RMS", "3-std clip")
SIDES = (32, 128)
BACKBONES: dict[str, Literal["vgg", "squeeze"]] = {"VGG-16": "vgg", "SqueezeNet": "squeeze"}
IMAGES = (100, 250, 500)
DIRECTIONS = (2, 4)
POSTERIORS = (0.5, 2.0)
"""Times the benchmark's sigma, where its own tangent spaces are those of a posterior."""
_LPIPS = "alignment_lpips_corrected"


def published_alignment(benchmark: Benchmark) -> Alignment:
    """How the benchmark itself measures the alignment that ranks.

    Raises:
        CardError: it ranks by the paper's protocol, which is one fixed set of choices; or it is of a second edition,
            whose gradients, partners and ranks are others than those that are measured here.
    """
    if benchmark.by_paper:
        raise CardError(
            f"{benchmark.label} ranks by the paper's own protocol, whose choices are not its own to move; name a "
            "benchmark that ranks by alignment_cosine or alignment_lpips"
        )
    if (benchmark.gradient, benchmark.partners, benchmark.ranking) != (None, None, None):
        raise CardError(
            f"{benchmark.label} calibrates outputs, has partners of other classes, or ranks recipes, and none of this "
            "is measured here; name a benchmark that does none of it, as digits@1"
        )
    comparison: Comparison = "lpips" if benchmark.alignment == "alignment_lpips" else "cosine"
    return Alignment("log-odds", Target(benchmark.sigma), Similarity(comparison), benchmark.seed)


def benchmark_factors(benchmark: Benchmark) -> tuple[Factor, ...]:
    """All factors of a benchmark that have more than one level, the published level first.

    Raises:
        CardError: see `published_alignment`.
    """
    every = len(benchmark.samples)
    sizes = [every, *(count for count in IMAGES if count < every)]
    rows = tuple(Level(f"{count}", PublishedRows(count)) for count in sizes)
    factors = [*_alignment(benchmark), *_lpips(benchmark), Factor("images", "number of images", "alignment", rows)]
    if benchmark.manifold is not None:
        factors += _responses(benchmark, benchmark.manifold)
    return tuple(factor for factor in factors if len(factor.levels) > 1)


def _alignment(benchmark: Benchmark) -> list[Factor]:
    own = published_alignment(benchmark)
    name = next(name for name, similarity in SIMILARITIES.items() if similarity == own.similarity)
    sigmas = {
        text: replace(own, target=Target(float(f"{times * benchmark.sigma:.4g}"))) for text, times in SIGMAS.items()
    }
    others: dict[str, Variant] = {}
    if benchmark.second is not None and benchmark.second.sigma is not None:
        others[benchmark.second.score.kind] = replace(own, target=Target(benchmark.second.sigma, second=True))
    targets = {text: replace(own, target=Target(benchmark.sigma, part)) for text, part in TARGETS.items()}
    gradients = {text: replace(own, gradient=gradient) for gradient, text in GRADIENTS.items()}
    similarities = {text: replace(own, similarity=s) for text, s in SIMILARITIES.items() if s != own.similarity}
    seeds = {f"seed {benchmark.seed + more}": replace(own, seed=benchmark.seed + more) for more in SEEDS}
    return [
        _factor("sigma", "noise level of the target", "alignment", ("× 1", own), sigmas),
        _factor("score", "score model of the target", "alignment", (benchmark.score.kind, own), others),
        _factor("target", "which score is the target", "alignment", ("s(x|y) − s(x)", own), targets),
        _factor("gradient", "what is differentiated", "alignment", ("∇ log-odds", own), gradients),
        _factor("similarity", "how maps are compared", "alignment", (name, own), similarities),
        _factor("permutation", "partners for chance", "alignment", (f"seed {benchmark.seed}", own), seeds),
    ]


def _lpips(benchmark: Benchmark) -> list[Factor]:
    """Choices within LPIPS; they concern the ranking by it, whether or not that is the benchmark's own."""
    own = replace(published_alignment(benchmark), similarity=Similarity("lpips"))
    ranking = "alignment" if own == published_alignment(benchmark) else _LPIPS
    smallest = min(benchmark.input_shape[1:])
    sides = {
        f"{side} pixels": replace(own, similarity=Similarity("lpips", side=side)) for side in SIDES if side > smallest
    }
    scales: dict[str, Variant] = {
        text: replace(own, similarity=Similarity("lpips", normalisation=text)) for text in NORMALISATIONS
    }
    backbones = {text: replace(own, similarity=Similarity("lpips", backbone=name)) for text, name in BACKBONES.items()}
    return [
        _factor("normalisation", "scale of maps before LPIPS", ranking, ("max-abs", own), scales),
        _factor("upsampling", "size of maps before LPIPS", ranking, (f"{max(64, smallest)} pixels", own), sides),
        _factor("backbone", "network of LPIPS", ranking, ("AlexNet", own), backbones),
    ]


def _responses(benchmark: Benchmark, manifold: ManifoldCard) -> list[Factor]:
    own = Response(manifold, benchmark.directions, benchmark.seed)
    rank, seed, epsilon = manifold.rank, benchmark.seed, benchmark.epsilon
    estimates = {_title(card): replace(own, manifold=card) for card in _estimates(benchmark, manifold)}
    exact = MANIFOLDS[manifold.kind].data is not None  # its rank is no choice
    sizes = () if exact else (rank // 2, 2 * rank)
    ranks = {f"{k}": replace(own, manifold=_with_rank(manifold, k)) for k in sizes if k}
    counts = {f"{m}": replace(own, directions=m) for m in DIRECTIONS if m < benchmark.directions}
    seeds = {f"seed {seed + more}": replace(own, seed=seed + more) for more in SEEDS[:2]}
    every = len(benchmark.samples)
    steps = {f"{e:g}": PublishedRows(every, e) for e in benchmark.epsilons if e != epsilon}
    own_steps = (f"{epsilon:g}", PublishedRows(every, epsilon))
    return [
        _factor("tangent space", "whose tangent spaces", "tangent_energy", (_title(manifold), own), estimates),
        _factor("rank", "dimension of tangent spaces", "tangent_energy", (f"{rank}", own), ranks),
        _factor("epsilon", "length of steps", "log_ratio", own_steps, steps),
        _factor("directions", "steps per image", "log_ratio", (f"{benchmark.directions}", own), counts),
        _factor("noise", "draw of the steps", "log_ratio", (f"seed {seed}", own), seeds),
    ]


def _factor(name: str, summary: str, ranking: str, own: tuple[str, Variant], others: Mapping[str, Variant]) -> Factor:
    return Factor(name, summary, ranking, tuple(Level(text, variant) for text, variant in (own, *others.items())))


def _estimates(benchmark: Benchmark, own: ManifoldCard) -> list[ManifoldCard]:
    """Estimates of the benchmark's rank that its own manifold is not."""
    posterior = ManifoldCard(kind="posterior-covariance", rank=own.rank)
    local = ManifoldCard(kind="local-pca", rank=own.rank, neighbours=4 * own.rank)
    second = benchmark.second
    others = [posterior.model_copy(update={"sigma": times * benchmark.sigma}) for times in POSTERIORS]
    if own.kind != "posterior-covariance":
        others = []
    if second is not None and second.score.kind == "diffusion" and second.sigma is not None:
        others.append(posterior.model_copy(update={"score": second.score, "sigma": second.sigma}))
    return [card for card in (posterior, *others, local) if card != own]


def _with_rank(own: ManifoldCard, rank: int) -> ManifoldCard:
    neighbours = None if own.neighbours is None else max(own.neighbours, 2 * rank)
    return own.model_copy(update={"rank": rank, "neighbours": neighbours})


def _title(card: ManifoldCard) -> str:
    kind = card.kind.replace("-", " ") + ("" if card.score is None else f" of {card.score.kind}")
    return kind + ("" if card.sigma is None else f", sigma {card.sigma:g}")
