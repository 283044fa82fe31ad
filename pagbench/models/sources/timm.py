"""timm's ImageNet classifiers: `timm/<name>`, with or without the tag of the weights."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ConfigDict

from pagbench.cards import Card, Count, ModelCard, Positive, RemoteFile
from pagbench.errors import UnknownNameError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn


class _Configuration(Card):
    """What counts in a timm configuration of weights."""

    model_config = ConfigDict(extra="ignore")

    input_size: tuple[Count, Count, Count]
    num_classes: Count
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    crop_pct: Positive | None = None
    interpolation: str = "bicubic"
    license: str | None = None


def names() -> Iterable[str]:
    """Ids of the networks that tell ImageNet's 1,000 classes apart."""
    import timm

    return [f"timm/{name}" for name in timm.list_pretrained() if timm.get_pretrained_cfg(name).num_classes == 1000]


def card(model: str) -> ModelCard:
    """The card, from timm's configuration of the weights; its id names them even where `model` does not.

    Raises:
        UnknownNameError: timm has no such network, or no weights of it.
    """
    import timm

    name = model.removeprefix("timm/")
    if not timm.models.is_model_pretrained(name):
        raise UnknownNameError("timm network", name, timm.list_pretrained())
    cfg = timm.get_pretrained_cfg(name)
    full = ".".join(part for part in (cfg.architecture, cfg.tag) if part)
    return ModelCard.parse(
        {
            "id": f"timm/{full}",
            "title": full,
            "architecture": f"timm/{cfg.architecture}",
            "download": [_file(full, cfg)],
            "reference": cfg.origin_url or None,
            **describe(cfg.to_dict(), model),
        },
        model,
    )


def architectures() -> list[str]:
    """Names of all networks that timm builds."""
    import timm

    return timm.list_models()


def untrained(name: str, input_shape: tuple[int, int, int], classes: int) -> "nn.Module":
    """One of them with random weights."""
    import timm

    default = timm.get_pretrained_cfg(name)
    sized = {"img_size": input_shape[1:]} if default is not None and default.fixed_input_size else {}
    network = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=input_shape[0], **sized)
    return cast("nn.Module", network)


def describe(cfg: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Card fields that a timm configuration of weights tells.

    Raises:
        CardError: one is missing or wrong.
    """
    weights = _Configuration.parse(cfg, f"{source}, its timm configuration")
    side = weights.input_size[-1]
    resized = round(side / (weights.crop_pct or 1))
    return {
        "family": "standard",
        "dataset": "imagenet" if weights.num_classes == 1000 else None,
        "loader": "source",
        "input_shape": weights.input_size,
        "classes": weights.num_classes,
        "mean": weights.mean,
        "std": weights.std,
        "resize": "bilinear",
        "preprocessing": f"resize {resized} {weights.interpolation}, centre crop {side}",
        "license": weights.license,
    }


def build(card: ModelCard, files: Sequence[Path]) -> "nn.Module":
    """The network with its weights, which timm itself brings into its present form."""
    from pagbench.storage import weights

    return with_weights(card.id.removeprefix("timm/"), weights.read(files[0]), str(files[0]))


def with_weights(
    name: str, state: "dict[str, Tensor]", source: str, cfg: Mapping[str, Any] | None = None, **arguments: Any
) -> "nn.Module":
    """A timm network that holds a state dict, converted as timm converts the publisher's.

    Args:
        name: timm's, with the tag of the weights where there is no `cfg`.
        state: the publisher's tensors.
        source: where they came from, for errors.
        cfg: timm's configuration of the weights, where timm itself does not know them.
        arguments: of timm's constructor.

    Raises:
        WeightsError: they are another network's.
    """
    import timm
    from timm.models import PretrainedCfg

    given = None if cfg is None else PretrainedCfg(**{key: cfg[key] for key in cfg.keys() & _KEPT})
    try:
        network = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg=given,
            pretrained_cfg_overlay={"state_dict": state},
            checkpoint_path="",  # named, so that no argument can give another
            **arguments,
        )
    except (RuntimeError, KeyError, TypeError, ValueError) as error:  # timm's conversions presume the right names
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
        raise WeightsError(f"{source}: not the weights of timm's {name} ({reason}); check the file") from None
    network.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    return cast("nn.Module", network)


_KEPT = {
    "architecture", "classifier", "crop_pct", "first_conv", "fixed_input_size", "input_size", "interpolation",
    "label_offset", "mean", "num_classes", "pool_size", "std", "tag",
}  # fmt: skip


def _file(name: str, cfg: Any) -> RemoteFile:
    """On the hub as timm keeps it there, else where its author does."""
    if cfg.hf_hub_id:
        file = cfg.hf_hub_filename or "model.safetensors"
        return RemoteFile(path=f"timm/{name}/{file}", mirrors=(f"hf:{cfg.hf_hub_id}/{file}",))
    return RemoteFile(path=f"timm/{name}/{cfg.url.rpartition('/')[2]}", mirrors=(cfg.url,))
