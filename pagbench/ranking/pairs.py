"""Two models on the same images: differences of the main columns with paired intervals, and who is better."""

import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import naming
from pagbench.columns import Column, epsilon_name
from pagbench.errors import ResultsError, UnknownNameError, printable
from pagbench.ranking import eligibility, resampling, statistics
from pagbench.ranking.board import benchmark_of, distinct
from pagbench.ranking.render import cells_of_csv
from pagbench.ranking.summaries import summarise
from pagbench.results import Declared
from pagbench.results.agreement import check_same_targets
from pagbench.results.folders import find_models, map_models
from pagbench.results.frames import as_measured, declared_in

DIFFERS, ALIKE, UNKNOWN = "differs", "cannot be told apart", "not measured"
_WIDTH = 80


class _Rows(NamedTuple):
    """One model's rows, and what is declared of it."""

    rows: pd.DataFrame
    declared: Declared

    def status(self, benchmark: Benchmark) -> str:
        """As on the leaderboard; but for the noise seed, which two models that are compared have in common."""
        evidence = eligibility.evidence(self.rows, benchmark, self.declared.preflight, self.declared.verification)
        return eligibility.status(evidence, benchmark, evidence.seed)


@dataclass(frozen=True)
class Comparison:
    """Two models on the images that both have.

    Attributes:
        benchmark: the definition.
        a: id of the first model.
        b: id of the second one.
        images: how many images both have.
        remarks: why one of them takes no rank, or its numbers mean little.
        table: see `compare`.
    """

    benchmark: Benchmark
    a: str
    b: str
    images: int
    remarks: tuple[str, ...]
    table: pd.DataFrame


def compare(
    rows: pd.DataFrame | Sequence[pd.DataFrame] | str | Path,
    a: str,
    b: str,
    *,
    benchmark: str | Benchmark | None = None,
) -> pd.DataFrame:
    """Differences of two models, A - B, by the bootstrap over images that the leaderboard uses, which pairs models.

    Args:
        rows: per-sample rows as `pagbench.run`, `pagbench.load_results` or `pandas.read_parquet` return them, a list of
            several such data frames, or a results folder; `published` for the published results.
        a: id of the first model, or the end of its id alone.
        b: that of the second one.
        benchmark: needed where the data frame holds more than one; of a folder, `digits` by default.

    Returns:
        One row per main column that the benchmark has: `column`, `model_a`, `model_b`, their values `value_a` and
        `value_b`, `difference` with `difference_low` and `difference_high` (95 %), two-sided `p`, `verdict` (differs,
        cannot be told apart, not measured), `better` (an id; null where neither is, or no direction is better),
        `images`, on which both have a value, and `status_a` and `status_b`, the leaderboard's.

    >>> compare(pagbench.run({"mine": network}, "digits"), "mine", "digits/standard")  # doctest: +SKIP

    Raises:
        UnknownNameError: there are no rows of a model; the message has the closest ids.
        ResultsError: the two cannot be compared: one model twice, no image in common, other noise seeds, definitions
            or targets; or there are no rows of a model on a benchmark that defines no target.
    """
    return pair(rows, a, b, benchmark=benchmark).table


def pair(
    rows: pd.DataFrame | Sequence[pd.DataFrame] | str | Path,
    a: str,
    b: str,
    *,
    benchmark: str | Benchmark | None = None,
) -> Comparison:
    """The same with what is to be said beside the table; see `compare`."""
    if isinstance(rows, str | Path):
        definition = benchmarks.load(benchmark or "digits")
        first, second = _of_folder(results.local(rows), a, b, definition)
    else:
        measured = as_measured(rows)
        definition = benchmark_of(measured, benchmark)
        first, second = _of_frame(measured, a, b, definition)
    seeds = int(first.rows["seed"].iloc[0]), int(second.rows["seed"].iloc[0])
    if seeds[0] != seeds[1]:
        raise ResultsError(
            f"{a} was measured with the noise seed {seeds[0]}, {b} with {seeds[1]}, and their numbers are not paired; "
            "measure one of them again (--overwrite, in Python overwrite=True)"
        )
    statuses = first.status(definition), second.status(definition)
    return _compared(*_common(first.rows, second.rows), statuses, definition)


def _of_frame(rows: pd.DataFrame, a: str, b: str, benchmark: Benchmark) -> tuple[_Rows, _Rows]:
    bare = rows.copy(deep=False)
    bare.attrs = {}
    bare = bare[(bare["benchmark"] == benchmark.name) & (bare["version"] == benchmark.version)]
    a, b = _ids((a, b), set(map(str, bare["entrant"].unique())), benchmark)
    bare = distinct(bare[bare["entrant"].isin((a, b))], benchmark)
    first, second = (_Rows(bare[bare["entrant"] == name], declared_in(rows, name)) for name in (a, b))
    return first, second


def _of_folder(folder: Path, a: str, b: str, benchmark: Benchmark) -> tuple[_Rows, _Rows]:
    known = {files.name for files in find_models(folder, benchmark)}
    if known:  # or the folder has nothing, which the reading says
        a, b = _ids((a, b), known, benchmark)
    read = map_models(folder, benchmark, lambda files: files.read() if files.name in (a, b) else None)
    found = {result.name: result for result in read}
    if missing := [name for name in (a, b) if name not in found]:
        raise ResultsError(f"{missing[0]}: no finished rows in {folder}; finish its run")
    check_same_targets((name, found[name].provenance.target_weights) for name in (a, b))
    return _Rows(found[a].rows, found[a].declared), _Rows(found[b].rows, found[b].declared)


def _ids(names: tuple[str, str], known: set[str], benchmark: Benchmark) -> tuple[str, str]:
    """The ids of two models."""
    try:
        a, b = (naming.known(name, known) for name in names)
    except UnknownNameError:
        if not benchmark.no_target:
            raise
        name = next(name for name in names if not naming.ending(name, known) and name not in known)
        raise ResultsError(
            f"{name}: has no results on {benchmark.label}, where nothing of alignment is compared: "
            f"{benchmark.no_target}; `pagbench run {name} -b {benchmark.label}` measures its accuracy"
        ) from None
    if a == b:
        raise ResultsError(f"{a} is named twice; name two models to compare")
    return a, b


def _common(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the images that both have, in one order."""
    known = set(b["sample_id"])
    ids = [sample for sample in a["sample_id"] if sample in known]
    if not ids:
        names = a["entrant"].iloc[0], b["entrant"].iloc[0]
        raise ResultsError(f"{names[0]} and {names[1]} have no image in common; run both on the whole benchmark")
    first, second = (rows.set_index("sample_id").loc[ids].reset_index() for rows in (a, b))
    return first, second


def _compared(
    rows_a: pd.DataFrame, rows_b: pd.DataFrame, statuses: tuple[str, str], benchmark: Benchmark
) -> Comparison:
    """The comparison on these images; a column counts on those where both have a value."""
    measured = [name for name in rows_a if name in rows_b and name not in columns.IDENTITY]
    lacking = rows_a[measured].isna() | rows_b[measured].isna()
    a, b = (rows.assign(**rows[measured].mask(lacking)) for rows in (rows_a, rows_b))
    drawn = resampling.resample_samples(benchmark)
    first, second = (summarise(rows, benchmark, drawn, Declared()) for rows in (a, b))
    lines = []
    for name in columns.MAIN:
        if name in first.replicates and name in second.replicates:
            ours, theirs = first.replicates[name], second.replicates[name]
            found = statistics.difference(ours, theirs)
            lines.append(
                {
                    "column": name,
                    "model_a": first.name,
                    "model_b": second.name,
                    "value_a": float(ours[0]),
                    "value_b": float(theirs[0]),
                    "difference": found.value,
                    "difference_low": found.low,
                    "difference_high": found.high,
                    "p": found.p,
                    "verdict": UNKNOWN if pd.isna(found.value) else DIFFERS if found.settled else ALIKE,
                    "better": _better(found, _column(name), first.name, second.name),
                    "images": int(a[_source(name, benchmark)].notna().sum()),
                    "status_a": statuses[0],
                    "status_b": statuses[1],
                }
            )
    remarks = [_remark(name, s, benchmark) for name, s in zip((first.name, second.name), statuses, strict=True)]
    return Comparison(benchmark, first.name, second.name, len(a), tuple(filter(None, remarks)), pd.DataFrame(lines))


def _remark(name: str, status: str, benchmark: Benchmark) -> str:
    """Why a model takes no rank; empty where it takes one, is a control, or nobody takes one."""
    reason = status.removeprefix("control; ")
    if reason in (eligibility.RANKED, "control", eligibility.no_rank(benchmark)):
        return ""
    return f"{name}: {reason}; {'it takes no rank' if eligibility.has_result(status) else 'its numbers mean little'}."


def _column(name: str) -> Column:
    return next(column for column in columns.BOARD_COLUMNS if column.name == name)


def _source(name: str, benchmark: Benchmark) -> str:
    """The per-sample column that a column of the board has its images from."""
    if name in ("on_response", "off_response", "log_ratio"):
        return epsilon_name("on_response" if name == "log_ratio" else name, benchmark.epsilon or 0.0)
    return {"alignment": benchmark.alignment, "accuracy": "correct"}.get(name, name)


def _better(found: statistics.Difference, column: Column, a: str, b: str) -> str | None:
    if not found.settled or column.higher_is_better is None:
        return None
    return a if (found.value > 0) == column.higher_is_better else b


def to_text(comparison: Comparison) -> str:
    """A table of 80 characters with what it means."""
    label, benchmark = comparison.benchmark.label, comparison.benchmark
    lines = [
        f"{label}: two models on the same {comparison.images} images",
        f"A  {printable(comparison.a)}",
        f"B  {printable(comparison.b)}",
        "",
    ]
    lines.append(f"{'measure':<16}{'A':>8}{'B':>9}{'A − B':>9}  {'95 % interval':<18}{'p':>6}  better")
    for row in comparison.table.to_dict("records"):
        column = _column(row["column"])
        arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
        name = f"{(column.header or column.name)}{arrow}"
        if row["verdict"] == UNKNOWN:
            lines.append(f"{name:<16}{_number(row['value_a']):>8}{_number(row['value_b']):>9}{'–':>9}  {UNKNOWN}")
            continue
        better = {comparison.a: "A", comparison.b: "B"}.get(row["better"], "≠" if row["verdict"] == DIFFERS else "–")
        bounds = f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        fewer = f" ({row['images']})" if row["images"] < comparison.images else ""
        lines.append(
            f"{name:<16}{row['value_a']:>8.3f}{row['value_b']:>9.3f}{row['difference']:>+9.3f}  {bounds:<18}"
            f"{row['p']:>6.3f}  {better}{fewer}"
        )
    notes = [
        "– the two cannot be told apart; ≠ they differ, and neither direction is better; a number in brackets: images "
        "on which both have a value, where these are fewer.",
        "Interval and p (two-sided) are of a paired bootstrap over images. They do not cover retraining, and each "
        "speaks of one pair and one measure alone.",
        *([f"Nothing is said of alignment: {benchmark.no_target}."] if benchmark.no_target else []),
        *map(printable, comparison.remarks),
    ]
    return "\n".join([*lines, "", *(part for note in notes for part in textwrap.wrap(note, _WIDTH))]) + "\n"


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"


def to_csv(comparison: Comparison) -> str:
    """All columns, comma-separated; empty where there is no value."""
    return cells_of_csv(comparison.table).to_csv(index=False)


def to_json(comparison: Comparison) -> str:
    """All columns, a list of objects; null where there is no value."""
    text = comparison.table.to_json(orient="records", double_precision=15)
    return json.dumps(json.loads(text), indent=1) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {"text": to_text, "csv": to_csv, "json": to_json}
