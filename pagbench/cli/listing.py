"""The commands list and show, and the texts that they print. No torch."""

import enum
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pagbench.cli.options import RESULTS, OfflineOption, ResultsOption, terminal_width, warn, warn_of, wrapped
from pagbench.cli.tables import aligned
from pagbench.errors import ContractError, ResultsError, UnknownNameError, printable

if TYPE_CHECKING:
    import pandas as pd

    from pagbench.benchmarks import Benchmark
    from pagbench.cards import ModelCard
    from pagbench.models.registry import Request
    from pagbench.results.preflight import Preflight

_SHOWN_IDS = 5


class Listing(enum.StrEnum):
    """What to list."""

    models = "models"
    benchmarks = "benchmarks"
    measures = "measures"


def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    source: Annotated[str | None, typer.Option(help="Models of a third-party collection, as robustbench.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only models trained on it, as cifar10.")] = None,
    threat: Annotated[str | None, typer.Option(help="Only models for it: Linf, L2 or corruptions.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only models with this text in what is listed.")
    ] = None,
) -> None:
    """List the shipped models, benchmarks or measures, or the models of others."""
    if what is Listing.models:
        from pagbench.models import sources

        typer.echo(all_models(source, dataset, threat, search))
        if source is None:
            warn(f"models of others: --source {', '.join(sources.SOURCES)}")
        return
    if source or dataset or threat or search:
        raise ContractError(f"--source, --dataset, --threat and --search are for models, not for {what.value}")
    typer.echo(all_benchmarks() if what is Listing.benchmarks else all_measures())


def show(
    model: Annotated[str, typer.Argument(help="Card id or card file; or a benchmark.")],
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            "-b",
            help="Only a model's results on this one: name, or name@version. By default the newest edition of "
            "each that it has results on.",
        ),
    ] = None,
    results: ResultsOption = RESULTS,
    card: Annotated[
        bool, typer.Option("--card", help="Only a model's card, as YAML to save and begin a card of one's own with.")
    ] = False,
    offline: OfflineOption = False,
) -> None:
    """Show a model's card and its results, or a benchmark's definition."""
    from pagbench import benchmarks

    only = None if benchmark is None else benchmarks.load(benchmark)
    if model.partition("@")[0] in {label.partition("@")[0] for label in benchmarks.names()}:
        if only is not None:
            raise ContractError(f"--benchmark is for a model's results, and {model} is a benchmark; leave it out")
        if card:
            raise ContractError(f"--card is for a model, and {model} is a benchmark; leave it out")
        typer.echo(describe_benchmark(model), nl=False)
        return
    if card:
        from pagbench.models import registry

        typer.echo(describe_card(registry.find(model)), nl=False)
        return
    from pagbench import results as stored

    folder = stored.local(results)
    unnamed = results == RESULTS and not folder.exists() and stored.PUBLISHED.exists()
    typer.echo(describe_model(model, stored.PUBLISHED if unnamed else folder, only), nl=False)


def splits(
    benchmark: Annotated[str, typer.Argument(help="Name, or name@version.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV file instead of the terminal.")] = None,
) -> None:
    """Say of every image of a benchmark's data set whether it is measured: CSV of sample_id, split, part, index.

    Train on the split `train` alone. `part` and `index` say where an image is in its publisher's files.
    """
    from pagbench import benchmarks
    from pagbench.benchmarks.splits import to_csv
    from pagbench.storage import files

    text = to_csv(benchmarks.load(benchmark))
    if output is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"written: {files.write(output, text)}")


def all_models(
    source: str | None = None, dataset: str | None = None, threat: str | None = None, search: str | None = None
) -> str:
    """Shipped models and those that installed packages offer: id, family, strength, title; or a source's models.

    Args:
        source: name of a collection in `pagbench.models.sources`, whose models are listed with architecture, published
            accuracy, robust accuracy where the source has measured it, preprocessing and title.
        dataset: only those trained on it.
        threat: only those trained against it.
        search: only those with this text in what is listed, in any case.

    Raises:
        UnknownNameError: no such source, or no model of it for that data set or threat.
    """
    from pagbench.models import factories, registry, sources
    from pagbench.models.sources import RobustSource

    collection = None if source is None else sources.find(source)
    if source is not None and collection is None:
        raise UnknownNameError("source", source, sources.SOURCES)
    if collection is None:
        cards = [registry.find(name).card for name in registry.names()]
    else:
        cards = [collection.card(name) for name in collection.names()]
    cards = _filter(_filter(cards, "dataset", dataset), "threat", threat)
    headings: tuple[str, ...] = ("model", "family", "strength", "title")
    rows: list[tuple[str, ...]]
    rows = [(c.id, c.family, "" if c.strength is None else f"{c.strength:g}", c.title) for c in cards]
    if collection is not None:
        headings = ("model", "architecture", "accuracy", "robust accuracy", "preprocessing", "title")
        robust = [collection.robust_accuracy(c.id) if isinstance(collection, RobustSource) else None for c in cards]
        rows = [
            (
                c.id,
                c.architecture or "",
                _percent(c.published_accuracy),
                _percent(attacked),
                c.preprocessing or "",
                c.title,
            )
            for c, attacked in zip(cards, robust, strict=True)
        ]
    if source is None and dataset is None and threat is None:
        rows += [(point.name, "own", "", factories.origin(point)) for point in factories.installed()]
    rows = [row for row in rows if (search or "").lower() in " ".join(row).lower()]
    if not rows:
        return "none is listed; leave out an option, or use a model by its id"
    filled = [any(row[column] for row in rows) for column in range(len(headings))]
    return aligned([list(itertools.compress(row, filled)) for row in (headings, *rows)])


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.2%}"


def _filter(cards: "list[ModelCard]", field: str, value: str | None) -> "list[ModelCard]":
    """The cards with that value of a field; all of them for None."""
    if value is None:
        return cards
    known = {getattr(card, field) for card in cards} - {None}
    if value not in known:
        raise UnknownNameError(f"{field} of what is listed", value, known)
    return [card for card in cards if getattr(card, field) == value]


def all_benchmarks() -> str:
    """Published benchmarks: label, number of samples, title, and the page that says more."""
    from pagbench import benchmarks

    definitions = [benchmarks.load(label) for label in benchmarks.names()]
    rows = [(b.label, str(len(b.samples)), b.title, page(b)) for b in definitions]
    return aligned([("benchmark", "images", "title", "page"), *rows])


def page(benchmark: "Benchmark") -> str:
    """The page of a benchmark: what it measures and needs, how to run and cite it; a path in the repository."""
    return f"docs/reference/benchmarks/{benchmark.label}.md"


def all_measures() -> str:
    """Measures with the per-sample columns that each fills, and their definitions."""
    from pagbench import columns

    rows = [
        (f"{measure}, optional" if measure in columns.OPTIONAL else measure, column.name, column.unit, column.summary)
        for measure, filled in columns.SAMPLE_COLUMNS.items()
        for column in filled
    ]
    return aligned([("measure", "column", "unit", "definition"), *rows])


def all_columns(benchmark: "Benchmark") -> str:
    """Columns that a benchmark's leaderboard may have: name, heading and meaning; those without one are in no table."""
    from pagbench import columns
    from pagbench.ranking.render import heading

    rows = [(c.name, heading(c), c.summary) for c in columns.documented_columns(benchmark)]
    return aligned([("column", "heading", "meaning"), *rows])


def describe_benchmark(name: str) -> str:
    """A benchmark's definition as YAML, long lists of ids shortened, and its page."""
    from pagbench import benchmarks

    definition = benchmarks.load(name)
    content = definition.model_dump(mode="json", exclude_none=True)
    for key in ("samples", "calibration", "training"):
        ids = content.get(key, [])
        content[key] = ids if len(ids) <= _SHOWN_IDS else f"{len(ids)}: {', '.join(ids[:_SHOWN_IDS])}, ..."
    return f"# {page(definition)}\n# sha256 {definition.digest()}\n{_yaml(content)}"


def _yaml(fields: "dict[str, Any]") -> str:
    """Fields as YAML, which breaks lines itself, but a word too late."""
    import yaml

    return _folded(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=math.inf))


def _folded(text: str) -> str:
    """Lines that fit the terminal."""
    return "".join(f"{part}\n" for line in text.splitlines() for part in wrapped(line, terminal_width() or 120, "  "))


def heading(card: "Preflight") -> str:
    """The verdict of a pre-flight card, and whether too few images were shown to tell the accuracy from chance."""
    too_few = any(check.kind == "few" for check in card.checks)
    return f"{card.verdict}, accuracy unknown" if too_few else card.verdict


def preflight(card: "Preflight") -> str:
    """A pre-flight card: what each check found, what was expected, and what to do."""
    found = [check.found + (f"; expected: {check.expected}" if check.expected else "") for check in card.checks]
    table = [(check.name, check.verdict, said) for check, said in zip(card.checks, found, strict=True)]
    advice = [(f"{check.name}: {check.advice}",) for check in card.checks if check.advice]
    checks = aligned([("check", "verdict", "found"), *table])
    return "\n".join([checks, aligned(advice)] if advice else [checks])


def describe_card(request: "Request") -> str:
    """A card as YAML, below a line that says where it is from."""
    import yaml

    return _source(request) + yaml.safe_dump(_fields(request), sort_keys=False, allow_unicode=True, width=110)


def _source(request: "Request") -> str:
    source = request.path or f"the source {request.card.id.partition('/')[0]!r}"
    return f"# {printable(str(source))}\n"


def _fields(request: "Request") -> dict[str, Any]:
    """Those of a card that say something."""
    return {
        name: value for name, value in request.card.model_dump(mode="json", exclude_none=True).items() if value != {}
    }


def describe_model(name: str, folder: Path, only: "Benchmark | None" = None) -> str:
    """A model's card as YAML; its row and pre-flight card on every benchmark that the results folder has it on.

    Of several editions the newest is shown, and the others are named.

    Args:
        name: card id, or card file.
        folder: of results.
        only: the benchmark whose results are shown; None for all.

    Raises:
        ResultsError: there are none on that benchmark.
    """
    from pagbench import benchmarks, results
    from pagbench.models import registry

    request = registry.find(name)
    card, text = request.card, _source(request) + _yaml(_fields(request))
    measured: dict[str, list[str]] = {}
    for label in benchmarks.names() if only is None else [only.label]:
        if results.file_of(folder, label, card.id).exists():  # a definition is read where there is something to show
            measured.setdefault(label.partition("@")[0], []).append(label)
    if only is not None and not measured:
        reason = registry.misfit(card, only)
        advice = f"measure it (pagbench run {name} -b {only.label}), or leave out -b"
        if reason:
            advice = f"it cannot be measured there, for it {reason}; leave out -b"
        raise ResultsError(f"{card.id}: no results on {only.label} in {folder}; {advice}")
    for editions in measured.values():
        *earlier, last = sorted(editions, key=lambda label: int(label.partition("@")[2]))
        newest = benchmarks.load(last)
        text += f"\n# {newest.label} in {folder}\n{_summary(card.id, folder, newest)}\n"
        for label in earlier:
            text += f"# also measured on {label}: pagbench show {printable(name)} --benchmark {label}\n"
        try:
            result = results.Store(results.path_of(folder, newest, card.id), newest).load()
        except ResultsError:
            continue  # the summary says why
        checked = None if result is None else result.provenance.preflight
        if checked is not None:
            text += f"\n# pre-flight on {newest.label}: {checked.verdict}\n{preflight(checked)}\n"
    return text


def _summary(name: str, folder: Path, benchmark: "Benchmark") -> str:
    from pagbench.ranking import leaderboard

    try:
        board = leaderboard(folder, benchmark=benchmark, on_warning=warn_of)
    except ResultsError as error:
        return printable(f"no summary: {error}")
    row = _row_of(name, board)
    if row is None:
        return "no summary: its results cannot be used"
    names = [column for column in board.columns if not column.endswith(("_low", "_high"))]
    return aligned([(column, _value(row, column, benchmark)) for column in names])


def _row_of(name: str, board: "pd.DataFrame") -> "pd.Series[Any] | None":
    """The row of a model, which may be that of its recipe; None where the board has none."""
    for _, row in board.iterrows():
        networks = row.get("networks")
        if name == row["model"] or (isinstance(networks, list) and name in [one["id"] for one in networks]):
            return row
    return None


def _value(row: "pd.Series[Any]", column: str, benchmark: "Benchmark") -> str:
    import pandas as pd

    value = row[column]
    if isinstance(value, list):  # the networks of a recipe
        return ", ".join(one["id"] for one in value)
    if pd.isna(value):
        return "–"
    if not isinstance(value, float):
        return str(value)
    from pagbench.ranking.profile import bound
    from pagbench.ranking.statistics import Interval

    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    if low is None or high is None:
        return f"{value:.4f}"
    at_end = bound(column, Interval(value, low, high), benchmark.sigmas)
    return at_end or f"{value:.4f} [{low:.4f}, {high:.4f}]"
