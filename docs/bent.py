"""The table of `docs/explanation/bending.md`, from `benchmarks/bending.py`; `docs/generate.py` writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

CSV = Path(__file__).parent / "bending.csv"
_NUMBERS = (
    ("agreement", "same class", 3),
    ("accuracy", "accuracy", 3),
    ("alignment_cosine_corrected", "alignment", 3),
    ("alignment_peak", "peak", 3),
    ("alignment_peak_sigma", "at sigma", 2),
    ("alignment_lpips", "1 − LPIPS", 3),
    ("tangent_energy", "tangent energy", 3),
    ("on_response", "on", 3),
    ("off_response", "off", 3),
    ("log_ratio", "log off/on", 2),
)
_SHARES = (("unfaithful", "rows unfaithful"), ("along_target", "wrong along the target"))
_UNCHANGED = "none"


def table() -> str:
    """A line for each change of the first network, and what it does to the alignment of the others."""
    found = pd.read_csv(CSV)
    own, *others = (rows.set_index("change") for _, rows in found.groupby("network", sort=False))
    names = [network.split("/")[1] for network in found["network"].unique()]
    heads = [
        f"change of {names[0]}",
        *(head for _, head, _ in _NUMBERS),
        *(f"alignment of {name}" for name in names[1:]),
        "place",
        *(head for _, head in _SHARES),
        "what is said",
    ]
    lines = [_row(heads), _row(["---", *["---:"] * (len(heads) - 2), "---"])]
    for part, changes in own.groupby("part", sort=False):
        lines.append(_row([f"**{part}**", *[""] * (len(heads) - 1)]))
        lines += [_row(_cells(row, others)) for _, row in changes.iterrows()]
    return "\n".join(lines) + "\n"


def _cells(row: "pd.Series[Any]", others: list[pd.DataFrame]) -> Iterator[str]:
    change = str(row.name)
    yield change.replace("|", "\\|")
    for column, _, digits in _NUMBERS:
        yield _number(row[column], digits)
    for rows in others:
        moved = rows["alignment_cosine_corrected"]
        if change == _UNCHANGED:
            yield _number(moved[change], 3)
        else:
            yield f"{moved[change] - moved[_UNCHANGED]:+.3f}" if change in moved else ""
    yield _number(row["place"], 0)
    for column, _ in _SHARES:
        yield "–" if pd.isna(row["alignment_cosine_corrected"]) else f"{row[column]:.0%}"
    yield _said(row)


def _said(row: "pd.Series[Any]") -> str:
    """What pre-flight, rows and board say of a change."""
    status, said = str(row["status"]), []
    if status.startswith("refused"):
        return "refused: `output`"
    if status != "ranked":
        said.append(status.partition(":")[0])
    if row["preflight"] != "ok":
        said.append(f"pre-flight: `{row['preflight'].partition(':')[0]}`")
    if isinstance(row["same_as"], str) and row.name != _UNCHANGED:
        said.append("same outputs")
    return "; ".join(said) or "nothing"


def _number(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def _row(cells: "Iterator[str] | list[str]") -> str:
    return f"| {' | '.join(cells)} |"
