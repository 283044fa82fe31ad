"""The leaderboard as text: a table for the terminal, Markdown, HTML, CSV, JSON."""

import html
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from textwrap import indent, shorten
from typing import Any, Literal, NamedTuple

import pandas as pd
from rich.cells import cell_len

from pagbench.benchmarks import Benchmark, validation
from pagbench.columns import (
    ATTACKED_DRAWS,
    ATTACKS,
    MAIN,
    PARTIAL_MEASURES,
    Column,
    added_columns,
    budgets,
    documented_columns,
    find_columns,
    short_columns,
)
from pagbench.errors import ResultsError, in_csv, in_markdown, printable
from pagbench.ranking.board import agreements, missing_anchor
from pagbench.ranking.copies import sentences
from pagbench.ranking.eligibility import RANKED, no_rank
from pagbench.ranking.joining import ON_TARGET, OPEN
from pagbench.ranking.profile import CENSORED, bound
from pagbench.ranking.statistics import Interval
from pagbench.ranking.typesetting import TextTable
from pagbench.results.verification import SELF_REPORTED, UNDER_EMBARGO

Form = Callable[[str], str]
"""Makes a text of others a line of what it is printed in."""
Columns = str | Sequence[str]
"""Which columns of a leaderboard are shown: `short`, `all`, or names or headings."""
_NOT_SHOWN = ("family", "strength", "temperature", "status", "verification")
"""Columns that have a heading on pages, and that a table shows only where they are named: ids and notes have them."""
_TEXT = ("rank", "model", "regime", "status")
_WRAPPED = ("model", "status")
"""Columns whose cells may take several lines of a page."""
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
_LEAST_ROOM = 16
"""Characters for names that a table keeps, at the expense of its last column, before longer ones get their own line."""
_KEPT = ("rank", "model", "alignment")
"""Columns that a narrow terminal keeps."""
_LONGEST_LINE = 140
"""Characters of the lines below a table in a wide terminal."""


def select(board: pd.DataFrame, benchmark: Benchmark, columns: Columns = "short") -> list[Column]:
    """The columns of a leaderboard that are shown.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: the definition.
        columns: `short`, for those of `pagbench.columns.SHORT` that have a value; `all`, for all that have a heading
            and a value; or names or headings, as `tangent_energy` or `tangent energy`.

    Raises:
        UnknownNameError: the leaderboard has no such column.
        ResultsError: none is named.
    """
    if not columns:
        raise ResultsError("no columns are named; name some, as alignment, or take 'short' or 'all'")
    if columns not in ("short", "all"):
        names = [columns] if isinstance(columns, str) else columns
        return list(dict.fromkeys(find_columns(benchmark, names, board.columns)))
    measured = board.columns[board.notna().any()]
    if columns == "short":
        return short_columns(benchmark, measured)
    return [column for column in documented_columns(benchmark) if heading(column) and column.name in measured]


def heading(column: Column) -> str:
    """What stands above a column of a table with all of them; empty for one that it does not show."""
    return "" if column.name in _NOT_SHOWN else column.header


def caption(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """What the numbers of a table mean, in a few sentences."""
    if benchmark.no_target:
        return (
            f"{benchmark.label}: {no_rank(benchmark)}. Shown are accuracy, with half the 95 % interval of a bootstrap "
            "over images, time per image and pre-flight; nothing is said of alignment."
        )
    missing = _without_regimes(board, benchmark)
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


def legend(board: pd.DataFrame, benchmark: Benchmark, form: Form = str) -> str:
    """What a reader of a short table has to know: the images, what alignment and ± are, and who has no rank.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: the definition.
        form: of texts of others.
    """
    covers = "over images and retraining" if "alignment_seed_sd" in board else "over images; it leaves out retraining"
    own = [*_partial(board, benchmark, form), *([f"{_OWN}: yours."] if "own" in board and board["own"].any() else [])]
    if benchmark.no_target:
        said = f"{benchmark.label}: {len(benchmark.samples)} images; {no_rank(benchmark)}."
        return " ".join([f"{said} ± is half the 95 % interval {covers}.", *own])
    scale = f"1 {_ideal(benchmark)}, 0 another image's"
    if benchmark.by_paper:
        scale = f"{benchmark.alignment} as the paper has it, not corrected for chance"
    parts = [
        f"{benchmark.label}: {len(benchmark.samples)} images. Alignment: {scale}; ± is half its 95 % interval {covers}."
    ]
    if missing := _without_regimes(board, benchmark):
        parts.append(f"No regimes are judged, for {missing}.")
    unranked = board[board["rank"].isna() & ~board["control"]]["model"].tolist()
    controls = ["controls"] if board["control"].any() else []
    if controls or unranked:
        parts.append(f"No rank: {', '.join([*controls, *_few(unranked, form)])}.")
    if board["verification"].str.contains(UNDER_EMBARGO).any():
        parts.append(f"{_EMBARGO}: weights under embargo.")
    return " ".join([*parts, *own])


def _few(models: Sequence[str], form: Form) -> list[str]:
    """A few models by name, of more the number."""
    return [form(name) for name in models] if len(models) <= _LISTED else [f"{len(models)} models"]


def _partial(board: pd.DataFrame, benchmark: Benchmark, form: Form) -> list[str]:
    """Which models were measured on some of the images alone."""
    if "n_total" not in board:  # taken away in a notebook
        return []
    whole = len(benchmark.samples)
    groups = board[board["n_total"] < whole].groupby("n_total")["model"]
    return [f"{images} of {whole} images: {', '.join(_few(models.tolist(), form))}." for images, models in groups]


def _without_regimes(board: pd.DataFrame, benchmark: Benchmark) -> str:
    """Why no regimes are judged; empty where they are, though the anchors may not be among the rows that were taken."""
    judged = "regime" in board and board["regime"].notna().any()
    return "" if judged else missing_anchor(set(board["model"]), benchmark)


def _ideal(benchmark: Benchmark) -> str:
    return "the target" if benchmark.bayes is None else "the Bayes classifier's gradient"


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
    ideal = _ideal(benchmark)
    said = f"Alignment is chance-corrected {benchmark.alignment}: 0 is another image's target, 1 {ideal}."
    known = validation.published(benchmark.label)
    if known is None or benchmark.alignment != "alignment_cosine" or benchmark.sigma not in known.ceilings:
        return said
    ceiling = known.ceilings[benchmark.sigma].with_bounds(3)
    return f"{said} The target is an estimate: a perfect model's cosine with it would be about {ceiling}."


def _header(column: Column) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
    return (column.header or column.name) + arrow


def _cell(row: "pd.Series[Any]", column: Column, benchmark: Benchmark, form: Form, *, whole: bool) -> str:
    """A cell; where it is not whole, without the probability of a regime, and without an interval."""
    value = row.get(column.name)
    if column.name == "rank":
        return rank(row)
    if isinstance(value, list):
        return form(" ".join(one["id"] for one in value))
    if _missing(value):
        return _UNRANKED
    if column.name == "regime":
        return f"{value} {row['regime_probability']:.2f}" if whole else str(value)
    if not isinstance(value, float):
        marks = []
        if column.name == "model":
            marks = [_EMBARGO] * (UNDER_EMBARGO in row["verification"]) + [_OWN] * bool(row.get("own", False))
        return " ".join([form(str(value)), *marks])
    return _number(row, column, benchmark, whole=whole)


def _number(row: "pd.Series[Any]", column: Column, benchmark: Benchmark, *, whole: bool) -> str:
    """A value with half of its interval; a bound has none."""
    value, low, high = row[column.name], row.get(f"{column.name}_low"), row.get(f"{column.name}_high")
    if not (isinstance(low, float) and isinstance(high, float)):
        return f"{value:.3f}"
    if at_end := bound(column.name, Interval(value, low, high), benchmark.sigmas):
        return at_end
    if _missing(low) or not whole:
        return f"{value:.3f}"
    return f"{value:.3f} ±{(high - low) / 2:.3f}"


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value != value  # noqa: PLR0124 (NaN)


def rank(row: "pd.Series[Any]") -> str:
    """A row's rank with its interval where that is wider, as in `4 (4–8)`; a dash where it has none."""
    if _missing(row["rank"]):
        return _UNRANKED
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if low == high else f"{row['rank']} ({low}–{high})"


def _notes(board: pd.DataFrame, benchmark: Benchmark, form: Form) -> list[str]:
    """The caption; why models have no rank, what was flagged, who was verified, and how far another target agrees."""
    unusual = board[~board["status"].isin(["ranked", "control", no_rank(benchmark)])]
    remarks = [caption(board, benchmark)]
    remarks += [_retraining_line(board)] if "alignment_seed_sd" in board else []
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


def to_table(
    board: pd.DataFrame,
    benchmark: Benchmark,
    width: int | None = None,
    *,
    columns: Columns = "short",
    notes: bool = False,
    networks: bool = False,
    command: str = "pagbench leaderboard",
) -> str:
    """A table for a terminal.

    In a narrow one headings take several lines, ids lose the collection that most of them begin with, and the short
    table loses its columns from the right, down to rank, model and alignment; a line below says which. No number and no
    name is cut or broken: what is longer runs over the edge.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for title and legend.
        width: characters per line; unlimited by default.
        columns: as for `select`. Columns that are named are all shown, however wide they are.
        notes: add all that is said of the numbers and the models; their number is given otherwise.
        networks: list the networks of a recipe below it, where it has several.
        command: prints this table; with it the advice begins that tells how to see more.
    """
    shown = select(board, benchmark, columns)
    intervals = _with_intervals(shown, benchmark, columns)
    lines = _lines(board, networks=networks)
    table = _text_table(lines, shown, benchmark, intervals)
    below = _notes(board, benchmark, printable) if notes else [legend(board, benchmark, printable)]
    kept: Sequence[Column] = shown
    text, collection = table.lines(), ""
    if width is not None and _widest(text) > width:
        text, kept, collection = _narrowed(lines, shown, benchmark, intervals, width, keeps=columns != "short")
    if collection:
        below.insert(0, f"Ids without / begin with {collection}/.")
    if left_out := [column.header for column in shown if column not in kept]:
        below.append(f"Left out at {width} characters: {', '.join(left_out)}.")
    below += _advice(board, benchmark, columns, command, notes=notes)
    longest = _LONGEST_LINE if width is None else min(width, _LONGEST_LINE)
    title = f"{benchmark.title} ({benchmark.label})"
    return "\n".join([title, "", *text, "", *(part for line in below for part in _wrapped(line, longest))]) + "\n"


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def _widest(lines: Sequence[str]) -> int:
    return max(map(cell_len, lines))


def _with_intervals(shown: Sequence[Column], benchmark: Benchmark, columns: Columns) -> Collection[str]:
    """Names of the columns whose cells are whole: in a short table only that of the ranking."""
    if columns == "short":
        return ("accuracy" if benchmark.no_target else "alignment",)
    return [column.name for column in shown]


def _advice(board: pd.DataFrame, benchmark: Benchmark, columns: Columns, command: str, *, notes: bool) -> list[str]:
    """How to see what is not shown."""
    parts = [] if notes else [f"{len(_notes(board, benchmark, printable))} notes: {command} --notes"]
    if columns == "short":
        parts.append("more columns: --columns all" if parts else f"more columns: {command} --columns all")
    return [f"{'; '.join(parts)}."] if parts else []


def _narrowed(
    lines: "Sequence[_Line]",
    shown: Sequence[Column],
    benchmark: Benchmark,
    intervals: Collection[str],
    width: int,
    *,
    keeps: bool,
) -> tuple[list[str], Sequence[Column], str]:
    """The table in the first form that fits, its columns, and the collection that its ids lack."""
    table = whole = _text_table(lines, shown, benchmark, intervals)
    for gap in (2, 1):
        if _widest(text := table.lines(gap=gap, wrapped=True)) <= width:
            return text, shown, ""
    kept, collection = list(shown), _collection(lines)
    while True:
        table = _text_table(lines, kept, benchmark, intervals, collection)
        for gap in (2, 1):
            if _widest(text := table.lines(gap=gap, wrapped=True)) <= width:
                return text, kept, collection
        room = table.room(width, gap=1)
        if room >= min(table.longest_name(), _LEAST_ROOM):
            return table.lines(gap=1, wrapped=True, room=room), kept, collection
        if keeps:
            return whole.lines(), shown, ""
        further = [column for column in kept if column.name not in _KEPT]
        if not further:
            return table.lines(gap=1, wrapped=True, room=max(room, 0)), kept, collection
        kept.remove(further[-1])


def _collection(lines: "Sequence[_Line]") -> str:
    """What most ids begin with, up to their last slash; empty where one without it would be another id."""
    ids = [line.row["model"] for line in lines if line.kind != "title"]
    ((most, _),) = Counter(name.rpartition("/")[0] for name in ids).most_common(1)
    shortened = {name.removeprefix(f"{most}/") for name in ids if name.startswith(f"{most}/")}
    return most if shortened.isdisjoint(ids) else ""


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


def _cells(
    line: _Line, shown: Sequence[Column], benchmark: Benchmark, form: Form, intervals: Collection[str]
) -> list[str]:
    """The cells of a line; a title has one, a network those that are listed of it."""
    listed = [
        line.kind == "row" or (column.name in line.row and not _missing(line.row[column.name])) for column in shown
    ]
    return [
        ""
        if not has
        else form(str(line.row["model"]))
        if column.name == "model" and line.kind != "row"
        else _cell(line.row, column, benchmark, form, whole=column.name in intervals)
        for column, has in zip(shown, listed, strict=True)
    ]


def _text_table(
    lines: Sequence[_Line],
    shown: Sequence[Column],
    benchmark: Benchmark,
    intervals: Collection[str],
    collection: str = "",
) -> TextTable:
    """The table of the terminal; ids lack the collection."""
    rows = [_cells(line, shown, benchmark, printable, intervals) for line in lines]
    names = [column.name for column in shown]
    place = names.index("model") if "model" in names else 0
    if "model" in names:
        for line, cells in zip(lines, rows, strict=True):
            cells[place] = cells[place].removeprefix(f"{collection}/") if collection else cells[place]
            cells[place] = indent(cells[place], "  ") if line.kind == "network" else cells[place]
    return TextTable(
        [_header(column) for column in shown],
        rows,
        [index for index, column in enumerate(shown) if column.name in _TEXT],
        place,
        [index for index, line in enumerate(lines) if line.ends],
    )


def to_markdown(
    board: pd.DataFrame,
    benchmark: Benchmark,
    models: Collection[str] | None = None,
    *,
    columns: Columns = "short",
    notes: bool = False,
    networks: bool = False,
) -> str:
    """A Markdown table with its legend.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for the legend.
        models: rows to show; all by default. Legend and notes are on all.
        columns: as for `select`.
        notes: as for `to_table`.
        networks: as for `to_table`.
    """
    shown = select(board, benchmark, columns)
    intervals = _with_intervals(shown, benchmark, columns)
    lines = ["| " + " | ".join(_header(column) for column in shown) + " |"]
    lines.append("|" + "|".join("---" if c.name in _TEXT else "---:" for c in shown) + "|")
    chosen = board if models is None else board[board["model"].isin(models)]
    for line in _lines(chosen, networks=networks):
        lines.append("| " + " | ".join(_cells(line, shown, benchmark, in_markdown, intervals)) + " |")
    first, *others = _notes(board, benchmark, in_markdown) if notes else [legend(board, benchmark, in_markdown)]
    remarks = [f"- {remark}" for remark in others]
    return "\n".join([*lines, "", first, *([""] if remarks else []), *remarks]) + "\n"


def to_html(board: pd.DataFrame, benchmark: Benchmark, columns: Columns = "short") -> str:
    """A table for a notebook, with its legend.

    Short or whole, it has the status of models without a rank; where columns are named, the model is always among them.

    Args:
        board: as `pagbench.leaderboard` returns it.
        benchmark: for the legend.
        columns: as for `select`.
    """
    shown = select(board, benchmark, columns)
    intervals = _with_intervals(shown, benchmark, columns)
    board = board.assign(status=board["status"].replace(RANKED, ""))
    if columns in ("short", "all") and board["status"].any():
        shown += [column for column in documented_columns(benchmark) if column.name == "status"]
    if "model" not in [column.name for column in shown]:
        shown = [*find_columns(benchmark, ["model"], board.columns), *shown]
    rows = [_cells(line, shown, benchmark, printable, intervals) for line in _lines(board, networks=False)]
    # a style sheet would hold for the other tables of a notebook, too
    styles = [
        ("text-align: left" if column.name in _TEXT else "text-align: right")
        + ("" if column.name in _WRAPPED else "; white-space: nowrap")
        for column in shown
    ]
    head = _html_row("th", [_header(column) for column in shown], styles)
    body = "\n".join(_html_row("td", cells, styles) for cells in rows)
    count = f"{len(board)} {'row' if len(board) == 1 else 'rows'} × {len(board.columns)} columns."
    own = [f"{_OWN} yours."] if "own" in board and board["own"].any() else []
    said = html.escape(" ".join([legend(board, benchmark), *own, count]))
    return f'<table class="dataframe pagbench">\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table><p>{said}</p>'


def _html_row(tag: str, cells: Sequence[str], styles: Sequence[str]) -> str:
    parts = [f'<{tag} style="{style}">{html.escape(cell)}</{tag}>' for cell, style in zip(cells, styles, strict=True)]
    return f"<tr>{''.join(parts)}</tr>"


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
