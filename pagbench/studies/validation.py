"""How good a benchmark's ruler is: its density and its tangent spaces beside other candidates, on unseen images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import data, geometry
from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.partners import partners
from pagbench.benchmarks.validation import (
    ACCURACY_KEPT,
    AGREEMENT,
    ENERGY,
    UNKNOWN,
    DensityRow,
    Estimate,
    LpipsAgreement,
    ManifoldRow,
    Passes,
    Validation,
    rounded,
)
from pagbench.cards import SCORE_MODELS, ManifoldCard
from pagbench.data import Dataset, Splits
from pagbench.densities import heldout, manifolds, mixture, scores
from pagbench.densities.empirical import EmpiricalDensity, StreamedEmpiricalDensity
from pagbench.densities.mixture import MixtureDensity
from pagbench.densities.scores import ClassMixture, ScoreModel
from pagbench.errors import CardError, DataError, PagbenchError, WeightsError
from pagbench.measures import lpips
from pagbench.ranking import resampling, statistics
from pagbench.ranking.resampling import Resampling
from pagbench.storage import global_state
from pagbench.studies import passes
from pagbench.studies.tangents import estimates, title
from pagbench.studies.transformations import TRANSFORMATIONS, derivatives
from pagbench.training import components

_CHUNK = 32
_CPU = torch.device("cpu")

_Pair = tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]
"""Targets of two densities at the same images."""


def class_means(train: Dataset, classes: int) -> EmpiricalDensity:
    """The coarsest density of classes: a point each, where all images of a class have their mean."""
    means = torch.stack([train.images[train.labels == label].mean(0) for label in range(classes)])
    return EmpiricalDensity(means, torch.arange(classes), classes=classes)


def _candidates(benchmark: Benchmark, splits: Splits) -> Iterator[tuple[str, Callable[[Dataset], ScoreModel], bool]]:
    """Name, how it is made of training images, and whether of parts of them, too; the benchmark's own comes first."""
    own, classes = benchmark.score, benchmark.classes

    def empirical(train: Dataset) -> ScoreModel:
        return StreamedEmpiricalDensity(train.images, train.labels, classes=classes)

    if own.kind == "mixture":
        yield "mixture", lambda train: _mixture(benchmark, train, splits), True
    else:
        yield own.kind, lambda train: scores.build(own, benchmark, train), SCORE_MODELS[own.kind].data is None
    if own.kind != "empirical":
        yield "empirical", empirical, True
    second = benchmark.second
    if second is not None and second.score != own:
        yield second.score.kind, lambda train: scores.build(second.score, benchmark, train), False
    yield "class means", lambda train: class_means(train, classes), True


def _mixture(benchmark: Benchmark, train: Dataset, splits: Splits) -> ScoreModel:
    """The benchmark's own mixture where `train` is the whole split; else one by the same recipe."""
    if train is splits.train:
        return scores.load(benchmark, train)
    recipe = mixture.recipe_of(benchmark.score)
    most = int(torch.bincount(train.labels).min()) // 2
    smaller = recipe.model_copy(update={"components": min(recipe.components, most)})
    return MixtureDensity(mixture.fit(train.images, train.labels, classes=benchmark.classes, recipe=smaller))


def parts_of(train: Dataset, count: int, seed: int) -> list[Dataset]:
    """Disjoint parts of a data set with the same share of every class."""
    rng = np.random.default_rng(seed)
    chosen: list[list[int]] = [[] for _ in range(count)]
    for label in train.labels.unique().tolist():
        order = rng.permutation(np.flatnonzero(train.labels.numpy() == label))
        for index in range(count):
            chosen[index] += order[index::count].tolist()
    return [train.select([train.ids[i] for i in sorted(part)]) for part in chosen]


def targets_of(
    density: ClassMixture, images: Dataset, sigma: float, device: torch.device = _CPU
) -> Float[Tensor, "n d"]:
    """The Bayes target of each image, on the CPU."""
    parts = [
        density.log_odds_gradient(part.images.to(device), sigma, part.labels).cpu() for part in images.chunks(_CHUNK)
    ]
    return torch.cat(parts).flatten(1)


@global_state.known()
def validate(
    benchmark: Benchmark,
    *,
    images: int | None = None,
    others: Sequence[ManifoldCard] | None = None,
    device: torch.device = _CPU,
    advance: Callable[[str], object] = lambda doing: None,
) -> Validation:
    """Compares the benchmark's density and manifold with other candidates, and computes its noise ceiling.

    Args:
        benchmark: the definition; it needs a calibration split, which is held out here.
        images: the first so many held-out images, and measured ones; all by default.
        others: cards of other manifolds, of the benchmark's rank; the usual estimates by default.
        device: where to compute; densities are fitted on the CPU all the same.
        advance: called with what is computed next.

    Raises:
        CardError: there are no held-out images.
    """
    if not benchmark.calibration:
        raise CardError(f"{benchmark.label}: has no images that are neither trained on nor measured")
    splits = data.splits(benchmark)
    unseen = _Images.of(splits.calibration.select(splits.calibration.ids[:images]), benchmark)
    measured = _Images.of(splits.test.select(benchmark.samples[:images]), benchmark)
    densities, halves, left_out = _densities(benchmark, splits, unseen, measured, device, advance)
    own = [row for row in densities if row.density == densities[0].density]
    manifold_rows, missing = _manifolds(benchmark, splits, unseen, others, device, advance)
    quarters = _targets_of_quarters(benchmark, splits, measured.data, device, advance)
    scatter, unknown = _passes(benchmark, splits, measured.data, device, advance)
    found = Validation(
        benchmark=benchmark.label,
        definition=benchmark.digest(),
        images=len(unseen.data.ids),
        densities=tuple(densities),
        manifolds=tuple(manifold_rows),
        quarters=None if quarters is None else _quarters(benchmark, quarters, own),
        sigma_by_rule=sigma_by_rule(own),
        rank_by_rule=rank_by_rule(benchmark, splits, unseen.data, device),
        lpips=None if halves is None else _lpips(benchmark, halves, quarters, measured, device, advance),
        passes=scatter,
        left_out=(*left_out, *missing, *unknown),
    )
    return Validation.model_validate(rounded(found.model_dump()))


@dataclass(frozen=True)
class _Images:
    """Some images, and how often each is drawn in each replicate."""

    data: Dataset
    drawn: Resampling

    @classmethod
    def of(cls, chosen: Dataset, benchmark: Benchmark) -> "_Images":
        blocks = resampling.along(len(chosen.ids), benchmark.classes)
        return cls(chosen, resampling.resample(blocks, seed=benchmark.seed, replicates=statistics.REPLICATES))

    def mean(self, values: Float[Tensor, "n"]) -> Estimate:
        """Mean over the images with its interval; those without a value are left out."""
        means = resampling.means(self.drawn, values.double().cpu().numpy()[:, None])[:, 0]
        return Estimate(*statistics.interval(means))


def _densities(
    benchmark: Benchmark,
    splits: Splits,
    unseen: _Images,
    measured: _Images,
    device: torch.device,
    advance: Callable[[str], object],
) -> tuple[list[DensityRow], _Pair | None, list[str]]:
    """Rows of all candidates, the benchmark's own first; its targets of two halves; why candidates are left out."""
    grid = sorted({*(benchmark.sigmas or ()), benchmark.sigma})
    halves = parts_of(splits.train, 2, benchmark.seed)
    rows: list[DensityRow] = []
    left_out: list[str] = []
    own: dict[float, Tensor] = {}
    halves_of_own: _Pair | None = None
    partner = _partners(benchmark, measured.data)
    for name, make, again in _candidates(benchmark, splits):
        advance(f"{name}: errors on held-out images")
        try:
            whole = make(splits.train)
        except (CardError, DataError, WeightsError) as error:
            left_out.append(f"{name}: {error}")
            continue
        pair = []
        if again and isinstance(whole, ClassMixture):
            advance(f"{name}: two halves of the training split")
            pair = [_as_mixture(make(half)) for half in halves]
        for sigma in grid:
            errors = heldout.denoising_error(whole, unseen.data, sigma, device=device)
            own.setdefault(sigma, errors)
            nll = accuracy = agreement = chance = UNKNOWN
            if isinstance(whole, ClassMixture):
                classes = heldout.noisy_classes(whole, unseen.data, sigma, device=device)
                nll, accuracy = unseen.mean(classes.nll), unseen.mean(classes.correct)
            if pair:
                first, second = (targets_of(half, measured.data, sigma, device) for half in pair)
                agreement = measured.mean(geometry.cosine(first, second))
                if all(row.density == name for row in rows):
                    target = targets_of(_as_mixture(whole), measured.data, sigma, device)
                    chance = measured.mean(geometry.cosine(target, target[partner]))
                    halves_of_own = (first, second) if sigma == benchmark.sigma else halves_of_own
            lead = unseen.mean(errors - own[sigma])
            rows.append(
                DensityRow(
                    density=name,
                    sigma=sigma,
                    error=unseen.mean(errors),
                    lead=lead,
                    nll=nll,
                    accuracy=accuracy,
                    halves=agreement,
                    chance=chance,
                )
            )
    return rows, halves_of_own, left_out


def _partners(benchmark: Benchmark, measured: Dataset) -> list[int]:
    """Place of each image's partner, which is another one of these."""
    among = benchmark.model_copy(update={"samples": measured.ids})
    partner = partners(among, benchmark.seed, measured.labels.tolist())
    place = {name: index for index, name in enumerate(measured.ids)}
    return [place[partner[name]] for name in measured.ids]


def _targets_of_quarters(
    benchmark: Benchmark, splits: Splits, measured: Dataset, device: torch.device, advance: Callable[[str], object]
) -> _Pair | None:
    """Targets of two mixtures that are fitted to quarters, at the benchmark's sigma; None for other densities."""
    if benchmark.score.kind != "mixture":
        return None
    advance("mixture: two quarters of the training split")
    parts = parts_of(splits.train, 4, benchmark.seed)[:2]
    densities = (_as_mixture(_mixture(benchmark, part, splits)) for part in parts)
    first, second = (targets_of(density, measured, benchmark.sigma, device) for density in densities)
    return first, second


def _quarters(benchmark: Benchmark, quarters: _Pair, own: Sequence[DensityRow]) -> tuple[float, float]:
    """Agreement of fits to two quarters, and what halves predict."""
    half = next(row.halves.value for row in own if row.sigma == benchmark.sigma) or 0.0
    return float(geometry.cosine(*quarters).nanmean()), _of_half_as_many(half)


def _of_half_as_many(agreement: float) -> float:
    """Agreement of two fits to half as many images each, by Spearman and Brown."""
    return agreement / (2 - agreement)


def _lpips(
    benchmark: Benchmark,
    halves: _Pair,
    quarters: _Pair | None,
    measured: _Images,
    device: torch.device,
    advance: Callable[[str], object],
) -> LpipsAgreement | None:
    """Agreement of halves and of quarters by LPIPS; None where the benchmark does not measure alignment by it."""
    if not benchmark.needs("target_embedding"):
        return None
    advance("likeness of the targets of halves by LPIPS")

    def similarity(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        pairs = zip(first.split(_CHUNK), second.split(_CHUNK), strict=True)
        return torch.cat([1 - lpips.distance(*map(embedded, pair)).cpu() for pair in pairs])

    def embedded(targets: Float[Tensor, "b d"]) -> Float[Tensor, "b f"]:
        maps = targets.unflatten(1, benchmark.input_shape).float().to(device)
        return lpips.embed(geometry.scale_to_unit_range(maps))

    partner = _partners(benchmark, measured.data)

    def compared(pair: _Pair) -> tuple[Estimate, Estimate, Estimate]:
        """Similarity, its chance level, and the one corrected for the other."""
        first, second = pair
        alike, level = similarity(first, second), similarity(first, second[partner])
        means = resampling.means(measured.drawn, torch.stack([alike, level], dim=1).double().numpy())
        corrected = (means[:, 0] - means[:, 1]) / (1 - means[:, 1])
        return measured.mean(alike), measured.mean(level), Estimate(*statistics.interval(corrected))

    alike, chance, agreement = compared(halves)
    return LpipsAgreement(
        sigma=benchmark.sigma,
        halves=alike,
        chance=chance,
        agreement=agreement,
        quarters=None
        if quarters is None
        else (compared(quarters)[2].value or 0.0, _of_half_as_many(agreement.value or 0.0)),
    )


def _passes(
    benchmark: Benchmark, splits: Splits, measured: Dataset, device: torch.device, advance: Callable[[str], object]
) -> tuple[Passes | None, list[str]]:
    """What fewer passes cost, on the reference network; why it is not known where its weights are not here."""
    if benchmark.reference is None or benchmark.manifold is None:
        return None, []
    advance(f"{benchmark.reference}: scatter of responses between random draws")
    try:
        return passes.measure(benchmark, splits, measured.select(measured.ids[: passes.IMAGES]), device), []
    except PagbenchError as error:
        return None, [f"passes of {benchmark.reference}: {error}"]


def _as_mixture(score: ScoreModel) -> ClassMixture:
    assert isinstance(score, ClassMixture)
    return score


def sigma_by_rule(rows: Sequence[DensityRow]) -> float | None:
    """The largest sigma where noisy images keep 85 % of the accuracy at the least noise, and two halves agree by .7.

    Args:
        rows: of one density, by growing sigma.

    Returns:
        None where no sigma of the grid does.
    """
    allowed = [
        row.sigma
        for row in rows
        if (row.accuracy.value or 0) >= ACCURACY_KEPT * (rows[0].accuracy.value or 1)
        and (row.halves.value or 0) >= AGREEMENT
    ]
    return max(allowed, default=None)


def rank_by_rule(benchmark: Benchmark, splits: Splits, unseen: Dataset, device: torch.device = _CPU) -> int | None:
    """The least rank, a multiple of four, whose tangent spaces hold 90 % of the energy of the density's own targets.

    The gradients of Bayes classifiers lie on the manifold (arXiv 2305.19101, theorem 2): the rank is the least at which
    those of this one do. None of networks.
    """
    score = scores.load(benchmark, splits.train)
    if not isinstance(score, MixtureDensity):
        return None
    most = min(score.most_directions, benchmark.dimension // 2)
    captured = []
    for part in unseen.chunks(_CHUNK):
        _, vectors = score.posterior_eigenvectors(part.images.to(device), benchmark.sigma, most)
        target = targets_of(score, part, benchmark.sigma, device)
        inside = torch.einsum("bdk,bd->bk", vectors.cpu(), target).square().cumsum(1)
        captured.append(inside / target.square().sum(1, keepdim=True))
    mean = torch.cat(captured).nanmean(0)
    return next((rank for rank in range(4, most + 1, 4) if mean[rank - 1] >= ENERGY), None)


def _manifolds(
    benchmark: Benchmark,
    splits: Splits,
    unseen: _Images,
    others: Sequence[ManifoldCard] | None,
    device: torch.device,
    advance: Callable[[str], object],
) -> tuple[list[ManifoldRow], list[str]]:
    """A row for each candidate manifold, the benchmark's own first, and why some are left out."""
    if benchmark.manifold is None:
        return [], []
    score = scores.load(benchmark, splits.train)
    own = components.with_autoencoder(benchmark, device).manifold or benchmark.manifold
    images = unseen.data.images
    moves = {name: derivatives(name, images).double() for name in TRANSFORMATIONS}
    residual = (images - heldout.denoised(score, unseen.data, benchmark.sigma, device=device)).double()
    rows, left_out = [], []
    for card in (own, *(estimates(benchmark) if others is None else others)):
        name = title(card, benchmark)
        advance(f"{name}: tangent spaces")
        try:
            manifold = manifolds.build(card, benchmark, score, splits.train)
            basis = torch.cat(
                [manifold.tangent_basis(part.images.to(device)).cpu() for part in unseen.data.chunks(_CHUNK)]
            ).double()
        except (CardError, DataError, WeightsError) as error:
            left_out.append(f"{name}: {error}")
            continue
        captured = {move: geometry.tangent_energy(basis, along) for move, along in moves.items()}
        rows.append(
            ManifoldRow(
                manifold=name,
                transformations=unseen.mean(torch.stack(list(captured.values())).nanmean(0)),
                by_transformation={move: float(values.nanmean()) for move, values in captured.items()},
                residuals=unseen.mean(geometry.tangent_energy(basis, residual)),
                chance=card.rank / benchmark.dimension,
            )
        )
    return rows, left_out
