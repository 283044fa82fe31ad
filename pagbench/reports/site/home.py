"""The first page: what the site is about, and on each benchmark whose gradients are the most aligned."""

from collections.abc import Sequence
from dataclasses import dataclass

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark, facts
from pagbench.data.gaussians import GaussiansCard
from pagbench.data.sphere import SphereCard
from pagbench.reports.site import verdicts
from pagbench.reports.site.painting import Tile
from pagbench.reports.site.rendering import Page
from pagbench.reports.site.verdicts import Standing, Verdict
from pagbench.studies.networks import Study


@dataclass(frozen=True)
class Shown:
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
    """One image, and gradients there of the Bayes classifier, an unregularised network and the most aligned models.

    Attributes:
        benchmark: where it is from.
        image: the image.
        columns: the gradients.
    """

    benchmark: Benchmark
    image: Tile
    columns: tuple[Shown, ...]


def page(studies: Sequence[Study]) -> Page:
    """The page `index.html`."""
    found = sorted((verdicts.of(study) for study in studies), key=_order)
    shown = {verdict.benchmark.label for verdict in found}
    models = {network.card.id for study in studies for network in study.networks if not network.card.control}
    content = {
        "example": next((example for example in map(_example, found) if example is not None), None),
        "images": [verdict for verdict in found if not _closed_form(verdict.benchmark)],
        "closed_forms": [verdict for verdict in found if _closed_form(verdict.benchmark)],
        "unpublished": [_unpublished(label) for label in benchmarks.names() if label not in shown],
        "models": len(models),
    }
    return Page("index.html", "home.html.j2", "pagbench", content)


def _order(verdict: Verdict) -> tuple[bool, int, str]:
    """Images before invented data, then the longest leaderboards first."""
    return _closed_form(verdict.benchmark), -verdict.ranked, verdict.benchmark.label


def _closed_form(benchmark: Benchmark) -> bool:
    """Whether its data are drawn from a known distribution."""
    return isinstance(benchmark.dataset, GaussiansCard | SphereCard)


def _unpublished(label: str) -> tuple[Benchmark, str]:
    """A benchmark without results, and the command that measures a model on it."""
    benchmark = benchmarks.load(label)
    return benchmark, facts.of(benchmark).commands[0]


def _example(verdict: Verdict) -> Example | None:
    """The first image that the Bayes control and all the models that are shown have a gradient at."""
    titled = _titled(verdict)
    galleries = [standing.gallery for _, standing in titled if standing.gallery is not None]
    if verdict.bayes is None or verdict.best is None or len(galleries) < len(titled):
        return None
    found = [{row.sample: row for row in gallery.rows if row.kind == "first" and row.gradient} for gallery in galleries]
    common = [name for name in found[0] if all(name in rows for rows in found)]
    if not common:
        return None
    rows = [known[common[0]] for known in found]
    columns = [
        Shown(title, standing.model, row.gradient, row.cosine)
        for (title, standing), row in zip(titled, rows, strict=True)
        if row.gradient is not None
    ]
    return Example(verdict.benchmark, rows[0].image, tuple(columns))


def _titled(verdict: Verdict) -> list[tuple[str, Standing]]:
    """Whose gradients the example shows, each under its title; a reference that is the best stands there once."""
    best, untrained = verdict.best, verdict.untrained
    is_first = best is not None and verdict.reference is not None and best.model == verdict.reference.model
    trained = best is not None and best.trained_on_target
    listed = [
        ("the Bayes classifier", verdict.bayes),
        ("an ordinary network", None if is_first else verdict.reference),
        ("the most aligned model" + (", trained on this target" if trained else ""), best),
        ("the most aligned model that does not declare this", untrained),
    ]
    return [(title, standing) for title, standing in listed if standing is not None]
