"""Figures of the experiments: values in, a figure out; each drawn by the namesake of its experiment."""

from pagbench.theory.charts import distractor, equivalence, flat, ridge, sphere

__all__ = ["distractor", "equivalence", "flat", "ridge", "sphere"]
