"""Score models that diffusers has written: a `UNet2DModel` with the schedule that it was trained on."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ScoreCard
from pagbench.data import Dataset
from pagbench.densities.network import DiscreteScore
from pagbench.errors import WeightsError, first_line, import_extra
from pagbench.storage import downloads, mirrors, weights
from pagbench.storage.files import at_home

_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of attention weights before diffusers 0.12, in which `google/ddpm-cifar10-32` is stored."""


def read(repository: str, *, sha256: str | None = None, null_label: int | None = None) -> DiscreteScore:
    """Builds the score model of a pipeline; no code of the repository is run.

    Args:
        repository: folder, or `<owner>/<name>[@<revision>]` on the hub; with `unet` and `scheduler`, or flat.
        sha256: of the weights; None to skip the comparison.
        null_label: the label by which a class-conditional network means any class.

    Raises:
        WeightsError: files are missing, altered, or of another kind of network.
    """
    config = read_config(find(repository, "unet", mirrors.CONFIG), "UNet2DModel")
    path = find_weights(repository, "unet")
    schedule = find(repository, "scheduler", mirrors.SCHEDULE)
    unet = build(config, path, sha256)
    levels, prediction = read_schedule(schedule)
    labelled = unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None
    size = unet.config.sample_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)

    def predict(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        out: Tensor = unet(x, t, class_labels=labels).sample
        return out[:, : x.shape[1]]  # a learned variance comes after the mean

    return DiscreteScore(
        unet,
        predict,
        prediction,
        levels,
        conditional=labelled,
        null_label=null_label,
        input_shape=(unet.config.in_channels, height, width),
        weights_sha256=weights.file_sha256(path),
    )


def find(repository: str, part: str, name: str) -> Path:
    """A file of one part of a pipeline, in `<part>` or, where the repository has one part only, beside.

    Args:
        repository: folder, or `<owner>/<name>[@<revision>]` on the hub, from where it is fetched.
        part: `unet`, `vae` or `scheduler`.
        name: of the file.

    Raises:
        WeightsError: there is no such file, or it cannot be fetched.
    """
    folder = at_home(repository)
    if not folder.is_dir():
        return downloads.get(mirrors.repository_file(repository, part, name))
    for path in (folder / part / name, folder / name):
        if path.is_file():
            return path
    raise WeightsError(f"{folder}: has neither {part}/{name} nor {name}; write it with diffusers' save_pretrained")


def find_weights(repository: str, part: str) -> Path:
    """The weights of one part: safetensors, or a PyTorch file where there are none.

    Raises:
        WeightsError: there are neither; the message is on safetensors.
    """
    preferred, other = mirrors.WEIGHTS
    try:
        return find(repository, part, preferred)
    except WeightsError as missing:
        try:
            return find(repository, part, other)
        except WeightsError:
            raise missing from None


def read_config(path: Path, expected: str) -> dict[str, Any]:
    """A network's configuration as diffusers writes it.

    Raises:
        WeightsError: not JSON, or of another class of networks.
    """
    config = downloads.read_json(path)
    found = config.get("_class_name")
    if found != expected:
        raise WeightsError(f"{path}: the configuration of {found!r}, expected {expected!r}; give another repository")
    return config


def build(config: dict[str, Any], path: Path, sha256: str | None) -> Any:
    """A network of diffusers with its weights.

    Raises:
        WeightsError: the configuration is not diffusers', or the weights are not its own.
    """
    diffusers = import_extra("diffusers")

    try:
        network = getattr(diffusers, config["_class_name"]).from_config(config)
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise WeightsError(f"{path.parent}: diffusers cannot build the network ({first_line(error)})") from None
    weights.load_into(network, _renamed(weights.read(path, sha256)), str(path))
    return network


def read_schedule(path: Path) -> tuple[Float[Tensor, "steps"], Any]:
    """Noise levels sigma_t = √((1 - ā_t)/ā_t) on [-1, 1], float64, and what the network predicts.

    Raises:
        WeightsError: a scheduler without betas, or an unknown prediction.
    """
    DDPMScheduler = import_extra("diffusers").DDPMScheduler

    config = downloads.read_json(path)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS or not {"beta_start", "trained_betas"} & set(config):
        raise WeightsError(
            f"{path}: {config.get('_class_name')} that predicts {prediction!r}; expected a scheduler with betas and a "
            f"prediction of {', '.join(_PREDICTIONS)}"
        )
    betas: Tensor = DDPMScheduler.from_config(config).betas
    kept = torch.cumprod(1 - betas.double(), dim=0)
    return ((1 - kept) / kept).sqrt(), prediction


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    def current(name: str) -> str:
        for old, new in _RENAMED.items() if ".attentions." in name else ():
            name = name.replace(old, new)
        return name

    return {current(name): value for name, value in state.items()}


def build_score(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> DiscreteScore:
    """The score model of the card's repository; see `read`."""
    assert card.repository is not None  # by the card's validation
    return read(card.repository, sha256=card.weights_sha256, null_label=card.null_label)
