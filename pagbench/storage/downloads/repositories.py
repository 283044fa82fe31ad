"""Networks of repositories on the Hugging Face hub, as diffusers lays them out: which files they are. No torch."""

from pathlib import Path

from pagbench.cards import Fitted, RemoteFile, ScoreCard
from pagbench.errors import WeightsError

CONFIG, SCHEDULE = "config.json", "scheduler_config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""Safetensors where there are any."""


def files(card: Fitted) -> tuple[RemoteFile, ...]:
    """What a card's repository is fetched for; nothing where it is a local folder, or there is none."""
    if card.repository is None or Path(card.repository).expanduser().is_dir():
        return ()
    part = "unet" if isinstance(card, ScoreCard) else "vae"
    network = (remote(card.repository, part, CONFIG), remote(card.repository, part, WEIGHTS[0]))
    return (*network, remote(card.repository, "scheduler", SCHEDULE)) if part == "unet" else network


def remote(repository: str, part: str, name: str) -> RemoteFile:
    """A file of one part of a pipeline: `<part>/<name>`, or `<name>` where the repository has one part only.

    Raises:
        WeightsError: neither a folder nor a repository's name.
        CardError: a name that no repository can have.
    """
    owner_and_name, _, revision = repository.partition("@")
    if owner_and_name.count("/") != 1 or owner_and_name.startswith((".", "/", "~")):
        raise WeightsError(f"{repository}: no such folder, nor a repository's name, <owner>/<name>[@<revision>]")
    pinned = f"{owner_and_name}@{revision or 'main'}"
    mirrors = (f"hf:{pinned}/{part}/{name}", f"hf:{pinned}/{name}")
    return RemoteFile.parse({"path": f"hf/{pinned}/{part}/{name}", "mirrors": mirrors}, repository)
