"""torchvision's ImageNet classifiers: `torchvision/<name>[/<weights>]`, by default its best weights."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagbench.cards import ModelCard, RemoteFile
from pagbench.errors import UnknownNameError, WeightsError

if TYPE_CHECKING:
    from torch import nn

_DEFAULT = "DEFAULT"
"""torchvision's name for the best weights of a network."""
_OWN_CACHE = "~/.cache/torch/hub/checkpoints"
"""Where torchvision keeps what it fetches."""


def names() -> Iterable[str]:
    """One id for each file of weights."""
    return [
        f"torchvision/{name}/{chosen}" for name in architectures() for chosen in _weights(name) if chosen != _DEFAULT
    ]


def card(model: str) -> ModelCard:
    """The card, from what torchvision tells of the weights; its id names them even where `model` does not.

    Raises:
        UnknownNameError: torchvision has no such network, or no such weights of it.
    """
    network, _, chosen = model.removeprefix("torchvision/").partition("/")
    if network not in architectures():
        raise UnknownNameError("torchvision network", network, architectures())
    known = _weights(network)
    if chosen and chosen not in known:
        raise UnknownNameError(f"weights of torchvision/{network}", chosen, known)
    weights = known[chosen or _DEFAULT]
    preset, file = weights.transforms(), weights.url.rpartition("/")[2]
    side = preset.crop_size[0]
    fields = {
        "id": f"torchvision/{network}/{weights.name}",
        "title": f"{network}, {weights.name}",
        "family": "standard",
        "dataset": "imagenet",
        "loader": "source",
        "architecture": f"torchvision/{network}",
        "input_shape": (3, side, side),
        "classes": len(weights.meta["categories"]),
        "mean": preset.mean,
        "std": preset.std,
        "resize": "bilinear",
        "preprocessing": f"resize {preset.resize_size[0]} {preset.interpolation.value}, centre crop {side}",
        "published_accuracy": round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        "download": [RemoteFile(path=f"torchvision/{file}", mirrors=(weights.url,), also=(f"{_OWN_CACHE}/{file}",))],
        "license": weights.meta.get("license", "BSD-3-Clause"),
        "reference": weights.meta.get("recipe"),
    }
    return ModelCard.parse(fields, model)


def build(card: ModelCard, files: Sequence[Path]) -> "nn.Module":
    """The network with its weights; the hash in the file's name is compared."""
    from pagbench.models.architectures import build_for
    from pagbench.storage import weights

    file = files[0]
    begins = file.stem.rpartition("-")[2]
    if not weights.file_sha256(file).startswith(begins):
        raise WeightsError(f"{file}: its sha256 does not begin with {begins}, as its name says; fetch the file anew")
    state = weights.read(file)
    if "densenet" in card.id:  # files have the names of an old version, `norm.1` where there is `norm1` now
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", k): v for k, v in state.items()}
    network = build_for(card)
    if hasattr(network, "transform_input"):
        setattr(network, "transform_input", True)  # noqa: B010 (Inception and GoogLeNet, for their published weights)
    weights.load_into(network, state, str(file))
    return network


def architectures() -> list[str]:
    """Names of all classifiers that torchvision builds."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def untrained(name: str, input_shape: tuple[int, int, int], classes: int) -> "nn.Module":
    """One of them with random weights."""
    import torchvision

    # those two draw their weights slowly unless told not to
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **quick)
    return network


def _weights(network: str) -> dict[str, Any]:
    """The weights that classify, by name; VGG-16 has others, too."""
    import torchvision

    known = torchvision.models.get_model_weights(network).__members__
    return {name: weights for name, weights in known.items() if weights.meta["categories"]}
