"""Repositories of the Hugging Face hub: `hf/<owner>/<name>[@revision]`, with config.json and weights.

config.json is timm's, or holds fields of a card: `architecture`, `input_shape`, `classes`, `mean`, `std`, and whatever
else the network needs. Files lie in `hf/<owner>/<name>[@revision]` below the cache folder, fetched or put there.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from pagbench.cards import Card, Count, ModelCard, RemoteFile
from pagbench.errors import CardError, UnknownNameError, WeightsError, first_line
from pagbench.models.sources import timm
from pagbench.storage import cache, downloads
from pagbench.storage.files import read_regular

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LARGEST_CONFIG = 2**20
"""Bytes of config.json; usual ones have a thousand."""
_NAME = r"hf/[\w.-]+/[\w.-]+(@[\w.-]+)?"


class _TimmConfig(Card):
    """What counts in a config.json of timm; in old repositories, `pretrained_cfg` is the whole file."""

    model_config = ConfigDict(extra="ignore")

    architecture: str
    pretrained_cfg: dict[str, Any]
    num_classes: Count | None = None
    model_args: dict[str, Any] | None = None

    @property
    def cfg(self) -> dict[str, Any]:
        """How the weights are to be used."""
        return self.pretrained_cfg | ({} if self.num_classes is None else {"num_classes": self.num_classes})


def names() -> Iterable[str]:
    """None: the hub is too large to list."""
    return ()


def card(model: str) -> ModelCard:
    """The card, from the repository's config.json, which is fetched for it.

    Raises:
        WeightsError: config.json is not there and cannot be fetched.
        CardError: no name of a repository; config.json is neither timm's nor a card's.
        UnknownNameError: it names an architecture that timm lacks.
    """
    if re.fullmatch(_NAME, model) is None:
        raise CardError(f"{model}: expected hf/<owner>/<name> or hf/<owner>/<name>@<revision>")
    file = _file(model, "config.json")
    config = _read(downloads.get(file))
    fields = _fields_of_timm(config, model) if _is_timms(config) else _fields_of_card(config, model)
    page = f"https://huggingface.co/{model.removeprefix('hf/').replace('@', '/tree/')}"
    usual = {"title": model.rpartition("/")[2], "family": "own", "reference": page}
    fixed = {"id": model, "loader": "source", "weights": None}
    download = [file, _weights(model, fields.get("weights"))]
    return ModelCard.parse({**usual, **fields, **fixed, "download": download}, model)


def build(card: ModelCard, files: Sequence[Path]) -> "nn.Module":
    """The network with its weights; a timm configuration's are converted as timm converts them."""
    from pagbench.models import architectures
    from pagbench.storage import weights

    config, file = _read(files[0]), files[1]
    state = weights.read(file, state_key=card.state_key, strip_prefix=card.strip_prefix)
    if _is_timms(config):
        timms = _timms(config, card.id)
        return timm.with_weights(timms.architecture, state, str(file), timms.cfg, **timms.model_args or {})
    network = architectures.build_for(card)
    weights.load_into(network, state, str(file))
    return network


def _is_timms(config: dict[str, Any]) -> bool:
    return "architecture" in config and ("pretrained_cfg" in config or "input_size" in config)


def _timms(config: dict[str, Any], model: str) -> _TimmConfig:
    parsed = _TimmConfig.parse({"pretrained_cfg": config, **config}, model)
    for name in parsed.model_args or {}:
        if name.startswith("pretrained"):  # `pretrained_strict` would let half a file pass
            raise CardError(f"{model}: model_args {name!r} is not for a repository to give; use another config.json")
    return parsed


def _fields_of_timm(config: dict[str, Any], model: str) -> dict[str, Any]:
    timms, known = _timms(config, model), timm.architectures()
    if timms.architecture not in known:
        raise UnknownNameError("timm architecture", timms.architecture, known)
    return {**timm.describe(timms.cfg, model), "family": "own", "architecture": f"timm/{timms.architecture}"}


def _fields_of_card(config: dict[str, Any], model: str) -> dict[str, Any]:
    if "input_shape" not in config:
        kind = config.get("architectures") or config.get("model_type") or list(config)[:8]
        raise CardError(
            f"{model}: its config.json is neither timm's nor has fields of a card (it has {kind}); "
            "give a function that builds the network, path.py:function"
        )
    if given := config.keys() & {"id", "loader", "download"}:
        raise CardError(f"{model}: field {min(given)!r} is not for a repository to give; use another config.json")
    return config


def _weights(model: str, named: str | None) -> RemoteFile:
    """The file that config.json names; else what is in the cache, or in the repository, safetensors first."""
    if named:
        return _file(model, named)
    files = [_file(model, name) for name in _WEIGHTS]
    present = [file for file in files if downloads.find(file) is not None]
    if present:
        return present[0]
    published = _published(model)
    return next((file for file in files if Path(file.path).name in published), files[0])


def _published(model: str) -> list[str]:
    """Names of the repository's files; none where the hub does not tell: fetching one says why."""
    if cache.offline():
        return []
    import huggingface_hub

    repository, _, revision = model.removeprefix("hf/").partition("@")
    try:
        hub = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        return hub.list_repo_files(repository, revision=revision or None)
    except Exception:  # of the hub, of HTTP, of the network
        return []


def _file(model: str, name: str) -> RemoteFile:
    repository = model.removeprefix("hf/")
    return RemoteFile.parse({"path": f"{model}/{name}", "mirrors": [f"hf:{repository}/{name}"]}, model)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_regular(path, _LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not JSON ({first_line(error)}); fetch the file anew") from None
    if not isinstance(config, dict):
        raise CardError(f"{path}: expected a JSON object, got {type(config).__name__}; fetch the file anew")
    return config
