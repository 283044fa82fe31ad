"""Small files that benchmarks need: trained parts of their definitions, and LPIPS's network."""

from pathlib import Path

FOLDER = Path(__file__).parent


def find(name: str) -> Path:
    """A file of this folder, or a path as it is."""
    shipped = FOLDER / name
    return shipped if shipped.is_file() else Path(name)


def judge(data: str) -> Path | None:
    """The card of the network that judges images of a data set, by the data's name; None where none is shipped."""
    path = FOLDER / "judges" / f"{data}.yaml"
    return path if path.is_file() else None
