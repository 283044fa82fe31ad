"""What a download may be made to do by the server that it asks: where it connects, how long it waits, what it reads.

A proxy that the environment names looks names up and connects by itself: behind one, hosts are known by name only.
"""

import io
import math
import socket
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter

from pagbench.storage import mirrors
from pagbench.storage.mirrors import MirrorError

GRACE_S = 300.0
"""For every mirror."""
SLOWEST = 32_000
"""Bytes a second that come from it after that, on average."""
_LONGEST_LINE = 1 << 16
_LARGEST_READ = 1 << 20
_MOST_ADDRESSES = 8


class PassingError(MirrorError):
    """An answer that another try may change; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Clock:
    """The time that one mirror has, with all its redirections and tries: more as more of the file comes.

    Args:
        size: bytes that are there already.
        end: by `time.monotonic`, when it is over in any case.
    """

    def __init__(self, size: int = 0, end: float = math.inf) -> None:
        self._begin, self._end, self._before, self._most = time.monotonic(), end, size, size

    def arrived(self, size: int) -> None:
        """So many bytes are there now; what was there before, and comes again, buys no time."""
        self._most = max(self._most, size)

    def left(self) -> float:
        """Seconds.

        Raises:
            MirrorError: there are none.
        """
        now, new = time.monotonic(), self._most - self._before
        if now >= self._end:
            raise MirrorError("not whole in the time that there was for it")
        left = self._begin + GRACE_S + new / SLOWEST - now
        if left <= 0:
            raise MirrorError(f"too slow, {new} bytes in {now - self._begin:.0f} s; what has arrived is kept")
        return min(left, self._end - now)


class Adapter(HTTPAdapter):
    """Connects for one request.

    Args:
        clock: how long it may take.
        public: whether the host is public by name, so that the address must be, too: the one that is connected to.
    """

    def __init__(self, clock: Clock, *, public: bool) -> None:
        self._clock, self._public = clock, public
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*args, **kwargs)
        self._bind(self.poolmanager, direct=True)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """See `HTTPAdapter`."""
        manager = super().proxy_manager_for(*args, **kwargs)
        self._bind(manager, direct=False)
        return manager

    def _bind(self, manager: Any, *, direct: bool) -> None:
        """Lets a manager of urllib3 make its connections here."""
        kinds = manager.pool_classes_by_scheme.items()
        manager.pool_classes_by_scheme = {scheme: self._pool(kind, direct=direct) for scheme, kind in kinds}

    def _pool(self, kind: Any, *, direct: bool) -> Any:
        clock, public = self._clock, self._public

        class Connection(kind.ConnectionCls):  # type: ignore[misc]
            response_class = _answer(clock)

            def _new_conn(self) -> socket.socket:
                if not direct:
                    connected: socket.socket = super()._new_conn()
                    return connected
                return _connect(self._dns_host, self.port, self.timeout, clock, public=public)

        return type(kind.__name__, (kind,), {"ConnectionCls": Connection})


def _connect(host: str, port: int, timeout: float, clock: Clock, *, public: bool) -> socket.socket:
    """Looks a name up, once, and connects to what was found."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise PassingError("its name is not known (is there a network?)") from None
    numbers = [str(place[0]) for *_, place in found]
    allowed = [number for number in numbers if not public or mirrors.is_global(number)]
    if not allowed:
        raise MirrorError(f"{host[:60]!r} stands for {numbers[0]}, which is no public address")
    failure: OSError | None = None
    for number in dict.fromkeys(allowed[:_MOST_ADDRESSES]):
        try:
            return socket.create_connection((number, port), min(timeout, clock.left()))
        except OSError as error:
            failure = error
    reason = f"no answer within {timeout:.0f} s" if isinstance(failure, TimeoutError) else "no connection"
    raise PassingError(reason)


def _answer(clock: Clock) -> type[HTTPResponse]:
    """The standard library's reader of answers, on a stream with an end."""

    class Answer(HTTPResponse):
        def __init__(self, connected: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(connected, *args, **kwargs)
            self.fp: io.BufferedReader = _Lines(_Pieces(self.fp.detach(), connected, clock))

        def begin(self) -> None:
            super().begin()
            if self.headers.defects:  # which urllib3 would log with a traceback
                raise MirrorError("header lines that cannot be read")

    return Answer


class _Pieces(io.RawIOBase):
    """Bytes as a socket has them, as long as there is time."""

    def __init__(self, raw: Any, connected: socket.socket, clock: Clock) -> None:
        self._raw, self._connected, self._clock = raw, connected, clock
        self._patience = connected.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connected.settimeout(min(self._patience, self._clock.left()))
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            self._clock.left()  # over, which says more than silence
            raise
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """Refuses what libraries leave open: a line without end, and a read of all that comes, as after a size of -1."""

    def readline(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return super().readline(size)
        line = super().readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise MirrorError("a line without end instead of the file")
        return line

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise MirrorError("an answer of no size instead of the file")
        return super().read(size)
