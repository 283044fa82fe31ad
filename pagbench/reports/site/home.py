"""The first page: what the site is about, and on each benchmark whose gradients are the most aligned."""

from collections.abc import Sequence
from dataclasses import dataclass

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark, facts
from pagbench.reports.site import benchmark
from pagbench.reports.site.benchmark import Standing, Verdict
from pagbench.reports.site.pictures import Tile
from pagbench.reports.site.rendering import Page
from pagbench.results.thumbnails import FIRST
from pagbench.studies.models import Study


@dataclass(frozen=True)
class ExampleGradient:
    """A gradient of the example.

    Attributes:
        title: whose it is, for people.
        model: id of the model.
        gradient: its picture.
        cosine: with the Bayes target.
    """

    title: str
    model: str
    gradient: Tile
    cosine: float | None


@dataclass(frozen=True)
class Example:
    """One image, and gradients there of the Bayes classifier, an unregularised model and the most aligned models.

    Attributes:
        benchmark: where it is from.
        image: the image.
        columns: the gradients.
    """

    benchmark: Benchmark
    image: Tile
    columns: tuple[ExampleGradient, ...]


def page(studies: Sequence[Study]) -> Page:
    """The page `index.html`."""
    verdicts = benchmark.verdicts(studies)
    measured = {study.benchmark.label for study in studies}
    unmeasured = [benchmarks.load(label) for label in benchmarks.names() if label not in measured]
    models = {model.card.id for study in studies for model in study.models if not model.card.control}
    content = {
        "example": next((shown for shown in map(example, verdicts) if shown is not None), None),
        "images": [verdict for verdict in verdicts if not benchmark.is_closed_form(verdict.benchmark)],
        "closed_forms": [verdict for verdict in verdicts if benchmark.is_closed_form(verdict.benchmark)],
        "unmeasured": [(definition, facts.of(definition).commands[0]) for definition in unmeasured],
        "models": len(models),
        "recipes": any(study.benchmark.ranking == "recipes" for study in studies),
    }
    return Page("index.html", "home.html.j2", "pagbench", content)


def example(verdict: Verdict) -> Example | None:
    """The first image that the Bayes control and all the models that are shown have a gradient at."""
    titled = _titled(verdict)
    galleries = [standing.gallery for _, standing in titled if standing.gallery is not None]
    if verdict.bayes is None or verdict.best is None or len(galleries) < len(titled):
        return None
    rows = [{row.sample: row for row in gallery.rows if row.kind == FIRST and row.gradient} for gallery in galleries]
    sample = next((name for name in rows[0] if all(name in others for others in rows)), None)
    if sample is None:
        return None
    columns = [
        ExampleGradient(title, standing.model, gradient, by_sample[sample].cosine)
        for (title, standing), by_sample in zip(titled, rows, strict=True)
        if (gradient := by_sample[sample].gradient) is not None
    ]
    return Example(verdict.benchmark, rows[0][sample].image, tuple(columns))


def _titled(verdict: Verdict) -> list[tuple[str, Standing]]:
    """The models whose gradients the example shows, each after its title; a reference that is the best stands once."""
    best = verdict.best
    is_first = best is not None and verdict.reference is not None and best.model == verdict.reference.model
    trained = best is not None and best.trained_on_target
    listed = [
        ("the Bayes classifier", verdict.bayes),
        ("an ordinary model", None if is_first else verdict.reference),
        ("the most aligned model" + (", trained on this target" if trained else ""), best),
        ("the most aligned model that does not declare this", verdict.untrained),
    ]
    return [(title, standing) for title, standing in listed if standing is not None]
