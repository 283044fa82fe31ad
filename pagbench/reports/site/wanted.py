"""The page "Fill this board": models that nobody has published results of, with commands and what they cost.

It lists the models of the collections that have robust models, and the package's own cards. The thousand models of timm
and torchvision are left to `pagbench list models`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark, cost, facts
from pagbench.benchmarks.cost import Cost
from pagbench.benchmarks.facts import Facts
from pagbench.cards import ModelCard
from pagbench.models import registry, sources
from pagbench.reports.site.rendering import Page
from pagbench.studies.models import Study

PATH = "missing.html"
SUBMIT = "pagbench submit results results"
_COLLECTIONS = ("robustbench", "smoothing")


@dataclass(frozen=True)
class Wanted:
    """A model without results on a benchmark.

    Attributes:
        model: its id.
        title: of its card.
        command: measures it.
        hours: estimated hours of one GPU; None where its operations were not counted.
        download: bytes of its weights, at four for each parameter; None likewise.
    """

    model: str
    title: str
    command: str
    hours: float | None
    download: int | None


@dataclass(frozen=True)
class Board:
    """A benchmark that lacks results.

    Attributes:
        benchmark: the definition.
        facts: what it needs.
        published: how many models have results on it.
        wanted: models without, the cheapest first; those that were not counted come last.
        targets: estimated hours of one GPU for the targets, once for all models; 0 where nobody counted them.
    """

    benchmark: Benchmark
    facts: Facts
    published: int
    wanted: tuple[Wanted, ...]
    targets: float

    @property
    def hours(self) -> float:
        """Estimated hours of one GPU for all that were counted, the targets among them."""
        return self.targets + sum(one.hours or 0.0 for one in self.wanted)

    @property
    def download(self) -> int:
        """Bytes of the weights of all that were counted."""
        return sum(one.download or 0 for one in self.wanted)

    @property
    def uncounted(self) -> int:
        """How many models were not counted."""
        return sum(one.hours is None for one in self.wanted)


def page(studies: Sequence[Study]) -> Page:
    """The page `missing.html`: boards whose costs are counted with their models, then other boards without results."""
    measured = {study.benchmark.label: {model.card.id for model in study.models} for study in studies}
    cards = list(_cards())
    listed = [board(benchmarks.load(label), cards, measured.get(label, set())) for label in cost.LABELS]
    others = [
        (definition, facts.of(definition))
        for definition in map(benchmarks.load, benchmarks.names())
        if definition.label not in {*measured, *cost.LABELS} and not definition.no_target and is_newest(definition)
    ]
    content = {
        "boards": [one for one in listed if one.wanted],
        "others": others,
        "submit": SUBMIT,
        "tflops": cost.TFLOPS,
    }
    return Page(PATH, "missing.html.j2", "Fill this board", content)


def board(benchmark: Benchmark, cards: Sequence[ModelCard], measured: Collection[str]) -> Board:
    """What a benchmark lacks.

    Args:
        benchmark: the definition.
        cards: of models that are wanted on the benchmark of their data set.
        measured: ids of the models that have results on it.
    """
    costs = cost.by_model()
    missing = [card for card in cards if card.dataset == benchmark.data_name and card.id not in measured]
    wanted = sorted(
        (_wanted(card, benchmark, costs.get(card.id)) for card in missing),
        key=lambda one: (one.hours is None, one.hours, one.model),
    )
    targets = cost.hours(cost.targets(benchmark.label))
    return Board(benchmark, facts.of(benchmark), len(measured), tuple(wanted), targets)


def is_newest(benchmark: Benchmark) -> bool:
    """Whether no later edition of a benchmark is published."""
    return benchmarks.load(benchmark.name).label == benchmark.label


def _cards() -> Iterator[ModelCard]:
    yield from (registry.find(name).card for name in registry.names())
    for name in _COLLECTIONS:
        if (source := sources.find(name)) is not None:
            yield from (source.card(model) for model in source.names())


def _wanted(card: ModelCard, benchmark: Benchmark, known: Cost | None) -> Wanted:
    return Wanted(
        model=card.id,
        title=card.title,
        command=f"pagbench run {card.id} -b {benchmark.label}",
        hours=None if known is None else cost.hours(known.operations),
        download=None if known is None else known.weights,
    )
