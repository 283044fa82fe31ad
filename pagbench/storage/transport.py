"""One address to one file on disk, with a progress bar: goes on after a drop, and knows what it must not go on from.

What requests leaves open is done here, for no library does it: urllib3's retries end with the headers, so that a drop
in the middle needs a loop beside them; pooch and gdown do not resume by the version of a file; the getters of
huggingface_hub and gdown look neither at a size limit nor at where they are led; requests reads the body of each
redirection, and takes its address apart by other rules than those that check it.
"""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin

import requests
import rich
import urllib3
from rich import filesize
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pagbench.errors import first_line, is_installed, printable
from pagbench.storage import content, mirrors
from pagbench.storage.connections import Adapter, Clock, PassingError
from pagbench.storage.files import read_regular
from pagbench.storage.mirrors import MirrorError

_TRIES = 4
"""In a row that bring nothing new."""
_PAUSE = 1.0
"""Seconds before the second try; doubled before each further one."""
_LONGEST_PAUSE = 60.0
_TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""
_MOST_HOPS = 10
_CHUNK = 1 << 18
_EXPECTED = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_NUMBER = re.compile(r"[0-9]{1,18}")
_PLAIN = {"Content-Encoding": ("identity", ""), "Transfer-Encoding": ("identity", "chunked")}
"""A file as it is; what arrives is never unpacked."""
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/(?:([0-9]{1,18})|\*)")


_VERSION = re.compile(r'"[!#-~]{1,200}"|[A-Za-z0-9 ,:+-]{1,60}')
"""A strong ETag, or a date; others are not sent back."""
_ADDRESS_MARKS = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in an address that a server gives; a mark that has no place there is spelt out."""


@dataclass(frozen=True)
class Part:
    """The beginning of a file that has not arrived whole, and beside it, from where it came in which version."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _origin(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def version(self, mirror: str) -> str | None:
        """ETag or date of the version that it begins, where it came from that mirror."""
        try:
            origin = json.loads(read_regular(self._origin, 1 << 16))
            return origin["version"] if origin["mirror"] == mirror else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def begin(self, mirror: str, version: str | None) -> None:
        """Empties it."""
        self.path.unlink(missing_ok=True)
        self._origin.write_text(json.dumps({"mirror": mirror, "version": version}), encoding="utf-8")

    def discard(self) -> None:
        """Removes it."""
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Moves it where it belongs."""
        self.path.replace(path)
        self._origin.unlink(missing_ok=True)


@dataclass(frozen=True)
class Display:
    """One download on the screen: a bar with an estimate on a terminal, one line elsewhere."""

    name: str
    bar: Progress
    task: TaskID

    def start(self, done: int, total: int | None) -> None:
        """A transfer begins, at `done` of `total` bytes where an earlier one ended."""
        self.bar.reset(self.task, completed=done, total=total, description=self.name)
        if self.bar.disable:
            size = "" if total is None else f" ({filesize.decimal(total)})"
            notify(f"fetching {self.name}{size}{f', from {filesize.decimal(done)} on' if done else ''}")

    def wait(self, reason: str, seconds: float) -> None:
        """A transfer broke off and is tried again."""
        text = printable(f"{self.name}: {reason}; again in {seconds:.0f} s")
        self.bar.update(self.task, description=text)
        if self.bar.disable:
            notify(text)


@contextmanager
def display(name: str, size: int | None) -> Iterator[Display]:
    """A display of one download; within another bar it has a line of its own."""
    console = rich.get_console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not can_draw(console)) as bar:
        yield Display(name, bar, bar.add_task(name, total=size))


def can_draw(console: Console) -> bool:
    """Whether a bar can be drawn over: in a terminal, and in a notebook that has ipywidgets."""
    return is_installed("ipywidgets") if console.is_jupyter else console.is_terminal


def notify(text: str) -> None:
    """One line to the user, beside the command's output."""
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(text)


def tenths(show: Callable[[str], object]) -> Callable[[int, int], None]:
    """Progress of what nobody has asked for, in ten lines at most: called with what is done and all, shows "30 %"."""
    shown = 0

    def receive(done: int, total: int) -> None:
        nonlocal shown
        if 10 * done // total > shown:
            shown = 10 * done // total
            show(f"{10 * shown} %")

    return receive


def download(mirror: str, part: Part, *, hashed: bool, display: Display, limit: int, clock: Clock) -> None:
    """Fetches what is missing of a file.

    Drops, timeouts and passing errors are tried again, with growing pauses, as long as something new arrives.

    Args:
        mirror: where it is, as a card says.
        part: grows; what is already in it is kept where the server still has the same version.
        hashed: whether the whole will be compared with a known hash, so that any beginning may be gone on from.
        display: shows how far it is.
        limit: bytes that it may have; what goes beyond is not kept.
        clock: how long all tries may take.

    Raises:
        MirrorError: the server has not got it, does not answer, is too slow, leads elsewhere, or sends more than the
            limit.
        OSError: the disk refuses; what arrived stays.
    """
    furthest, tries = 0, 0
    while True:
        try:
            return _transfer(mirror, part, hashed, display, limit, clock)
        except PassingError as error:
            if part.size > furthest:
                furthest, tries = part.size, 0
            tries += 1
            if tries == _TRIES:
                raise
            pause = min(max(_PAUSE * 2 ** (tries - 1), error.pause), _LONGEST_PAUSE)
            if pause > clock.left():
                raise
            display.wait(str(error), pause)
            time.sleep(pause)


class _Session(requests.Session):
    """Follows no redirection by itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """See `requests.Session`."""


class _Way:
    """The requests of one try: of the mirror's own address, then of those that redirections and forms lead to."""

    def __init__(self, session: requests.Session, start: mirrors.Start, clock: Clock, *, hashed: bool) -> None:
        self._session, self._clock, self._hashed = session, clock, hashed
        self._own, self._inside, self._hops = start.own, True, 0

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """The first answer that is no redirection."""
        asked = None
        while self._hops <= _MOST_HOPS:
            address = mirrors.check_hop(url, inside=self._inside, hashed=self._hashed)
            if asked is not None and asked[:3] != address[:3]:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            asked = address
            own = self._inside and address.host == self._own
            public = mirrors.is_public(address.host) and not own
            self._inside, self._hops = self._inside and not public, self._hops + 1
            adapter = Adapter(self._clock, public=public)
            self._session.mount("http://", adapter)
            self._session.mount("https://", adapter)
            response = self._session.get(address.url, headers=headers, stream=True, timeout=_TIMEOUT)
            if not response.is_redirect:
                return response
            response.close()  # unread
            place = quote(response.headers["Location"].encode("latin-1", "replace"), safe=_ADDRESS_MARKS)
            try:
                url = urljoin(address.url, place)
            except ValueError:
                url = place  # which is then refused
        raise MirrorError(f"more than {_MOST_HOPS} redirections")


def _transfer(mirror: str, part: Part, hashed: bool, display: Display, limit: int, clock: Clock) -> None:
    """One request, from where the part ends."""
    start = mirrors.start(mirror)
    version = part.version(mirror)
    if version is None and not hashed:
        part.discard()
    done = part.size
    headers = start.headers | {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-"} | ({} if version is None else {"If-Range": version})
    try:
        with _Session() as session:
            way = _Way(session, start, clock, hashed=hashed)
            with _open(way, mirror, start.url, headers) as response:
                begin, total = _extent(response)
                if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    if done == 0:
                        raise MirrorError("an empty file" if total == 0 else "416, though no part of it was asked for")
                    if total == done:
                        return
                    part.discard()
                    raise PassingError("it is not the file that an earlier try began")
                if begin == 0:
                    part.begin(mirror, _version(response))
                elif begin != done or (version is not None and _version(response) not in (version, None)):
                    part.discard()
                    raise PassingError("it answered with another part than the one asked for")
                _receive(response, part, total, display, limit, clock)
    except requests.exceptions.RequestException as error:
        raise _failure(error) from None
    except urllib3.exceptions.HTTPError:
        raise PassingError("the connection broke off") from None
    except (HTTPException, ValueError) as error:  # of libraries that take the answer apart
        raise MirrorError(f"an answer that cannot be read ({first_line(error)[:100]})") from None


def _open(way: _Way, mirror: str, url: str, headers: dict[str, str]) -> requests.Response:
    """The answer of which the file is the body; past Google Drive's page that warns of files it has not scanned.

    Raises:
        MirrorError: the server answers with an error, or a web page.
    """
    response = way.get(url, headers)
    page = _page(response)
    if mirror.startswith("gdrive:") and response.ok and page:
        text = page.decode("utf-8", errors="replace")
        # of the button "Download anyway"
        form = next((tag for tag in re.findall(r"<form[^<>]*>", text) if 'id="download-form"' in tag), "")
        action = re.search(r'\baction="([^"]+)"', form)
        if action is not None:
            fields = re.findall(r'<input type="hidden" name="([^"<>]+)" value="([^"<>]*)"', text)
            query = urlencode([(name, unescape(value)) for name, value in fields])
            response.close()
            response = way.get(f"{unescape(action[1])}?{query}", headers)
            page = _page(response)
    status = response.status_code
    about = (content.web_page(page) or "a web page instead of the file") if page else None
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        for name, plain in _PLAIN.items():
            if (coding := response.headers.get(name, plain[0])).strip().lower() not in plain:
                raise MirrorError(f"it is sent as {coding[:40]!a}, which was not asked for")
        if about is not None:
            raise MirrorError(about)
    if status in _EXPECTED:
        return response
    reason = f"{status} {response.reason or ''}".strip()[:100]
    if about is not None and "quota" in about:
        reason = f"{reason}, {about}"
    if status in _PASSING:
        pause = response.headers.get("Retry-After", "")
        raise PassingError(reason, float(pause) if _NUMBER.fullmatch(pause) else 0.0)
    if mirror.startswith("hf:") and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        reason += ", no such repository, or one that needs your token: accept its licence there and set HF_TOKEN"
    raise MirrorError(reason)


def _page(response: requests.Response) -> bytes:
    """The beginning of a web page; nothing of a file."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return b""
    return response.raw.read(content.HEAD, decode_content=False) or b" "


def _version(response: requests.Response) -> str | None:
    """What names the version of a file: a strong ETag, else its date."""
    tag = response.headers.get("ETag")
    version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    return version if version and _VERSION.fullmatch(version) else None


def _extent(response: requests.Response) -> tuple[int | None, int | None]:
    """Where in the file an answer begins, and the size of the whole; None for what the server does not say."""
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if _NUMBER.fullmatch(length) else None
    extent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = (None, None) if extent is None else extent.groups()
    return None if start is None else int(start), None if total is None else int(total)


def _receive(
    response: requests.Response, part: Part, total: int | None, display: Display, limit: int, clock: Clock
) -> None:
    """Adds the body of an answer to the part."""
    done = part.size
    if total is not None:
        _refuse_excess(part, total, limit)
        free = shutil.disk_usage(part.path.parent).free
        if total - done > free:
            sizes = f"{filesize.decimal(total - done)} to come, {filesize.decimal(free)} free"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {sizes}")
    display.start(done, total)
    with part.path.open("ab") as file:
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            done += len(chunk)
            _refuse_excess(part, done, limit)
            file.write(chunk)
            clock.arrived(done)
            display.bar.advance(display.task, len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.size < total:
        raise PassingError(f"only {part.size} of {total} bytes came")


def _refuse_excess(part: Part, size: int, limit: int) -> None:
    """A server decides what it sends, and may send without end."""
    if size > limit:
        part.discard()
        raise MirrorError(f"larger than the {limit} bytes that it may have (it goes on to {size} at least)")


def _failure(error: requests.exceptions.RequestException) -> MirrorError:
    """What went wrong below HTTP, in a few words."""
    if isinstance(error, requests.exceptions.SSLError):
        return MirrorError("its TLS certificate is not accepted")
    if isinstance(error, requests.exceptions.Timeout):
        return PassingError(f"no answer within {_TIMEOUT[1]:.0f} s")
    if isinstance(error, requests.exceptions.ProxyError):
        return PassingError("the proxy refuses")
    if isinstance(error, requests.exceptions.ConnectionError):
        return PassingError("the connection broke off")
    return MirrorError(first_line(error)[:200])
