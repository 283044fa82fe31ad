"""Every column that pagbench writes or shows: the Parquet schema, the table headers and the documentation of measures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import pyarrow as pa

from pagbench.benchmarks import Benchmark

REVISION = 2
"""Raised with every change of code that changes a row; rows of another revision are neither reused nor ranked."""

_PAPER = "Srinivas, Bordt & Lakkaraju 2023, arXiv 2305.19101"
_LPIPS = "Zhang et al. 2018, arXiv 1801.03924"
_AUTOATTACK = "Croce & Hein 2020, arXiv 2003.01690"
_PGD = "Madry et al. 2018, arXiv 1706.06083"
_STUTZ = "after Stutz, Hein & Schiele 2019, arXiv 1812.00740"
_SANTURKAR = "after Santurkar et al. 2019, arXiv 1906.09453"
_KID = "Bińkowski et al. 2018, arXiv 1801.01401"
_TV = "Chambolle 2004, J. Math. Imaging Vis."
_COHEN = "Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918"


@dataclass(frozen=True)
class Column:
    """One named quantity.

    Attributes:
        name: as in Parquet, JSON and CSV.
        unit: of the value; empty for a pure number.
        higher_is_better: None where neither direction is better.
        summary: one sentence that defines it.
        header: short name in tables.
        reference: source of the definition.
        valid: smallest and largest value that there can be, rounding aside.
        binary: whether there are only the two of them, 0 and 1.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    summary: str
    header: str = ""
    reference: str = ""
    valid: tuple[float, float] = (-math.inf, math.inf)
    binary: bool = False


def epsilon_name(column: str, epsilon: float) -> str:
    """Name of a response column at one step length.

    >>> epsilon_name("on_response", 0.5)
    'on_response_0.5'
    """
    return f"{column}_{epsilon:g}"


class Budget(NamedTuple):
    """How far an attack may move an image.

    Attributes:
        norm: of the perturbation.
        epsilon: its largest value, pixels in [0, 1].
        label: epsilon as people write it.
    """

    norm: Literal["l2", "linf"]
    epsilon: float
    label: str


_SMALL = 32


def budgets(benchmark: Benchmark) -> tuple[Budget, Budget]:
    """The customary budgets, L2 .5 and L∞ 8/255; L∞ 4/255 for images larger than 32×32, after RobustBench's ImageNet."""
    levels = 8 if max(benchmark.input_shape[1:]) <= _SMALL else 4
    return Budget("l2", 0.5, "0.5"), Budget("linf", levels / 255, f"{levels}/255")


def budget_name(column: str, budget: Budget) -> str:
    """Name of an attack's column at one budget.

    >>> budget_name("adversarial", Budget("linf", 8 / 255, "8/255"))
    'adversarial_linf_8_255'
    """
    return f"{column}_{budget.norm}_{budget.label.replace('/', '_')}"


IDENTITY: dict[str, pa.DataType] = {
    "benchmark": pa.string(),
    "version": pa.int32(),
    "entrant": pa.string(),
    "family": pa.string(),
    "strength": pa.float64(),
    "control": pa.bool_(),
    "seed": pa.int64(),
    "sample_id": pa.string(),
    "label": pa.int32(),
}
"""Columns that say which row it is: unique by (benchmark, version, model, seed, sample_id)."""

_G = "g = ∇x [z_y - logsumexp of the other logits]"
_B = "b = s(x|y) - s(x), the Bayes target at the benchmark's sigma"
_CHANCE = "the same with the target, or the tangent space, of another image (a fixed permutation)"

_SHARE, _COSINE, _L1, _LENGTH = (0.0, 1.0), (-1.0, 1.0), (0.0, 2.0), (0.0, math.inf)
_SIMILARITY, _DIFFERENCE, _ANY = (-math.inf, 1.0), (-2.0, 2.0), (-math.inf, math.inf)
_JUDGE = "an independent classifier of another architecture"

SAMPLE_COLUMNS: dict[str, tuple[Column, ...]] = {
    "accuracy": (
        Column("correct", "", True, "1 where the largest logit is the label's, else 0.", valid=_SHARE, binary=True),
        Column("nll", "nats", False, "Negative log-probability of the label.", valid=_LENGTH),
        Column("confidence", "", None, "Largest softmax probability.", valid=_SHARE),
    ),
    "response": (
        Column("on_response", "L1 of softmax", None, "‖softmax f(x + e·u) - softmax f(x)‖₁, mean over directions u in the tangent space.", reference=_PAPER, valid=_L1),
        Column("off_response", "L1 of softmax", False, "The same with u orthogonal to the tangent space.", reference=_PAPER, valid=_L1),
        Column("on_response_calibrated", "L1 of softmax", None, "on_response of the temperature-calibrated outputs, at the benchmark's epsilon.", valid=_L1),
        Column("off_response_calibrated", "L1 of softmax", False, "off_response of the temperature-calibrated outputs, at the benchmark's epsilon.", valid=_L1),
        Column("temperature", "", None, "Temperature that minimises the NLL on the calibration split; above 1 for an overconfident network, null where there is no such temperature.", valid=_LENGTH),
        Column("temperature_low", "", None, "2.5 % bootstrap quantile of the temperature.", valid=_LENGTH),
        Column("temperature_high", "", None, "97.5 % bootstrap quantile of the temperature.", valid=_LENGTH),
    ),
    "sensitivity": (
        Column("on_sensitivity", "1/pixel unit", None, "‖J P‖_F/√k, J the Jacobian of softmax f: root mean square change per infinitesimal step in the tangent space.", valid=_LENGTH),
        Column("off_sensitivity", "1/pixel unit", False, "‖J (I - P)‖_F/√(d - k): the same off the tangent space.", valid=_LENGTH),
    ),
    "faithfulness": (
        Column("gradient_faithful", "", True, "1 where ‖D - F‖ ≤ .05 ‖D‖, F central differences of the log-odds along g and directions on and off the manifold, D what g says of them; no result with 0 on more than 5 % of the images.", valid=_SHARE, binary=True),
    ),
    "tangent": (
        Column("gradient_norm", "1/pixel unit", None, f"‖g‖₂, {_G}.", valid=_LENGTH),
        Column("tangent_energy", "", True, f"‖P g‖²/‖g‖², P the projector on the tangent space, {_G}; k/d for a random direction.", reference=_PAPER, valid=_SHARE),
        Column("tangent_energy_chance", "", None, f"Chance level of tangent_energy: {_CHANCE}.", valid=_SHARE),
    ),
    "alignment_cosine": (
        Column("alignment_cosine", "", True, f"cos(g, b), {_G}, {_B}.", valid=_COSINE),
        Column("alignment_cosine_chance", "", None, f"Chance level of alignment_cosine: {_CHANCE}.", valid=_COSINE),
    ),
    "alignment_lpips": (
        Column("alignment_lpips", "", True, f"1 - LPIPS(g/max|g|, b/max|b|), AlexNet v0.1, both enlarged to at least 64×64; {_G}, {_B}.", reference=_LPIPS, valid=_SIMILARITY),
        Column("alignment_lpips_chance", "", None, f"Chance level of alignment_lpips: {_CHANCE}.", valid=_SIMILARITY),
    ),
    "alignment_second": (
        Column("alignment_second", "", True, f"cos(g, b), {_G}, b = s(x|y) - s(x) of the benchmark's second score model, at its own sigma.", valid=_COSINE),
        Column("alignment_second_chance", "", None, f"Chance level of alignment_second: {_CHANCE}.", valid=_COSINE),
    ),
    "paper": (
        Column("paper_alignment", "", True, "1 - LPIPS(∇x z_y, s(x|y)), both divided by their largest magnitude, at their own size (a margin of zeros up to 32×32); changes with logits + c(x).", reference=_PAPER, valid=_SIMILARITY),
        Column("paper_alignment_sum", "", True, "The same of ∇x Σ_k z_k and s(x).", reference=_PAPER, valid=_SIMILARITY),
        Column("paper_on_response", "L1 of softmax", None, "‖softmax f(x + e·t) - softmax f(x)‖₁, t the unit tangent part of one noise vector, e = 2.637.", reference=_PAPER, valid=_L1),
        Column("paper_off_response", "L1 of softmax", False, "The same with the unit normal part.", reference=_PAPER, valid=_L1),
    ),
    "adversarial": (
        Column("adversarial", "", True, "1 where the image is classified correctly and AutoAttack (standard) does not change that within the budget; attacked in blocks of 64 of the benchmark's samples. A smoothed model is attacked with its draws fixed and known; a tie of the two largest logits counts as changed.", "AutoAttack", _AUTOATTACK, valid=_SHARE, binary=True),
    ),
    "pgd": (
        Column("pgd", "", True, "The same of projected gradient descent on the log-odds of the true class, 40 steps from one random start: weaker than AutoAttack, and cheap.", "PGD", _PGD, valid=_SHARE, binary=True),
    ),
    "confined": (
        Column("pgd_on_manifold", "", True, "1 where the image is classified correctly and PGD confined to the tangent space does not change that, L2 at the benchmark's epsilon, unclipped.", "PGD on", _STUTZ, valid=_SHARE, binary=True),
        Column("pgd_off_manifold", "", True, "The same confined to the complement of the tangent space.", "PGD off", _STUTZ, valid=_SHARE, binary=True),
    ),
    "certified": (
        Column("certified_radius", "pixel units", True, "L2 radius sigma Φ⁻¹(p) within which the majority vote of a smoothed model's base network under noise cannot change, p the Clopper-Pearson bound (confidence .999) of its top class under 1,000 draws, after 100 that choose the class; at most 2.46 sigma; 0 where it abstains, null for models that are not smoothed.", "", _COHEN, valid=_LENGTH),
        Column("certified_correct", "", True, "1 where the certified class is the label; 0 where it is not, or where the vote abstains.", "", _COHEN, valid=_SHARE, binary=True),
    ),
    "smoothing": (
        Column("smoothed_probability_error", "", False, "Standard error of a smoothed model's probability of the true class, from its antithetic pairs of draws; null for models that are not smoothed.", valid=_LENGTH),
        Column("smoothed_gradient_error", "", False, f"Standard error of the gradient, relative to its length: the root of the trace of the covariance (delta method) over ‖g‖₂, {_G}; an error e lowers cosines of g by a factor of about √(1 - e²).", valid=_LENGTH),
    ),
    "generation": (
        Column("generation_recognised", "", True, f"1 where {_JUDGE} finds the class in what the gradient makes of a draw from the Gaussian fitted to the class.", reference=_SANTURKAR, valid=_SHARE, binary=True),
        Column("generation_recognised_chance", "", None, "The same of the start, before the gradient is followed.", valid=_SHARE, binary=True),
        Column("generation_kid", "", False, "Kernel inception distance of generated from real images of the same class, in the features of that classifier, within a block of 64: the sample's influence, of which the distance is the mean.", reference=_KID),
        Column("generation_kid_chance", "", None, "The same of the start."),
        Column("generation_off_data", "pixel units", None, "‖D(x) - x‖₂ of the generated image x, D the denoiser of the benchmark's score at its sigma; to compare with that of real images, for a blank one may have less.", valid=_LENGTH),
        Column("generation_off_data_chance", "pixel units", None, "The same of the start.", valid=_LENGTH),
        Column("generation_nearest", "pixel units", None, "L2 distance of the generated image to the nearest training image; 0 for a copy.", valid=_LENGTH),
        Column("generation_nearest_chance", "pixel units", None, "The same of the start.", valid=_LENGTH),
        Column("generation_noise_recognised", "", True, f"1 where {_JUDGE} finds the class in what the gradient makes of noise around the mean image.", "generated", _SANTURKAR, valid=_SHARE, binary=True),
        Column("generation_noise_recognised_chance", "", None, "The same of the start, before the gradient is followed.", valid=_SHARE, binary=True),
        Column("generation_noise_kid", "", False, "Kernel inception distance of generated from real images of the same class, in the features of that classifier, within a block of 64: the sample's influence, of which the distance is the mean.", reference=_KID),
        Column("generation_noise_kid_chance", "", None, "The same of the start."),
        Column("generation_noise_off_data", "pixel units", None, "‖D(x) - x‖₂ of the generated image x, D the denoiser of the benchmark's score at its sigma; to compare with that of real images, for a blank one may have less.", valid=_LENGTH),
        Column("generation_noise_off_data_chance", "pixel units", None, "The same of the start.", valid=_LENGTH),
        Column("generation_noise_nearest", "pixel units", None, "L2 distance of the generated image to the nearest training image; 0 for a copy.", valid=_LENGTH),
        Column("generation_noise_nearest_chance", "pixel units", None, "The same of the start.", valid=_LENGTH),
        Column("generation_recognised_ceiling", "", None, "1 where that classifier finds the class in the real image.", valid=_SHARE, binary=True),
        Column("generation_off_data_ceiling", "pixel units", None, "‖D(x) - x‖₂ of the real image.", valid=_LENGTH),
        Column("generation_nearest_ceiling", "pixel units", None, "L2 distance of the real image to the nearest training image.", valid=_LENGTH),
    ),
    "denoising": (
        Column("denoising_psnr", "dB", True, "Gain in PSNR over the noisy image, following the gradient towards the class that the model itself finds there; noise of that share of the benchmark's sigma.", "denoised dB", _SANTURKAR, valid=_ANY),
        Column("denoising_ssim", "", True, "The same in SSIM.", valid=_DIFFERENCE),
        Column("denoising_psnr_label", "dB", None, "The same in PSNR towards the true class.", valid=_ANY),
        Column("denoising_ssim_label", "", None, "The same in SSIM towards the true class.", valid=_DIFFERENCE),
        Column("denoising_psnr_tv", "dB", None, "Gain in PSNR of a total-variation filter: an anchor that knows no data.", reference=_TV, valid=_ANY),
        Column("denoising_ssim_tv", "", None, "Its gain in SSIM.", reference=_TV, valid=_DIFFERENCE),
        Column("denoising_psnr_denoiser", "dB", None, "Gain in PSNR of the denoiser of the benchmark's own score: the anchor above.", valid=_ANY),
        Column("denoising_ssim_denoiser", "", None, "Its gain in SSIM.", valid=_DIFFERENCE),
    ),
    "inpainting": (
        Column("inpainting_psnr", "dB", True, "Gain in PSNR within a missing patch of 60/224 of each side over a fill with the mean colour of the rest, following the gradient towards the true class.", "in-painted dB", _SANTURKAR, valid=_ANY),
        Column("inpainting_psnr_ceiling", "dB", None, "The same of the denoiser of the benchmark's score of the class, at its sigma.", valid=_ANY),
        Column("inpainting_recognised", "", True, f"1 where {_JUDGE} finds the class in the in-painted image.", reference=_SANTURKAR, valid=_SHARE, binary=True),
        Column("inpainting_recognised_chance", "", None, "The same of the mean fill.", valid=_SHARE, binary=True),
        Column("inpainting_recognised_ceiling", "", None, "The same of the whole image.", valid=_SHARE, binary=True),
    ),
}  # fmt: skip
"""Per-sample columns, by the measure that fills them.

`on_response` and `off_response` exist once per epsilon, `adversarial` and `pgd` once per budget, those of denoising once
per level of noise.
"""

ABILITIES = ("generation", "denoising", "inpainting")
"""Measures of what one can do by following a model's gradient, taken of a benchmark's first images only."""

_SHARED = frozenset({"chance", "ceiling", "tv", "denoiser"})

JUDGED = ("generation", "inpainting")
"""Those whose images an independent classifier judges."""

_ABILITY_SAMPLES = 192

STARTS = ("generation", "generation_noise")
"""Where generation begins: in a Gaussian of the class, or in noise around the mean image; first parts of columns."""


def made_of(measure: str) -> tuple[str, ...]:
    """Names of the images that an ability's results may carry: made ones, those there were before, and clean ones."""
    own = STARTS if measure == "generation" else (measure,)
    return (*own, *(f"before_{name}" for name in own), *(("clean",) if measure != "generation" else ()))


NOISE_LEVELS = (0.25, 0.5, 1.0)
"""Standard deviations of the noise that is to be removed, in shares of the benchmark's sigma."""

OPTIONAL = ("adversarial", "pgd", "confined", "certified", "smoothing", *ABILITIES)
"""Measures that no benchmark takes by itself: a run takes them where it is asked to, `--measures`."""

PARTIAL_MEASURES = "partial_measures"
"""Column of the leaderboard that says which optional measures are means over fewer images; only where some are."""

CERTIFIED_RADII = (0.25, 0.5, 1.0)
"""Radii at which the leaderboard gives certified accuracy, L2 in pixel units."""

BOARD_COLUMNS: tuple[Column, ...] = (
    Column("rank", "", None, "Position by alignment; none for controls and for models without a full, valid result.", "rank"),
    Column("rank_low", "", None, "Best rank that the 95 % simultaneous pairwise comparisons allow.", "", "Mogstad et al. 2024, Rev. Econ. Stud."),
    Column("rank_high", "", None, "Worst rank that they allow."),
    Column("model", "", None, "The model's id.", "model"),
    Column("family", "", None, "Training family.", "family"),
    Column("strength", "family's unit", None, "Strength of the regularisation.", "strength"),
    Column("n_scored", "images", None, "Images whose alignment could be scored."),
    Column("n_total", "images", None, "Images measured."),
    Column("accuracy", "", True, "Share of images classified correctly.", "accuracy"),
    Column("alignment", "", True, "Chance-corrected alignment (A - A_chance)/(1 - A_chance) of the benchmark's ranking column, of means.", "alignment"),
    Column("alignment_lpips", "", True, "Mean of the per-sample column.", "LPIPS"),
    Column("alignment_lpips_chance", "", None, "Mean of the per-sample column.", "LPIPS chance"),
    Column("alignment_lpips_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means.", ""),
    Column("alignment_cosine", "", True, "Mean of the per-sample column.", "cosine"),
    Column("alignment_cosine_chance", "", None, "Mean of the per-sample column.", ""),
    Column("alignment_cosine_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means.", ""),
    Column("alignment_second", "", True, "Mean of the per-sample column.", ""),
    Column("alignment_second_chance", "", None, "Mean of the per-sample column.", ""),
    Column("alignment_second_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means: alignment with the second target.", "2nd target"),
    Column("tangent_energy", "", True, "Mean of the per-sample column.", "tangent energy"),
    Column("tangent_energy_chance", "", None, "Mean of the per-sample column.", ""),
    Column("tangent_energy_corrected", "", True, "(τ - k/d)/(1 - k/d), τ the mean.", ""),
    Column("on_response", "L1 of softmax", None, "Mean on-manifold response at the benchmark's epsilon.", "on"),
    Column("off_response", "L1 of softmax", False, "Mean off-manifold response at the benchmark's epsilon.", "off"),
    Column("log_ratio", "", False, "log(mean off_response / mean on_response).", "log off/on"),
    Column("log_ratio_calibrated", "", False, "The same of the temperature-calibrated responses.", ""),
    Column("log_ratio_infinitesimal", "", False, "log(mean off_sensitivity / mean on_sensitivity).", ""),
    Column("paper_alignment", "", True, "Mean of the per-sample column.", ""),
    Column("paper_alignment_sum", "", True, "Mean of the per-sample column.", ""),
    Column("paper_log_ratio", "", False, "log(mean paper_off_response / mean paper_on_response).", ""),
    Column("temperature", "", None, "Fitted on the calibration split; its interval is the bootstrap over that split.", "T"),
    Column("nll", "nats", False, "Mean of the per-sample column.", ""),
    Column("confidence", "", None, "Mean of the per-sample column.", ""),
    Column("regime", "", None, "weak, bayes-aligned or excessive robustness; boundary where no probability reaches the benchmark's confidence.", "regime", _PAPER),
    Column("regime_probability", "", None, "Bootstrap probability of the likeliest regime."),
    Column("p_weak", "", None, "Bootstrap probability of weak robustness."),
    Column("p_bayes_aligned", "", None, "Bootstrap probability of Bayes-aligned robustness."),
    Column("p_excessive", "", None, "Bootstrap probability of excessive robustness."),
    Column("license", "", None, "Licence of the model's weights, as its card says."),
    Column("score_license", "", None, "Licences of the networks that the benchmark's scores come from; null for exact scores and where a card names none."),
    Column("trained_on_target", "", None, "Whether its card declares that it was trained on the benchmark's own target; null: not declared."),
    Column("status", "", None, "ranked, control, or the reason why there is no rank.", "status"),
    Column("preflight", "", None, "ok, or what the pre-flight checks flagged; null where they were not made."),
    Column("verification", "", None, "verified or refuted by a rerun of some images, by whom and when; self-reported where nobody has made one.", "verification"),
)  # fmt: skip
"""Columns of the leaderboard, in order. Those with a header are in the table; all are in CSV and JSON."""


def sample_columns(benchmark: Benchmark, measures: Sequence[str] | None = None) -> list[Column]:
    """Per-sample columns of the benchmark's own measures, or of others, in Parquet's order."""
    chosen = benchmark.measures if measures is None else measures
    return [column for measure in chosen for filled in SAMPLE_COLUMNS[measure] for column in _each(filled, benchmark)]


def is_own(column: Column) -> bool:
    """Whether a column of an ability speaks of the model, not of chance, an anchor or a ceiling."""
    return _SHARED.isdisjoint(column.name.split("_"))


def samples_of(benchmark: Benchmark, measure: str | None) -> tuple[str, ...]:
    """The samples that a measure is taken of: all, or of `ABILITIES` the first 192.

    Args:
        benchmark: the definition.
        measure: an optional measure; None for the benchmark's own measures.
    """
    return benchmark.samples[:_ABILITY_SAMPLES] if measure in ABILITIES else benchmark.samples


def _each(column: Column, benchmark: Benchmark) -> list[Column]:
    """A column, or its versions for every epsilon or budget."""
    if column.name in ("on_response", "off_response"):
        return [replace(column, name=epsilon_name(column.name, epsilon)) for epsilon in benchmark.epsilons]
    if column.name.startswith("denoising"):
        return [
            replace(column, name=f"{column.name}_{level:g}", header=column.header if level == NOISE_LEVELS[1] else "")
            for level in NOISE_LEVELS
        ]
    if column.name in ("adversarial", "pgd"):
        return [
            replace(
                column, name=budget_name(column.name, budget), header=f"{column.header} {budget.norm} {budget.label}"
            )
            for budget in budgets(benchmark)
        ]
    return [column]


def optional_board_columns(benchmark: Benchmark) -> list[Column]:
    """Columns of the leaderboard that optional measures add: means, certificates, and what is measured in part."""
    radii = [
        Column(
            f"certified_accuracy_{radius:g}",
            "",
            True,
            f"Share of images certified correct at radius {radius:g}.",
            f"certified {radius:g}",
            _COHEN,
        )
        for radius in CERTIFIED_RADII
    ]
    average = Column(
        "average_certified_radius", "pixel units", True, "Mean of certified_radius · certified_correct.", "ACR", _COHEN
    )
    means = [
        replace(column, summary="Mean of the per-sample column.")
        for column in sample_columns(benchmark, [name for name in OPTIONAL if name != "certified"])
    ]
    partial = Column(
        PARTIAL_MEASURES, "", None, "Optional measures that lack images of the model; null where none does."
    )
    return [*means, *radii, average, partial]


def schema(benchmark: Benchmark, measure: str | None = None) -> pa.Schema:
    """Arrow schema of a results file: identity, then measured values as nullable floats (null: not scored).

    Args:
        benchmark: the definition.
        measure: an optional measure, whose rows are in files of their own; None for the benchmark's own measures.
    """
    measured = sample_columns(benchmark, None if measure is None else [measure])
    return pa.schema([*IDENTITY.items(), *((column.name, pa.float32()) for column in measured)])
