"""A mixture of low-rank Gaussians for each class: one density for target, Bayes classifier and tangent space.

Mixtures of probabilistic principal component analysers (Tipping & Bishop 1999), which model natural patches and whole
images well (Zoran & Weiss 2011; Richardson & Weiss 2018). Blurred with N(0, sigma² I) they stay such mixtures, so that
score, denoiser, class posterior and posterior covariance are closed forms at every sigma. No d×d matrix is needed.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import MixtureRecipe, ScoreCard
from pagbench.data import Dataset
from pagbench.densities.empirical import check_labels
from pagbench.densities.scores import ClassMixture, flat_exact
from pagbench.errors import CardError, DataError, WeightsError, excerpt
from pagbench.storage import assets, cache, weights
from pagbench.storage.files import file_lock
from pagbench.storage.transport import notify, tenths

_NEGLIGIBLE = 1e-12
"""Posterior weight below which a component does not count in a covariance, or an image in a component."""

_FLOOR = 1e-3
"""Least noise variance of a component: a component of few images would be certain of pixels that it has never seen."""

_LLOYD_STEPS, _EM_STEPS = 12, 5

_LEVELS = 127
"""Bases are stored as whole numbers up to so many. They are made orthonormal again, so that no scale is kept."""

_FILE = "mixture.safetensors"

Progress = Callable[[int, int], object]


class Parameters(NamedTuple):
    """Every component N(c + B mu, B (U diag(l) Uᵀ + n I) Bᵀ + e (I - B Bᵀ)), the components of a class side by side.

    The m directions B are those in which the data vary most. What is outside of them is as large in all directions.

    Attributes:
        centre: c, in pixels.
        directions: B, orthonormal columns.
        means: mu of each component, in these directions.
        bases: U of each component, orthonormal columns.
        variances: l, beside the noise.
        noise: n, variance in the directions that a component's basis lacks.
        outside: e, variance outside of B.
        log_weights: log of each component's share of all images, of shape (classes, components).
    """

    centre: Float[Tensor, "d"]
    directions: Float[Tensor, "d m"]
    means: Float[Tensor, "n m"]
    bases: Float[Tensor, "n m r"]
    variances: Float[Tensor, "n r"]
    noise: Float[Tensor, "n"]
    outside: Float[Tensor, "n"]
    log_weights: Float[Tensor, "classes k"]


class _Point(NamedTuple):
    """Images as the components see them: along B, outside of it, and in each component's basis."""

    along: Float[Tensor, "b m"]
    outside: Float[Tensor, "b d"]
    inner: Float[Tensor, "b n r"]
    log_joint: Float[Tensor, "b n"]
    """Log p(x, component)."""


class MixtureDensity(ClassMixture):
    """The mixture blurred with N(0, sigma² I), everything in closed form.

    Args:
        parameters: of its components; they are used in float64.
        weights_sha256: of the file that they are from.
    """

    def __init__(self, parameters: Parameters, weights_sha256: str | None = None) -> None:
        self._p = Parameters(*(value.double() for value in parameters))
        self.weights_sha256 = weights_sha256

    def placed(self, dtype: torch.dtype, device: torch.device) -> "MixtureDensity":
        """See `ClassMixture`."""
        other = MixtureDensity(self._p, self.weights_sha256)
        other._p = Parameters(*(value.to(device, dtype) for value in self._p))
        return other

    @property
    def most_directions(self) -> int:
        """The largest rank of its tangent spaces."""
        return self._p.directions.shape[1]

    def rounded(self, sigma: float) -> float:
        """The noise level that is used for sigma: every one is."""
        return sigma

    def _point(self, x: Float[Tensor, "b c h w"], sigma: float) -> _Point:
        p = self._on(x.device)
        centred = flat_exact(x, p.centre) - p.centre
        along = centred @ p.directions
        outside = centred - along @ p.directions.T
        blurred = p._replace(noise=p.noise + sigma**2, outside=p.outside + sigma**2)
        log_joint, inner = _log_joint(along, outside.square().sum(1), len(p.centre), blurred)
        return _Point(along, outside, inner, log_joint)

    def _on(self, device: torch.device) -> Parameters:
        """The parameters where images lie; float32 on devices that have no more."""
        dtype = torch.float32 if device.type == "mps" else self._p.centre.dtype
        if self._p.centre.device != device or self._p.centre.dtype != dtype:
            self._p = Parameters(*(value.to(device, dtype) for value in self._p))
        return self._p

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c), normalised."""
        return self._point(x, sigma).log_joint.unflatten(1, self._p.log_weights.shape).logsumexp(2)

    def _weighted(
        self, point: _Point, weights: Float[Tensor, "b n"], sigma: float, shape: tuple[int, ...]
    ) -> Float[Tensor, "b c h w"]:
        """Σ_k weights_k ∇x log N_k(x): a score where the weights are a posterior."""
        p, s2 = self._p, sigma**2
        v = p.noise + s2
        pull = weights / v
        gain = p.variances / ((p.variances + v[:, None]) * v[:, None])
        inside = pull @ p.means - pull.sum(1, keepdim=True) * point.along
        inside = inside + torch.einsum("bnr,nmr->bm", weights[:, :, None] * gain * point.inner, p.bases)
        flat = inside @ p.directions.T - (weights / (p.outside + s2)).sum(1, keepdim=True) * point.outside
        return flat.unflatten(1, shape)

    def _own(self, labels: Int[Tensor, "b"]) -> Tensor:
        """Which components are of each label's class, shape (b, n)."""
        classes, k = self._p.log_weights.shape
        return torch.arange(classes, device=labels.device).repeat_interleave(k) == labels[:, None]

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """See `pagbench.densities.scores.ScoreModel`."""
        point = self._point(x, sigma)
        log = point.log_joint
        if labels is not None:
            log = log.masked_fill(~self._own(labels.to(log.device)), -torch.inf)
        return self._weighted(point, log.softmax(1), sigma, x.shape[1:])

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """∇x log p_sigma(x|c) for every class."""
        point = self._point(x, sigma)
        labels = torch.arange(len(self._p.log_weights), device=point.along.device)
        weights = [point.log_joint.masked_fill(~own, -torch.inf).softmax(1) for own in self._own(labels)]
        return torch.stack([self._weighted(point, w, sigma, x.shape[1:]) for w in weights], dim=1)

    def log_odds_gradient(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """s(x|y) - s(x|not y); see `ClassMixture`."""
        point = self._point(x, sigma)
        own = self._own(labels.to(point.along.device))
        mine, others = (point.log_joint.masked_fill(away, -torch.inf).softmax(1) for away in (~own, own))
        return self._weighted(point, mine - others, sigma, x.shape[1:])

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Cov(x0 | x), as a matrix; see `posterior_eigenvectors` for one that forms none."""
        d, covariances = self._p.directions.shape[0], []
        for basis, inner, outer in self._covariances(x, sigma):
            identity = torch.eye(d, dtype=basis.dtype, device=basis.device)
            covariances.append(basis @ inner @ basis.T + outer * (identity - basis @ basis.T))
        return torch.stack(covariances)

    def posterior_eigenvectors(
        self, x: Float[Tensor, "b c h w"], sigma: float, rank: int
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d k"]]:
        """See `ClassMixture`; no d×d matrix is formed, and k is at most the number of directions m.

        Raises:
            DataError: more are asked for than there are directions.
        """
        m = self._p.directions.shape[1]
        if rank > m:
            raise DataError(f"{rank} leading directions of a mixture that varies in {m}; use a smaller rank")
        values, vectors = [], []
        for basis, inner, _ in self._covariances(x, sigma):
            found, rotation = torch.linalg.eigh(inner)
            values.append(found.flip(0)[:rank])
            vectors.append(basis @ rotation.flip(1)[:, :rank])
        return torch.stack(values), torch.stack(vectors)

    @torch.no_grad()
    def _covariances(self, x: Float[Tensor, "b c h w"], sigma: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each image's Cov(x0 | x): a basis, the covariance in it, and the variance in all other directions.

        The basis is B and where the image lies outside of it: components disagree there about how far to go back. One
        image after the other, for the basis is as large as some hundred images.
        """
        point, p, s2 = self._point(x, sigma), self._p, sigma**2
        d, m = p.directions.shape
        v, w = p.noise + s2, p.outside + s2
        for along, outside, inner, posterior in zip(
            point.along, point.outside, point.inner, point.log_joint.softmax(1), strict=True
        ):
            near = posterior > _NEGLIGIBLE
            share = posterior[near] / posterior[near].sum()
            bases, variances, noise = p.bases[near], p.variances[near], v[near]
            gain = variances / ((variances + noise[:, None]) * noise[:, None])
            back = (p.means[near] - along) / noise[:, None] + torch.einsum("nr,nmr->nm", gain * inner[near], bases)
            length = outside.norm()
            basis, extra = p.directions, d > m and bool(length > 0)
            if extra:
                basis = torch.cat([basis, (outside / length)[:, None]], dim=1)
                back = torch.cat([back, -(length / w[near])[:, None]], dim=1)
            back = s2 * (back - share @ back)
            spread = (share[:, None] * s2**2 * gain).sqrt()[:, None] * bases
            inner_covariance = basis.new_zeros(basis.shape[1], basis.shape[1])
            inner_covariance[:m, :m] = torch.einsum("nmr,nkr->mk", spread, spread)
            inner_covariance += back.T @ (share[:, None] * back)
            outer = (share * s2 * p.outside[near] / w[near]).sum()
            isotropic = (share * s2 * p.noise[near] / noise).sum().repeat(basis.shape[1])
            if extra:
                isotropic[m] = outer
            inner_covariance += isotropic.diag()
            yield basis, inner_covariance, outer


@torch.no_grad()
def fit(
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n"],
    *,
    classes: int,
    recipe: MixtureRecipe,
    on_step: Progress = lambda done, total: None,
) -> Parameters:
    """Fits the mixture by k-means and EM, in float64: to rounding the same with however many threads.

    The principal directions of all images come first; then the components of one class after the other, each an
    eigendecomposition in these directions.

    Args:
        images: training images, pixels in [0, 1].
        labels: their classes.
        classes: number of classes.
        recipe: numbers of components, of their dimensions and of directions, and the seed.
        on_step: called with the classes that are fitted, and all.

    Raises:
        DataError: a class has fewer than twice as many images as components, or there are fewer pixels than directions.
    """
    sizes, pixels = check_labels(labels, classes), images[0].numel()
    if min(sizes) < 2 * recipe.components:
        raise DataError(
            f"class {sizes.index(min(sizes))} has {min(sizes)} training images for {recipe.components} components; "
            "use fewer components"
        )
    if recipe.directions > pixels:
        raise DataError(f"{recipe.directions} directions of {pixels} pixels; use fewer")
    centre, directions = _principal_directions(images, recipe.directions)
    along, outside = [], []
    for part in images.flatten(1).split(4096):
        centred = part.double() - centre
        along.append(centred @ directions)
        outside.append((centred.square().sum(1) - along[-1].square().sum(1)).clamp(min=0))
    z, rest = torch.cat(along), torch.cat(outside) / max(1, pixels - recipe.directions)
    fitted = []
    for label, size in enumerate(sizes):
        on_step(label, classes)
        mine = labels == label
        rng = np.random.default_rng([recipe.seed, label])
        found = _fit_class(z[mine], rest[mine], pixels - recipe.directions, recipe, rng)
        fitted.append(found._replace(log_weights=found.log_weights + math.log(size / len(labels))))
    on_step(classes, classes)
    *components, log_weights = [torch.stack(values) for values in zip(*fitted, strict=True)]
    return Parameters._make([centre, directions, *(value.flatten(0, 1) for value in components), log_weights])


class _Components(NamedTuple):
    """The components of one class; fields as in `Parameters`."""

    means: Float[Tensor, "k m"]
    bases: Float[Tensor, "k m r"]
    variances: Float[Tensor, "k r"]
    noise: Float[Tensor, "k"]
    outside: Float[Tensor, "k"]
    log_weights: Float[Tensor, "k"]


def _principal_directions(images: Tensor, count: int) -> tuple[Float[Tensor, "d"], Float[Tensor, "d m"]]:
    flat = images.flatten(1)
    centre = flat.mean(0, dtype=torch.float64)
    covariance = centre.new_zeros(len(centre), len(centre))
    for part in flat.split(4096):
        centred = part.double() - centre
        covariance.addmm_(centred.T, centred)
    return centre, torch.linalg.eigh(covariance / len(flat)).eigenvectors[:, -count:].flip(1)


def _fit_class(
    z: Tensor, rest: Tensor, dimensions: int, recipe: MixtureRecipe, rng: np.random.Generator
) -> _Components:
    """Components of one class; `rest` is the variance of each image in the `dimensions` that z lacks."""
    shares = torch.nn.functional.one_hot(_nearest_means(z, recipe.components, rng), recipe.components).to(z)
    components = _maximise(z, rest, shares, recipe.rank)
    for _ in range(_EM_STEPS):
        log, _ = _log_joint(z, dimensions * rest, z.shape[1] + dimensions, components)
        components = _maximise(z, rest, log.softmax(1), recipe.rank)
    return components


def _nearest_means(z: Float[Tensor, "n m"], count: int, rng: np.random.Generator) -> Int[Tensor, "n"]:
    """The nearest of k means of each image, by Lloyd's algorithm (own code: scikit-learn's draws differ by release)."""
    means = z[torch.from_numpy(rng.permutation(len(z))[:count])]
    for _ in range(_LLOYD_STEPS):
        nearest = (means.square().sum(1) - 2 * z @ means.T).argmin(1)
        for index in range(count):
            if (nearest == index).any():
                means[index] = z[nearest == index].mean(0)
    return nearest


def _maximise(z: Tensor, rest: Tensor, shares: Float[Tensor, "n k"], rank: int) -> _Components:
    """The components that are likeliest if so much of each image belongs to each (Tipping & Bishop 1999, sec. 3)."""
    fitted = [_fit_component(z, rest, share, rank) for share in shares.unbind(1)]
    means, bases, variances, noise, outside = (torch.stack(values) for values in zip(*fitted, strict=True))
    sizes = shares.sum(0).clamp(min=_NEGLIGIBLE)
    return _Components(means, bases, variances, noise, outside, (sizes / sizes.sum()).log())


def _fit_component(z: Tensor, rest: Tensor, share: Float[Tensor, "n"], rank: int) -> tuple[Tensor, ...]:
    counts = share > _NEGLIGIBLE
    if not counts.any():  # it has lost all images: it stays, of no weight, as the class's own Gaussian
        return _fit_component(z, rest, torch.ones_like(share), rank)
    z, rest, share = z[counts], rest[counts], share[counts] / share[counts].sum()
    mean = share @ z
    centred = share.sqrt()[:, None] * (z - mean)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    left = values[rank:]
    noise = (left.mean() if len(left) else values.new_zeros(())).clamp(min=_FLOOR)
    return mean, vectors[:, :rank], (values[:rank] - noise).clamp(min=0), noise, (share @ rest).clamp(min=_FLOOR)


def _log_joint(
    along: Float[Tensor, "b m"], beyond: Float[Tensor, "b"], dimension: int, c: "Parameters | _Components"
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n r"]]:
    """Log of share times density of each component, and the image in the component's basis.

    Args:
        along: images in the m directions.
        beyond: squared length of what lies outside of them.
        dimension: of the images, d.
        c: the components.
    """
    inner = torch.einsum("bm,nmr->bnr", along, c.bases) - torch.einsum("nm,nmr->nr", c.means, c.bases)
    squared = along.square().sum(1, keepdim=True) - 2 * along @ c.means.T + c.means.square().sum(1)
    total, (_, m, r) = c.variances + c.noise[:, None], c.bases.shape
    distance = (squared - inner.square().sum(2)) / c.noise + (inner.square() / total).sum(2)
    distance = distance + beyond[:, None] / c.outside
    log_det = total.log().sum(1) + (m - r) * c.noise.log() + (dimension - m) * c.outside.log()
    log_det = log_det + dimension * math.log(2 * math.pi)
    return c.log_weights.flatten() - 0.5 * (distance + log_det), inner


def write(parameters: Parameters, path: Path, provenance: str) -> str:
    """Writes a mixture as safetensors, bases as 8-bit and means as 16-bit numbers, and returns the file's sha256.

    What is read back is the density: it differs from the fitted one by the rounding.

    Raises:
        WeightsError: the disk refuses.
    """
    p = parameters
    scale = p.bases.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    tensors = p._asdict() | {"bases": (p.bases / scale * _LEVELS).round().to(torch.int8)}
    halves = ("centre", "directions", "means", "variances")
    tensors = {name: value.half() if name in halves else value for name, value in tensors.items()}
    tensors = {name: value.float() if value.dtype == torch.float64 else value for name, value in tensors.items()}
    return weights.write_tensors(tensors, path, {"kind": "mixture", "training": provenance})


def read(path: Path, sha256: str | None) -> MixtureDensity:
    """Builds the density from a file that `pagbench fit` has written.

    Raises:
        WeightsError: the file is missing, altered, or no mixture's.
    """
    weights.read_metadata(path, "mixture")
    state = weights.read(path, sha256)
    if set(state) != set(Parameters._fields):
        raise WeightsError(f"{path}: not a mixture's parameters ({', '.join(sorted(state))}); fit it anew")
    wide = {name: value.double() for name, value in state.items()}
    wide |= {name: _orthonormal(wide[name]) for name in ("directions", "bases")}
    parameters = Parameters(**wide)
    if (flaw := _flaw(parameters)) is not None:
        raise WeightsError(f"{path}: {flaw}; fit it anew")
    return MixtureDensity(parameters, weights.file_sha256(path))


def _flaw(p: Parameters) -> str | None:
    """Why tensors are not the parameters of a mixture; None where they are."""
    shapes = [tuple(value.shape) for value in p]
    if p.bases.ndim == 3 and p.log_weights.ndim == 2:
        d, (n, m, r) = len(p.centre), p.bases.shape
        expected = [(d,), (d, m), (n, m), (n, m, r), (n, r), (n,), (n,), tuple(p.log_weights.shape)]
        if shapes == expected and p.log_weights.numel() == n:
            positive = min(float(p.variances.min()) + 1, float(p.noise.min()), float(p.outside.min())) > 0
            return None if positive else "holds variances that are not positive"
    return f"the shapes of a mixture's parameters do not fit together ({', '.join(map(str, shapes))})"


def _orthonormal(rounded: Float[Tensor, "*n d k"]) -> Float[Tensor, "*n d k"]:
    """The nearest columns, one after the other, each of the sign that it had."""
    q, r = torch.linalg.qr(rounded)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]


def recipe_of(card: ScoreCard) -> MixtureRecipe:
    """How the mixture of a card is, or was, fitted.

    Raises:
        WeightsError: its file does not say.
    """
    if card.recipe is not None or card.weights is None:
        assert card.recipe is not None  # by the card's validation
        return card.recipe
    path = assets.find(card.weights)
    training = weights.header(path).get("training", "{}")
    try:
        fields = json.loads(training)
        return MixtureRecipe.parse({name: fields[name] for name in MixtureRecipe.model_fields}, str(path))
    except (ValueError, KeyError, TypeError, CardError):
        raise WeightsError(f"{path}: does not say how it was fitted ({excerpt(training)}); fit it anew") from None


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> MixtureDensity:
    """The density of the card's file; by a recipe it is fitted to the training split when it is first needed.

    Raises:
        DataError: the recipe does not fit the data.
        WeightsError: the file is missing or altered, or the cache folder cannot be written.
    """
    if card.weights is not None:
        return read(assets.find(card.weights), card.weights_sha256)
    assert card.recipe is not None  # by the card's validation
    return fitted_once(card.recipe, train, benchmark.classes, benchmark.label)


def fits() -> Path:
    """Where mixtures of recipes lie, each in a folder of its own."""
    return cache.root() / "fitted"


def was_fitted(recipe: MixtureRecipe) -> bool:
    """Whether a mixture was fitted by a recipe on this machine, to whatever images.

    Raises:
        WeightsError: a file there is no safetensors file.
    """
    told = [json.loads(weights.header(path).get("training", "{}")) for path in fits().glob(f"*/{_FILE}")]
    return any(training.get("recipe") == recipe.model_dump() for training in told)


def fitted_once(recipe: MixtureRecipe, train: Dataset, classes: int, label: str) -> MixtureDensity:
    """The mixture of a recipe, out of the cache folder; fitted now if it is not there, while other processes wait.

    Args:
        recipe: what to fit.
        train: to these images.
        classes: of how many classes.
        label: of the benchmark that needs it, for the progress lines.

    Raises:
        DataError: the recipe does not fit the data.
        WeightsError: the cache folder cannot be written.
    """
    provenance = json.dumps({"recipe": recipe.model_dump(), "images": train.fingerprint()})
    folder = fits() / hashlib.sha256(provenance.encode()).hexdigest()[:16]
    path = folder / _FILE
    weights.make_folder(folder)
    with file_lock(folder / ".lock", timeout_s=-1):
        if not path.is_file():
            start = f"fitting the mixture of {label} once and for all in {folder}"
            notify(start)
            shown = tenths(lambda share: notify(f"{start}: {share}"))
            try:
                found = fit(train.images, train.labels, classes=classes, recipe=recipe, on_step=shown)
            except ValueError as error:
                raise DataError(f"{label}: its mixture cannot be fitted to this training split: {error}") from None
            write(_signed(found), path, provenance)
    return read(path, None)


def _signed(p: Parameters) -> Parameters:
    """The same density, every direction with its largest entry positive: libraries choose signs as they like.

    Only by that can two machines write the same file.
    """
    signs = _sign_of_largest(p.directions)
    bases = p.bases * signs[:, None]
    return p._replace(
        directions=p.directions * signs, means=p.means * signs, bases=bases * _sign_of_largest(bases)[:, None]
    )


def _sign_of_largest(columns: Float[Tensor, "*n d k"]) -> Float[Tensor, "*n k"]:
    return columns.gather(-2, columns.abs().argmax(-2, keepdim=True)).squeeze(-2).sign()
