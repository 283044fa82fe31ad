"""All networks that were measured on a benchmark, and the paths of growing regularisation that they form. No torch."""

from pagbench.study.networks import Network, Study, read

__all__ = ["Network", "Study", "read"]
