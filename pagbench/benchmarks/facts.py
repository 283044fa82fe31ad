"""What a reader should know of a benchmark: what it measures, needs and costs, how to run and cite it.

The definition says the most; `notes.yaml` has what it does not say. Text between backticks is code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pagbench import __version__
from pagbench.benchmarks import Benchmark, validation
from pagbench.cards import MANIFOLDS, ScoreCard
from pagbench.cards.plain_yaml import read_yaml
from pagbench.data.base import Source

_PAPER = (
    "S. Srinivas, S. Bordt and H. Lakkaraju (2023), Which models have perceptually-aligned gradients? An explanation "
    "via off-manifold robustness, NeurIPS, arXiv 2305.19101."
)


@dataclass(frozen=True)
class Need:
    """Something that a run fetches or finds installed.

    Attributes:
        what: its name.
        download: size, in words.
        license: of the thing, as its publisher states it.
        place: where it lies; empty where nothing is fetched.
    """

    what: str
    download: str
    license: str
    place: str


@dataclass(frozen=True)
class Facts:
    """What is known of a benchmark.

    Attributes:
        definition: names and values of what it fixes.
        needs: data and networks that a run takes.
        works: what the data set is made of, where that is works of several authors.
        memory: what a run takes, and whether that was measured.
        time: likewise.
        commands: to measure a model, and to show the leaderboard.
        caveat: what to know of it where there are no results; empty where there is nothing.
        weakness: that another density is better than the benchmark's own, a sentence; empty where none is known to be.
        evidence: how good its density and its tangent spaces are, tables in text; empty where nobody has measured it.
        agreement: how far other estimates of the tangent spaces agree; empty where that was not measured.
        sources: to cite.
    """

    definition: tuple[tuple[str, str], ...]
    needs: tuple[Need, ...]
    works: tuple[Source, ...]
    memory: str
    time: str
    commands: tuple[str, str]
    caveat: str
    weakness: str
    evidence: str
    agreement: str
    sources: tuple[str, ...]


def of(benchmark: Benchmark) -> Facts:
    """The facts of a published benchmark."""
    notes, label = _notes(), benchmark.label
    validated = validation.published(label)
    cost = notes["costs"].get(label, {})
    return Facts(
        definition=tuple(_definition(benchmark)),
        needs=tuple(_needs(benchmark)),
        works=benchmark.dataset.facts.sources,
        memory=cost.get("memory", "not measured"),
        time=cost.get("time", "not measured"),
        commands=(
            f"pagbench run {notes['examples'].get(label, '')} --benchmark {benchmark.label}",
            f"pagbench leaderboard --benchmark {benchmark.label}",
        ),
        caveat=_caveat(benchmark),
        weakness=validation.weakness(benchmark),
        evidence="" if validated is None else validation.to_text(validated),
        agreement=notes["agreement"].get(label, ""),
        sources=_sources(benchmark),
    )


def fit_time(benchmark: Benchmark) -> str:
    """How long the first run takes to train or fit what its definition has a recipe of."""
    return str(_notes()["fits"].get(benchmark.label, "not measured"))


def citation() -> str:
    """How pagbench itself is cited; `CITATION.cff` says the same."""
    return (
        f"The pagbench authors, pagbench: a benchmark for the input gradients of robust vision models, {__version__}."
    )


@cache
def _notes() -> dict[str, Any]:
    return read_yaml(Path(__file__).parent / "notes.yaml")


def _caveat(benchmark: Benchmark) -> str:
    kind = benchmark.dataset.kind
    return next((n["said"] for n in _notes()["caveat"] if kind in n["data"]), "")


def _definition(benchmark: Benchmark) -> Iterator[tuple[str, str]]:
    shape = "×".join(map(str, benchmark.input_shape))
    yield "images", f"{len(benchmark.samples)} of {shape}, {benchmark.classes} classes"
    yield "target", f"{_score(benchmark.score)}, sigma {benchmark.sigma:g} (pixel units)"
    if benchmark.second is not None:
        second = benchmark.second
        at = [] if second.sigma is None else [f"sigma {second.sigma:g}"]
        at += [] if second.paper_sigma is None else [f"by the paper's protocol sigma {second.paper_sigma:g}"]
        logit = "the predicted class's" if second.paper_gradient == "predicted" else "the label's, and of their sum"
        summed = benchmark.alignment == "paper_alignment_sum"
        what = "the same density" if second.score == benchmark.score else _score(second.score)
        yield "second target", f"{what}, {'; '.join(at)}"
        if second.paper_sigma is not None:
            yield "the paper's gradient", "of the sum of the logits" if summed else f"of the logit: {logit}"
    if benchmark.manifold is not None:
        title = MANIFOLDS[benchmark.manifold.kind].title
        yield "tangent space", f"{title}, rank {benchmark.rank} of {benchmark.dimension}"
        lengths = ", ".join(f"{e:g}" for e in benchmark.epsilons)
        yield "steps", f"{lengths} (L2, pixel units), {benchmark.directions} directions each way"
    if benchmark.probes is not None:
        yield "Jacobian", f"{benchmark.probes} of {benchmark.classes - 1} combinations of the outputs, drawn per image"
    if benchmark.sigmas is not None:
        yield "profile", f"targets at sigma {', '.join(f'{sigma:g}' for sigma in benchmark.sigmas)}"
    if benchmark.gradient == "calibrated":
        yield "outputs", "logits over the temperature that the calibration images fix; of controls as they are"
    if benchmark.partners == "next":
        yield "chance level", "by the target of the next image, which is of another class"
    yield "measures", ", ".join(f"`{name}`" for name in benchmark.measures)
    if benchmark.no_target:
        yield "ranks", f"nobody: {benchmark.no_target}"
        yield "shows", "`pagbench check`'s pre-flight, accuracy, time per image, pictures; nothing of alignment"
    else:
        yield "ranks by", f"`{benchmark.alignment}`" + ("" if benchmark.by_paper else ", chance-corrected")
    if benchmark.ranking == "recipes":
        yield "a rank is of", "a recipe of training: the mean over its networks, which differ in the training seed"
    anchors = ", ".join(f"`{name}`" for name in benchmark.anchors)
    yield "measured with every run", anchors or "nothing"
    judged = benchmark.reference and benchmark.bayes and benchmark.thresholds
    yield "regimes", "judged between these two" if judged else "not judged"
    yield "definition", f"sha256 `{benchmark.digest()[:16]}…`; `pagbench show {benchmark.label}`"


def _score(card: ScoreCard) -> str:
    published, recipe = card.repository or card.architecture, card.recipe
    if recipe is not None:
        components = "1 component" if recipe.components == 1 else f"{recipe.components} components"
        return (
            f"{card.kind} score, fitted by the first run ({components} a class, rank {recipe.rank}, "
            f"in {recipe.directions} directions)"
        )
    return f"{card.kind} score" + (f" (`{published}`)" if published else "")


def _models(benchmark: Benchmark) -> list[tuple[str, dict[str, Any], str]]:
    """Published networks that a run fetches: name, note, licence."""
    known = _notes()["models"]
    cards = [benchmark.score, *([] if benchmark.second is None else [benchmark.second.score])]
    if benchmark.manifold is not None and benchmark.manifold.repository is not None:
        cards.append(benchmark.manifold)  # type: ignore[arg-type]  # it names its network in the same fields
    named = {card.repository or getattr(card, "architecture", None): card.license for card in cards}
    found = [(name, known[name], license or "") for name, license in named.items() if name]
    if benchmark.reference in known:
        note = known[benchmark.reference]
        found.append((benchmark.reference, note, note["license"]))
    return found


def _needs(benchmark: Benchmark) -> Iterator[Need]:
    about = benchmark.dataset.facts
    yield Need(about.what, about.size, about.license, about.place)
    for name, note, license in _models(benchmark):
        optional = "; without it no regimes" if name == benchmark.reference else ""
        yield Need(f"`{name}`", f"{note['size']}{optional}", license, "`$PAGBENCH_CACHE`")


def _sources(benchmark: Benchmark) -> tuple[str, ...]:
    cited = [benchmark.dataset.facts.cite, *(note.get("cite") for _, note, _ in _models(benchmark))]
    return (_PAPER, *dict.fromkeys(filter(None, cited)))
