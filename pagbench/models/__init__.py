"""Models: the shipped cards (`registry`, no torch), and the classifiers they load (`loading`)."""

from pagbench.models.registry import find, models_of, names

__all__ = ["find", "models_of", "names"]
