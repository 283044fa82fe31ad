"""The leaderboard as text: a table for the terminal, Markdown, CSV, JSON."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from textwrap import indent, shorten
from typing import Any, Literal, NamedTuple

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pagbench.benchmarks import Benchmark, validation
from pagbench.columns import (
    ATTACKED_DRAWS,
    ATTACKS,
    MAIN,
    PARTIAL_MEASURES,
    Column,
    added_columns,
    all_board_columns,
    budgets,
    sample_columns,
)
from pagbench.errors import in_csv, in_markdown, printable
from pagbench.ranking.board import agreements, missing_anchor
from pagbench.ranking.copies import sentences
from pagbench.ranking.eligibility import RANKED, no_rank
from pagbench.ranking.joining import ON_TARGET, OPEN
from pagbench.ranking.profile import CENSORED, bound
from pagbench.ranking.statistics import Interval
from pagbench.results.verification import SELF_REPORTED, UNDER_EMBARGO

Form = Callable[[str], str]
"""Makes a text of others a line of what it is printed in."""
_NOT_SHOWN = ("family", "strength", "temperature")
_TEXT = ("rank", "model", "regime")
_BELOW = ("status", "verification")
_DETAILS = (
    "alignment_lpips", "alignment_lpips_chance", "alignment_cosine", "alignment_second_corrected", "log_ratio",
)  # fmt: skip
_LISTED = 3
"""Models with the same remark that are listed by name; of more the number is given."""
_LONGEST_REMARK = 600
"""Characters that are said of a model below a table."""
_UNRANKED = "–"
_EMBARGO = "†"
"""Beside a model whose numbers nobody else can measure again yet."""
_OWN = "◀"
"""Beside a model that is ranked among those of others."""
_ON_TARGET_TITLE = "trained on the target:"
"""Above the ranking of those who declare that."""
_LONGEST_NAME = 24
"""Characters of a name that has one line in a narrow table."""
_NARROWEST = 80
"""Characters of the lines below a table that is narrower still."""


def caption(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """What the numbers of a table mean, in a few sentences."""
    if benchmark.no_target:
        return (
            f"{benchmark.label}: {no_rank(benchmark)}. Shown are accuracy, with half the 95 % interval of a bootstrap "
            "over images, time per image and pre-flight; nothing is said of alignment."
        )
    missing = missing_anchor(set(board["model"]), benchmark)
    regimes = (
        f"Regimes lie between {benchmark.reference} and {benchmark.bayes} and tell of robustness only; the number is a "
        "probability."
    )
    if missing:
        regimes = f"No regimes are judged, for {missing}."
    length = "" if benchmark.epsilon is None else f", epsilon {benchmark.epsilon:g}"
    parts = [
        f"{benchmark.label}: {len(benchmark.samples)} images, sigma {benchmark.sigma:g}{length} (pixel units).",
        _uncertainty(board, benchmark),
        _alignment(benchmark),
    ]
    if CENSORED in board and board[CENSORED].notna().any():
        parts.append("≥ and ≤: the peak is at an end of the sigmas, and the bound holds at 95 %.")
    if benchmark.rank:
        parts.append(f"Tangent energy of a random direction: {benchmark.rank / benchmark.dimension:.3f}.")
    return " ".join([*parts, regimes])


def _uncertainty(board: pd.DataFrame, benchmark: Benchmark) -> str:
    if benchmark.ranking is None:
        return "± is half the 95 % interval of a paired bootstrap over images; it does not cover retraining."
    row = "A row is a recipe, the mean over its n networks, which differ in the training seed."
    if "alignment_seed_sd" not in board:
        return (
            f"{row} ± is half the 95 % interval of a paired bootstrap over images; no recipe has several networks, so "
            "that it does not cover retraining."
        )
    return f"{row} ± is half the 95 % interval over images, by a paired bootstrap, and over retraining."


class Retraining(NamedTuple):
    """What retraining adds to the uncertainty of a main column: medians over the ranked recipes of a board.

    Attributes:
        column: the column.
        seed_sd: standard deviation between the networks of a recipe.
        image_sd: standard deviation over draws of the images.
        factor: how many times as long as over images alone the interval is.
    """

    column: str
    seed_sd: float
    image_sd: float
    factor: float


def retraining(board: pd.DataFrame) -> list[Retraining]:
    """What retraining adds to each main column; nothing where no recipe of the board has several networks."""
    ranked = board[board["status"] == RANKED]
    names = [name for name in MAIN if f"{name}_seed_sd" in board]
    parts = ("seed_sd", "image_sd", "interval_factor")
    return [Retraining(name, *(float(ranked[f"{name}_{part}"].median()) for part in parts)) for name in names]


def _retraining_line(board: pd.DataFrame) -> str:
    """The same as a sentence."""
    several = board["n_networks"] > 1
    found = [
        f"{part.column} {part.seed_sd:.2g} beside {part.image_sd:.2g} (× {part.factor:.2f})"
        for part in retraining(board)
    ]
    counts = board.loc[several, "n_networks"].astype(int)
    networks = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return (
        "Retraining: standard deviation between training seeds beside that over images, and how much longer it makes "
        f"the interval, medians over recipes: {', '.join(found)}. Known from {several.sum()} recipes with {networks} "
        "networks; all are shrunk to what these have in common (Smyth 2004)."
    )


def _alignment(benchmark: Benchmark) -> str:
    if benchmark.by_paper:
        return f"Alignment is {benchmark.alignment} as the paper has it, not corrected for chance; LPIPS has no zero."
    ideal = "the target" if benchmark.bayes is None else "the Bayes classifier's gradient"
    said = f"Alignment is chance-corrected {benchmark.alignment}: 0 is another image's target, 1 {ideal}."
    known = validation.published(benchmark.label)
    if known is None or benchmark.alignment != "alignment_cosine" or benchmark.sigma not in known.ceilings:
        return said
    ceiling = known.ceilings[benchmark.sigma].with_bounds(3)
    return f"{said} The target is an estimate: a perfect model's cosine with it would be about {ceiling}."


def _header(column: Column) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
    return column.header + arrow


def _cell(row: "pd.Series[Any]", column: Column, benchmark: Benchmark, separator: str, form: Form) -> str:
    value = row.get(column.name)
    if column.name == "rank":
        return rank(row, separator)
    if _missing(value):
        return _UNRANKED
    if column.name == "regime":
        return f"{value}{separator}{row['regime_probability']:.2f}"
    if not isinstance(value, float):
        marks = []
        if column.name == "model":
            marks = [_EMBARGO] * (UNDER_EMBARGO in row["verification"]) + [_OWN] * bool(row.get("own", False))
        return " ".join([form(str(value)), *marks])
    return _number(row, column, benchmark, separator)


def _number(row: "pd.Series[Any]", column: Column, benchmark: Benchmark, separator: str) -> str:
    """A value with half of its interval; a bound has none."""
    value, low, high = row[column.name], row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
    if not (isinstance(low, float) and isinstance(high, float)):
        return f"{value:.3f}"
    if at_end := bound(column.name, Interval(value, low, high), benchmark.sigmas):
        return at_end
    if _missing(low):
        return f"{value:.3f}"
    return f"{value:.3f}{separator}±{(high - low) / 2:.3f}"


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value != value  # noqa: PLR0124 (NaN)


def rank(row: "pd.Series[Any]", separator: str = " ") -> str:
    """A row's rank with its interval where that is wider, as in `4 (4–8)`; a dash where it has none."""
    if _missing(row["rank"]):
        return _UNRANKED
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if low == high else f"{row['rank']}{separator}({low}–{high})"


def _table_columns(board: pd.DataFrame, benchmark: Benchmark) -> list[Column]:
    """Columns of the table that this board has; status and verification are remarks below it."""
    listed = {c.name: c for c in (*all_board_columns(benchmark), *sample_columns(benchmark)) if c.header}
    left_out = {*_NOT_SHOWN, *_BELOW}
    return [c for c in listed.values() if c.name in board and not board[c.name].isna().all() and c.name not in left_out]


def _remarks(board: pd.DataFrame, benchmark: Benchmark, form: Form) -> list[str]:
    """Why models have no rank, what was flagged, who was verified, and how far another target agrees."""
    unusual = board[~board["status"].isin(["ranked", "control", no_rank(benchmark)])]
    remarks = [_retraining_line(board)] if "alignment_seed_sd" in board else []
    remarks += [f"{form(row['model'])}: {form(_cut(row['status']))}." for _, row in unusual.iterrows()]
    flagged = board[board["preflight"].notna() & (board["preflight"] != "ok") & ~board["control"]]
    unsaid = [(row["model"], _unsaid(row["preflight"], row["status"])) for _, row in flagged.iterrows()]
    remarks += [f"{form(model)}: pre-flight: {form(_cut(flags))}." for model, flags in unsaid if flags]
    if benchmark.no_target and (passed := board[board["preflight"] == "ok"]["model"].tolist()):
        remarks.append(f"Pre-flight ok: {form(', '.join(passed))}.")
    if PARTIAL_MEASURES in board:
        for partial, models in board.dropna(subset=PARTIAL_MEASURES).groupby(PARTIAL_MEASURES)["model"]:
            names = ", ".join(models) if len(models) <= _LISTED else f"{len(models)} of {len(board)} models"
            remarks.append(f"{form(names)}: {form(str(partial))}.")
    remarks += attack_notes(board, benchmark, form)
    if not (alike := board.dropna(subset="same_as")).empty:
        remarks += map(form, sentences(dict(zip(alike["model"], alike["same_as"], strict=True))))
    kept_back = board[board["verification"].str.contains(UNDER_EMBARGO)]
    remarks += [f"{_EMBARGO} {form(row['model'])}: {form(row['verification'])}." for _, row in kept_back.iterrows()]
    remarks.append(_verifications(board, form))
    return remarks + [a.sentence() for a in (agreements(board, benchmark) if benchmark.second is not None else ())]


def attack_notes(board: pd.DataFrame, benchmark: Benchmark, form: Form = str) -> list[str]:
    """What robust accuracy is, and which models are smoothed; nothing where a board has none.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: the definition.
        form: of texts of others.
    """
    if not any(column.name in board for measure in ATTACKS for column in added_columns(benchmark, measure)):
        return []
    l2, linf = budgets(benchmark)
    notes = [
        "PGD and AutoAttack: share of images that are classified correctly and stay so under the attack, which moves "
        f"an image by at most {l2} or {linf} (pixels in [0, 1]); – where a model was not attacked."
    ]
    if ATTACKED_DRAWS in board:
        smoothed = board.dropna(subset=ATTACKED_DRAWS)["model"]
        notes.append(
            f"{form(', '.join(smoothed))}: smoothed, and attacked through the gradient of its fixed draws of noise; an "
            "attack on the ideal smoothed classifier may do more or less."
        )
    return notes


def _cut(remark: str) -> str:
    """A remark that is no longer than others; the page of the model has all of it."""
    return shorten(remark, _LONGEST_REMARK, placeholder=" …")


def _unsaid(preflight: str, status: str) -> str:
    """The pre-flight's flags whose finding the status does not say already."""
    flags = re.split(r"; (?=\w+: )", preflight)
    return "; ".join(flag for flag in flags if flag.partition(": ")[2].partition(", expected ")[0] not in status)


def _verifications(board: pd.DataFrame, form: Form) -> str:
    """How many models a rerun has verified; the minority by name. Refuted ones have that as their status."""
    verdicts = board["verification"].str.extract(r"^([\w-]+)")[0]
    verified, reported = board[verdicts == "verified"]["model"], board[verdicts == SELF_REPORTED]["model"]
    count = f"Verified by rerun (pagbench verify): {len(verified)} of {len(board)}"
    if verified.empty or reported.empty:
        return f"{count}." if reported.empty else f"{count}; all are self-reported."
    few, name = (reported, SELF_REPORTED) if len(reported) <= len(verified) else (verified, "verified")
    return f"{count}; {name}: {form(', '.join(few))}."


def to_table(board: pd.DataFrame, benchmark: Benchmark, width: int | None = None, *, networks: bool = False) -> str:
    """A table for a terminal.

    In a narrow one the intervals go below the values and names lose the benchmark's; details that the alignment already
    sums up are left out, then columns from the right until the others fit, and a line says which. No number is cut.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for title and caption.
        width: characters per line; unlimited by default.
        networks: list the networks of a recipe below it, where it has several.
    """
    shown = _table_columns(board, benchmark)
    lines = _lines(board, networks=networks)
    table, left_out = _rich_table(lines, benchmark, shown, narrow=False), ""
    room = max(_size(table), _NARROWEST) if width is None else width
    if _size(table) > room:
        table, left_out = _narrow_table(lines, benchmark, shown, room)
    console = Console(width=room, color_system=None)
    with console.capture() as capture:
        console.print(table)
        for line in [*filter(None, [left_out]), caption(board, benchmark), *_remarks(board, benchmark, printable)]:
            console.print(Text(line), width=min(room, 140))
    return capture.get()


def _narrow_table(
    lines: "Sequence[_Line]", benchmark: Benchmark, shown: Sequence[Column], room: int
) -> tuple[Table, str]:
    """The table that fits, and the line that says what it leaves out; empty where that is nothing."""
    one_attack = [column.name for measure in ATTACKS for column in added_columns(benchmark, measure)][1:]
    details = [column for column in shown if column.name in (*_DETAILS, *one_attack)]
    kept = list(shown)
    table = _rich_table(lines, benchmark, kept, narrow=True)
    if _size(table) > room:
        kept = [column for column in kept if column not in details]
        table = _rich_table(lines, benchmark, kept, narrow=True)
        while _size(table) > room and (further := _further(kept)):
            kept.remove(further[-1])
            table = _rich_table(lines, benchmark, kept, narrow=True)
    left_out = ", ".join(column.header for column in shown if column not in kept)
    advice = "a wider terminal (or COLUMNS) shows more, --format csv and json have all"
    return table, f"Left out, for there are {room} characters: {left_out}; {advice}." if left_out else ""


def _further(shown: Sequence[Column]) -> list[Column]:
    """Columns that a terminal may be too narrow for."""
    return [column for column in shown if column.name not in (*_TEXT, "n_networks", "accuracy", "alignment")]


def _size(table: Table) -> int:
    """Characters per line that a table takes."""
    return Console(width=10_000).measure(table).maximum


class _Line(NamedTuple):
    """A line of a table: a row of the board, a network of the recipe above it, or the title of a track."""

    row: "pd.Series[Any]"
    kind: Literal["row", "network", "title"] = "row"
    ends: bool = False
    """Whether it is the last one of a ranking."""


def _lines(board: pd.DataFrame, *, networks: bool) -> list[_Line]:
    """The lines of a table, tracks apart; with the networks of recipes that have several, if they are asked for."""
    lines: list[_Line] = []
    ranking_before = ""
    for _, row in board.iterrows():
        ranking = "" if _missing(row["rank"]) else str(row.get("track", OPEN))
        if lines and ranking_before and ranking != ranking_before:
            lines[-1] = lines[-1]._replace(ends=True)
        if ranking == ON_TARGET != ranking_before:
            lines.append(_Line(pd.Series({"model": _ON_TARGET_TITLE}), "title"))
        lines.append(_Line(row))
        listed = row.get("networks") if networks else None
        if isinstance(listed, list) and len(listed) > 1:
            lines += [_Line(pd.Series({"model": one["id"]} | one), "network") for one in listed]
        ranking_before = ranking
    return lines


def _cells(line: _Line, shown: Sequence[Column], benchmark: Benchmark, separator: str, form: Form) -> list[str]:
    """The cells of a line; a title has one, a network those that are listed of it."""
    if line.kind == "row":
        return [_cell(line.row, column, benchmark, separator, form) for column in shown]
    known = [column.name in line.row and not _missing(line.row[column.name]) for column in shown]
    return [
        (
            form(str(line.row["model"]))
            if column.name == "model"
            else _cell(line.row, column, benchmark, separator, form)
        )
        if has
        else ""
        for column, has in zip(shown, known, strict=True)
    ]


def _rich_table(lines: Sequence[_Line], benchmark: Benchmark, shown: Sequence[Column], *, narrow: bool) -> Table:
    table = Table(
        title=f"{benchmark.title} ({benchmark.label})",
        box=box.HORIZONTALS if narrow else box.HEAVY_HEAD,
        padding=0 if narrow else (0, 1),
        show_edge=not narrow,
        show_lines=narrow,
    )
    rows = [_cells(line, shown, benchmark, "\n" if narrow else " ", printable) for line in lines]
    if narrow:
        rows = [[_folded(_without_collection(cell)) for cell in cells] for cells in rows]
    place = [column.name for column in shown].index("model")
    for line, cells in zip(lines, rows, strict=True):
        if line.kind == "network":
            cells[place] = indent(cells[place], "  ")
    for column, *cells in zip(shown, *rows, strict=True):
        header = _header(column).replace(" ", "\n") if narrow else _header(column)
        width = max(cell_len(line) for cell in (header, *cells) for line in cell.splitlines())
        folds = narrow and column.name == "model"  # what gives way where nothing more can be left out
        table.add_column(
            header,
            justify="left" if column.name in _TEXT else "right",
            no_wrap=not folds,
            overflow="fold",
            width=None if folds else width,
        )
    for line, cells in zip(lines, rows, strict=True):
        table.add_row(*map(Text, cells), end_section=line.ends)
    return table


def _folded(cell: str) -> str:
    """A long name in two lines, what the network is above how it was trained."""
    network, _, training = cell.partition(".")
    return f"{network}.\n{training}" if len(cell) > _LONGEST_NAME and training and "\n" not in cell else cell


def _without_collection(name: str) -> str:
    """The last part of an id; with the smoothing around it, if any."""
    wrapper, _, model = name.rpartition("/")
    return f"{wrapper.partition('/')[0]}/{model}" if wrapper.startswith("smoothed-") else model


def to_markdown(
    board: pd.DataFrame, benchmark: Benchmark, models: Collection[str] | None = None, *, networks: bool = False
) -> str:
    """A Markdown table with its caption.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for the caption.
        models: rows to show; all by default. Remarks are on all.
        networks: as for `to_table`.
    """
    shown = _table_columns(board, benchmark)
    lines = ["| " + " | ".join(_header(column) for column in shown) + " |"]
    lines.append("|" + "|".join("---" if c.name in _TEXT else "---:" for c in shown) + "|")
    chosen = board if models is None else board[board["model"].isin(models)]
    for line in _lines(chosen, networks=networks):
        lines.append("| " + " | ".join(_cells(line, shown, benchmark, " ", in_markdown)) + " |")
    remarks = [f"- {remark}" for remark in _remarks(board, benchmark, in_markdown)]
    return "\n".join([*lines, "", caption(board, benchmark), *([""] if remarks else []), *remarks]) + "\n"


def to_csv(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """All columns, comma-separated; empty where not scored. No text of others is a formula to a spreadsheet.

    Of the networks of a recipe it has the ids, separated by spaces.
    """
    if "networks" in board:
        board = board.assign(networks=board["networks"].map(_ids))
    return cells_of_csv(board).to_csv(index=False)


def _ids(networks: Any) -> str | None:
    """Of the networks of a recipe; None where there are none."""
    return " ".join(one["id"] for one in networks) if isinstance(networks, list) else None


def cells_of_csv(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts are in the form for CSV; numbers stay as they are."""
    return table.map(lambda value: in_csv(value) if isinstance(value, str) else value)


def to_json(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """All columns, a list of objects; null where not scored."""
    return json.dumps(json.loads(board.to_json(orient="records", double_precision=15)), indent=1) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame, Benchmark], str]] = {
    "table": to_table,
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
}
