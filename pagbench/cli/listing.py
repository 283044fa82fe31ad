"""Listings for the command line: what is shipped, and what is known of a model. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich import filesize

from pagbench import benchmarks, columns, results
from pagbench.cards import ModelCard, RemoteFile
from pagbench.errors import ResultsError, UnknownNameError
from pagbench.models import factories, registry, sources
from pagbench.ranking import leaderboard
from pagbench.results.preflight import Preflight
from pagbench.storage import downloads as fetching

_SHOWN_IDS = 5


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def all_models(
    source: str | None = None, dataset: str | None = None, threat: str | None = None, search: str | None = None
) -> str:
    """Shipped models and those that installed packages offer: id, family, strength, title; or a source's models.

    Args:
        source: name of a collection in `pagbench.models.sources`, whose models are listed with architecture, published
            accuracy, preprocessing and title.
        dataset: only those trained on it.
        threat: only those trained against it.
        search: only those with this text in what is listed, in any case.

    Raises:
        UnknownNameError: no such source, or no model of it for that data set or threat.
    """
    cards = [registry.find(name)[0] for name in registry.names()] if source is None else _cards_of(source)
    cards = _only(_only(cards, "dataset", dataset), "threat", threat)
    rows = [_row_of_source(card) if source else _shipped_row(card) for card in cards]
    if source is None and dataset is None and threat is None:
        rows += [(point.name, "own", "", factories.origin(point)) for point in factories.installed()]
    found = [row for row in rows if (search or "").lower() in " ".join(row).lower()]
    return _aligned(found) if found else "none is listed; leave out an option, or use a model by its id"


def collections() -> list[str]:
    """Names of the third-party collections whose models can be listed."""
    return list(sources.SOURCES)


def _cards_of(name: str) -> list[ModelCard]:
    source = sources.of(name)
    if source is None:
        raise UnknownNameError("source", name, sources.SOURCES)
    return [source.card(model) for model in source.names()]


def _only(cards: list[ModelCard], field: str, asked: str | None) -> list[ModelCard]:
    """The cards with that value of a field; all of them where none is asked for."""
    if asked is None:
        return cards
    known = {value for card in cards if (value := getattr(card, field)) is not None}
    if asked not in known:
        raise UnknownNameError(f"{field} of what is listed", asked, known)
    return [card for card in cards if getattr(card, field) == asked]


def _shipped_row(card: ModelCard) -> tuple[str, ...]:
    return card.id, card.family, "" if card.strength is None else f"{card.strength:g}", card.title


def _row_of_source(card: ModelCard) -> tuple[str, ...]:
    accuracy = "" if card.published_accuracy is None else f"{card.published_accuracy:.2%}"
    return card.id, card.architecture or "", accuracy, card.preprocessing or "", card.title


def all_benchmarks() -> str:
    """Published benchmarks: label, number of samples, title, and the page that says more."""
    found = [benchmarks.load(label) for label in benchmarks.names()]
    return _aligned([(b.label, f"{len(b.samples)} images", b.title, page(b)) for b in found])


def page(benchmark: benchmarks.Benchmark) -> str:
    """The page of a benchmark: what it measures and needs, how to run and cite it; a path in the repository."""
    return f"docs/benchmarks/{benchmark.label}.md"


def benchmark(name: str) -> str:
    """A benchmark's definition as YAML, long lists of ids shortened, and its page."""
    found = benchmarks.load(name)
    content = found.model_dump(mode="json", exclude_none=True)
    for key in ("samples", "calibration", "training"):
        ids = content.get(key, [])
        content[key] = ids if len(ids) <= _SHOWN_IDS else f"{len(ids)}: {', '.join(ids[:_SHOWN_IDS])}, ..."
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return f"# {page(found)}\n# sha256 {found.digest()}\n{text}"


def all_measures() -> str:
    """Measures with the per-sample columns that each fills, and their definitions."""
    rows = [
        (f"{measure}, optional" if measure in columns.OPTIONAL else measure, column.name, column.unit, column.summary)
        for measure, filled in columns.SAMPLE_COLUMNS.items()
        for column in filled
    ]
    return _aligned(rows)


def downloads(models: Sequence[str], benchmark: benchmarks.Benchmark | None) -> str:
    """What models, and a benchmark with its anchors, need from elsewhere: place, size, whether it is there, mirrors.

    Raises:
        PagbenchError: no such model.
    """
    anchors = () if benchmark is None else benchmark.anchors
    cards = [registry.find(name)[0] for name in (*models, *anchors)]
    rows = [
        (card.id, *_download(file), card.license or "licence unknown")
        for card in cards
        for file in fetching.named_in(card)
    ]
    if benchmark is not None:
        rows += [(benchmark.label, *_download(file), "") for file in fetching.named_in(benchmark)]
    return _aligned(rows) if rows else "nothing to fetch"


def _download(file: RemoteFile) -> tuple[str, ...]:
    found = fetching.find(file)
    size = file.size if found is None else found.stat().st_size
    return (
        str(found or fetching.place(file)),
        "size unknown" if size is None else filesize.decimal(size),
        "missing" if found is None else "present",
        ", ".join((file.archive or file).mirrors) or "no mirror",
    )


def preflight(card: Preflight) -> str:
    """A pre-flight card: what each check found, what was expected, and what to do."""
    table = [(check.name, check.verdict, check.found, check.expected) for check in card.checks]
    advice = [f"{check.name}: {check.advice}" for check in card.checks if check.advice]
    return "\n".join([_aligned([("check", "verdict", "found", "expected"), *table]), *advice])


def model(name: str, folder: Path) -> str:
    """A model's card as YAML; its row and pre-flight card on every benchmark that the results folder has it on."""
    card, path = registry.find(name)
    place = path or f"the source {card.id.partition('/')[0]!r}"
    text = f"# {place}\n{yaml.safe_dump(card.model_dump(mode='json', exclude_none=True), sort_keys=False)}"
    for label in benchmarks.names():
        benchmark = benchmarks.load(label)
        if results.path_of(folder, benchmark, card.id).exists():
            text += f"\n# {label} in {folder}\n{_row(card.id, folder, benchmark)}\n"
            text += _kept_preflight(card.id, folder, benchmark)
    return text


def _kept_preflight(name: str, folder: Path, benchmark: benchmarks.Benchmark) -> str:
    try:
        kept = results.Store(results.path_of(folder, benchmark, name), benchmark).load()
    except ResultsError:
        return ""  # the row above says why
    if kept is None or kept.preflight is None:
        return ""
    return f"\n# pre-flight on {benchmark.label}: {kept.preflight.verdict}\n{preflight(kept.preflight)}\n"


def _row(name: str, folder: Path, benchmark: benchmarks.Benchmark) -> str:
    try:
        board = leaderboard(folder, benchmark=benchmark)
    except ResultsError as error:
        return f"no summary: {error}"
    row = board[board["model"] == name].iloc[0]
    shown = [column for column in board.columns if not column.endswith(("_low", "_high"))]
    return _aligned([(column, _value(row, column)) for column in shown])


def _value(row: "pd.Series[Any]", column: str) -> str:
    value = row[column]
    if pd.isna(value):
        return "–"
    if not isinstance(value, float):
        return str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return f"{value:.4f}" if low is None else f"{value:.4f}  [{low:.4f}, {high:.4f}]"
