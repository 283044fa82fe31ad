"""Addresses and mirrors, taken apart in one way: what is checked is what is connected to."""

import ipaddress
import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

_ADDRESS = re.compile(
    r"(https?)://([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?((?:[/?#][!#-;=?-\[\]_a-z~]*)?)"
)
"""What nobody reads in two ways: characters that an address may have, no user, and no % in a host."""
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LONGEST_ADDRESS = 8_192
"""Characters; signed addresses of object stores have 2,000."""
_HUB_FILE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.+-]+))?/([^\\]+)", re.ASCII)
_DRIVE_FILE = re.compile(r"[\w-]+", re.ASCII)


class Address(NamedTuple):
    """Where a file is asked for: the parts that are checked are the parts that are connected to.

    Attributes:
        scheme: http or https.
        host: a name or number, in lower case, without the brackets of IPv6.
        port: None for the scheme's own.
        url: the whole.
    """

    scheme: str
    host: str
    port: int | None
    url: str


def parse_address(url: str) -> Address:
    """Takes an address apart, the only way in which pagbench does: of a card, a redirection or a form.

    >>> parse_address("https://example.org/x.pt").host
    'example.org'

    Raises:
        ValueError: it is none, or one that programs may read differently.
    """
    match = _ADDRESS.fullmatch(url) if len(url) <= _LONGEST_ADDRESS else None
    if match is not None:
        scheme, host, port, rest = match[1], match[2].lower(), int(match[3]) if match[3] else None, match[4]
        if (port is None or 0 < port < 2**16) and _is_host(host):
            number = "" if port is None else f":{port}"
            return Address(scheme, host.strip("[]"), port, f"{scheme}://{host}{number}{rest}")
    raise ValueError("expected https://<host>/<file> in plain ASCII, without user, backslash or space")


def _is_host(host: str) -> bool:
    """Whether it is a name, or a number as it is written in full."""
    try:
        if host.startswith("["):
            return bool(ipaddress.IPv6Address(host[1:-1]))
        labels = host.removesuffix(".").split(".")
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):  # which some take for a number in short
            return bool(ipaddress.IPv4Address(host))
        return all(re.fullmatch(_LABEL, label) for label in labels)
    except ValueError:
        return False


class HubFile(NamedTuple):
    """A file of a repository of the Hugging Face hub; `revision` is None for its newest."""

    repository: str
    revision: str | None
    path: str


def parse_mirror(mirror: str) -> Address | HubFile | str:
    """Where a mirror is: an address, a file of the hub, or the id of one of Google Drive.

    Raises:
        ValueError: none of these.
    """
    kind, _, rest = mirror.partition(":")
    if kind in ("http", "https"):
        return parse_address(mirror)
    if kind == "gdrive" and _DRIVE_FILE.fullmatch(rest):
        return rest
    if kind == "hf":
        match = _HUB_FILE.fullmatch(rest)
        if match is None or not rest.isprintable() or any(set(part) <= {"."} for part in match[3].split("/")):
            raise ValueError("expected hf:<owner>/<name>[@<revision>]/<file>")
        return HubFile(*match.groups())
    raise ValueError("no mirror that pagbench knows (https://…, gdrive:<id>, hf:<owner>/<name>/<file>)")


def _known_mirror(mirror: str) -> str:
    parse_mirror(mirror)
    return mirror


Mirror = Annotated[str, AfterValidator(_known_mirror)]
