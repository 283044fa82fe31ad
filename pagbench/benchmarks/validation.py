"""What is known of a benchmark's ruler: how its density and its tangent spaces do on images that it has not seen.

`pagbench validate` computes it; what is published lies in `validation/`, a file for each benchmark.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from pagbench.benchmarks import Benchmark
from pagbench.cards import Card

FOLDER = Path(__file__).parent / "validation"

ACCURACY_KEPT, AGREEMENT = 0.85, 0.7
"""What the rule for sigma asks: this share of the accuracy at the least noise, and this agreement of two halves."""

ENERGY = 0.9
"""What the rule for the rank asks: this share of the energy of the density's own targets."""

WIDER = 0.1
"""What the rule for passes allows: intervals so much wider than with all draws."""


class Estimate(NamedTuple):
    """A mean over images with its 95 % interval; all three null where there is nothing to estimate."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, decimals: int = 2) -> str:
        """The value, as a cell of a table."""
        return "–" if self.value is None else f"{self.value:.{decimals}f}"

    def with_bounds(self, decimals: int = 2) -> str:
        """The value and its interval."""
        if self.value is None or self.low is None or self.high is None:
            return "–"
        return f"{self.value:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


UNKNOWN = Estimate(None, None, None)
"""Of what there is nothing to estimate from."""


class DensityRow(Card):
    """A candidate density at one noise level."""

    density: str
    sigma: float
    """Noise level, pixel units."""
    error: Estimate
    """Mean of ‖D(x + n) - x‖² over held-out images, D its denoiser."""
    lead: Estimate
    """That error less the error of the benchmark's own density on the same images; below 0 the candidate is better."""
    nll: Estimate
    """Mean of -log p(y|x + n), nats; null of networks, which have no class posterior."""
    accuracy: Estimate
    """Of its Bayes classifier at x + n; null likewise."""
    halves: Estimate
    """Mean cosine of the targets of two densities that are fitted to disjoint halves of the training split, at the
    measured images; null of candidates that are not fitted again."""
    chance: Estimate = UNKNOWN
    """Mean cosine of the target with that of the image's partner; null of other candidates than the benchmark's own."""


class ManifoldRow(Card):
    """A candidate for the tangent spaces, of the benchmark's rank."""

    manifold: str
    transformations: Estimate
    """Share of the energy of known transformations of held-out images that it captures."""
    by_transformation: Mapping[str, float]
    residuals: Estimate
    """Share of the energy of x - D(x + n) that it captures, D the benchmark's own denoiser at its sigma."""
    chance: float
    """Of a random space, k/d."""


class LpipsAgreement(Card):
    """How far the targets of two halves of the training split are alike by LPIPS, at the benchmark's sigma."""

    sigma: float
    halves: Estimate
    """Mean similarity of the two."""
    chance: Estimate
    """Mean similarity of the target of one half with the target of the other at the image's partner."""
    agreement: Estimate
    """The first corrected for the second, as alignment is: (halves - chance)/(1 - chance)."""
    quarters: tuple[float, float] | None = None
    """The same of two fits to quarters, and what Spearman and Brown predict of it from the halves."""

    @property
    def ceiling(self) -> Estimate:
        """The noise ceiling of `alignment_lpips` corrected for chance, √(2r/(1 + r)) of the agreement r.

        Of features of unit length, as LPIPS compares, a squared distance is 2 less twice a cosine. Corrected for
        chance, the similarity is therefore a mean of cosines, of which the formula holds.
        """
        return Estimate(*map(ceiling, self.agreement))


class Spread(Card):
    """How far a column scatters between images, and between the random draws that it is a mean of at each of them."""

    column: str
    draws: int
    """Draws of each image."""
    between: Annotated[float, Field(gt=0)]
    """Variance between images of their means over all draws."""
    within: Annotated[float, Field(ge=0)]
    """Variance between the draws of one image, its mean over images."""

    def widening(self, draws: int) -> float:
        """How much wider the interval of the mean over images is with fewer draws, as a share.

        >>> Spread(column="on_response", draws=8, between=1.0, within=4.0).widening(2)
        0.5811388300841898
        """
        return math.sqrt(1 + self.within / self.between * (1 / draws - 1 / self.draws)) - 1


def fewest(spreads: Sequence[Spread]) -> int:
    """The smallest number of draws that keeps the interval of every column within 10 % of what all of them give."""
    most = spreads[0].draws
    return next(n for n in range(1, most + 1) if all(each.widening(n) <= WIDER for each in spreads))


class Passes(Card):
    """What fewer passes of a network through the images cost in precision, measured on one network."""

    model: str
    images: int
    responses: tuple[Spread, ...]
    """Along random directions, on and off the manifold. The log ratio is taken to first order."""
    directions: int
    """How many the definition takes."""
    jacobian: tuple[Spread, ...] = ()
    """Of random combinations of the outputs: all, which give the norm itself, or 32 where there are more."""
    probes: int | None
    """How many the definition takes; null where it takes the norm itself, or none."""


class Validation(Card):
    """The evidence for one benchmark's ruler."""

    benchmark: str
    """`name@version`."""
    definition: str
    """The definition's hash."""
    images: int
    """Held-out images."""
    densities: tuple[DensityRow, ...]
    """Of each candidate at each sigma, the benchmark's own density first, sigma ascending."""
    manifolds: tuple[ManifoldRow, ...]
    """Of each candidate, the benchmark's own first."""
    quarters: tuple[float, float] | None
    """Agreement of two fits to quarters of the training split, at the benchmark's sigma, and what Spearman and Brown
    predict of it from the agreement of halves."""
    sigma_by_rule: float | None
    """The largest sigma of the grid where noisy images keep 85 % of the accuracy at the least noise and two halves
    agree by .7; null where none does."""
    rank_by_rule: int | None
    """The least rank, a multiple of four, whose tangent spaces hold 90 % of the energy of the density's own targets."""
    lpips: LpipsAgreement | None = None
    """Null where alignment is not measured by LPIPS, or no halves are fitted."""
    passes: Passes | None = None
    """Null where the benchmark has no reference network, or its weights were not at hand."""
    left_out: tuple[str, ...] = ()
    """Candidates that could not be computed, and why."""

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if not self.densities:
            raise ValueError("a validation needs the benchmark's own density")
        return self

    @property
    def own(self) -> tuple[DensityRow, ...]:
        """The benchmark's own density, sigma ascending."""
        return tuple(row for row in self.densities if row.density == self.densities[0].density)

    @property
    def ceilings(self) -> dict[float, Estimate]:
        """The noise ceiling of a cosine with the target, by sigma: √(2r/(1 + r)), r the agreement of two halves."""
        return {row.sigma: Estimate(*map(ceiling, row.halves)) for row in self.own if row.halves.value is not None}

    @property
    def corrected_ceilings(self) -> dict[float, Estimate]:
        """`ceilings` corrected for chance, as `alignment_profile_<sigma>` is; empty where chance is not known.

        Chance is that of the target itself, which the Bayes control has. A model's own row on the board has its own.
        """
        chance = {row.sigma: row.chance.value for row in self.own}
        return {
            sigma: corrected(bound, level)
            for sigma, bound in self.ceilings.items()
            if (level := chance[sigma]) is not None
        }

    def better(self, sigma: float) -> list[DensityRow]:
        """Candidates whose denoiser beats the benchmark's own at a sigma, beyond error."""
        return [row for row in self.densities if row.sigma == sigma and row.lead.high is not None and row.lead.high < 0]


def ceiling(agreement: float | None) -> float | None:
    """The cosine that a perfect model reaches with a target whose two halves agree by r: √(2r/(1 + r)).

    Spearman and Brown give the reliability of the whole, which bounds the explained variance; a cosine is bounded by
    its root (Lage-Castellanos et al. 2019, PLoS Comput. Biol. 15, e1006397).

    >>> ceiling(1.0), round(ceiling(0.78), 3)
    (1.0, 0.936)
    """
    if agreement is None:
        return None
    return math.sqrt(2 * agreement / (1 + agreement)) if agreement > 0 else 0.0


def corrected(bound: Estimate, chance: float) -> Estimate:
    """A ceiling of similarity as one of alignment: 0 at chance, 1 at the target itself.

    >>> corrected(Estimate(0.9, None, None), 0.5).value
    0.8
    """
    return Estimate(*(None if value is None else (value - chance) / (1 - chance) for value in bound))


@cache
def published(benchmark: str) -> Validation | None:
    """The published evidence for a benchmark; None where there is none.

    Args:
        benchmark: `name@version`.
    """
    path = FOLDER / f"{benchmark}.json"
    return Validation.model_validate_json(path.read_bytes()) if path.is_file() else None


def weakness(benchmark: Benchmark) -> str:
    """What the first screen of a benchmark has to say of its density, as a sentence; empty where nothing is better."""
    found = published(benchmark.label)
    better = [] if found is None else found.better(benchmark.sigma)
    if found is None or not better:
        return ""
    own = next(row for row in found.own if row.sigma == benchmark.sigma)
    names = " and ".join(f"{row.density} ({row.error.text()})" for row in better)
    return (
        f"Another density denoises held-out images better at sigma {benchmark.sigma:g}: {names} against "
        f"{own.error.text()} of the benchmark's own {own.density}."
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def to_text(found: Validation) -> str:
    """Tables of at most 80 characters, with what they mean."""
    grid = [row.sigma for row in found.own]
    lines = [f"{found.benchmark}: {found.images} images that were neither trained on nor measured", ""]
    for title, name, decimals in (
        ("held-out denoising error, ‖D(x + n) - x‖²; lower is better", "error", 2),
        ("-log p(y|x + n), nats; lower is better", "nll", 2),
        ("accuracy of the Bayes classifier at x + n", "accuracy", 3),
        ("agreement of the targets of two halves of the training split", "halves", 3),
    ):
        names = list(dict.fromkeys(row.density for row in found.densities))
        cells = {(row.density, row.sigma): getattr(row, name) for row in found.densities}
        shown = [n for n in names if any(cells[n, sigma].value is not None for sigma in grid)]
        rows = [(f"{sigma:g}", *(cells[n, sigma].text(decimals) for n in shown)) for sigma in grid]
        lines += [title, *_table(("sigma", *shown), rows), ""]
    lines += [*_ceilings(found), ""]
    if found.manifolds:
        energies = [
            (row.manifold, row.transformations.text(3), row.residuals.text(3), f"{row.chance:.3f}")
            for row in found.manifolds
        ]
        head = ("energy captured by", "transformations", "x - D(x + n)", "chance")
        lines += [*_table(head, energies), ""]
    if found.passes is not None:
        lines += [*_passes(found.passes), ""]
    lines += [*rules(found), *(f"left out: {reason}" for reason in found.left_out)]
    return "\n".join(lines) + "\n"


def _ceilings(found: Validation) -> Iterator[str]:
    """What a perfect model would reach, by the cosine at every sigma and by LPIPS at the benchmark's."""
    yield "noise ceiling of the cosine with the target"
    known = found.corrected_ceilings
    chance = {row.sigma: row.chance.text(3) for row in found.own}
    head = ("sigma", "ceiling", *(("chance", "corrected for chance") if known else ()))
    yield from _table(
        head,
        [
            (f"{s:g}", bound.with_bounds(3), *((chance[s], known[s].with_bounds(3)) if s in known else ()))
            for s, bound in found.ceilings.items()
        ],
    )
    if (alike := found.lpips) is not None:
        yield ""
        yield f"noise ceiling of 1 − LPIPS with the target at sigma {alike.sigma:g}"
        row = (alike.halves.text(3), alike.chance.text(3), alike.agreement.text(3), alike.ceiling.with_bounds(3))
        yield from _table(("halves", "chance", "halves corrected", "ceiling corrected for chance"), [row])


def _passes(known: Passes) -> Iterator[str]:
    """Tables of how much wider intervals are with fewer draws."""
    yield "how much wider intervals are with fewer draws for each image"
    yield f"of {known.model} on {known.images} images"
    for spreads, counts in ((known.responses, (1, 2, 4, 8)), (known.jacobian, (1, 2, 4))):
        if not spreads:
            continue
        most = spreads[0].draws
        fewer = [count for count in counts if count < most]
        rows = [
            (row.column, f"{row.between:.3g}", f"{row.within:.3g}", *(f"{row.widening(n):+.0%}" for n in fewer))
            for row in spreads
        ]
        what = f"than {most} {'directions' if spreads is known.responses else 'probes'}"
        yield from _table((what, "between images", "within", *map(str, fewer)), rows)


def _rule_for_draws(what: str, spreads: Sequence[Spread], taken: int | None) -> str:
    """The least number that is enough, and whether the definition takes as many."""
    most, least = spreads[0].draws, fewest(spreads)
    said = (
        f"{what} by rule: {least}, the smallest number that keeps every interval within {WIDER:.0%} of that of {most}"
    )
    if taken is None:
        return f"{said}; the definition takes no smaller number than all"
    widest = max(spreads, key=lambda each: each.within / each.between)
    if taken < least:
        more = widest.widening(taken)
        return f"{said}; the definition takes {taken}, which makes that of {widest.column} {more:.0%} wider"
    return f"{said}; the definition takes {taken}, which is enough"


def rules(found: Validation) -> list[str]:
    """What the rules for sigma, rank and passes say, with the numbers that they follow from."""
    least, kept = found.own[0], next((row for row in found.own if row.sigma == found.sigma_by_rule), None)
    asked = f"noisy images keep {ACCURACY_KEPT:.0%} of the accuracy and halves agree by {AGREEMENT:g}"
    lines = [f"sigma by rule: none; at no sigma of the grid {asked}"]
    if kept is not None:
        lines = [
            f"sigma by rule: {kept.sigma:g}, the largest where {asked}: the accuracy is {kept.accuracy.text(3)} there, "
            f"{least.accuracy.text(3)} at sigma {least.sigma:g}, and halves agree by {kept.halves.text(3)}"
        ]
    if found.rank_by_rule is not None:
        lines.append(
            f"rank by rule: {found.rank_by_rule}, the least multiple of four with {ENERGY:.0%} of the energy of the "
            "density's own targets"
        )
    if found.quarters is not None:
        measured, predicted = found.quarters
        lines.append(
            f"two quarters agree by {measured:.3f}; Spearman and Brown, on whom the ceiling rests, predict "
            f"{predicted:.3f} from the halves"
        )
    if found.lpips is not None and found.lpips.quarters is not None:
        measured, predicted = found.lpips.quarters
        lines.append(f"by 1 − LPIPS, corrected for chance, they agree by {measured:.3f}; predicted are {predicted:.3f}")
    if (passes := found.passes) is not None:
        lines += [
            _rule_for_draws(what, spreads, taken)
            for what, spreads, taken in (
                ("directions", passes.responses, passes.directions),
                ("probes", passes.jacobian, passes.probes),
            )
            if spreads
        ]
    return lines


def rounded(fields: Any) -> Any:
    """Numbers with six significant digits, and null in place of NaN, however nested."""
    if isinstance(fields, float):
        return float(f"{fields:.6g}") if math.isfinite(fields) else None
    if isinstance(fields, Mapping):
        return {name: rounded(value) for name, value in fields.items()}
    if isinstance(fields, list | tuple):
        return [rounded(value) for value in fields]
    return fields
