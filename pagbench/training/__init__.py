"""Training: the paper's families of regularisation, one loop, and the entrant that comes out."""

from pagbench.training.entrant import train_entrant
from pagbench.training.families import FAMILIES
from pagbench.training.loop import Recipe, train

__all__ = ["FAMILIES", "Recipe", "train", "train_entrant"]
