"""Mirrors as cards name them, and the addresses they stand for. No torch."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pagbench.cards import Fitted, RemoteFile, ScoreCard
from pagbench.errors import WeightsError

CONFIG, SCHEDULE = "config.json", "scheduler_config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""Names in a repository of diffusers; safetensors where there are any."""

_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
"""Google Drive's address of the file itself; it skips the page about virus scans."""

_HUB_FILE = r"([\w.-]+/[\w.-]+)(?:@([^/]+))?/(.+)"


class MirrorError(Exception):
    """What a mirror answered instead of the file; another may do better."""


def address(mirror: str) -> tuple[str, dict[str, str]]:
    """URL of `https://…`, `gdrive:<id>` or `hf:<owner>/<name>[@revision]/<path>`, and the headers to send along.

    Raises:
        MirrorError: none of these.
    """
    kind, _, rest = mirror.partition(":")
    if kind == "gdrive" and rest:
        return _DRIVE.format(rest), {}
    if kind == "hf":
        return _hub_address(rest)
    if kind in ("http", "https"):
        return mirror, {}
    raise MirrorError("no mirror that pagbench knows (https://…, gdrive:<id>, hf:<owner>/<name>/<file>)")


def page(mirror: str) -> str:
    """What to open in a browser for a mirror."""
    kind, _, rest = mirror.partition(":")
    if kind == "gdrive":
        return f"https://drive.google.com/file/d/{rest}/view"
    match = re.fullmatch(_HUB_FILE, rest) if kind == "hf" else None
    return f"https://huggingface.co/{match[1]}/blob/{match[2] or 'main'}/{match[3]}" if match else mirror


def is_public(host: str) -> bool:
    """Whether a host's name is not, by its form, a machine of a private network; numbers count as such.

    >>> [is_public(host) for host in ("example.org", "localhost", "169.254.169.254", "::1", "x.internal")]
    [True, False, False, False, False]
    """
    domain, _, top = host.lower().rstrip(".").rpartition(".")
    return bool(domain) and top.isalpha() and top not in ("local", "internal", "localhost")


def check_hop(url: str, previous: str, *, hashed: bool) -> None:
    """Checks an address before it is asked.

    Args:
        url: as requests has normalised it, so that its host is the one that is connected to.
        previous: the address that has led there; empty for a mirror's own.
        hashed: whether the file's hash is known, so that nobody on the way can change it.

    Raises:
        MirrorError: http without a hash, but from this machine itself; or a way from a public host into the network of
            the machine that fetches.
    """
    parts, host = urlsplit(url), urlsplit(url).hostname or ""
    if parts.scheme != "https" and not hashed and host not in ("localhost", "127.0.0.1", "::1"):
        raise MirrorError(f"http without a known sha256 is not trusted ({host[:60]})")
    if is_public(urlsplit(previous).hostname or "") and not is_public(host):
        raise MirrorError(f"it leads to {host[:60]!r}, which is no public host")


def _hub_address(rest: str) -> tuple[str, dict[str, str]]:
    """On the Hugging Face hub or, by HF_ENDPOINT, a mirror of it; with the user's token where there is one."""
    import huggingface_hub

    match = re.fullmatch(_HUB_FILE, rest)
    if match is None:
        raise MirrorError("expected hf:<owner>/<name>[@revision]/<file>")
    repository, revision, path = match.groups()
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    url = huggingface_hub.hf_hub_url(repository, path, revision=revision, endpoint=endpoint)
    token = huggingface_hub.get_token()
    return url, {"Authorization": f"Bearer {token}"} if token else {}


def repository_files(card: Fitted) -> tuple[RemoteFile, ...]:
    """What a card's repository is fetched for; nothing where it is a local folder, or there is none."""
    if card.repository is None or Path(card.repository).expanduser().is_dir():
        return ()
    part = "unet" if isinstance(card, ScoreCard) else "vae"
    network = (repository_file(card.repository, part, CONFIG), repository_file(card.repository, part, WEIGHTS[0]))
    return (*network, repository_file(card.repository, "scheduler", SCHEDULE)) if part == "unet" else network


def repository_file(repository: str, part: str, name: str) -> RemoteFile:
    """A file of one part of a pipeline: `<part>/<name>`, or `<name>` where the repository has one part only.

    Args:
        repository: on the Hugging Face hub, as diffusers lays it out.
        part: its folder.
        name: of the file.

    Raises:
        WeightsError: neither a folder nor a repository's name.
        CardError: a name that no repository can have.
    """
    owner_and_name, _, revision = repository.partition("@")
    if owner_and_name.count("/") != 1 or owner_and_name.startswith((".", "/", "~")):
        raise WeightsError(f"{repository}: no such folder, nor a repository's name, <owner>/<name>[@<revision>]")
    pinned = f"{owner_and_name}@{revision or 'main'}"
    addresses = (f"hf:{pinned}/{part}/{name}", f"hf:{pinned}/{name}")
    return RemoteFile.parse({"path": f"hf/{pinned}/{part}/{name}", "mirrors": addresses}, repository)
