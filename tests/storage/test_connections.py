"""Where a download may connect, how long it may take, and that whatever a server says ends in the file or one line."""

import gzip
import io
import socket
import threading

import pytest
import torch
from hostile_addresses import ODD
from mirror import Mirror, status
from raw_server import RawServer, answer_of, for_ever

from pagbench.cards import CardError, ModelCard, RemoteFile
from pagbench.cards.addresses import parse_address
from pagbench.errors import WeightsError
from pagbench.models import registry
from pagbench.storage import connections, downloads, mirrors, transport
from pagbench.storage.connections import Clock
from pagbench.storage.files import sha256_of
from pagbench.storage.mirrors import MirrorError
from pagbench.submissions import check, sandbox
from pagbench.submissions.sandbox import Limits

RULE = "expected https://<host>/<file> in plain ASCII, without user, backslash or space"


def checkpoint(size):
    file = io.BytesIO()
    torch.save({"weight": torch.rand(size, generator=torch.Generator().manual_seed(0))}, file)
    return file.getvalue()


WHOLE = checkpoint(1000)
NAME = "smoothing/model.pt"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("PAGBENCH_OFFLINE", raising=False)
    monkeypatch.setattr(transport, "_PAUSE", 0.001)


@pytest.fixture
def server():
    with RawServer() as raw:
        yield raw


@pytest.fixture
def known(tmp_path):
    """The hash of the file, which lets http be trusted."""
    (tmp_path / "whole").write_bytes(WHOLE)
    return sha256_of(tmp_path / "whole")


def remote(*addresses, sha256=None):
    return RemoteFile(path=NAME, mirrors=addresses, sha256=sha256)


def refusal(file, **options):
    with pytest.raises(WeightsError) as caught:
        downloads.get(file, **options)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


# Where it may connect


@pytest.mark.parametrize("url", ODD, ids=ascii)
def test_an_odd_address_is_refused_in_the_same_words_wherever_it_is_met(url, server, monkeypatch):
    with pytest.raises(ValueError, match=RULE):
        parse_address(url)
    fields = registry.find("digits/standard").card.model_dump(mode="json", exclude_none=True) | {
        "weights": None, "weights_sha256": None, "download": [{"path": "digits/x.safetensors", "mirrors": [url]}],
    }  # fmt: skip
    with pytest.raises(CardError, match=r"field 'download\.0\.mirrors\.0': ") as caught:
        ModelCard.parse(fields, "card")
    if url.startswith("http"):
        assert RULE in str(caught.value)
    if "\0" not in url:  # which no environment has
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert RULE in refusal(remote("hf:a/b/c.pt"))


@pytest.mark.parametrize(
    "place",
    [
        rb"http://127.0.0.1:80\@example.org/x", b"http://user@127.0.0.1/x", b"http://127.0.0.1:0/", b"http://[",
        b"http://127.0.0.1:99999/x", b"file:///etc/passwd", b"ftp://example.org/x", b"gopher://127.0.0.1:25/x",
        b"http://%31%32%37.0.0.1/", b"//\xe2\x93\x94xample.org/x", b"http://[fe80::1%25eth0]/", b"javascript:alert(1)",
        b"data:,x", b"http://127.0.0.1:\xb2/", b"http://", b"//", b"http:///x", b"http://2130706433/", b"\x1b[2Jhttp://[",
    ],
)  # fmt: skip
def test_a_redirection_to_what_is_no_address_is_one_line(place, server, known):
    server.answer = answer_of(b"", b"Location: " + place, status="302 Found")
    said = refusal(remote(f"{server.url}/x.pt", sha256=known))
    assert RULE in said or "no connection" in said or "more than 10 redirections" in said
    assert len(server.requests) <= 11


@pytest.mark.parametrize(
    "number",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1%2", "fc00::1", "fec0::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1",
        "::127.0.0.1", "::a00:1", "2001:db8::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b:1::7f00:1", "100::1",
    ],
)  # fmt: skip
def test_a_public_name_does_not_stand_for_a_private_address(number, monkeypatch, known):
    family = socket.AF_INET6 if ":" in number else socket.AF_INET
    place = [(family, socket.SOCK_STREAM, 6, "", (number, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: place)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it was connected to"))
    said = refusal(remote("https://example.org/x.pt", sha256=known))
    assert f"'example.org' stands for {number}, which is no public address" in said


@pytest.mark.parametrize(
    "number",
    ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1"],
)
def test_addresses_of_the_public_internet_are_such(number):
    assert mirrors.is_global(number)


def test_what_is_connected_to_is_what_was_looked_at(monkeypatch, known):
    """A name server that answers differently the second time is not asked a second time."""
    asked, tried = [], []

    def look_up(host, port, **_):
        asked.append(host)
        numbers = ["93.184.215.14", "10.0.0.1", "93.184.215.15"] if len(asked) == 1 else ["127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in numbers]

    def connect(place, *_, **__):
        tried.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(transport, "_TRIES", 1)
    assert "no connection" in refusal(remote("https://example.org/x.pt", sha256=known))
    assert (asked, tried) == (["example.org"], [("93.184.215.14", 443), ("93.184.215.15", 443)])


@pytest.fixture
def names(monkeypatch):
    """Names that all stand for this machine."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args, **kinds: look_up("127.0.0.1", *args, **kinds))


def test_the_users_own_mirror_of_the_hub_may_be_in_their_network_and_no_other_host(names, monkeypatch, known):
    with Mirror() as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://hub.example.org:{hub.server_port}")
        hub.serve("/me/net/resolve/main/x.pt", WHOLE, status(302, Location="/store"))
        hub.serve("/store", WHOLE)
        assert downloads.get(remote("hf:me/net/x.pt", sha256=known)).read_bytes() == WHOLE
        hub.serve("/me/net/resolve/main/y.pt", WHOLE, status(302, Location="http://other.example.org/x"))
        place = "'other.example.org' stands for 127.0.0.1, which is no public address"
        file = RemoteFile(path="hf/y.pt", mirrors=("hf:me/net/y.pt",), sha256=known)
        assert place in refusal(file)
        card = f"http://hub.example.org:{hub.server_port}/store"
        assert "'hub.example.org' stands for 127.0.0.1" in refusal(remote_at("smoothing/z.pt", card, known))
        hub.shutdown()


def remote_at(path, mirror, sha256):
    return RemoteFile(path=path, mirrors=(mirror,), sha256=sha256)


def test_a_name_within_the_network_may_be_named_by_the_user(names, known):
    with Mirror() as intranet:
        intranet.serve("/x.pt", WHOLE)
        mirror = f"http://files.local:{intranet.server_port}/x.pt"
        assert downloads.get(remote(mirror, sha256=known)).read_bytes() == WHOLE
        intranet.shutdown()


def test_behind_a_proxy_the_proxy_looks_names_up_and_names_are_checked(monkeypatch, known):
    with Mirror() as proxy:
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.serve("http://example.org/x.pt", WHOLE)
        assert downloads.get(remote("http://example.org/x.pt", sha256=known)).read_bytes() == WHOLE
        proxy.serve("http://example.org/y.pt", b"", status(302, Location="http://10.0.0.1/y"))
        said = refusal(remote_at("smoothing/y.pt", "http://example.org/y.pt", known))
        assert "it leads to '10.0.0.1', which is no public host" in said
        proxy.shutdown()


def test_a_token_goes_to_the_hub_and_no_further(monkeypatch, known):
    with Mirror() as hub, Mirror() as store:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.serve("/me/net/resolve/main/x.pt", b"", status(302, Location="/moved"))
        hub.serve("/moved", b"", status(302, Location=f"{store.url}/x"))
        store.serve("/x", WHOLE)
        assert downloads.get(remote("hf:me/net/x.pt", sha256=known)).read_bytes() == WHOLE
        assert [hub.header("Authorization", index) for index in (0, 1)] == ["Bearer hf_secret"] * 2
        assert store.header("Authorization") is None
        hub.shutdown()
        store.shutdown()


@pytest.mark.parametrize("token", ["hf_\u00e9", "hf_\u2028x", "hf_a\x1bb"])
def test_a_token_that_is_none_is_not_shown(token, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    said = refusal(remote("hf:me/net/x.pt"))
    assert "HF_TOKEN" in said and "hf_" not in said


def test_redirections_are_counted_and_their_bodies_left_unread(server, known):
    server.answer = answer_of(bytes(50 << 20), "Location: /again", "Content-Length: 52428800", status="302 Found")
    assert "more than 10 redirections" in refusal(remote(f"{server.url}/x.pt", sha256=known))
    assert len(server.requests) == 11
    assert server.sent == 0, "no body went through"


# How long it may take


ENDLESS = {
    "100 continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 continue with headers": (b"", b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"),
    "slow status line": (b"HTTP/1.1 200 ", b"x"),
    "slow header": (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
    "slow headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "slow body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "slow body without length": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "slow page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"x"),
    "slow chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "slow size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "endless trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_comes_without_end_or_a_byte_at_a_time_has_a_deadline(kind, server, known, monkeypatch):
    monkeypatch.setattr(connections, "GRACE_S", 0.3)
    begin, piece = ENDLESS[kind]
    server.answer = for_ever(begin, piece, pause=0.02 if "slow" in kind else 0.0)
    assert "too slow, " in refusal(remote(f"{server.url}/x.pt", sha256=known))


@pytest.mark.parametrize(
    "answer", [b"", answer_of(b"", status="503 Busy"), answer_of(b"", "Retry-After: 60", status="429 x")], ids=ascii
)
def test_retries_are_within_the_deadline(answer, server, known, monkeypatch):
    """Pauses that do not fit are not waited for."""
    server.answer = answer
    monkeypatch.setattr(transport, "_PAUSE", 50.0)
    monkeypatch.setattr(transport.time, "sleep", lambda _: pytest.fail("it waited"))
    refusal(remote(f"{server.url}/x.pt", sha256=known), seconds=30)


def test_one_deadline_holds_for_all_mirrors(server, known):
    server.answer = for_ever(b"HTTP/1.1 200 OK\r\n\r\n", b"x", pause=0.02)
    said = refusal(remote(*[f"{server.url}/{name}.pt" for name in "abc"], sha256=known), seconds=0.3)
    assert said.count("not whole in the time that there was for it") == 3
    assert len(server.requests) == 1


def test_a_process_that_still_fetches_is_waited_for_as_long(known, monkeypatch):
    place = downloads.path_of(remote(sha256=known))
    said = []

    def wait():
        said.append(refusal(remote("https://example.org/x", sha256=known), seconds=1.2))

    with downloads._lock(NAME):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join()
    assert "another process still fetches it" in said[0]
    assert not place.exists()


def test_a_submissions_seconds_are_those_of_its_download_too(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(downloads, "get", lambda file, seconds: given.append(seconds) or tmp_path)
    monkeypatch.setattr(check, "sha256_of", lambda _: "0" * 64)
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: [])
    file = RemoteFile(path="digits/x/x.safetensors", sha256="0" * 64, size=1)
    card = registry.find("digits/standard").card.model_copy(update={"weights": None, "download": (file,)})
    list(check._run_sandbox("examine", tmp_path, card, "digits@1", limits=Limits(seconds=7)))
    assert given == [7]


def test_time_grows_with_what_arrives_and_a_large_file_on_a_slow_line_has_enough(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    clock, size = Clock(5_000_000), 5_000_000
    for _ in range(1000):  # 4 GB at 50 kB/s
        now[0] += 80
        size += 4_000_000
        clock.arrived(size)
        assert clock.left() > 0
    clock.arrived(1_000_000)  # again from the beginning
    now[0] += 300 + 4e9 / connections.SLOWEST
    with pytest.raises(MirrorError, match="too slow, 4000000000 bytes"):
        clock.left()
    with pytest.raises(MirrorError, match="the time that there was"):
        Clock(0, end=now[0] - 1).left()


def test_what_was_there_before_buys_no_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    clock = Clock(3_000_000_000)
    clock.arrived(2_000_000_000)
    now[0] = connections.GRACE_S
    with pytest.raises(MirrorError, match="too slow, 0 bytes"):
        clock.left()


# What a server may say


OK = "Content-Type: application/octet-stream"
RANGED = "206 Partial Content"
ODD_HEADERS = [
    ("200 OK", ["Content-Length: \u00b2"]),
    ("200 OK", ["Content-Length: " + "9" * 5000]),
    ("200 OK", ["Content-Length: -1"]),
    ("200 OK", [f"Content-Length: {len(WHOLE)}", "Content-Length: 7"]),
    ("200 OK", ["Content-Length: 1_0"]),
    ("200 OK", ["Content-Length: +7"]),
    ("200 OK", ["Content-Length: 0x10"]),
    ("200 OK", ["Content-Length: nan"]),
    ("200 OK", ["Content-Length: 7, 7"]),
    ("200 OK", ["Content-Length: 99999999999999999"]),
    (RANGED, ["Content-Range: bytes \u00b2-9/10"]),
    (RANGED, ["Content-Range: bytes 0-9/" + "9" * 5000]),
    (RANGED, ["Content-Range: bytes 5-9/10"]),
    (RANGED, ["Content-Range: bytes -5-9/10"]),
    (RANGED, ["Content-Range: */*"]),
    (RANGED, []),
    ("416 x", ["Content-Range: bytes */0"]),
    ("503 x", ["Retry-After: Wed, 21 Oct 2099 07:28:00 GMT"]),
    ("503 x", ["Retry-After: nan"]),
    ("503 x", ["Retry-After: inf"]),
    ("503 x", ["Retry-After: 1e400"]),
    ("503 x", ["Retry-After: " + "9" * 401]),
    ("503 x", ["Retry-After: -5"]),
    ("200 OK", [b'ETag: "\x00\x1b[2J\xff"']),
    ("200 OK", [b"ETag: \xa0\xa0x"]),
    ("200 OK", [b"Last-Modified: \x85\x1c"]),
    ("200 OK", [b"ETag: " + b"x" * 60_000]),
    ("200 OK", ["Transfer-Encoding: gzip"]),
    ("200 OK", ["Transfer-Encoding: gzip, chunked"]),
    ("200 OK", ["Transfer-Encoding: nonsense"]),
    ("200 OK", ["Transfer-Encoding: chunked"]),
    ("200 OK", ["Content-Encoding: gzip"]),
    ("200 OK", ["Content-Encoding: br, gzip, gzip"]),
    ("200 OK", [b"Content-Type: text/html; charset=\x00\xff"]),
    ("200 OK", [b"Set-Cookie: \xff\x00=;;;Expires=99999999999; Max-Age=-1e400"]),
    ("200 OK", [b"\xff\xfe: x", b": y", b"no colon"]),
    ("200 OK", [f"X-{index}: y" for index in range(300)]),
    ("200 OK", [b"X: " + b"y" * 70_000]),
    ("302 Found", []),
    ("304 Not Modified", []),
    ("401 \x1b[2J\x1b]0;title\x07", []),
    ("\u00b2\u00b2\u00b2 OK", []),
    ("999999999999 OK", []),
    ("-200 OK", []),
    ("101 Switching Protocols", []),
    ("204 No Content", []),
]


@pytest.mark.parametrize(("state", "headers"), ODD_HEADERS, ids=lambda value: ascii(value)[:60])
def test_odd_headers_end_in_the_file_or_one_line(state, headers, server, monkeypatch):
    monkeypatch.setattr(transport, "_TIMEOUT", (5.0, 1.0))
    pauses = []
    monkeypatch.setattr(transport.time, "sleep", pauses.append)
    server.answer = answer_of(WHOLE, OK, *headers, status=state)
    file = remote(f"{server.url}/x.pt")
    try:
        assert downloads.get(file).read_bytes() == WHOLE
    except WeightsError as error:
        assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) < 500
    assert all(0 <= pause <= 60 for pause in pauses)
    server.answer = answer_of(WHOLE)
    assert downloads.get(file).read_bytes() == WHOLE, "and nothing that is left spoils the next try"


@pytest.mark.parametrize(
    "size", [b"-1", b"-5", b"0x10", b"1_0", b"g", b"", b"\xb2", b"f" * 300, b"f" * 100_000, b"1;" + b"x" * 100_000]
)
def test_odd_chunks_end_in_one_line(size, server):
    body = size + b"\r\n" + bytes(1 << 20) + b"\r\n0\r\n\r\n"
    for kind in ("application/octet-stream", "text/html"):
        server.answer = answer_of(body, "Transfer-Encoding: chunked", f"Content-Type: {kind}")
        refusal(remote(f"{server.url}/x.pt"))


class Endless(io.RawIOBase):
    """Zeros, as many as are asked for; fails where they grow to what no reader may keep."""

    def __init__(self):
        self.given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.given += len(buffer)
        assert self.given <= 4 << 20, "it is read without end"
        buffer[:] = bytes(len(buffer))
        return len(buffer)


@pytest.mark.parametrize(
    "read", [lambda f: f.readline(), lambda f: f.read(), lambda f: f.read(-1), lambda f: f.read(1 << 40)]
)
def test_no_read_that_a_library_leaves_open_is_without_end(read):
    """Releases of urllib3 and http.client differ in what they bound themselves."""
    with pytest.raises(MirrorError, match=r"a line without end|an answer of no size"):
        read(connections._Lines(Endless()))


def test_what_is_sent_compressed_is_not_unpacked(server):
    bomb = gzip.compress(bytes(64 << 20), 9)
    for kind in ("application/octet-stream", "text/html"):
        server.answer = answer_of(bomb, "Content-Encoding: gzip", f"Content-Type: {kind}")
        assert "it is sent as 'gzip', which was not asked for" in refusal(remote(f"{server.url}/x.pt"))
    assert b"Accept-Encoding: identity" in server.requests[0]


def test_a_file_of_no_known_size_has_a_limit_and_a_configuration_a_small_one(server, monkeypatch):
    monkeypatch.setattr(downloads, "_LARGEST", 100_000)
    monkeypatch.setattr(downloads, "LARGEST_JSON", 1_000)
    server.answer = for_ever(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16))
    assert "larger than the 100000 bytes that it may have" in refusal(remote(f"{server.url}/x.pt"))
    file = RemoteFile(path="hf/me/net/config.json", mirrors=(f"{server.url}/x.json",))
    assert "larger than the 1000 bytes" in refusal(file)


@pytest.mark.parametrize("page", [b"<title" * 10_000, b"<form" * 13_000, b'<form id="download-form" ' * 2_600])
def test_a_page_is_looked_through_once(page, server, monkeypatch):
    """Steps that grow with the cube of the page, as those of one expression for all of a form, take hours."""
    server.answer = answer_of(page, "Content-Type: text/html")
    monkeypatch.setattr(mirrors, "_DRIVE", f"{server.url}/{{}}")
    assert "instead of the file" in refusal(remote("gdrive:x"))


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("extent", ["bytes */0", "bytes */5", "bytes */*", "none"])
def test_a_refused_range_where_none_was_asked_for_leads_to_the_next_mirror(extent, hashed, server, known):
    server.answer = answer_of(b"", f"Content-Range: {extent}".encode(), status="416 x")
    with Mirror() as mirror:
        good = mirror.serve("/good.pt", WHOLE)
        if hashed:
            assert downloads.get(remote(f"{server.url}/x.pt", good, sha256=known)).read_bytes() == WHOLE
        else:
            said = refusal(remote(f"{server.url}/x.pt"))
            assert ("an empty file" if extent == "bytes */0" else "416") in said, said
