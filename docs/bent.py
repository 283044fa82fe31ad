"""The table of `docs/explanation/bending.md`, from `benchmarks/bending.py`; `docs/generate.py` writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

CSV = Path(__file__).parent / "bending.csv"
_NUMBERS = (
    ("agreement", "same class", 3),
    ("alignment_cosine_corrected", "alignment", 3),
    ("tangent_energy", "tangent energy", 3),
    ("place", "place", 0),
)
_UNCHANGED = "none"


def table() -> str:
    """A line for each change of the first network."""
    found = pd.read_csv(CSV)
    own = found[found["network"] == found["network"].iloc[0]].set_index("change")
    heads = [f"change of {found['network'].iloc[0]}", *(head for _, head, _ in _NUMBERS), "what is said"]
    lines = [_row(heads), _row(["---", *["---:"] * len(_NUMBERS), "---"])]
    for part, changes in own.groupby("part", sort=False):
        lines.append(_row([f"**{part}**", *[""] * (len(heads) - 1)]))
        lines += [_row(_cells(row)) for _, row in changes.iterrows()]
    return "\n".join(lines) + "\n"


def _cells(row: "pd.Series[Any]") -> Iterator[str]:
    yield str(row.name).replace("|", "\\|")
    for column, _, digits in _NUMBERS:
        yield _number(row[column], digits)
    yield _said(row)


def _said(row: "pd.Series[Any]") -> str:
    """What pre-flight, rows and board say of a change; empty where nothing."""
    status, said = str(row["status"]), []
    if status.startswith("refused"):
        return "refused: `output`"
    if status != "ranked":
        said.append(status.partition(":")[0])
    if row["preflight"] != "ok":
        said.append(f"`{row['preflight'].partition(':')[0]}`")
    if isinstance(row["same_as"], str) and row.name != _UNCHANGED:
        said.append("same outputs")
    return "; ".join(said)


def _number(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def _row(cells: "Iterator[str] | list[str]") -> str:
    return f"| {' | '.join(cells)} |"
