"""Benchmarks: frozen definitions, one YAML each. A published one never changes; a change is a new version."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pagbench.cards import (
    Card,
    Count,
    Identifier,
    ManifoldCard,
    Positive,
    ScoreCard,
    SecondTargetCard,
)
from pagbench.cards.plain_yaml import read_yaml
from pagbench.columns import MEASURES, WITHOUT_TARGET, Need
from pagbench.data import AnyDatasetCard
from pagbench.errors import ContractError, UnknownNameError

_FOLDER = Path(__file__).parent


def _expand(value: Any) -> Any:
    """Turns "0..3" into ("0", "1", "2", "3"); leaves lists alone."""
    span = re.fullmatch(r"(\d+)\.\.(\d+)", value) if isinstance(value, str) else None
    if span is None:
        return [str(item) for item in value] if isinstance(value, list) else value
    return [str(index) for index in range(int(span[1]), int(span[2]) + 1)]


def _check_measure(name: str) -> str:
    measure = MEASURES.get(name)
    if measure is None:
        raise ValueError(str(UnknownNameError("measure", name, MEASURES)))
    if measure.optional:
        raise ValueError(f"the measure {name} is optional; leave it to `pagbench run --measures {name}`")
    return name


MeasureName = Annotated[str, AfterValidator(_check_measure)]
SampleIds = Annotated[tuple[str, ...], BeforeValidator(_expand)]


class Thresholds(Card):
    """Where one regime ends and the next begins; see `pagbench.ranking.regimes`."""

    gain: Positive
    """Share of the way from the reference's tangent energy to the Bayes control's."""
    retention: Positive | None = None
    """Share of the Bayes control's on-manifold response; null where outputs are calibrated, so that none falls."""
    drop: Positive
    """Accuracy lost against the reference, as a fraction."""
    blur: Positive | None = None
    """Largest sigma* over the benchmark's sigma; beyond it a model is excessive. Sigma* is the noise level at which its
    gradient is most aligned. Null where no profile is measured."""
    gap: Positive
    """Smallest difference of the anchors' tangent energies between which a regime is judged."""
    confidence: Annotated[float, Field(gt=0.5, le=1)]
    """Bootstrap probability that a label needs; below it the label is "boundary"."""


class Benchmark(Card):
    """Everything that fixes a number except the model: data, target, manifold, noise, measures, seed."""

    name: Identifier
    version: Count
    title: str
    description: str
    dataset: AnyDatasetCard
    samples: SampleIds = Field(repr=False)
    """Ids of the images that are measured, in order."""
    calibration: SampleIds = Field(repr=False)
    """Ids of the images that only the temperature is fitted on; none without the measure `response`."""
    trained_on: Identifier | None = None
    """What the cards of its models call their data set; null for the benchmark's name."""
    training: SampleIds | None = Field(default=None, repr=False)
    """Ids of the training split; null for all images that are neither measured nor fitted on."""
    input_shape: tuple[Count, Count, Count]
    classes: Count
    score: ScoreCard
    sigma: Positive
    """Noise level of the score, a standard deviation in pixel units."""
    sigmas: tuple[Positive, ...] | None = None
    """Noise levels at which the measure `profile` compares, ascending, in pixel units; null without it."""
    second: SecondTargetCard | None = None
    """What the measures `alignment_second` and `paper` compare with; null without them."""
    manifold: ManifoldCard | None = None
    """Null where nothing is said of directions on and off a manifold."""
    epsilons: tuple[Positive, ...] = ()
    """Lengths of the steps along and off the manifold, L2 in pixel units."""
    epsilon: Positive | None = None
    """The one of `epsilons` that the table and the regimes use."""
    directions: Annotated[int, Field(ge=4)]
    """Random orthonormal directions per image and space."""
    measures: tuple[MeasureName, ...]
    gradient: Literal["calibrated"] | None = None
    """`calibrated`: all outputs are divided by the model's temperature, which the calibration images fix, before
    anything is measured; null: outputs are taken as they are."""
    partners: Literal["next"] | None = None
    """`next`: the chance level of an image is taken of the next one of `samples` that is of another class, the first
    following the last; null: of any other image, by a permutation drawn with the seed."""
    probes: Count | None = None
    """Random combinations of the outputs that the measure `jacobian` differentiates, at most one less than there are
    classes; null without it."""
    differences: Count | None = None
    """Random directions on and off the manifold, so many of each, along which the gradient is compared with finite
    differences; null for two."""
    alignment: Literal["alignment_cosine", "alignment_lpips", "paper_alignment", "paper_alignment_sum"]
    """The column whose mean ranks the models, chance-corrected unless it is the paper's."""
    ranking: Literal["recipes"] | None = None
    """`recipes`: the networks of one recipe, which differ in the training seed, share a rank, and models that were
    trained on a benchmark's target rank among themselves; null: every network has a rank, all in one ranking."""
    reference: Identifier | None = None
    """The unregularised model: the lower anchor of the regimes; null where no regimes are judged."""
    bayes: Identifier | None = None
    """The Bayes control: the upper anchor; null where the target has no closed-form classifier."""
    thresholds: Thresholds | None = None
    """Null where no regimes are judged."""
    seed: int

    @property
    def label(self) -> str:
        """Name and version, as in results: `digits@1`."""
        return f"{self.name}@{self.version}"

    @property
    def heading(self) -> str:
        """The title, with the version where there are several."""
        others = [name for name in names() if name.partition("@")[0] == self.name and name != self.label]
        return f"{self.title} (version {self.version})" if others else self.title

    @property
    def data_name(self) -> str:
        """Name of the data set in the cards of the benchmark's models."""
        return self.trained_on or self.name

    @property
    def anchors(self) -> tuple[Identifier, ...]:
        """Models that every run measures: the Bayes control and the reference, where there are any."""
        return tuple(name for name in (self.bayes, self.reference) if name is not None)

    @property
    def by_paper(self) -> bool:
        """Whether the paper's own alignment ranks, which has no chance level."""
        return self.alignment.startswith("paper")

    @property
    def no_target(self) -> str:
        """Why nothing is said of alignment, as a clause; empty where the data define a target."""
        if self.dataset.defines_target:
            return ""
        return f"{len(self.samples)} images define no target; this benchmark is for trying a network out"

    def hides(self, measure: str) -> bool:
        """Whether a measure's columns are kept in results files and shown nowhere: they need a target that counts."""
        return bool(self.no_target) and measure not in WITHOUT_TARGET

    @property
    def rank(self) -> int:
        """Dimension of the tangent spaces, k; 0 without a manifold."""
        return 0 if self.manifold is None else self.manifold.rank

    @property
    def dimension(self) -> int:
        """Number of pixels, d."""
        channels, height, width = self.input_shape
        return channels * height * width

    def needs(self, need: Need) -> bool:
        """Whether one of its measures does."""
        return any(need in MEASURES[name].needs for name in self.measures)

    @model_validator(mode="after")
    def _consistent(self) -> "Benchmark":
        if self.epsilon not in (self.epsilons or (None,)):
            raise ValueError(f"epsilon {self.epsilon} is not one of epsilons {self.epsilons}")
        room = min(self.rank or self.dimension, self.dimension - self.rank)
        if self.directions > room:
            raise ValueError(
                f"{self.directions} orthonormal directions do not fit a manifold of rank {self.rank} "
                f"in {self.dimension} dimensions"
            )
        if self.probes is not None and self.probes >= self.classes:
            raise ValueError(f"{self.probes} probes, of which {self.classes - 1} are exact with {self.classes} classes")
        if self.differences is not None and self.differences > self.directions:
            raise ValueError(f"differences along {self.differences} of {self.directions} directions")
        if self.thresholds is not None and not (self.manifold and self.bayes):
            raise ValueError("thresholds need a manifold and a Bayes control")
        if len({f"{epsilon:g}" for epsilon in self.epsilons}) < len(self.epsilons):
            raise ValueError(f"epsilons {self.epsilons} are not distinct")
        if self.sigmas is not None and self.sigma not in self.sigmas:
            raise ValueError(f"sigma {self.sigma} is not one of sigmas {self.sigmas}")
        if any(low >= high or f"{low:g}" == f"{high:g}" for low, high in pairwise(self.sigmas or ())):
            raise ValueError(f"sigmas {self.sigmas} do not ascend, or not by more than their names tell apart")
        if not self.samples:
            raise ValueError("samples are empty")
        if set(self.samples) & set(self.calibration) or len(set(self.samples)) != len(self.samples):
            raise ValueError("samples must be distinct and apart from the calibration ids")
        if set(self.training or ()) & {*self.samples, *self.calibration}:
            raise ValueError("training ids must be apart from samples and calibration ids")
        return self

    @model_validator(mode="after")
    def _measures_have_what_they_need(self) -> "Benchmark":
        required = {name for name, measure in MEASURES.items() if measure.mandatory}
        if self.manifold is None:
            required -= set(_needing("manifold"))
        required.add("paper" if self.by_paper else self.alignment)
        if required - set(self.measures) or len(set(self.measures)) < len(self.measures):
            raise ValueError(f"measures must be distinct and include {', '.join(sorted(required))}")
        if len({self.manifold is not None, bool(self.epsilons), self.needs("manifold")}) > 1:
            raise ValueError(f"a manifold, epsilons and the measures {', '.join(_needing('manifold'))} go together")
        if bool(self.calibration) != self.needs("calibration"):
            fitted = " and ".join(_needing("calibration"))
            raise ValueError(f"calibration ids go with the measure {fitted}, whose temperature they fix")
        if (self.probes is None) == ("jacobian" in self.measures):
            raise ValueError("the measure jacobian goes with probes: give both or neither")
        if {"jacobian", "sensitivity"} <= set(self.measures):
            raise ValueError("the measures jacobian and sensitivity are of the same thing: give one of them")
        if (self.sigmas is None) == ("profile" in self.measures):
            raise ValueError("the measure profile goes with sigmas: give both or neither")
        if self.gradient == "calibrated" and not self.needs("calibration"):
            fitted = " and ".join(_needing("calibration"))
            raise ValueError(f"calibrated outputs go with the measure {fitted}, whose temperature divides them")
        if (self.second is None) == self.needs("second_target"):
            compared = " and ".join(_needing("second_target"))
            raise ValueError(f"the measures {compared} go with a second target: give both or neither")
        if self.second is not None and (self.second.sigma is None) == self.needs("second_sigma"):
            compared = " and ".join(_needing("second_sigma"))
            raise ValueError(f"the measure {compared} goes with the second target's sigma: give both or neither")
        if self.second is not None and (self.second.paper_sigma is None) == self.needs("paper_sigma"):
            compared = " and ".join(_needing("paper_sigma"))
            raise ValueError(f"the measure {compared} goes with the second target's paper_sigma: give both or neither")
        return self


def _needing(need: Need) -> list[str]:
    """The measures that a benchmark may take and that need something, by name."""
    return sorted(name for name, measure in MEASURES.items() if need in measure.needs and not measure.optional)


@cache
def _published() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_FOLDER.glob("*@*.yaml"))}


def names() -> list[str]:
    """Labels of all published benchmarks, `name@version`."""
    return list(_published())


def load(name: str | Benchmark) -> Benchmark:
    """Finds a published benchmark by `name` (its newest version) or `name@version`; a definition is taken as it is.

    >>> load("digits").label, load("digits@1").label
    ('digits@2', 'digits@1')

    Raises:
        UnknownNameError: no such benchmark; the message has the closest names.
        ContractError: neither a name nor a definition.
    """
    if isinstance(name, Benchmark):
        return name
    if not isinstance(name, str):
        raise ContractError(f"benchmark of type {type(name).__name__}; expected one name, as 'digits' or 'digits@2'")
    versions = [label for label in names() if label == name or label.partition("@")[0] == name]
    if not versions:
        raise UnknownNameError("benchmark", name, names(), "see pagbench list benchmarks")
    newest = max(versions, key=lambda label: int(label.partition("@")[2]))
    return _read(newest)


@cache
def _read(label: str) -> Benchmark:
    path = _published()[label]
    return Benchmark.parse(read_yaml(path), path.name)
