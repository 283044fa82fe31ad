"""Every column that pagbench writes or shows: the Parquet schema, the table headers and the documentation of measures.

`REGISTRY` names the measures. What a measure fills and needs is declared in `pagbench/measures/<name>.yaml`; everything
that is said of measures elsewhere derives from there. No torch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import pyarrow as pa
from pydantic import ConfigDict, model_validator

from pagbench.cards import Card, Count
from pagbench.cards.plain_yaml import read_yaml
from pagbench.errors import EXTRAS, UnknownNameError, check_extra

REVISION = 2
"""Raised with every change of code that changes a row; rows of another revision are neither reused nor ranked."""

REGISTRY = (
    "accuracy",
    "response",
    "sensitivity",
    "jacobian",
    "faithfulness",
    "tangent",
    "alignment_cosine",
    "alignment_lpips",
    "alignment_second",
    "profile",
    "paper",
    "adversarial",
    "pgd",
    "confined",
    "certified",
    "smoothing",
    "generation",
    "denoising",
    "inpainting",
)
"""Every measure, in the order of columns, of help and of the documentation.

Each has a function `measure` in `pagbench/measures/<name>.py` and a declaration beside it, `<name>.yaml`.
"""

_PAPER = "Srinivas, Bordt & Lakkaraju 2023, arXiv 2305.19101"
_SMYTH = "Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3"
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
        per: what the column exists once for each of; None for a single column.
        shared: whether it says nothing of the model itself, as chance levels, ceilings and other methods do.
        only: `raw` for a column that benchmarks with calibrated outputs do not have; None for one that all have.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    unit: str
    higher_is_better: bool | None
    summary: str
    header: str = ""
    reference: str = ""
    valid: tuple[float, float] = (-math.inf, math.inf)
    binary: bool = False
    per: Literal["epsilon", "sigma", "budget", "noise_level"] | None = None
    shared: bool = False
    only: Literal["raw"] | None = None


Need = Literal[
    "manifold", "calibration", "second_target", "second_sigma", "paper_sigma", "target_embedding", "noise_parts",
    "further_gradients", "judge",
]  # fmt: skip
"""What a measure may need, and a run prepares for it:

- `manifold`: a benchmark with tangent spaces;
- `calibration`: the temperature that is fitted on the calibration split;
- `second_target`: scores of the benchmark's second score model; `second_sigma`: its Bayes target at its own sigma;
  `paper_sigma`: its scores at the sigma of the paper protocol;
- `target_embedding`: LPIPS embeddings of the Bayes target;
- `noise_parts`: the tangent and the normal part of one noise vector per image;
- `further_gradients`: gradients of the batch's forward pass, beside that of the log-odds;
- `judge`: the independent classifier, whose hash is then recorded.
"""


class Measure(Card):
    """What `pagbench/measures/<name>.yaml` declares of the function in `<name>.py`."""

    mandatory: bool = False
    """Whether every benchmark takes it that has what it needs."""
    optional: bool = False
    """Whether no benchmark takes it by itself: a run takes it where it is asked to, `--measures`."""
    needs: tuple[Need, ...] = ()
    package: str | None = None
    """The package of `pagbench.errors.EXTRAS` that its function imports; null for none."""
    block: Count | None = None
    """How many of the benchmark's samples, in order, are measured together, where rows depend on which those are."""
    first: Count | None = None
    """How many of the benchmark's samples are measured, the first ones; null for all."""
    images: tuple[str, ...] = ()
    """Names of the images that results files may carry, which the function `pictures` returns.

    Those that begin with the measure's name are of the gradient's making; the others are the same for all models.
    """
    columns: tuple[Column, ...]
    """What it fills, in Parquet's order."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.optional and self.mandatory:
            raise ValueError("a measure is optional or mandatory, not both")
        if not self.optional and (self.block or self.first or self.images or self.package):
            raise ValueError("block, first, images and package are for optional measures")
        if self.package is not None and self.package not in EXTRAS:
            raise ValueError(f"no extra of pagbench installs the package {self.package!r}")
        return self


_FILES = {name: Path(__file__).parent / "measures" / f"{name}.yaml" for name in REGISTRY}

MEASURES: dict[str, Measure] = {name: Measure.parse(read_yaml(path), path.name) for name, path in _FILES.items()}
"""Declarations by name, in order."""

SAMPLE_COLUMNS: dict[str, tuple[Column, ...]] = {name: measure.columns for name, measure in MEASURES.items()}
"""Per-sample columns, by the measure that fills them; those with `per` exist several times in a benchmark."""

OPTIONAL = tuple(name for name, measure in MEASURES.items() if measure.optional)
"""Measures that no benchmark takes by itself."""

WITHOUT_TARGET = (
    "accuracy", "faithfulness", "adversarial", "pgd", "certified", "smoothing", "generation", "denoising", "inpainting",
)  # fmt: skip
"""Measures that mean something without a target or a manifold; a benchmark that defines none shows no others."""

ABILITIES = tuple(name for name, measure in MEASURES.items() if measure.images)
"""Measures of what one can do by following a model's gradient: they make images."""

ATTACKS = ("pgd", "adversarial")
"""Measures of robust accuracy, as tables show them, beside accuracy."""

BLOCKS: dict[str, int] = {name: measure.block for name, measure in MEASURES.items() if measure.block is not None}
"""Measures whose rows depend on which images are measured together: so many of a benchmark's samples, in order."""


class Definition(Protocol):
    """What columns depend on of a benchmark, `pagbench.benchmarks.Benchmark`."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Its own measures."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Ids of its images."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Step lengths."""

    @property
    def sigmas(self) -> tuple[float, ...] | None:
        """Noise levels of the profile."""

    @property
    def gradient(self) -> str | None:
        """Whether outputs are calibrated before anything is measured."""

    @property
    def ranking(self) -> str | None:
        """`recipes` where networks of one recipe share a row."""


def choose_optional(names: Iterable[str]) -> tuple[str, ...]:
    """The optional measures of these names, each once.

    Raises:
        UnknownNameError: one is no optional measure.
        MissingPackageError: one needs a package that is not installed.
    """
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        if name not in OPTIONAL:
            raise UnknownNameError("optional measure", name, OPTIONAL)
        if (package := MEASURES[name].package) is not None:
            check_extra(package)
    return chosen


def epsilon_name(column: str, epsilon: float) -> str:
    """Name of a response column at one step length.

    >>> epsilon_name("on_response", 0.5)
    'on_response_0.5'
    """
    return f"{column}_{epsilon:g}"


def sigma_name(column: str, sigma: float) -> str:
    """Name of a column of the profile at one noise level.

    >>> sigma_name("alignment_at", 0.5), sigma_name("alignment_at_chance", 0.5)
    ('alignment_at_0.5', 'alignment_at_0.5_chance')
    """
    stem = column.removesuffix("_chance")
    return f"{stem}_{sigma:g}{column.removeprefix(stem)}"


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

    def __str__(self) -> str:
        """For people: `L2 0.5`, `L∞ 8/255`."""
        return f"{'L2' if self.norm == 'l2' else 'L∞'} {self.label}"


_SMALL = 32


def budgets(benchmark: Definition) -> tuple[Budget, Budget]:
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

_IDENTITY_MEANS = {
    "benchmark": "Name of the benchmark.",
    "version": "Version of the benchmark.",
    "entrant": "Id of the model.",
    "family": "Training family of the model.",
    "strength": "Strength of the regularisation, in the family's unit; null where there is none.",
    "control": "Whether the model only bounds the columns, and takes no rank.",
    "seed": "Of noise and permutation.",
    "sample_id": "Id of the image.",
    "label": "True class of the image, counted from 0.",
}

NOISE_LEVELS = (0.25, 0.5, 1.0)
"""Standard deviations of the noise that is to be removed, in shares of the benchmark's sigma."""

PARTIAL_MEASURES = "partial_measures"
"""Column of the leaderboard that says which optional measures are means over fewer images, or over fewer networks than
the row has; only where some are."""

ATTACKED_DRAWS = "attacked_draws"
"""Column of the leaderboard that marks smoothed models whose robust accuracy it has; only where there are some."""

CERTIFIED_RADII = (0.25, 0.5, 1.0)
"""Radii at which the leaderboard gives certified accuracy, L2 in pixel units."""

MAIN = ("alignment", "accuracy", "tangent_energy", "on_response", "off_response", "log_ratio")
"""Columns of the leaderboard that are shown first, and compared; those that a benchmark has."""

ROBUST_ACCURACY = "robust accuracy"
"""What the first attack of `ATTACKS`, at its first budget, is also found by, of those that a board has."""

SHORT = ("rank", "model", "accuracy", "seconds_per_image", "alignment", ROBUST_ACCURACY, "tangent_energy", "regime")
"""Columns of the leaderboard that are shown where nobody asks for others, as far as a board has them."""

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
    Column("seconds_per_image", "s", False, "Wall-clock time of the run that measured them, targets included; only on benchmarks without a rank.", "s/image"),
    Column("alignment", "", True, "Chance-corrected alignment (A - A_chance)/(1 - A_chance) of the benchmark's ranking column, of means.", "alignment"),
    Column("alignment_lpips", "", True, "Mean of the per-sample column.", "1 − LPIPS"),
    Column("alignment_lpips_chance", "", None, "Mean of the per-sample column.", "1 − LPIPS chance"),
    Column("alignment_lpips_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means.", ""),
    Column("alignment_cosine", "", True, "Mean of the per-sample column.", "cosine"),
    Column("alignment_cosine_chance", "", None, "Mean of the per-sample column.", ""),
    Column("alignment_cosine_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means.", ""),
    Column("alignment_second", "", True, "Mean of the per-sample column.", ""),
    Column("alignment_ceiling", "", None, "What a perfect model would reach, for the target is an estimate: the noise ceiling of the cosine, √(2r/(1 + r)), r the agreement of the targets of two halves of the training split, corrected for the row's chance level. Null where it is not known.", "", "Lage-Castellanos et al. 2019, PLoS Comput. Biol. 15, e1006397"),
    Column("alignment_second_chance", "", None, "Mean of the per-sample column.", ""),
    Column("alignment_second_corrected", "", True, "(A - A_chance)/(1 - A_chance) of the means: alignment with the second target.", "2nd target"),
    Column("alignment_profile", "", True, "(A - A_chance)/(1 - A_chance) of the means of alignment_at, at that sigma.", per="sigma"),
    Column("alignment_peak", "", True, "Largest of the profile over its sigmas; as the largest of several estimates a little too high.", "peak"),
    Column("alignment_peak_sigma", "pixel units", None, "Where it is: the vertex of the parabola in log sigma through the largest value and its neighbours, or the end of the sigmas where the largest is one, which may lie beyond it: then a table shows the end of the 95 % interval that is known, as ≥ 3.33, the open end is null, and sorting takes the sigma at which it is. No interval goes beyond the sigmas; one that reaches the last of them may be cut off there.", "peak sigma"),
    Column("alignment_peak_sigma_censored", "", None, "How to read it where it is at an end of the sigmas: at least alignment_peak_sigma_low, at the last, or at most alignment_peak_sigma_high, at the first; null where it is an estimate. Where that end is null, too, nothing is known."),
    Column("tangent_energy", "", True, "Mean of the per-sample column.", "tangent energy"),
    Column("tangent_energy_chance", "", None, "Mean of the per-sample column.", ""),
    Column("tangent_energy_corrected", "", True, "(τ - k/d)/(1 - k/d), τ the mean.", ""),
    Column("on_response", "L1 of softmax", None, "Mean on-manifold response at the benchmark's epsilon.", "on"),
    Column("off_response", "L1 of softmax", False, "Mean off-manifold response at the benchmark's epsilon.", "off"),
    Column("log_ratio", "", False, "log(mean off_response / mean on_response).", "log off/on"),
    Column("log_ratio_calibrated", "", False, "The same of the temperature-calibrated responses; none where all outputs are calibrated.", ""),
    Column("log_ratio_infinitesimal", "", False, "log(off / on) of infinitesimal responses: the means of off_sensitivity and on_sensitivity, or the roots of the means of off_jacobian and on_jacobian.", ""),
    Column("paper_alignment", "", True, "Mean of the per-sample column.", ""),
    Column("paper_alignment_sum", "", True, "Mean of the per-sample column.", ""),
    Column("paper_log_ratio", "", False, "log(mean paper_off_response / mean paper_on_response).", ""),
    Column("temperature", "", None, "Fitted on the calibration split; its interval is the bootstrap over that split. 1 for a control where all outputs are calibrated.", "T"),
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
    Column("same_as", "", None, "Models with the same outputs on probe images, up to a factor, and models with the same weights; controls are not compared."),
    Column("verification", "", None, "verified or refuted by a rerun of some images, by whom and when; self-reported where nobody has made one, with a hash where the weights are under embargo.", "verification"),
)  # fmt: skip
"""Columns of the leaderboard, in order. Those with a header are in the table; all are in CSV and JSON.

One with `per` exists several times in a benchmark; see `board_columns`.
"""

RECIPE_COLUMNS: tuple[Column, ...] = (
    Column("track", "", None, "The ranking that a recipe takes part in: open, or trained-on-target where its card declares that."),
    Column("n_networks", "networks", None, "Networks of the recipe, which differ in the training seed; a column's value is that of their mean.", "n"),
    Column("networks", "", None, "Id, training seed and main columns of each of these networks, with intervals over images alone; in CSV their ids."),
    *(
        column
        for name in MAIN
        for column in (
            Column(f"{name}_seed_sd", "", None, f"Standard deviation of {name} between networks of the recipe, shrunk to that of all recipes.", "", _SMYTH),
            Column(f"{name}_image_sd", "", None, f"Standard deviation of the recipe's {name} over draws of the images."),
            Column(f"{name}_interval_factor", "", None, f"How many times as long as over images alone the interval of {name} is."),
        )
    ),
)  # fmt: skip
"""Columns that only leaderboards have whose rows are recipes; they stand behind the id."""


def sample_columns(benchmark: Definition, measures: Sequence[str] | None = None) -> list[Column]:
    """Per-sample columns of the benchmark's own measures, or of others, in Parquet's order."""
    chosen = benchmark.measures if measures is None else measures
    return [
        column for measure in chosen for filled in SAMPLE_COLUMNS[measure] for column in _repeated(filled, benchmark)
    ]


def samples_of(benchmark: Definition, measure: str | None) -> tuple[str, ...]:
    """The samples that a measure is taken of: all, or the first ones.

    Args:
        benchmark: the definition.
        measure: an optional measure; None for the benchmark's own measures.
    """
    return benchmark.samples[: None if measure is None else MEASURES[measure].first]


def _repeated(column: Column, benchmark: Definition) -> list[Column]:
    """The column for each epsilon, sigma, budget or noise level, where it is declared so; tables show the middle level.

    None where the benchmark does not have it.
    """
    if column.only == "raw" and benchmark.gradient == "calibrated":
        return []
    if column.per == "epsilon":
        return [replace(column, name=epsilon_name(column.name, epsilon)) for epsilon in benchmark.epsilons]
    if column.per == "sigma":
        return [replace(column, name=sigma_name(column.name, sigma)) for sigma in benchmark.sigmas or ()]
    if column.per == "budget":
        return [
            replace(column, name=budget_name(column.name, budget), header=f"{column.header} {budget}")
            for budget in budgets(benchmark)
        ]
    if column.per == "noise_level":
        return [
            replace(column, name=f"{column.name}_{level:g}", header=column.header if level == NOISE_LEVELS[1] else "")
            for level in NOISE_LEVELS
        ]
    return [column]


def board_columns(benchmark: Definition) -> list[Column]:
    """Columns of a benchmark's leaderboard, in order, but for those that optional measures add."""
    place = 1 + [column.name for column in BOARD_COLUMNS].index("model")
    recipe = () if benchmark.ranking is None else RECIPE_COLUMNS
    declared = (*BOARD_COLUMNS[:place], *recipe, *BOARD_COLUMNS[place:])
    return [column for each in declared for column in _repeated(each, benchmark)]


def optional_board_columns(benchmark: Definition) -> list[Column]:
    """Columns of the leaderboard that optional measures add, and those that say what is special about some of them."""
    partial = Column(
        PARTIAL_MEASURES,
        "",
        None,
        "Optional measures that lack images of the model, or networks of the row; null where none does.",
    )
    draws = Column(
        ATTACKED_DRAWS,
        "draws",
        None,
        "Draws of noise that a smoothed model averages over: attacks follow the gradient of these, and the ideal smoothed "
        "classifier may be less or more robust. Null for all others.",
    )
    return [*(column for measure in OPTIONAL for column in added_columns(benchmark, measure)), partial, draws]


def added_columns(benchmark: Definition, measure: str) -> list[Column]:
    """Columns of the leaderboard that an optional measure adds: means, or certified accuracy and its radius."""
    if measure != "certified":
        summary = "Mean of the per-sample column."
        return [replace(column, summary=summary) for column in sample_columns(benchmark, [measure])]
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
    return [*radii, average]


def all_board_columns(benchmark: Definition) -> list[Column]:
    """All columns of a benchmark's leaderboard, in order: robust accuracy beside accuracy, other optional ones last."""
    listed = board_columns(benchmark)
    attacks = [column for measure in ATTACKS for column in added_columns(benchmark, measure)]
    place = 1 + [column.name for column in listed].index("accuracy")
    others = [column for column in optional_board_columns(benchmark) if column not in attacks]
    return [*listed[:place], *attacks, *listed[place:], *others]


_MEAN = "Mean of the per-sample column."


def documented_columns(benchmark: Definition) -> list[Column]:
    """Every column that a benchmark's leaderboard may have, in order, defined: its own, then means of samples'."""
    samples = {column.name: column for column in sample_columns(benchmark, [*benchmark.measures, *OPTIONAL])}
    by_name: dict[str, Column] = {}
    for column in (*all_board_columns(benchmark), *samples.values()):
        by_name.setdefault(column.name, _defined(column, samples.get(column.name)))
    return [column for column in by_name.values() if not column.name.endswith(("_low", "_high"))]


def _defined(column: Column, sample: Column | None) -> Column:
    """A column of the board whose summary is the definition of what it is a mean of."""
    if sample is None or column.summary not in (_MEAN, sample.summary):
        return column
    summary, unit = f"Mean over images: {sample.summary}", column.unit or sample.unit
    return replace(column, summary=summary, unit=unit, reference=sample.reference)


def find_columns(benchmark: Definition, names: Sequence[str], available: Iterable[str]) -> list[Column]:
    """Columns of a leaderboard by name, as `tangent_energy`, or by heading, as `log off/on`.

    Args:
        benchmark: the definition.
        names: of columns, in any case; spaces count as underscores, and a hyphen as a minus sign.
        available: names of the columns that the leaderboard has.

    Raises:
        UnknownNameError: it has no such column.
    """
    known = _by_word(benchmark, available)
    for name in names:
        if _word(name) not in known:
            columns = [column for column in known.values() if not column.name.endswith(("_low", "_high"))]
            raise UnknownNameError("column", name, {text for c in columns for text in (c.name, c.header) if text})
    return list({known[_word(name)].name: known[_word(name)] for name in names}.values())


def short_columns(benchmark: Definition, available: Iterable[str]) -> list[Column]:
    """The columns of `SHORT` that a leaderboard has, in order.

    Args:
        benchmark: the definition.
        available: names of the columns in which the leaderboard has a value.
    """
    known = _by_word(benchmark, available)
    return [known[_word(name)] for name in SHORT if _word(name) in known]


def _by_word(benchmark: Definition, available: Iterable[str]) -> dict[str, Column]:
    """The columns that a leaderboard has by all that they are found by; a name goes before a heading."""
    listed = {column.name: column for column in documented_columns(benchmark)}
    there = {name: listed.get(name, Column(name, "", None, "")) for name in available}
    attacks = [column for measure in ATTACKS for column in added_columns(benchmark, measure) if column.name in there]
    return (
        {_word(ROBUST_ACCURACY): column for column in attacks[:1]}
        | {_word(column.header): column for column in there.values() if column.header}
        | {_word(column.name): column for column in there.values()}
    )


def _word(name: str) -> str:
    """A name or a heading as they are compared.

    >>> _word("tangent_energy"), _word("1 − LPIPS")
    ('tangent energy', '1 - lpips')
    """
    return " ".join(name.casefold().replace("−", "-").replace("_", " ").strip("↑↓ ").split())


def schema(benchmark: Definition, measure: str | None = None) -> pa.Schema:
    """Arrow schema of a results file: identity, then measured values as nullable floats (null: not scored).

    Every field's metadata says what it is: `definition`, one sentence; `unit`, empty for a pure number; `better`,
    `higher` or `lower`, empty where neither direction is.

    >>> from pagbench import benchmarks
    >>> schema(benchmarks.load("digits@2")).field("tangent_energy").metadata[b"better"]
    b'higher'

    Args:
        benchmark: the definition.
        measure: an optional measure, whose rows are in files of their own; None for the benchmark's own measures.
    """
    measured = sample_columns(benchmark, None if measure is None else [measure])
    identity = [_field(name, kind, Column(name, "", None, _IDENTITY_MEANS[name])) for name, kind in IDENTITY.items()]
    return pa.schema([*identity, *(_field(column.name, pa.float32(), column) for column in measured)])


def _field(name: str, kind: pa.DataType, column: Column) -> pa.Field:
    better = {True: "higher", False: "lower", None: ""}[column.higher_is_better]
    return pa.field(name, kind, metadata={"unit": column.unit, "definition": column.summary, "better": better})
