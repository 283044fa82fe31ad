"""The choices of a benchmark that could have been made otherwise, and the settings that each is moved to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pagbench.benchmarks import Benchmark
from pagbench.cards import MANIFOLDS, ManifoldCard
from pagbench.errors import CardError
from pagbench.studies.stability.ways import (
    Alignment,
    Choice,
    Comparison,
    Gradient,
    Normalisation,
    Response,
    Rows,
    Setting,
    Similarity,
    Target,
    Way,
)

RESPONSES = 100
"""Images that choices of the tangent space and of the steps are moved on: an estimate of one takes seconds."""
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


def published(benchmark: Benchmark) -> Alignment:
    """How the benchmark itself measures the alignment that ranks.

    Raises:
        CardError: it ranks by the paper's protocol, which is one fixed set of choices.
    """
    if benchmark.by_paper:
        raise CardError(
            f"{benchmark.label} ranks by the paper's own protocol, whose choices are not its own to move; name a "
            "benchmark that ranks by alignment_cosine or alignment_lpips"
        )
    comparison: Comparison = "lpips" if benchmark.alignment == "alignment_lpips" else "cosine"
    return Alignment("log-odds", Target(benchmark.sigma), Similarity(comparison), benchmark.seed)


def of(benchmark: Benchmark) -> tuple[Choice, ...]:
    """All choices of a benchmark, each with its published setting first.

    Raises:
        CardError: see `published`.
    """
    found = [*_alignment(benchmark), *_lpips(benchmark)]
    sizes = [count for count in IMAGES if count < len(benchmark.samples)]
    every = len(benchmark.samples)
    rows = tuple(Setting(f"{count}", Rows(count)) for count in (every, *sizes))
    found.append(Choice("images", "number of images", "alignment", rows))
    if benchmark.manifold is not None:
        found += _responses(benchmark, benchmark.manifold)
    return tuple(choice for choice in found if len(choice.settings) > 1)


def _alignment(benchmark: Benchmark) -> list[Choice]:
    own = published(benchmark)
    name = next(name for name, similarity in SIMILARITIES.items() if similarity == own.similarity)
    sigmas = {
        text: replace(own, target=Target(float(f"{factor * benchmark.sigma:.4g}"))) for text, factor in SIGMAS.items()
    }
    others: dict[str, Way] = {}
    if benchmark.second is not None and benchmark.second.sigma is not None:
        others[benchmark.second.score.kind] = replace(own, target=Target(benchmark.second.sigma, second=True))
    targets = {text: replace(own, target=Target(benchmark.sigma, part)) for text, part in TARGETS.items()}
    gradients = {text: replace(own, gradient=gradient) for gradient, text in GRADIENTS.items()}
    similarities = {text: replace(own, similarity=s) for text, s in SIMILARITIES.items() if s != own.similarity}
    seeds = {f"seed {benchmark.seed + more}": replace(own, seed=benchmark.seed + more) for more in SEEDS}
    return [
        _choice("sigma", "noise level of the target", "alignment", ("× 1", own), sigmas),
        _choice("score", "score model of the target", "alignment", (benchmark.score.kind, own), others),
        _choice("target", "which score is the target", "alignment", ("s(x|y) − s(x)", own), targets),
        _choice("gradient", "what is differentiated", "alignment", ("∇ log-odds", own), gradients),
        _choice("similarity", "how maps are compared", "alignment", (name, own), similarities),
        _choice("permutation", "partners for chance", "alignment", (f"seed {benchmark.seed}", own), seeds),
    ]


def _lpips(benchmark: Benchmark) -> list[Choice]:
    """Choices within LPIPS; they concern the ranking by it, whether or not that is the benchmark's own."""
    own = replace(published(benchmark), similarity=Similarity("lpips"))
    ranking = "alignment" if own == published(benchmark) else _LPIPS
    smallest = min(benchmark.input_shape[1:])
    sides = {
        f"{side} pixels": replace(own, similarity=Similarity("lpips", side=side)) for side in SIDES if side > smallest
    }
    scales: dict[str, Way] = {
        text: replace(own, similarity=Similarity("lpips", normalisation=text)) for text in NORMALISATIONS
    }
    backbones = {text: replace(own, similarity=Similarity("lpips", backbone=name)) for text, name in BACKBONES.items()}
    return [
        _choice("normalisation", "scale of maps before LPIPS", ranking, ("max-abs", own), scales),
        _choice("upsampling", "size of maps before LPIPS", ranking, (f"{max(64, smallest)} pixels", own), sides),
        _choice("backbone", "network of LPIPS", ranking, ("AlexNet", own), backbones),
    ]


def _responses(benchmark: Benchmark, manifold: ManifoldCard) -> list[Choice]:
    own = Response(manifold, benchmark.directions, benchmark.seed)
    rank, seed, epsilon = manifold.rank, benchmark.seed, benchmark.epsilon
    estimates = {_title(card): replace(own, manifold=card) for card in _estimates(benchmark, manifold)}
    exact = MANIFOLDS[manifold.kind].data is not None  # its rank is no choice
    sizes = () if exact else (rank // 2, 2 * rank)
    ranks = {f"{k}": replace(own, manifold=_of_rank(manifold, k)) for k in sizes if k}
    counts = {f"{m}": replace(own, directions=m) for m in DIRECTIONS if m < benchmark.directions}
    seeds = {f"seed {seed + more}": replace(own, seed=seed + more) for more in SEEDS[:2]}
    every = len(benchmark.samples)
    steps = {f"{e:g}": Rows(every, e) for e in benchmark.epsilons if e != epsilon}
    own_steps = (f"{epsilon:g}", Rows(every, epsilon))
    return [
        _choice("tangent space", "whose tangent spaces", "tangent_energy", (_title(manifold), own), estimates),
        _choice("rank", "dimension of tangent spaces", "tangent_energy", (f"{rank}", own), ranks),
        _choice("epsilon", "length of steps", "log_ratio", own_steps, steps),
        _choice("directions", "steps per image", "log_ratio", (f"{benchmark.directions}", own), counts),
        _choice("noise", "draw of the steps", "log_ratio", (f"seed {seed}", own), seeds),
    ]


def _choice(name: str, summary: str, ranking: str, own: tuple[str, Way], others: Mapping[str, Way]) -> Choice:
    return Choice(name, summary, ranking, tuple(Setting(text, way) for text, way in (own, *others.items())))


def _estimates(benchmark: Benchmark, own: ManifoldCard) -> list[ManifoldCard]:
    """Estimates of the benchmark's rank that its own manifold is not."""
    posterior = ManifoldCard(kind="posterior-covariance", rank=own.rank)
    local = ManifoldCard(kind="local-pca", rank=own.rank, neighbours=4 * own.rank)
    second = benchmark.second
    others = [posterior.model_copy(update={"sigma": factor * benchmark.sigma}) for factor in POSTERIORS]
    if own.kind != "posterior-covariance":
        others = []
    if second is not None and second.score.kind == "diffusion" and second.sigma is not None:
        others.append(posterior.model_copy(update={"score": second.score, "sigma": second.sigma}))
    return [card for card in (posterior, *others, local) if card != own]


def _of_rank(own: ManifoldCard, rank: int) -> ManifoldCard:
    neighbours = None if own.neighbours is None else max(own.neighbours, 2 * rank)
    return own.model_copy(update={"rank": rank, "neighbours": neighbours})


def _title(card: ManifoldCard) -> str:
    told = card.kind.replace("-", " ") + ("" if card.score is None else f" of {card.score.kind}")
    return told + ("" if card.sigma is None else f", sigma {card.sigma:g}")
