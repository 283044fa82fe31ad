"""LPIPS (Zhang et al. 2018, arXiv 1801.03924), AlexNet, v0.1, as a Euclidean embedding; the weights are shipped.

Other backbones are for `pagbench sensitivity` alone, and only where torchvision's weights of them lie in its cache.

LPIPS of two images is Σ_l mean_hw Σ_c w_lc (a_lc - b_lc)², a and b their unit-normalised features in layer l. With
the features scaled by √(w_lc/(h·w)) it is a squared Euclidean distance, so that each image is embedded once, whatever
it is compared with.
"""

import contextlib
import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from pagbench.errors import WeightsError
from pagbench.storage import assets

MIN_SIDE = 64
Backbone = Literal["alex", "vgg", "squeeze"]
WEIGHTS = {"vgg": "vgg16-397923af.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}
"""Files of torchvision's weights in `torch.hub.get_dir()/checkpoints`, which the `lpips` package names so."""


def lacking(backbone: Backbone) -> str:
    """The file whose want keeps a backbone from being used; empty where it can be."""
    if backbone == "alex":
        return ""
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS[backbone]
    return "" if path.exists() else str(path)


def model(device: torch.device, backbone: Backbone = "alex") -> Any:
    """The `lpips` package's network, without its download: `lpips.LPIPS` in eval mode, frozen.

    Raises:
        WeightsError: the backbone's weights are not there.
    """
    if file := lacking(backbone):
        raise WeightsError(f"LPIPS with {backbone}: no {file}; put torchvision's file there")
    return _model(device, backbone)


@cache
def _model(device: torch.device, backbone: Backbone) -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the package calls torchvision in a deprecated way
        import lpips as package

        network = package.LPIPS(net=backbone, version="0.1", pnet_rand=backbone == "alex", verbose=False)
    if backbone == "alex":
        _load_shipped(network)
    return network.eval().requires_grad_(False).to(device)


def _load_shipped(network: Any) -> None:
    # weights are 16-bit multiples of a step for each output channel: half the size, distances within 1e-4 of themselves
    stored = load_file(assets.FOLDER / "alexnet_features.safetensors")
    weights = {name: value * stored.get(f"{name}.step", 1) for name, value in stored.items() if "step" not in name}
    renamed = {name.removeprefix("features."): value for name, value in weights.items()}
    slices = [network.net.slice1, network.net.slice2, network.net.slice3, network.net.slice4, network.net.slice5]
    for part in slices:
        part.load_state_dict({name: renamed[name] for name in part.state_dict()})


def enlarge(x: Float[Tensor, "b c h w"], side: int = MIN_SIDE) -> Float[Tensor, "b c _ _"]:
    """Enlarges bilinearly so that no side is below one, keeping the aspect ratio; larger images stay as they are."""
    scale = side / min(x.shape[2:])
    if scale <= 1:
        return x
    size = (round(x.shape[2] * scale), round(x.shape[3] * scale))
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def embed(
    x: Float[Tensor, "b c h w"], *, side: int | None = MIN_SIDE, backbone: Backbone = "alex", bounded: bool = True
) -> Float[Tensor, "b f"]:
    """Embedding in which LPIPS is the squared Euclidean distance.

    Args:
        x: values in [-1, 1], grey or colour; NaN images give NaN embeddings.
        side: enlarge so that no side is below it first; None for images as they are (the paper protocol).
        backbone: the network.
        bounded: refuse other values; LPIPS was fitted for none.

    Raises:
        ValueError: values outside [-1, 1].
        WeightsError: the backbone's weights are not there.
    """
    scored = x.flatten(1).isfinite().all(1, keepdim=True)
    x = x.nan_to_num()
    if bounded and x.abs().max() > 1 + 1e-6:
        raise ValueError(f"LPIPS takes values in [-1, 1], got up to {x.abs().max():.3g}")
    network = model(x.device, backbone)
    colour = (x if side is None else enlarge(x, side)).expand(-1, 3, -1, -1)
    layers = []
    for features, linear in zip(network.net(network.scaling_layer(colour)), network.lins, strict=True):
        weight = linear.model[-1].weight[0, :, 0, 0]
        unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
        area = features.shape[2] * features.shape[3]
        layers.append((unit * (weight / area).sqrt()[:, None, None]).flatten(1))
    return torch.cat(layers, dim=1).where(scored, torch.nan)


def distance(a: Float[Tensor, "b f"], b: Float[Tensor, "b f"]) -> Float[Tensor, "b"]:
    """LPIPS of embedded images."""
    return (a - b).square().sum(dim=1)
