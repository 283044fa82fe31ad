"""The commands that read results: leaderboard, compare, export, figures, site."""

import enum
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.cli import listing
from pagbench.cli.options import RESULTS, AgainstOption, ResultsOption, terminal_width, warn, warn_of
from pagbench.errors import ResultsError

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.ranking.render import Columns


_BenchmarkOption = Annotated[
    str | None,
    typer.Option(
        "--benchmark",
        "-b",
        help="Name, or name@version; by default digits, or what the folder has where it has no digits.",
    ),
]


class Format(enum.StrEnum):
    """How to print a leaderboard."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"


class PairFormat(enum.StrEnum):
    """How to print a comparison."""

    text = "text"
    csv = "csv"
    json = "json"


class ExportFormat(enum.StrEnum):
    """As what a model's scores, or its network, are written."""

    graph = "graph"
    hf = "hf"
    badge = "badge"
    svg = "svg"


def leaderboard(
    benchmark: _BenchmarkOption = None,
    results: ResultsOption = RESULTS,
    against: AgainstOption = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column to order by, best first; its name or its heading.")
    ] = None,
    format: Annotated[
        Format, typer.Option(help="table, markdown, csv or json; the last two have all columns unless some are named.")
    ] = Format.table,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Columns to show, by name or heading; all for all, list to see which there are. A few by default.",
        ),
    ] = None,
    notes: Annotated[bool, typer.Option("--notes", help="Add all notes on the numbers and on single models.")] = False,
    networks: Annotated[
        bool,
        typer.Option("--networks", help="List the networks of a recipe below it; CSV and JSON always name them."),
    ] = False,
    output: Annotated[Path | None, typer.Option(help="File instead of the terminal.")] = None,
) -> None:
    """Rank the models of a results folder, or the recipes that they were trained by, with intervals and regimes."""
    from pagbench import benchmarks, ranking
    from pagbench import results as stored
    from pagbench.ranking import render

    definition = benchmarks.load(_benchmark_of(benchmark, results))
    if columns is not None and columns.strip() == "list":
        typer.echo(listing.all_columns(definition))
        return
    if networks and definition.ranking is None:
        raise ResultsError(f"{definition.label} ranks every network by itself; leave --networks out")
    folder = _read_from(results, definition) if against is None else stored.local(results)
    board = ranking.leaderboard(folder, benchmark=definition, sort=sort, against=against, on_warning=warn_of)
    shown = _columns(columns)
    if format in (Format.csv, Format.json):
        if shown not in (None, "all"):
            board = board[[column.name for column in render.select(board, definition, shown)]]
        text = render.to_csv(board, definition) if format is Format.csv else render.to_json(board, definition)
    elif format is Format.markdown:
        text = render.to_markdown(board, definition, columns=shown or "short", notes=notes, networks=networks)
    else:
        text = render.to_table(
            board, definition, terminal_width() if output is None else None, columns=shown or "short", notes=notes,
            networks=networks, command=command(benchmark, None if results == RESULTS else results, against),
        )  # fmt: skip
    _show(text, output)


def command(benchmark: str | None, results: str | None, against: str | None) -> str:
    """The command line that shows a leaderboard again; options that are None are left out."""
    given = {"-b": benchmark, "-r": results, "--against": against}
    options = [f"{name} {shlex.quote(value)}" for name, value in given.items() if value is not None]
    return " ".join(["pagbench leaderboard", *options])


def _columns(given: str | None) -> "Columns | None":
    """As `pagbench.ranking.render` takes them."""
    if given is None or given.strip().casefold() in ("short", "all"):
        return given and given.strip().casefold()
    return [name.strip() for name in given.split(",") if name.strip()]


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Id of a model of the results folder, or the end of one.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Id of another one.")],
    benchmark: _BenchmarkOption = None,
    results: ResultsOption = RESULTS,
    format: Annotated[
        PairFormat, typer.Option(help="text, csv or json; the last two have all columns.")
    ] = PairFormat.text,
    output: Annotated[Path | None, typer.Option(help="File instead of the terminal.")] = None,
) -> None:
    """Compare two models on the same images: each main column's difference A - B, its interval, and who is better."""
    from pagbench import benchmarks
    from pagbench.ranking import pairs

    definition = benchmarks.load(_benchmark_of(benchmark, results))
    folder = _read_from(results, definition)
    compared = pairs.pair(folder, _id_of(a), _id_of(b), benchmark=definition)
    _show(pairs.FORMATS[format.value](compared), output)


def export(
    model: Annotated[
        str, typer.Argument(help="Id of a model of the results folder; of graph, path.py:function or a .pt2 file.")
    ],
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            help="graph, the network without its code, the default for a function or a file; hf, the default for an "
            "id: YAML for .eval_results/ of a model on Hugging Face; badge, for shields.io; svg, a picture."
        ),
    ] = None,
    benchmark: _BenchmarkOption = None,
    results: ResultsOption = RESULTS,
    dataset: Annotated[
        str | None,
        typer.Option(help="Of hf: the hub's dataset that has the leaderboard; pagbench/<benchmark> by default."),
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="URL", help="Of hf: a page that the values are from.")] = None,
    probes: Annotated[
        Path | None, typer.Option(help="Of graph: images, outputs and gradients of the network, which a file needs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File instead of the terminal; of graph, the folder, `exported` by default.")
    ] = None,
) -> None:
    """Write a network as a graph without code; or a ranked model's scores for a model hub, or a badge with its rank.

    A function runs, because it builds the network; nothing in a file does.
    """
    from pagbench import benchmarks
    from pagbench.models import factories

    if format is None and (factories.is_file(model) or model.endswith(".pt2")):
        format = ExportFormat.graph
    if format is ExportFormat.graph:
        _export_graph(model, benchmarks.load(benchmark or "digits"), output or Path("exported"), probes)
        return
    from pagbench.reports import export

    definition = benchmarks.load(_benchmark_of(benchmark, results))
    standing = export.find(_read_from(results, definition), _id_of(model), definition, warn_of)
    if format is None or format is ExportFormat.hf:
        text = export.hub_yaml(standing, dataset=dataset, source=source)
    else:
        badge = export.badge(standing)
        text = badge.to_json() if format is ExportFormat.badge else badge.to_svg()
    _show(text, output)


def _export_graph(model: str, benchmark: "Benchmark", output: Path, probes: Path | None) -> None:
    from pagbench.models.graphs.export import export

    written = export(model, benchmark, output, probes)
    typer.echo(f"{written.operations} operations; {written.checked}")
    typer.echo(f"written: {written.card}  (next: pagbench run {written.card} --benchmark {benchmark.name})")


def figures(
    benchmark: _BenchmarkOption = None,
    results: ResultsOption = RESULTS,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures and numbers.")] = Path("figures"),
) -> None:
    """Draw paths of regularisation, correlations and gradients from a results folder alone."""
    from pagbench import benchmarks
    from pagbench.reports.figures import draw_all

    definition = benchmarks.load(_benchmark_of(benchmark, results))
    for path in draw_all(_read_from(results, definition), definition, output, on_warning=warn):
        typer.echo(f"written: {path}")


def site(
    results: ResultsOption = RESULTS,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pages.")] = Path("site"),
) -> None:
    """Build the leaderboard as a static site that opens from disk."""
    from pagbench import results as stored
    from pagbench.errors import import_extra

    for module in ("jinja2", "latex2mathml"):
        import_extra(module)
    from pagbench.reports.site import build

    written = build(stored.local(results), output, warn_of)
    typer.echo(f"{len(written)} files; open {output / 'index.html'}")


def _show(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{output}: cannot write ({error.strerror or error}); give another --output") from None
    typer.echo(f"written: {output}")


def _id_of(name: str) -> str:
    """The id under which results have a model; a card file and `smoothed:...` are other names of one."""
    if not name.startswith("smoothed:") and not name.endswith((".yaml", ".yml")):
        return name
    from pagbench.models import registry

    return registry.find(name).card.id


def _benchmark_of(name: str | None, results: str) -> str:
    """The benchmark that is named; otherwise digits, or what the folder has where it has something else alone.

    Raises:
        ResultsError: it has several others.
    """
    if name is not None:
        return name
    from pagbench import results as stored

    labels = stored.labels_in(stored.local(results))
    if not labels or any(label.startswith("digits@") for label in labels):
        labels = [label for label in labels if label.startswith("digits@")]
        return max(labels, key=lambda label: int(label.partition("@")[2]), default="digits")
    if len(labels) > 1:
        raise ResultsError(f"{results}: results of {', '.join(labels)}; name one with --benchmark")
    warn(f"benchmark: {labels[0]}, the one that {results} has results of")
    return labels[0]


def _read_from(results: str, benchmark: "Benchmark") -> Path:
    """The folder; or the published results, where the user names none and only those have the benchmark."""
    from pagbench import results as stored

    folder, published = stored.local(results), stored.PUBLISHED
    unnamed = results == RESULTS and not stored.has_results(folder, benchmark)
    if not (unnamed and stored.has_results(published, benchmark)):
        return folder
    warn(f"no results in {results}: these are the published ones, of {published}")
    return published
