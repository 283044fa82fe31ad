"""The model zoo of RobustBench (Croce et al. 2021, arXiv 2010.09670): `robustbench/<data set>/<threat>/<name>`.

`index.json` beside this file lists the zoo of release 1.1.1, so that its 206 models are known without importing the
package. `docs/zoo.py index` wrote it: Google Drive ids and preprocessing are the zoo's own; architecture, clean and
robust accuracy, paper and venue come from the tables in the release's README, licences from its LICENSE. Every network
normalises by itself: its input is pixels in [0, 1].
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagbench.cards import ModelCard, RemoteFile
from pagbench.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import nn

_INDEX = Path(__file__).parent / "index.json"
_CLASSES_AND_SIDE = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet": (1000, 224)}


@cache
def _index() -> dict[str, dict[str, Any]]:
    """What is known of each model, by its id without the `robustbench/`."""
    return dict(json.loads(_INDEX.read_text(encoding="utf-8")))


def names() -> Iterable[str]:
    """Ids of the zoo's models: by data set and threat, in the zoo's order."""
    return [f"robustbench/{name}" for name in _index()]


def card(model: str) -> ModelCard:
    """The card of one model.

    Raises:
        UnknownNameError: the zoo has no such model; the message has the closest names.
    """
    known = _index().get(model.removeprefix("robustbench/"))
    if known is None:
        raise UnknownNameError("RobustBench model", model, names())
    dataset, threat, name = model.split("/")[1:]
    classes, side = _CLASSES_AND_SIDE[dataset]
    if known.get("preprocessing") == "Crop288":
        side = 288
    return ModelCard(
        id=model,
        title=known["paper"],
        family=_family(threat, name),
        dataset=dataset,
        loader="source",
        architecture=known["architecture"],
        input_shape=(3, side, side),
        classes=classes,
        output=known.get("output", "logits"),
        download=_files(f"{dataset}/{threat}/{name}.pt", known["files"]),
        resize="bilinear" if dataset == "imagenet" else None,
        preprocessing=known.get("preprocessing"),
        threat=threat,
        published_accuracy=known["accuracy"],
        license=known["license"],
        reference=known["reference"],
    )


def robust_accuracy(model: str) -> float | None:
    """The share of images that RobustBench finds correct under its attacks or corruptions, by a model's id."""
    known = _index().get(model.removeprefix("robustbench/"))
    return None if known is None else float(known["robust_accuracy"])


def _family(threat: str, name: str) -> str:
    """Training family: RobustBench groups by threat, in which all but the standard networks were trained."""
    if name.startswith(("Standard", "AlexNet")):
        return "standard"
    if name.startswith("RodriguezMunoz2024"):
        return "gradient-norm"
    return "corruptions" if threat == "corruptions" else "adversarial"


def _files(path: str, sources: Sequence[str]) -> tuple[RemoteFile, ...]:
    """The files, named as RobustBench names them, and found where it or torch may have put them already."""
    paths = [path] if len(sources) == 1 else [f"{path}_m{index}.pt" for index in range(len(sources))]
    files = []
    for name, source in zip(paths, sources, strict=True):
        also = [f"models/{name}"]
        if not source.startswith("gdrive:"):  # torchvision and timm fetch it into torch's cache
            cached = f"hub/checkpoints/{source.rpartition('/')[2]}"
            also += [f"$TORCH_HOME/{cached}", f"~/.cache/torch/{cached}"]
        files.append(RemoteFile(path=f"robustbench/{name}", mirrors=(source,), also=tuple(also)))
    return tuple(files)


def build(card: ModelCard, files: Sequence[Path]) -> "nn.Module":
    """The network with its weights, in eval mode on the CPU: pixels in [0, 1] → what the card's `output` says.

    Raises:
        CardError: the installed package cannot be imported or has no such model.
        WeightsError: the files are not the model's.
    """
    from pagbench.models.sources.robustbench import zoo

    return zoo.build(card, files)
