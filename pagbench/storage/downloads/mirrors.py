"""Mirrors as cards name them, and the addresses they stand for."""

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
"""Google Drive's address of the file itself; it skips the page about virus scans."""

_HUB_FILE = r"([\w.-]+/[\w.-]+)(?:@([^/]+))?/(.+)"


class MirrorError(Exception):
    """What a mirror answered instead of the file; another may do better."""


@dataclass(frozen=True)
class Address:
    """Where a request goes.

    Attributes:
        mirror: as the card names it.
        url: of the file.
        headers: sent along.
    """

    mirror: str
    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def address(mirror: str, *, hashed: bool) -> Address:
    """The address of `https://…`, `gdrive:<id>` or `hf:<owner>/<name>[@revision]/<path>`.

    Args:
        mirror: as in a card.
        hashed: whether the file's hash is known beforehand; without it, plain http is refused.

    Raises:
        MirrorError: none of these.
    """
    kind, _, rest = mirror.partition(":")
    if kind == "gdrive" and rest:
        return Address(mirror, _DRIVE.format(rest))
    if kind == "hf":
        return _hub(mirror, rest)
    if kind in ("http", "https") and urlsplit(mirror).hostname:
        refuse_plain(mirror, hashed=hashed)
        return Address(mirror, mirror)
    raise MirrorError("no mirror that pagbench knows (https://…, gdrive:<id>, hf:<owner>/<name>/<file>)")


def page(mirror: str) -> str:
    """What to open in a browser for a mirror."""
    kind, _, rest = mirror.partition(":")
    if kind == "gdrive":
        return f"https://drive.google.com/file/d/{rest}/view"
    found = re.fullmatch(_HUB_FILE, rest) if kind == "hf" else None
    return f"https://huggingface.co/{found[1]}/blob/{found[2] or 'main'}/{found[3]}" if found else mirror


def refuse_plain(url: str, *, hashed: bool) -> None:
    """Refuses an address that anyone on the way may answer, unless the hash is known or the way is this machine.

    Raises:
        MirrorError: http without a hash.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not hashed and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise MirrorError(f"http without a known sha256 is not trusted ({parts.hostname})")


def is_public(host: str) -> bool:
    """Whether a host's name is not, by its form, a machine of a private network; numbers count as such.

    >>> [is_public(host) for host in ("example.org", "localhost", "169.254.169.254", "::1", "x.internal")]
    [True, False, False, False, False]
    """
    top = host.lower().rstrip(".").rpartition(".")
    return bool(top[0]) and top[2].isalpha() and top[2] not in ("local", "internal", "localhost")


def refuse_inside(url: str, target: str) -> None:
    """Refuses to be led from a public host into the network of the machine that fetches.

    Raises:
        MirrorError: the target's host is not public, and the address's is.
    """
    here, there = (urlsplit(address).hostname or "" for address in (url, target))
    if is_public(here) and not is_public(there):
        raise MirrorError(f"it leads to {there[:60]!r}, which is no public host")


def _hub(mirror: str, rest: str) -> Address:
    """On the Hugging Face hub or, by HF_ENDPOINT, a mirror of it; with the user's token where there is one."""
    import huggingface_hub

    found = re.fullmatch(_HUB_FILE, rest)
    if found is None:
        raise MirrorError("expected hf:<owner>/<name>[@revision]/<file>")
    repository, revision, path = found.groups()
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    url = huggingface_hub.hf_hub_url(repository, path, revision=revision, endpoint=endpoint)
    token = huggingface_hub.get_token()
    return Address(mirror, url, {"Authorization": f"Bearer {token}"} if token else {})
