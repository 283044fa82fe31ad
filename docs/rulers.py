"""The table of `docs/explanation/ruler.md`, from the published validations; `docs/generate.py` writes it."""

from collections.abc import Callable, Sequence

from study import row, rule

from pagbench import benchmarks
from pagbench.benchmarks.validation import DensityRow, Validation, fewest


def table(validations: Sequence[Validation]) -> str:
    """What is known of every benchmark's density and tangent spaces at its sigma, as Markdown."""
    lines = [row(["at the benchmark's sigma", *(f"`{known.benchmark}`" for known in validations)])]
    lines.append(rule(1 + len(validations)))
    lines += [row([what, *(told(known) for known in validations)]) for what, told in _QUANTITIES.items()]
    return "\n".join(lines) + "\n"


def _at_sigma(known: Validation, density: str) -> DensityRow | None:
    sigma = benchmarks.load(known.benchmark).sigma
    return next((each for each in known.densities if (each.density, each.sigma) == (density, sigma)), None)


def _of(density: str, quantity: str, decimals: int) -> Callable[[Validation], str]:
    def told(known: Validation) -> str:
        found = _at_sigma(known, density)
        return "–" if found is None else getattr(found, quantity).text(decimals)

    return told


def _ceiling(known: Validation) -> str:
    return known.ceilings[benchmarks.load(known.benchmark).sigma].with_bounds(3)


def _ceiling_of_lpips(known: Validation) -> str:
    return "–" if known.lpips is None else known.lpips.ceiling.with_bounds(3)


def _quarters(known: Validation) -> str:
    return "–" if known.quarters is None else "; ".join(f"{each:.3f}" for each in known.quarters)


def _energy(known: Validation) -> str:
    own = known.manifolds[0]
    return f"{own.transformations.text(3)} (chance {own.chance:.3f})"


def _draws(known: Validation) -> str:
    passes = known.passes
    if passes is None:
        return "–"
    return f"{fewest(passes.responses)} and {fewest(passes.jacobian)}; {passes.directions} and {passes.probes}"


_QUANTITIES: dict[str, Callable[[Validation], str]] = {
    "sigma by rule": lambda known: f"{known.sigma_by_rule:g}",
    "rank by rule": lambda known: str(known.rank_by_rule),
    "denoising error of the mixture": _of("mixture", "error", 2),
    "of the training images, blurred": _of("empirical", "error", 2),
    "of the diffusion model": _of("diffusion", "error", 2),
    "accuracy of the Bayes classifier, noisy images": _of("mixture", "accuracy", 3),
    "agreement of halves: mixture": _of("mixture", "halves", 3),
    "agreement of halves: training images, blurred": _of("empirical", "halves", 3),
    "agreement of quarters: measured; predicted": _quarters,
    "noise ceiling of the cosine": _ceiling,
    "noise ceiling of 1 − LPIPS, corrected for chance": _ceiling_of_lpips,
    "energy captured of known transformations": _energy,
    "directions and probes by rule; taken": _draws,
}
