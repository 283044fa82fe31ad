"""Answers of a server, mutated: each ends in the right file or one line; never in a traceback, a hang or too much."""

import hashlib
import io
import itertools
import socket
import threading
from urllib.parse import urlsplit

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from raw_server import RawServer, for_ever

from pagbench.cards import RemoteFile
from pagbench.errors import WeightsError
from pagbench.storage import connections, downloads, transport


def checkpoint():
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(50)}, file)
    return file.getvalue()


WHOLE = checkpoint()
LENGTH = str(len(WHOLE)).encode()
_STATES = [
    b"200 OK", b"200", b"206 Partial Content", b"302 Found", b"307 x", b"404 Not Found", b"416 x", b"429 x", b"503 x",
    b"100 Continue", b"101 x", b"204 x", b"304 x", b"401 x", b"\xb2 x", b"-1 x", b"99999 x", b"",
]  # fmt: skip
_NAMES = [
    b"Content-Length", b"Content-Range", b"Retry-After", b"Location", b"ETag", b"Last-Modified", b"Transfer-Encoding",
    b"Content-Encoding", b"Content-Type", b"Set-Cookie", b"Connection", b"Accept-Ranges", b"Date", b"", b" ", b"X\xff",
]  # fmt: skip
_VALUES = [
    LENGTH, b"0", b"-1", b"9" * 5000, b"\xb2", b"1e400", b"nan", b"inf", b"7, 7", b"bytes 0-%s/%s" % (LENGTH, LENGTH),
    b"bytes */0", b"bytes */" + LENGTH, b"bytes 9-9/9", b"Wed, 21 Oct 2099 07:28:00 GMT", b"/x.pt", b"http://[",
    b"file:///etc/passwd", b"http://127.0.0.1:1\\@example.org/", b"http://x:99999/", b"//\xff/", b"\x00", b'"a"',
    b'W/"a"', b"\x1b[2J", b"\xe2\x80\xae", b"chunked", b"gzip", b"gzip, chunked", b"identity", b"text/html", b"close",
    b"keep-alive", b"a=b; Max-Age=1e400; Domain=..", b"x" * 70_000, b"",
]  # fmt: skip
_CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (WHOLE[:700], WHOLE[700:])) + b"0\r\n\r\n"
_BODIES = [WHOLE, WHOLE[:-1], WHOLE + b"x", b"", _CHUNKED, b"-1\r\n" + WHOLE, b"<html><title>No</title>", b"f" * 70_000]

_headers = st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)), max_size=5)
_RIGHT = [([(b"Content-Length", LENGTH)], WHOLE), ([(b"Transfer-Encoding", b"chunked")], _CHUNKED), ([], WHOLE)]

_ENDLESS = [b"x", b"\r\n", b"0", b"1\r\nx\r\n", WHOLE]


@st.composite
def _answers(draw):
    """A right answer or one of odd parts, then bytes of it changed, left out, doubled or moved."""
    state = draw(st.just(b"200 OK") | st.sampled_from(_STATES))
    headers, body = draw(st.sampled_from(_RIGHT))
    headers = headers + draw(st.just([]) | _headers)
    body = draw(st.just(body) | st.sampled_from(_BODIES))
    answer = bytearray(b"HTTP/1.1 " + state + b"\r\n")
    for name, value in headers:
        answer += name + b": " + value + b"\r\n"
    answer += b"\r\n" + body
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        begin = draw(st.integers(0, min(len(answer), 400)))
        end = begin + draw(st.integers(0, 20))
        kind = draw(st.sampled_from(["replace", "remove", "double", "insert"]))
        if kind == "replace":
            answer[begin:end] = draw(st.binary(max_size=20))
        elif kind == "remove":
            del answer[begin:end]
        elif kind == "double":
            answer[begin:begin] = answer[begin:end] * draw(st.integers(1, 50))
        else:
            answer[begin:begin] = draw(
                st.sampled_from([b"\r\n", b"\r\n\r\n", b"\x00", b"HTTP/1.1 100 C\r\n\r\n", b":"])
            )
    return bytes(answer)


@pytest.mark.parametrize("examples", [50, pytest.param(3_000, marks=pytest.mark.slow)])
def test_a_mutated_answer_ends_in_the_file_or_one_line(examples, tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("PAGBENCH_OFFLINE", raising=False)
    monkeypatch.setattr(transport, "_PAUSE", 0.0)
    monkeypatch.setattr(transport, "_TRIES", 2)
    monkeypatch.setattr(transport, "_TIMEOUT", (5.0, 0.5))
    monkeypatch.setattr(connections, "GRACE_S", 0.5)
    sha256, numbers, right = hashlib.sha256(WHOLE).hexdigest(), itertools.count(), []
    place = tmp_path / "smoothing"

    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(_answers(), st.booleans(), st.booleans(), st.none() | st.sampled_from(_ENDLESS))
    @example(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, True, True, None)
    def attack(answer, hashed, sized, then):
        server.answer = answer if then is None else for_ever(answer, then)
        file = RemoteFile(
            path=f"smoothing/{next(numbers)}.pt",
            mirrors=(f"{server.url}/x.pt",),
            sha256=sha256 if hashed else None,
            size=len(WHOLE) if sized else 1 << 16,
        )
        try:
            path = downloads.get(file)
            assert not hashed or path.read_bytes() == WHOLE
            assert path.stat().st_size <= file.size
            right.append(hashed)
            path.unlink()
        except WeightsError as error:
            assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) < 1000
        for part in place.glob(".*.part"):
            assert part.stat().st_size <= file.size
            part.unlink()

    with RawServer() as server:
        attack()
    assert any(right), "some answers are right"


def test_the_server_of_these_tests_leaves_no_thread_behind_a_client_that_says_nothing():
    before = set(threading.enumerate())
    with RawServer() as server:
        address = urlsplit(server.url)
        for said in (b"", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection((address.hostname, address.port)) as client:
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
