"""A page for each benchmark: its definition, and what `benchmarks/notes.yaml` says beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pagbench.benchmarks import Benchmark
from pagbench.cards import DistractorCard, ScoreCard

FOLDER = Path(__file__).parent / "benchmarks"
_NOTES = yaml.safe_load((FOLDER / "notes.yaml").read_text(encoding="utf-8"))
_PAPER = (
    "S. Srinivas, S. Bordt and H. Lakkaraju (2023), Which models have perceptually-aligned gradients? An explanation "
    "via off-manifold robustness, NeurIPS, arXiv 2305.19101."
)
_MANIFOLDS = {
    "posterior-covariance": "leading directions of the posterior covariance of the score",
    "span": "the classes' own span, exact",
    "sphere": "tangent space of the sphere, exact",
    "mask": "the pixels of the signal, exact",
    "autoencoder": "decoder Jacobian of an autoencoder",
    "autoencoder-kl": "decoder Jacobian of a published autoencoder",
    "local-pca": "principal directions of the nearest training images",
}


def page(benchmark: Benchmark, published: bool) -> str:
    """The page of one benchmark, Markdown.

    Args:
        benchmark: the definition.
        published: whether the repository has results on it.
    """
    none = _NOTES["unpublished"].get(benchmark.dataset.kind, "No results are published yet.")
    results = f"[Leaderboard](../../leaderboard/README.md#{_anchor(benchmark)})" if published else none
    return "\n".join(
        [
            f"# {benchmark.title} (`{benchmark.label}`)",
            "",
            benchmark.description.strip(),
            "",
            "## What it measures",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in _facts(benchmark)),
            "",
            "Columns: [measures](../measures.md).",
            "",
            "## What it needs",
            "",
            "| what | download | licence | where |",
            "|---|---|---|---|",
            *_needs(benchmark),
            "",
            f"- Memory: {_cost(benchmark, 'memory')}",
            f"- Time: {_cost(benchmark, 'time')}",
            "",
            "## How to run",
            "",
            "```",
            f"pagbench run {_example(benchmark)} --benchmark {benchmark.name}",
            f"pagbench leaderboard --benchmark {benchmark.name}",
            "```",
            "",
            "## Results",
            "",
            results,
            *_agreement(benchmark),
            "",
            "## How to cite",
            "",
            "pagbench ([CITATION.cff](../../CITATION.cff)), and",
            "",
            *(f"- {source}" for source in _sources(benchmark)),
            "",
        ]
    )


def _anchor(benchmark: Benchmark) -> str:
    """Where GitHub puts the heading `title (`label`)`."""
    kept = [c for c in f"{benchmark.title} ({benchmark.label})".lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")


def _facts(benchmark: Benchmark) -> Iterator[tuple[str, str]]:
    shape = "×".join(map(str, benchmark.input_shape))
    yield "images", f"{len(benchmark.samples)} of {shape}, {benchmark.classes} classes"
    yield "target", f"{_score(benchmark.score)}, sigma {benchmark.sigma:g} (pixel units)"
    if benchmark.second is not None:
        second = benchmark.second
        at = "" if second.sigma is None else f"sigma {second.sigma:g}; "
        logit = "the predicted class's" if second.paper_gradient == "predicted" else "the label's, and of their sum"
        summed = benchmark.alignment == "paper_alignment_sum"
        yield "second target", f"{_score(second.score)}, {at}by the paper's protocol sigma {second.paper_sigma:g}"
        yield "the paper's gradient", "of the sum of the logits" if summed else f"of the logit: {logit}"
    if benchmark.manifold is not None:
        yield "tangent space", f"{_MANIFOLDS[benchmark.manifold.kind]}, rank {benchmark.rank} of {benchmark.dimension}"
        lengths = ", ".join(f"{e:g}" for e in benchmark.epsilons)
        yield "steps", f"{lengths} (L2, pixel units), {benchmark.directions} directions each way"
    yield "measures", ", ".join(f"`{name}`" for name in benchmark.measures)
    yield "ranks by", f"`{benchmark.alignment}`" + ("" if benchmark.by_paper else ", chance-corrected")
    anchors = ", ".join(f"`{name}`" for name in benchmark.anchors)
    yield "measured with every run", anchors or "nothing"
    judged = benchmark.reference and benchmark.bayes and benchmark.thresholds
    yield "regimes", "judged between these two" if judged else "not judged"
    yield "definition", f"sha256 `{benchmark.digest()[:16]}…`; `pagbench show {benchmark.label}`"


def _score(card: ScoreCard) -> str:
    published = card.repository or card.architecture
    return f"{card.kind} score" + (f" (`{published}`)" if published else "")


def _data_kind(benchmark: Benchmark) -> str:
    card = benchmark.dataset
    return card.source.kind if isinstance(card, DistractorCard) else card.kind


def _models(benchmark: Benchmark) -> list[tuple[str, dict[str, Any], str]]:
    """Published networks that a run fetches: name, note, licence."""
    cards = [benchmark.score, *([] if benchmark.second is None else [benchmark.second.score])]
    if benchmark.manifold is not None and benchmark.manifold.repository is not None:
        cards.append(benchmark.manifold)  # type: ignore[arg-type]  # it names its network in the same fields
    named = {card.repository or getattr(card, "architecture", None): card.license for card in cards}
    found = [(name, _NOTES["models"][name], license or "") for name, license in named.items() if name]
    if benchmark.reference in _NOTES["models"]:
        note = _NOTES["models"][benchmark.reference]
        found.append((benchmark.reference, note, note["license"]))
    return found


def _needs(benchmark: Benchmark) -> Iterator[str]:
    kind = _data_kind(benchmark)
    note = _NOTES["data"][kind]
    yield f"| {note['what']} | {note['size']} | {note['license']} | {_NOTES['places'].get(kind, '')} |"
    for name, note, license in _models(benchmark):
        optional = "; without it no regimes" if name == benchmark.reference else ""
        yield f"| `{name}` | {note['size']}{optional} | {license} | `$PAGBENCH_CACHE` |"


def _cost(benchmark: Benchmark, what: str) -> str:
    return str(_NOTES["costs"].get(benchmark.label, {}).get(what, "not measured"))


def _example(benchmark: Benchmark) -> str:
    return str(_NOTES["examples"].get(benchmark.label, ""))


def _agreement(benchmark: Benchmark) -> list[str]:
    said = _NOTES["agreement"].get(benchmark.label)
    return [] if said is None else ["", f"Agreement of tangent spaces: {said}"]


def _sources(benchmark: Benchmark) -> list[str]:
    notes = [_NOTES["data"][_data_kind(benchmark)], *(note for _, note, _ in _models(benchmark))]
    return [_PAPER, *dict.fromkeys(note["cite"] for note in notes if "cite" in note)]
