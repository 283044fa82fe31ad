"""Training: the paper's families of regularisation, one loop, and what comes out: models and parts of benchmarks."""

from pagbench.training.families import FAMILIES
from pagbench.training.loop import train
from pagbench.training.model import Plan, default_recipe, train_model
from pagbench.training.recipe import Recipe
from pagbench.training.state import Minibatch

__all__ = ["FAMILIES", "Minibatch", "Plan", "Recipe", "default_recipe", "train", "train_model"]
