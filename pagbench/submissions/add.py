"""Lays a submission into a leaderboard, whole or not at all, and says which rank it takes. No torch."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pagbench import results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import ResultsError
from pagbench.ranking import render
from pagbench.ranking.board import build_board, rows_of, table_of
from pagbench.ranking.joining import ON_TARGET
from pagbench.ranking.summary_cache import read_summaries
from pagbench.results.agreement import PUBLISHED, SUBMITTED, Claims, odd_ones, voice_of
from pagbench.submissions import folder

_NEIGHBOURS = 3


@contextmanager
def staged(root: Path, leaderboard: Path, benchmark: Benchmark, card: ModelCard) -> Iterator[Path]:
    """A copy of a submission's files for one benchmark, beside its home in the leaderboard.

    What is checked there is what `settle` lays down, even where the original changes meanwhile.

    Raises:
        ResultsError: a file cannot be copied.
    """
    results = f"{folder.RESULTS}/"
    kept = (f"{results}{benchmark.label}/", f"{results}{benchmark.label}+")
    names = [name for name in folder.known_files(card) if not name.startswith(results) or name.startswith(kept)]
    with staging(leaderboard) as copy:
        try:
            for name in names:
                if (root / name).exists():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(root / name, copy / name, follow_symlinks=False)
        except OSError as error:
            why = error.strerror or error
            raise ResultsError(f"{copy}: cannot copy {root} there ({why}); nothing was added") from None
        yield copy


@contextmanager
def staging(leaderboard: Path) -> Iterator[Path]:
    """A path beside a submission's home in the leaderboard; what is still there in the end is removed."""
    copy = leaderboard / f".staged-{os.getpid()}"
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def settle(copy: Path, target: Path, card: ModelCard, benchmark: Benchmark) -> None:
    """Moves a staged copy into its place, without weights that are under embargo; an older version goes.

    Raises:
        ResultsError: there is nothing to show of a model under embargo, or the disk refuses; the older version stays.
    """
    if card.embargo:
        if not results.path_of(copy / folder.RESULTS, benchmark, card.id).is_file():
            raise ResultsError(
                f"{card.id}: under embargo its results are all there is to add; measure it with `pagbench submit run`"
            )
        if card.weights is not None:
            (copy / card.weights).unlink(missing_ok=True)
    move(copy, target)


def move(copy: Path, target: Path) -> None:
    """Moves a file or a folder into its place; an older version goes.

    Raises:
        ResultsError: the disk refuses; the older version stays.
    """
    older = copy.with_name(f"{copy.name}-older")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(older)
        copy.rename(target)
    except OSError as error:
        if older.exists() and not target.exists():
            older.rename(target)
        raise ResultsError(f"{target}: cannot write there ({error.strerror or error}); nothing was added") from None
    finally:
        shutil.rmtree(older, ignore_errors=True)
        older.unlink(missing_ok=True)


@dataclass(frozen=True)
class Standing:
    """Where a model stands, and where the others stood without it: boards as `pagbench.leaderboard` makes them.

    Attributes:
        model: its id.
        row: id of the row that it is in.
        before: the board without it; None where there is none.
        after: the board with it.
    """

    model: str
    row: str
    before: pd.DataFrame | None
    after: pd.DataFrame

    def lines(self) -> Iterator[str]:
        """The rank with its interval, then the neighbours whose rank or interval it changes."""
        board = self.after.set_index("model")
        own = board.loc[self.row]
        if self.row != self.model or own.get("n_networks", 1) > 1:
            ids = ", ".join(one["id"] for one in own["networks"])
            yield f"{self.model} is one of {own['n_networks']} networks of a recipe, which have one row: {ids}"
        if not pd.isna(own["same_as"]):
            yield f"{self.row} is not alone: it has the {own['same_as']}"
        if pd.isna(own["rank"]):
            yield f"{self.row} takes no rank: {own['status'].removeprefix('no rank: ')}"
            return
        ranked = board[board["rank"].notna()].sort_values("rank")
        if "track" in ranked:
            ranked = ranked[ranked["track"] == own["track"]]
        track = " among those trained on the target" if own.get("track") == ON_TARGET else ""
        interval = f"alignment {own['alignment']:.3f} [{own['alignment_low']:.3f}, {own['alignment_high']:.3f}]"
        regime = "no regime" if pd.isna(own["regime"]) else f"regime {own['regime']}"
        yield f"{self.row} takes rank {render.rank(own)} of {len(ranked)}{track}, {interval}, {regime}"
        if self.before is None:
            return
        own_row, earlier = list(ranked.index).index(self.row), self.before.set_index("model")
        for name in ranked.index[max(0, own_row - _NEIGHBOURS) : own_row + 1 + _NEIGHBOURS].drop(self.row):
            before = render.rank(earlier.loc[name]) if name in earlier.index else "new"
            now = render.rank(board.loc[name])
            yield f"  {name}: {now}, as before" if before == now else f"  {name}: {before} → {now}"


def standing(leaderboard: Path, benchmark: Benchmark, root: Path, model: str) -> Standing | None:
    """Where a submission stands on a benchmark, or would stand if it were added; None where it has no results.

    Args:
        leaderboard: the folder, whose own results of the model do not count.
        benchmark: the definition.
        root: the submission's folder, in the leaderboard or not.
        model: its id.

    Raises:
        ResultsError: results of the leaderboard, or of the submission, cannot be read or combined.
    """
    if not results.has_results(root / folder.RESULTS, benchmark):
        return None
    (own,) = read_summaries(root / folder.RESULTS, benchmark)
    if own.recipe is not None:  # as it will be read in its place
        voice = voice_of(submitted=True, record=own.evidence.verification)
        own = replace(own, recipe=own.recipe._replace(voice=voice))
    try:
        summaries = read_summaries(leaderboard / "results", benchmark, lambda _: None)
    except results.NoResultsError:
        summaries = []
    others = [summary for summary in summaries if summary.name != model]
    claims = [
        Claims(one.name, SUBMITTED if one is own else PUBLISHED, one.target_weights, one.labels)
        for one in [*others, own]
    ]
    if model in (odd := odd_ones(claims)):
        raise ResultsError(odd[model])
    rows = rows_of([*others, own], benchmark)
    before = build_board(others, benchmark) if others else None
    return Standing(model, rows.row_of[model], before, table_of(rows, benchmark))
