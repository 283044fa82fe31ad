"""EDM networks (Karras et al. 2022, arXiv 2206.00364) as score models. Their files are pickles and run code."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import RemoteFile, ScoreCard
from pagbench.data import Dataset
from pagbench.densities.network import NetworkScore, given_labels
from pagbench.errors import WeightsError, first_line
from pagbench.storage import downloads, weights
from pagbench.storage.files import open_regular

_VARIABLE = "PAGBENCH_RUN_CODE"


class ElucidatedScore(NetworkScore):
    """Score of a network with EDM's interface: D(x, sigma, one-hot labels) on [-1, 1], at any noise level.

    Args:
        network: with `img_channels`, `img_resolution` and `label_dim` (0 without classes).
        weights_sha256: of its file.
    """

    def __init__(self, network: nn.Module, weights_sha256: str | None) -> None:
        declared: Any = network
        side = int(declared.img_resolution)
        super().__init__(network, (int(declared.img_channels), side, side), weights_sha256)
        self._classes = int(declared.label_dim)

    def _rounded(self, sigma: float) -> float:
        return sigma

    def _clean(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b c h w"]:
        # networks are trained without label dropout: an all-zero label is none that they know
        labels = given_labels(labels, x, conditional=self._classes > 0, null_label=None)
        given = None if labels is None else nn.functional.one_hot(labels, self._classes).to(x)
        levels = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        out: Tensor = self._network(x, levels, given)
        return out.to(x)


def read(file: RemoteFile) -> ElucidatedScore:
    """Unpickles a network of NVlabs/edm, which runs the code in the file: only where the user has said so.

    NVlabs/edm must be importable (`torch_utils`, `dnnlib`).

    Raises:
        WeightsError: the user has not allowed it; or the file is missing, altered, or no EDM network's.
    """
    if "edm" not in os.environ.get(_VARIABLE, "").split(","):
        raise WeightsError(
            f"{file.path}: an EDM network is a pickle, and loading it runs the code in it; "
            f"set {_VARIABLE}=edm if you trust its publisher, or use another score model"
        )
    path = downloads.get(file)  # which compares its hash
    return ElucidatedScore(_unpickled(path), weights.file_sha256(path))


def _unpickled(path: Path) -> nn.Module:
    try:
        with open_regular(path) as stream:
            network = pickle.load(stream)["ema"]
    except ModuleNotFoundError as error:
        raise WeightsError(f"{path}: {first_line(error)}; clone NVlabs/edm and add it to PYTHONPATH") from None
    except Exception as error:
        raise WeightsError(f"{path}: not a pickled EDM network ({first_line(error)}); fetch the file anew") from None
    if not isinstance(network, nn.Module):
        raise WeightsError(f"{path}: holds {type(network).__name__}, expected a network under 'ema'; give another file")
    return network.float()


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> ElucidatedScore:
    """The score model of the card's file; see `read`."""
    assert card.download is not None  # by the card's validation
    return read(card.download[0])
