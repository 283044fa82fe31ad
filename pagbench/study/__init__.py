"""All networks that were measured on a benchmark, and the paths of growing regularisation that they form. No torch."""

from pagbench.study.networks import Network, Study, read, shown_columns

__all__ = ["Network", "Study", "read", "shown_columns"]
