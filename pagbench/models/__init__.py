"""Models: names become requests in `registry` (no torch), requests become classifiers in `loading`."""

from pagbench.models.registry import find, models_of, names

__all__ = ["find", "models_of", "names"]
