"""The networks of Cohen et al. 2019 (arXiv 1902.02918), trained on noisy images to be smoothed.

`smoothing/<data set>/<network>/noise_<sigma>` is the smoothed classifier, `.../base` the network alone. The publisher
has all of them in one archive, which is fetched once and of which a checkpoint is taken out when it is asked for.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pagbench.cards import ModelCard, RemoteFile, SmoothingCard
from pagbench.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import nn

_SIGMAS = {
    "cifar10/resnet110": ("0.00", "0.12", "0.25", "0.50", "1.00"),
    "imagenet/resnet50": ("0.00", "0.25", "0.50", "1.00"),
}
_FIELDS = {
    "cifar10/resnet110": {
        "dataset": "cifar10",
        "architecture": "locuslab/cifar_resnet110",
        "input_shape": (3, 32, 32),
        "classes": 10,
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2023, 0.1994, 0.2010),
        "strip_prefix": "1.",
    },
    "imagenet/resnet50": {
        "dataset": "imagenet",
        "architecture": "torchvision/resnet50",
        "input_shape": (3, 224, 224),
        "classes": 1000,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "strip_prefix": "1.module.",
        "preprocessing": "resize 256 bilinear, centre crop 224",
    },
}
_ARCHIVE = RemoteFile(path="smoothing/models.tar", mirrors=("gdrive:1h_TpbXm5haY5f-l4--IKylmdz6tvPoR4",))
_SAMPLES = 64
_BASE = "/base"


def names() -> Iterable[str]:
    """The smoothed classifiers, and the networks alone; those trained without noise are not smoothed."""
    for network, sigmas in _SIGMAS.items():
        for sigma in sigmas:
            if float(sigma):
                yield f"smoothing/{network}/noise_{sigma}"
            yield f"smoothing/{network}/noise_{sigma}{_BASE}"


def card(model: str) -> ModelCard:
    """The card of one network.

    Raises:
        UnknownNameError: there is no such network.
    """
    if model not in names():
        raise UnknownNameError("smoothed network", model, names())
    folder = model.removeprefix("smoothing/").removesuffix(_BASE)
    network, _, noise = folder.rpartition("/")
    sigma = float(noise.removeprefix("noise_"))
    smoothed = not model.endswith(_BASE)
    training = f"noise {sigma:g}" if sigma else "no noise"
    fields = {
        "id": model,
        "title": f"{network.rpartition('/')[2]} trained with {training}{', smoothed' if smoothed else ''}",
        "family": "smoothing" if smoothed else "noise" if sigma else "standard",
        "strength": sigma or None,
        "loader": "source",
        "smoothing": SmoothingCard(sigma=sigma, samples=_SAMPLES) if smoothed else None,
        "state_key": "state_dict",
        "download": [RemoteFile(path=f"smoothing/models/{folder}/checkpoint.pth.tar", archive=_ARCHIVE)],
        "authors": "Jeremy Cohen, Elan Rosenfeld, Zico Kolter",
        "reference": "https://github.com/locuslab/smoothing",
        **_FIELDS[network],
    }
    return ModelCard.parse(fields, model)


def build(card: ModelCard, files: Sequence[Path]) -> "nn.Module":
    """The network alone; the publisher's normalisation and the smoothing are the card's."""
    from pagbench.models import architectures
    from pagbench.storage import weights

    network = architectures.build_for(card)
    state = weights.read(files[0], state_key=card.state_key, strip_prefix=card.strip_prefix)
    weights.load_into(network, state, str(files[0]))
    return network
