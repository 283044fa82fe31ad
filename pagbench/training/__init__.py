"""Training: the paper's families of regularisation, one loop, and what comes out: models, components of benchmarks."""

from pagbench.training.families import FAMILIES
from pagbench.training.loop import train
from pagbench.training.model import TrainingPlan, default_recipe, train_model
from pagbench.training.recipe import Minibatch, Recipe

__all__ = ["FAMILIES", "Minibatch", "Recipe", "TrainingPlan", "default_recipe", "train", "train_model"]
