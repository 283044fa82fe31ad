"""Small files that benchmarks need: trained parts of their definitions, and LPIPS's network."""

from pathlib import Path

FOLDER = Path(__file__).parent


def find(name: str) -> Path:
    """A file of this folder, or a path as it is."""
    shipped = FOLDER / name
    return shipped if shipped.is_file() else Path(name)
