"""Mirrors as cards name them, and the addresses they stand for. No torch."""

import os
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from pagbench.cards import Fitted, RemoteFile, ScoreCard
from pagbench.cards.addresses import Address, HubFile, parse_address, parse_mirror
from pagbench.errors import WeightsError, first_line
from pagbench.storage.files import at_home

CONFIG, SCHEDULE = "config.json", "scheduler_config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""Names in a repository of diffusers; safetensors where there are any."""

_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
"""Google Drive's address of the file itself; it skips the page about virus scans."""
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""Addresses of IPv6 that end in one of IPv4; the second are of old."""
_GLOBAL_UNICAST = IPv6Network("2000::/3")


class MirrorError(Exception):
    """What a mirror answered instead of the file; another may do better."""


class Start(NamedTuple):
    """What a mirror is asked first.

    Attributes:
        url: the address.
        headers: to send along, to its host only.
        own: that host, where the user's own environment names it.
    """

    url: str
    headers: dict[str, str]
    own: str | None = None


def start(mirror: str) -> Start:
    """The first request to `https://…`, `gdrive:<id>` or `hf:<owner>/<name>[@revision]/<path>`.

    Raises:
        MirrorError: none of these.
    """
    try:
        parsed = parse_mirror(mirror)
        if isinstance(parsed, HubFile):
            return _start_at_hub(parsed)
        return Start(parsed.url if isinstance(parsed, Address) else _DRIVE.format(parsed), {})
    except ValueError as error:  # huggingface_hub's own, too
        raise MirrorError(first_line(error)) from None


def page(mirror: str) -> str:
    """What to open in a browser for a mirror."""
    parsed = parse_mirror(mirror)
    if isinstance(parsed, HubFile):
        return f"https://huggingface.co/{parsed.repository}/blob/{parsed.revision or 'main'}/{parsed.path}"
    return parsed.url if isinstance(parsed, Address) else f"https://drive.google.com/file/d/{parsed}/view"


def is_public(host: str) -> bool:
    """Whether a host's name is not, by its form, a machine of a private network; numbers count as such.

    >>> [is_public(host) for host in ("example.org", "localhost", "169.254.169.254", "::1", "x.internal")]
    [True, False, False, False, False]
    """
    domain, _, top = host.lower().rstrip(".").rpartition(".")
    named = top.isalpha() or top.startswith("xn--")
    return bool(domain) and named and top not in ("local", "internal", "localhost")


def is_global(number: str) -> bool:
    """Whether an address that a name stands for is one of the public internet, in whatever way it is written.

    >>> [is_global(number) for number in ("93.184.215.14", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")]
    [True, False, False, False]
    """
    address = ip_address(number.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if any(address in network for network in _NAT64):
            inner = IPv4Address(address.packed[-4:])
        if inner is None:
            return address.is_global and address in _GLOBAL_UNICAST
        address = inner
    return address.is_global and not address.is_multicast


def check_hop(url: str, *, inside: bool, hashed: bool) -> Address:
    """Checks an address before it is asked.

    Args:
        url: the mirror's own, or where a redirection or a form leads.
        inside: whether it may be in the network of the machine that fetches: the user names it, or is led to it from
            there.
        hashed: whether the file's hash is known, so that nobody on the way can change it.

    Raises:
        MirrorError: no address; http without a hash, but from this machine itself; a way from a public host into the
            network of the machine that fetches.
    """
    try:
        address = parse_address(url)
    except ValueError as error:
        raise MirrorError(f"it leads to {url[:60]!a}, {error}") from None
    if address.scheme != "https" and not hashed and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise MirrorError(f"http without a known sha256 is not trusted ({address.host[:60]})")
    if not inside and not is_public(address.host):
        raise MirrorError(f"it leads to {address.host[:60]!r}, which is no public host")
    return address


def check_published(mirror: str) -> None:
    """Checks a mirror that strangers name for all: on a public host, and not to be changed on the way.

    Raises:
        MirrorError: it is another.
    """
    parsed = parse_mirror(mirror)
    if isinstance(parsed, Address):
        check_hop(parsed.url, inside=False, hashed=False)


def _start_at_hub(file: HubFile) -> Start:
    """On the Hugging Face hub or, by HF_ENDPOINT, a mirror of it; with the user's token where there is one."""
    import huggingface_hub

    own = os.environ.get("HF_ENDPOINT") or None
    endpoint = (own or "https://huggingface.co").rstrip("/")
    try:
        host = parse_address(endpoint).host
    except ValueError as error:
        raise MirrorError(f"HF_ENDPOINT is {endpoint[:60]!a}, {error}") from None
    url = huggingface_hub.hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=endpoint)
    token = huggingface_hub.get_token() or ""
    if not (token.isascii() and token.isprintable()):
        raise MirrorError("your token of the hub (HF_TOKEN) is none: it has characters other than printable ASCII")
    return Start(url, {"Authorization": f"Bearer {token}"} if token else {}, own=own and host)


def repository_files(card: Fitted) -> tuple[RemoteFile, ...]:
    """What a card's repository is fetched for; nothing where it is a local folder, or there is none."""
    if card.repository is None or at_home(card.repository).is_dir():
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
