"""The leaderboard as text: a table for the terminal, Markdown, CSV, JSON."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pagbench.benchmarks import Benchmark
from pagbench.columns import BOARD_COLUMNS, Column

_TABLE = tuple(
    column
    for column in BOARD_COLUMNS
    if column.header and column.name not in ("family", "strength", "temperature", "log_ratio")
)
_UNRANKED = "–"


def caption(benchmark: Benchmark) -> str:
    """What the numbers of a table mean, in a few sentences."""
    chance = benchmark.manifold.rank / benchmark.dimension
    return (
        f"{benchmark.label}: {len(benchmark.samples)} images, sigma {benchmark.sigma:g}, epsilon {benchmark.epsilon:g} "
        "(pixel units). ± is half the 95 % interval of a paired bootstrap over images; it does not cover retraining. "
        f"Alignment is chance-corrected {benchmark.alignment}: 0 is another image's target, 1 the Bayes classifier's "
        f"gradient. Tangent energy of a random direction: {chance:.3f}. Regimes lie between {benchmark.reference} and "
        f"{benchmark.bayes} and tell of robustness only; the number is a probability."
    )


def _header(column: Column) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
    return column.header + arrow


def _cell(row: "pd.Series[Any]", column: Column, separator: str) -> str:
    value = row.get(column.name)
    if column.name == "rank":
        return _rank(row)
    if column.name == "regime":
        return _UNRANKED if _missing(value) else f"{value}{separator}{row['regime_probability']:.2f}"
    if _missing(value):
        return _UNRANKED
    if not isinstance(value, float):
        return str(value)
    low, high = row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
    if not (isinstance(low, float) and isinstance(high, float)) or _missing(low):
        return f"{value:.3f}"
    return f"{value:.3f}{separator}±{(high - low) / 2:.3f}"


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value != value  # noqa: PLR0124 (NaN)


def _rank(row: "pd.Series[Any]") -> str:
    if _missing(row["rank"]):
        return _UNRANKED
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if low == high else f"{row['rank']} ({low}–{high})"


def _shown(board: pd.DataFrame) -> list[Column]:
    """Columns of the table that this benchmark has; the status only where it says more than the rank."""
    return [c for c in _TABLE if c.name in board and not board[c.name].isna().all() and c.name != "status"]


def _remarks(board: pd.DataFrame) -> list[str]:
    telling = board[~board["status"].isin(["ranked", "control"])]
    return [f"{row['model']}: {row['status']}." for _, row in telling.iterrows()]


def to_table(board: pd.DataFrame, benchmark: Benchmark, width: int | None = None) -> str:
    """A table for a terminal; intervals go below the values where the terminal is narrow.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for title and caption.
        width: characters per line; unlimited by default.
    """
    wide = _rich_table(board, benchmark, " ")
    needed = Console(width=10_000).measure(wide).maximum
    table = wide if width is None or width >= needed else _rich_table(board, benchmark, "\n")
    size = needed if width is None else width
    console = Console(width=size, file=None, record=True, quiet=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
        for line in [caption(benchmark), *_remarks(board)]:
            console.print(Text(line), style="dim", width=min(size, 140))
    return capture.get()


def _rich_table(board: pd.DataFrame, benchmark: Benchmark, separator: str) -> Table:
    table = Table(title=f"{benchmark.title} ({benchmark.label})", show_lines=separator == "\n")
    shown = _shown(board)
    for column in shown:
        numeric = column.name not in ("model", "regime", "rank")
        table.add_column(
            _header(column), justify="right" if numeric else "left", no_wrap=separator == " ", overflow="fold"
        )
    previous = True
    for _, row in board.iterrows():
        ranked = not _missing(row["rank"])
        if previous and not ranked:
            table.add_section()
        previous = ranked
        table.add_row(*(Text(_cell(row, column, separator)) for column in shown))
    return table


def to_markdown(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """A Markdown table with its caption."""
    shown = _shown(board)
    lines = ["| " + " | ".join(_header(column) for column in shown) + " |"]
    lines.append("|" + "|".join("---" if c.name in ("rank", "model", "regime") else "---:" for c in shown) + "|")
    for _, row in board.iterrows():
        lines.append("| " + " | ".join(_cell(row, column, " ").replace("|", "\\|") for column in shown) + " |")
    return "\n".join([*lines, "", caption(benchmark), *_remarks(board)]) + "\n"


def to_csv(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """All columns, comma-separated; empty where not scored."""
    return board.to_csv(index=False)


def to_json(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """All columns, a list of objects; null where not scored."""
    return json.dumps(json.loads(board.to_json(orient="records", double_precision=15)), indent=1) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame, Benchmark], str]] = {
    "table": to_table,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
}
