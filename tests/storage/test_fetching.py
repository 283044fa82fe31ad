"""Files of others: whole and as expected in their place, or one line that says what each mirror answered."""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
import requests
import torch
import urllib3
import yaml
from mirror import Mirror, drop, silence, status
from safetensors.torch import save
from typer.testing import CliRunner

from pagbench import benchmarks, models
from pagbench.cards import RemoteFile
from pagbench.cli import app
from pagbench.data import base, idx
from pagbench.data.idx import IdxCard
from pagbench.errors import DataError, WeightsError
from pagbench.storage import cache, content, downloads, mirrors, transport

pytestmark = pytest.mark.usefixtures("short_runs")

QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
SIGN_IN = b"<html><head><title>Sign in &amp; go on</title></head></html>"
NAME = "smoothing/model.pt"


def checkpoint(seed=0, size=100_000):
    """A PyTorch file of about 4 bytes per element."""
    file = io.BytesIO()
    torch.save({"weight": torch.rand(size, generator=torch.Generator().manual_seed(seed))}, file)
    return file.getvalue()


WHOLE, OTHER = checkpoint(), checkpoint(1)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and no patience."""
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("PAGBENCH_OFFLINE", raising=False)
    monkeypatch.setattr(transport, "_PAUSE", 0.01)
    monkeypatch.setattr(downloads, "_compared", set())
    return tmp_path / "cache"


@pytest.fixture
def server():
    with Mirror() as mirror:
        yield mirror
        mirror.shutdown()


def remote(*mirrors, sha256=None, path=NAME):
    return RemoteFile(path=path, mirrors=mirrors, sha256=sha256)


def refusal(file):
    with pytest.raises(WeightsError) as caught:
        downloads.get(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def leftovers(folder):
    """Files but the lockfile and the locks."""
    return sorted(path.name for path in folder.rglob("*.*") if path.is_file() and path.suffix not in (".json", ".lock"))


def another_process():
    """Forgets what this process has compared."""
    downloads._compared.clear()


def test_a_file_is_fetched_once_and_recorded(server, folder):
    url = server.serve("/model.pt", WHOLE)
    path = downloads.get(remote(url))
    assert path == folder / NAME
    assert path.read_bytes() == WHOLE
    another_process()
    assert downloads.get(remote(url)) == path
    assert server.sent == len(WHOLE)
    entry = json.loads((folder / "fetched.json").read_text())[NAME]
    assert entry.items() >= {"sha256": sha256(WHOLE), "size": len(WHOLE), "mirror": url}.items()
    assert leftovers(folder) == ["model.pt"]


def endless(handler):
    """An answer that says no length and does not end."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/octet-stream")
    handler.end_headers()
    for _ in range(1000):
        handler.body(bytes(1 << 20))


@pytest.mark.parametrize("told", [True, False], ids=["length told", "endless"])
def test_a_download_that_exceeds_its_cards_size_is_cut_off(server, folder, told):
    url = server.serve("/model.pt", bytes(50 << 20), *([] if told else [endless]))
    file = remote(url, sha256=sha256(WHOLE)).model_copy(update={"size": len(WHOLE)})
    assert f"larger than the {len(WHOLE)} bytes that it may have" in refusal(file)
    assert server.sent < 20 << 20
    assert leftovers(folder) == []


def test_after_drops_only_what_is_missing_is_sent(server):
    url = server.serve("/model.pt", WHOLE, drop(100_000), drop(250_000))
    assert downloads.get(remote(url)).read_bytes() == WHOLE
    assert server.sent == len(WHOLE)
    assert [server.header("Range", request) for request in (0, 1, 2)] == [None, "bytes=100000-", "bytes=250000-"]
    assert server.header("If-Range") is not None


@pytest.mark.parametrize("trait", ["ranges", "etags"])
def test_a_server_without_ranges_or_versions_is_asked_for_the_whole(server, trait):
    setattr(server, trait, False)
    url = server.serve("/model.pt", WHOLE, drop(100_000))
    assert downloads.get(remote(url)).read_bytes() == WHOLE
    assert server.sent == 100_000 + len(WHOLE)


def test_a_known_hash_lets_any_mirror_go_on_where_another_ended(server):
    server.etags = False
    first = server.serve("/a", WHOLE, *[drop(100_000)] * 4)
    second = server.serve("/b", WHOLE)
    assert downloads.get(remote(first, second, sha256=sha256(WHOLE))).read_bytes() == WHOLE
    assert server.sent == len(WHOLE)


def test_a_file_that_changes_between_two_tries_is_not_patched_together(server):
    url = server.serve("/model.pt", WHOLE, drop(100_000))

    def change(handler):
        server.files["/model.pt"] = OTHER
        handler.answer(OTHER)

    server.queue["/model.pt"].append(change)
    assert downloads.get(remote(url)).read_bytes() == OTHER


def test_a_foreign_beginning_is_thrown_away_when_the_hash_says_so(server, folder):
    url = server.serve("/model.pt", WHOLE)
    (folder / "smoothing").mkdir(parents=True)
    (folder / "smoothing/.model.pt.part").write_bytes(OTHER[:100_000])
    assert downloads.get(remote(url, sha256=sha256(WHOLE))).read_bytes() == WHOLE


def test_passing_errors_and_silence_are_waited_out(server, monkeypatch, capsys):
    monkeypatch.setattr(transport, "_TIMEOUT", (0.3, 0.3))
    url = server.serve("/model.pt", WHOLE, status(503, Retry_After="0"), silence(0.5), status(429))
    assert downloads.get(remote(url)).read_bytes() == WHOLE
    assert "503 Service Unavailable; again in" in capsys.readouterr().err


def test_a_server_that_asks_for_a_pause_gets_it(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(transport.time, "sleep", pauses.append)
    downloads.get(
        remote(server.serve("/model.pt", WHOLE, status(503, Retry_After="7"), status(429, Retry_After="9999")))
    )
    assert [pause for pause in pauses if pause] == [7, 60]


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000, "-1"])
def test_numbers_in_headers_that_are_none_are_passed_over(server, number):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", number)
        handler.end_headers()
        handler.body(WHOLE)

    url = server.serve("/model.pt", WHOLE, status(503, Retry_After=number), drop(100_000), answer)
    assert downloads.get(remote(url)).read_bytes() == WHOLE


def test_redirects_are_followed(server):
    server.serve("/model.pt", WHOLE)
    url = server.serve("/old.pt", b"", status(302, Location=f"{server.url}/model.pt"))
    assert downloads.get(remote(url)).read_bytes() == WHOLE


FAULTS = {
    "404": (b"", [status(404)], "404 Not Found"),
    "403": (b"", [status(403)], "403 Forbidden"),
    "503": (b"", [status(503)] * 4, "503 Service Unavailable"),
    "page": (b"", [status(200, SIGN_IN)], "a web page (Sign in & go on) instead of the file"),
    "quota": (b"", [status(200, QUOTA)], "quota of downloads is used up"),
    "quota-403": (b"", [status(403, QUOTA)], "403 Forbidden, its quota of downloads is used up"),
    "page-as-file": (SIGN_IN, [], "a web page (Sign in & go on) instead of the file"),
    "text": (b'{"error": "rate limited"}', [], "no .pt file (it begins with"),
    "empty": (b"", [], "an empty file"),
    "half": (WHOLE[: len(WHOLE) // 2], [], "truncated (an archive without its end"),
    "drops": (WHOLE, [drop(0)] * 4, "the connection broke off"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_the_file_is_told_and_the_next_mirror_asked(server, folder, fault):
    body, answers, said = FAULTS[fault]
    bad = server.serve("/bad.pt", body, *answers)
    message = refusal(remote(bad))
    assert said in message
    assert message.startswith(f"{NAME}: {bad}: ")
    assert message.endswith(f"put the file at {folder / NAME}")
    assert not (folder / NAME).exists()
    server.serve("/bad.pt", body, *answers)
    good = server.serve("/good.pt", WHOLE)
    assert downloads.get(remote(bad, good)).read_bytes() == WHOLE
    assert leftovers(folder) == ["model.pt"]


def test_another_file_than_the_cards_never_takes_its_name(server, folder):
    url = server.serve("/model.pt", OTHER)
    message = refusal(remote(url, f"{server.url}/none", sha256=sha256(WHOLE)))
    assert f"another file, sha256 {sha256(OTHER)[:12]}…, the card says {sha256(WHOLE)[:12]}…" in message
    assert "/none: 404 Not Found" in message
    assert message.endswith(f"put the file at {folder / NAME} (sha256 {sha256(WHOLE)})")
    assert leftovers(folder) == []


def test_nobody_listens(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "no connection" in refusal(remote(f"http://127.0.0.1:{port}/model.pt"))


def test_plain_http_is_refused_before_a_socket_opens(no_sockets):
    said = "http without a known sha256 is not trusted (example.org)"
    assert said in refusal(remote("http://example.org/model.pt"))


@pytest.fixture
def redirects(monkeypatch):
    """Plays the servers on a way of redirections, whose last one has the file."""

    def play(*hops):
        def answer(adapter, request, **_):
            following = hops[hops.index(request.url) + 1 :]
            response = requests.Response()
            response.request, response.url = request, request.url
            response.status_code = 302 if following else 200
            response.headers.update({"Location": following[0]} if following else {})
            response.raw = urllib3.HTTPResponse(io.BytesIO(WHOLE), preload_content=False)
            return response

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
        return remote(hops[0])

    return play


@pytest.mark.parametrize("way", [["http"], ["https", "http"], ["https", "http", "https"]])
def test_no_hop_of_a_redirect_may_be_plain(way, redirects):
    """Not even one in the middle: whoever answers there says where the file is."""
    file = redirects(*[f"{scheme}://example.org/{index}" for index, scheme in enumerate(way)])
    assert "http without a known sha256 is not trusted (example.org)" in refusal(file)
    assert downloads.get(file.model_copy(update={"sha256": sha256(WHOLE)})).read_bytes() == WHOLE


def test_a_server_of_this_machine_does_not_make_plain_http_of_others_trusted(redirects):
    file = redirects("http://127.0.0.1/w.pt", "http://example.org/w.pt")
    assert "http without a known sha256 is not trusted (example.org)" in refusal(file)


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "https://localhost/x", "https://[::1]/x", "http://x.internal/"]
)
def test_a_public_server_does_not_lead_into_the_private_network(target, redirects):
    """A redirection is refused before it is followed; one within the private network is the user's own."""
    known = {"sha256": sha256(WHOLE)}
    for hops in (["https://example.org/w.pt", target], ["http://10.0.0.1/w.pt", "https://example.org/w.pt", target]):
        assert "which is no public host" in refusal(redirects(*hops).model_copy(update=known))
    assert downloads.get(redirects("http://127.0.0.1/w.pt", target).model_copy(update=known)).read_bytes() == WHOLE


def test_an_archive_that_is_broken_or_finds_no_room_gets_one_clear_line(folder):
    archive, content = folder / "adm/all.tar", b"".join(b"line %d\n" % line for line in range(20_000))
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz", compresslevel=0) as tar:
        entry = tarfile.TarInfo("smoothing/list.txt")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    whole = archive.read_bytes()
    file = RemoteFile(path="smoothing/list.txt", archive=RemoteFile(path="adm/all.tar"))
    archive.write_bytes(whole[:30_000] + b"\xff" * 70_000 + whole[100_000:])  # an error of zlib, not of tarfile
    assert f"{archive}: cannot be unpacked" in refusal(file)
    (folder / "fetched.json").unlink()
    archive.write_bytes(whole)
    (folder / "smoothing").rmdir()
    (folder / "smoothing").write_text("in the way")
    assert f"{folder / 'smoothing/list.txt'}: cannot write there (File exists)" in refusal(file)
    (folder / "smoothing").unlink()
    assert downloads.get(file).read_bytes() == content


def test_what_links_out_of_an_archive_is_not_taken(folder, tmp_path):
    (folder / "smoothing").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(WHOLE)
    with tarfile.open(folder / "smoothing/all.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(NAME)
            entry.type, entry.linkname = kind, str(tmp_path / "secret")
            tar.addfile(entry)
        for name in (f"/{NAME}", f"../{NAME}"):
            entry = tarfile.TarInfo(name)
            entry.size = len(OTHER)
            tar.addfile(entry, io.BytesIO(OTHER))
    assert "has no smoothing/model.pt" in refusal(RemoteFile(path=NAME, archive=RemoteFile(path="smoothing/all.tar")))
    assert not (folder / NAME).exists()


@pytest.mark.parametrize("place", [f"/{'x' * 300}/model.pt", "~nobody_x/model.pt", "~nobody_x", "$UNSET/~x/m.pt"])
def test_a_place_that_cannot_be_looked_into_is_passed_over(place, server):
    file = remote(server.serve("/model.pt", WHOLE)).model_copy(update={"also": (place,)})
    assert downloads.get(file).read_bytes() == WHOLE


def test_a_changed_file_is_an_error_that_says_what_to_do(server, folder):
    file = remote(server.serve("/model.pt", WHOLE))
    path = downloads.get(file)
    path.write_bytes(OTHER)
    message = refusal(file)
    assert (
        f"{path}: another file, sha256 {sha256(OTHER)[:12]}…, it was {sha256(WHOLE)[:12]}… on its first use" in message
    )
    assert f"delete its entry in {folder / 'fetched.json'} to trust the new one" in message
    (folder / "fetched.json").unlink()
    assert downloads.get(file) == path
    assert downloads.records()[NAME].sha256 == sha256(OTHER)


def test_a_file_that_the_publisher_changed_is_not_taken(server, folder):
    file = remote(server.serve("/model.pt", WHOLE))
    downloads.get(file).unlink()
    server.serve("/model.pt", OTHER)
    message = refusal(file)
    assert f"another file, sha256 {sha256(OTHER)[:12]}…, it was {sha256(WHOLE)[:12]}… on its first use" in message
    assert leftovers(folder) == []


def test_a_file_put_there_by_hand_is_recorded_and_compared(folder, no_sockets):
    path = folder / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(WHOLE)
    assert downloads.get(remote()) == path
    assert downloads.records()[NAME].mirror is None
    path.write_bytes(OTHER)
    assert "on its first use" in refusal(remote())
    assert f"the card says {sha256(WHOLE)[:12]}…" in refusal(remote(sha256=sha256(WHOLE)))
    path.write_bytes(SIGN_IN)
    assert "a web page (Sign in & go on) instead of the file; delete the file" in refusal(remote())


def test_a_file_is_used_where_others_keep_it_and_fetched_where_they_do_not(server, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    file = remote(server.serve("/model.pt", WHOLE)).model_copy(update={"also": ("$UNSET/m.pt", "$ELSEWHERE/m.pt")})
    kept = tmp_path / "m.pt"
    kept.write_bytes(OTHER)
    assert downloads.get(file) == kept
    assert server.requests == []
    kept.write_bytes(SIGN_IN)
    assert f"{kept}: a web page" in refusal(file)
    kept.write_bytes(WHOLE)
    assert f"{kept}: another file, sha256 {sha256(WHOLE)[:12]}…, it was {sha256(OTHER)[:12]}…" in refusal(file)
    (folder / "fetched.json").unlink()
    kept.unlink()
    assert downloads.get(file) == folder / NAME


def test_a_damaged_lockfile_is_named(server, folder):
    file = remote(server.serve("/model.pt", WHOLE))
    downloads.get(file)
    (folder / "fetched.json").write_text("{")
    another_process()
    assert refusal(file).startswith(f"{folder / 'fetched.json'}: cannot be read")


def test_a_full_disk_is_one_line_and_what_arrived_is_kept(server, folder, monkeypatch):
    file = remote(server.serve("/model.pt", WHOLE))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1000))
        message = refusal(file)
        assert message.startswith(f"{folder / NAME}: cannot write there (No space left on device: 401.")
        assert "1.0 kB free" in message
    assert leftovers(folder) == []

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(transport.os, "fsync", full)
        assert "No space left on device" in refusal(file)
    assert leftovers(folder) == [".model.pt.part"]
    assert downloads.get(file).read_bytes() == WHOLE
    assert server.header("Range") == f"bytes={len(WHOLE)}-", "all of it had arrived"


def test_a_cache_folder_that_is_a_file_is_one_line(server, folder):
    folder.write_text("")
    assert "PAGBENCH_CACHE" in refusal(remote(server.serve("/model.pt", WHOLE)))


FETCH = """
import sys
from pagbench.storage import downloads
from pagbench.cards import RemoteFile
downloads.get(RemoteFile(path=sys.argv[1], mirrors=(sys.argv[2],)))
"""


def start(url):
    return subprocess.Popen([sys.executable, "-c", FETCH, NAME, url], stderr=subprocess.PIPE, text=True)


def test_a_killed_download_goes_on_where_it_ended(server, folder):
    server.delay = 0.05
    data = checkpoint(2, 1_000_000)
    url = server.serve("/model.pt", data)
    killed, part = start(url), folder / "smoothing/.model.pt.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size >= 1 << 18):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    arrived = part.stat().st_size
    assert not (folder / NAME).exists()
    server.delay = 0
    assert downloads.get(remote(url)).read_bytes() == data
    assert server.header("Range") == f"bytes={arrived}-"


def test_two_processes_fetch_a_file_once(server, folder):
    server.delay = 0.05
    data = checkpoint(2, 400_000)
    url = server.serve("/model.pt", data)
    both = [start(url), start(url)]
    for process in both:
        assert process.wait(30) == 0, process.communicate()
    assert (folder / NAME).read_bytes() == data
    assert server.sent == len(data)
    assert set(json.loads((folder / "fetched.json").read_text())) == {NAME}


def test_google_drives_warning_is_confirmed(server, monkeypatch):
    """The page about files too large to scan, with the form of its button, as Google Drive writes it."""
    server.serve("/confirmed", WHOLE)
    form = (
        f'<html><head><title>Google Drive - Virus scan warning</title></head><body><form id="download-form" '
        f'action="{server.url}/confirmed" method="get"><input type="submit" id="uc-download-link" value="Download '
        'anyway"/><input type="hidden" name="id" value="abc"><input type="hidden" name="uuid" value="1&amp;2"></form>'
    )
    server.serve("/download", b"", status(200, form.encode()))
    monkeypatch.setattr(mirrors, "_DRIVE", f"{server.url}/download?id={{}}&confirm=t")
    assert downloads.get(remote("gdrive:abc")).read_bytes() == WHOLE
    assert [path for path, _ in server.requests] == ["/download?id=abc&confirm=t", "/confirmed?id=abc&uuid=1%262"]
    server.serve("/download", b"", status(200, QUOTA))
    message = refusal(remote("gdrive:xyz", path="other.pt"))
    assert "https://drive.google.com/file/d/xyz/view: its quota of downloads is used up" in message


def test_the_hub_is_asked_at_its_endpoint_with_revision_and_token(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.serve("/lab/nets/resolve/v1/a/model.pt", WHOLE)
    assert downloads.get(remote("hf:lab/nets@v1/a/model.pt")).read_bytes() == WHOLE
    assert server.header("Authorization") == "Bearer hf_secret"
    server.serve("/lab/closed/resolve/main/model.pt", b"", status(401))
    message = refusal(remote("hf:lab/closed/model.pt", path="other.pt"))
    assert "https://huggingface.co/lab/closed/blob/main/model.pt: 401 Unauthorized" in message
    assert "set HF_TOKEN" in message
    assert "hf_secret" not in message


def test_every_truncation_is_seen(tmp_path):
    tensors = save({"a": torch.rand(3, 5), "b": torch.zeros(0), "c": torch.ones(1)}, metadata={"kind": "x"})
    for name, data in (("w.safetensors", tensors), ("w.pt", checkpoint(0, 5)), ("w.pt_m0", checkpoint(0, 5))):
        path = tmp_path / name
        path.write_bytes(data)
        assert content.flaw(path, name) is None
        for cut in range(0, len(data) - 1, 23):
            path.write_bytes(data[:cut])
            assert content.flaw(path, name), (name, cut)
    (tmp_path / "w.safetensors").write_bytes(tensors + b"x")
    assert content.flaw(tmp_path / "w.safetensors", "w.safetensors")


def test_every_file_within_a_card_is_found():
    card = models.find("digits/standard").card
    files = (remote(path="a.pt"), remote(path="b.pt"))
    assert downloads.files_of(card) == ()
    assert downloads.files_of(card.model_copy(update={"download": files})) == files
    definition = benchmarks.load("gaussians")
    score = definition.score.model_copy(update={"download": files[:1]})
    assert downloads.files_of(definition) == ()
    assert downloads.files_of(definition.model_copy(update={"score": score})) == files[:1]


@pytest.fixture
def no_sockets(monkeypatch):
    def refuse(*_):
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def card(server, tmp_path):
    """A card whose weights a mirror has; below the second name, no mirror has them."""
    request = models.find("digits/standard")
    found, path = request.card, request.path
    content = (path.parent / found.weights).read_bytes()
    server.serve("/weights", content)
    for name, mirror in (("far", "/weights"), ("gone", "/gone")):
        fields = found.model_dump(mode="json", exclude_none=True) | {
            "id": f"mine/{name}",
            "license": "MIT",
            "download": [
                {"path": f"mine/{name}.safetensors", "mirrors": [f"{server.url}{mirror}"], "size": len(content)}
            ],
        }
        del fields["weights"]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(fields))
    return tmp_path / "far.yaml"


def place_of(card):
    """Where the file of a card's download lies."""
    (file,) = models.find(str(card)).card.download
    return downloads.path_of(file)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_fetch_goes_on_after_a_failure_and_tells_where_files_are(card, folder, server):
    gone = card.with_name("gone.yaml")
    done = invoke("fetch", gone, card, "digits/standard", "--benchmark", "gaussians")
    assert done.exit_code == 2
    assert f"{card}: {place_of(card)}" in done.stdout
    assert "digits/standard: nothing to fetch" in done.stdout
    assert "gaussians@1: its data are here" in done.stdout
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert error.startswith(f"error: mine/gone.safetensors: {server.url}/gone: 404")
    assert invoke("fetch", card).exit_code == 0


def test_fetch_list_fetches_nothing(card, server, folder, no_sockets):
    done = invoke("fetch", card, "--list", "--benchmark", "digits")
    assert done.exit_code == 0, done.output
    line, total = done.stdout.splitlines()
    assert total == "missing: 1 file, 190.8 kB"
    assert line.split("  ") == [
        "mine/far", str(place_of(card)), "190.8 kB", "missing", f"{server.url}/weights", "MIT"
    ]  # fmt: skip
    assert invoke("fetch", "digits/standard", "--list").stdout == "nothing to fetch\n"
    assert not folder.exists()


def test_fetch_list_has_the_data_set_and_sizes_that_are_counted(folder, no_sockets, monkeypatch, tmp_path):
    """The reference has 36,479,194 parameters of four bytes in `pagbench/benchmarks/cost/models.csv`."""
    monkeypatch.setenv("PAGBENCH_DATA", str(tmp_path))
    lines = invoke("fetch", "--list", "--benchmark", "cifar10").stdout.splitlines()
    assert lines[0].startswith("robustbench/cifar10/L2/Standard")
    assert any(line.startswith("cifar10@2 ") and "cifar-10-batches-py" in line for line in lines)
    assert lines[-1] == "missing: 1 file, about 146 MB; CIFAR-10, 170 MB"


def test_run_fetches_what_it_needs(card, server, tmp_path):
    done = invoke("run", card, "--limit", 2, "-r", tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "results/digits@2/mine/far.parquet").exists()


@pytest.mark.parametrize(
    "command", [("--offline", "fetch"), ("fetch", "--offline"), ("run", "--offline", "--limit", "2")], ids=" ".join
)
def test_offline_no_socket_is_opened(card, folder, tmp_path, no_sockets, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = invoke(*command, card)
    assert done.exit_code == 2
    assert "mine/far.safetensors: not in the cache, and offline; fetch http" in done.stderr
    place = place_of(card)
    assert f"put the file at {place}" in done.stderr
    request = models.find("digits/standard")
    found, path = request.card, request.path
    place.parent.mkdir(parents=True)
    shutil.copy(path.parent / found.weights, place)
    done = invoke(*command, card)
    assert done.exit_code == 0, done.output
    assert not cache.offline(), "the option lasts no longer than its command"


def test_the_variable_is_as_good_as_the_option(monkeypatch, no_sockets, folder):
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("PAGBENCH_DATA", str(folder))
    monkeypatch.setattr(idx, "_DEBIAN", folder)
    assert "not in the cache, and offline; fetch https://a.org/x elsewhere" in refusal(remote("https://a.org/x"))
    with pytest.raises(DataError, match=r"--offline .* allows no download"):
        IdxCard(kind="mnist").load()


def test_everything_lies_below_one_folder(folder, monkeypatch):
    monkeypatch.delenv("PAGBENCH_DATA", raising=False)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", "elsewhere")
    assert base.root() == folder / "data"
    with cache.libraries():
        assert Path(torch.hub.get_dir()) == folder / "torch" / "hub"
        assert os.environ["HF_HUB_CACHE"] == "elsewhere"
    assert "TORCH_HOME" not in os.environ


def test_a_benchmarks_own_files_are_asked_for(server, folder, monkeypatch):
    published = benchmarks.load("gaussians")
    score = published.score.model_copy(update={"download": (remote(server.serve("/model.pt", WHOLE)),)})
    monkeypatch.setattr(benchmarks, "load", lambda _: published.model_copy(update={"score": score}))
    done = invoke("fetch", "--benchmark", "gaussians")
    assert done.exit_code == 0, done.output
    assert f"gaussians@1: {folder / NAME}" in done.stdout


def test_fetching_nothing_says_what_to_name():
    done = invoke("fetch")
    assert done.exit_code == 2
    assert "name models, or a benchmark with --benchmark" in done.output


@pytest.mark.parametrize(
    "header", [b"[" * 50_000, b'{"a": {"data_offsets": [0, "x"]}}', b'{"a": {"data_offsets": [0, null]}}']
)
def test_hostile_headers_are_told_and_not_raised(tmp_path, header):
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    assert content.flaw(path, path.name).startswith("truncated or no safetensors file (Error while deserializing")
