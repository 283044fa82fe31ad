"""Entrants: the shipped cards (`registry`, no torch), and the classifiers they load (`loading`)."""

from pagbench.models.registry import entrants_of, find, names

__all__ = ["entrants_of", "find", "names"]
