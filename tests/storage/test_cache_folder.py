"""The cache folder: where it is, and that no card puts a file into the place of another's."""

import ast
import json
import os
from pathlib import Path

import pytest
import yaml
from mirror import Mirror
from typer.testing import CliRunner

import pagbench
from pagbench import cards
from pagbench.cards import CardError, ModelCard, RemoteFile
from pagbench.cli import app
from pagbench.data import base
from pagbench.errors import PagbenchError, WeightsError
from pagbench.models import registry
from pagbench.storage import cache, downloads


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("PAGBENCH_DATA", raising=False)
    monkeypatch.delenv("PAGBENCH_OFFLINE", raising=False)
    return tmp_path / "cache"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def card_of(tmp_path, name, **download):
    fields = registry.find("digits/standard").card.model_dump(mode="json", exclude_none=True)
    fields |= {"id": f"mine/{name}", "download": [download]}
    del fields["weights"], fields["weights_sha256"]
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


# Names


KEPT = [
    "fetched.json", "Fetched.JSON", "fetched.json/x.pt", "fetched.json.", "hf/a/b.pt", "HF/x.pt", "hf", "targets/x.pt",
    "TARGETS/x", "torch/hub/x.pt", "huggingface/x", "data/cifar-10-batches-py/x", "fitted/x", "summaries/x",
    "trained/x.safetensors", "Trained/x",
    "results/x", "cards/x", "Cards/0123456789abcdef/x.pt", "robustbench/cifar10/L2/Standard.pt", "timm/x",
    "torchvision/x.pth", "smoothing/models.tar", "madrylab/resnet18_l2_eps3.ckpt", "adm/64x64_diffusion.pt",
    "mine/x.pt.part", "mine/x.LOCK", "mine/x.tmp", "mine/fetched.json", "mine/x.pt.part.json",
]  # fmt: skip


@pytest.mark.parametrize("path", KEPT)
def test_a_name_of_pagbenchs_own_files_is_refused_in_every_card_that_is_given(path, tmp_path):
    said = "a name of pagbench's own files; expected <id of the card>/<file>"
    done = invoke("fetch", card_of(tmp_path, "one", path=path, mirrors=["https://example.org/x"]), "--offline")
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
    archive = {"path": path, "mirrors": ["https://example.org/x"]}
    done = invoke("fetch", card_of(tmp_path, "two", path="mine/x.pt", archive=archive), "--offline")
    assert "field 'download.0.archive.path'" in done.stderr and said in done.stderr
    fields = yaml.safe_load((tmp_path / "one.yaml").read_text())
    with pytest.raises(CardError, match=said):
        ModelCard.parse_written(fields, "the answers")


@pytest.mark.parametrize(
    "path",
    [
        "../x.pt",
        "/etc/x.pt",
        "mine/../fetched.json",
        ".locks/x",
        "mine/.x.pt.part",
        "m\u0131ne/x",
        "\uff48f/x",
        "mine//x",
    ],
)
def test_what_is_no_name_is_refused_in_every_card(path):
    with pytest.raises(CardError, match="field 'path': expected letters and digits of ASCII"):
        RemoteFile.parse({"path": path}, "card")


def test_whatever_pagbench_writes_into_the_cache_folder_is_a_kept_name():
    """Every `root() / "name"` of the package, that of a place for others' files aside."""
    root, written = Path(pagbench.__file__).parent, set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp) and ast.unparse(node.left) in ("root()", "cache.root()"):
                written |= {node.right.value} if isinstance(node.right, ast.Constant) else set()
    assert {"targets", "fetched.json", "huggingface"} <= written
    assert written - {".locks"} <= cards._KEPT_NAMES


def test_published_cards_and_sources_keep_their_places(folder):
    """Files that users have stay where they are."""
    (file,) = registry.find("madrylab/resnet18-l2-eps3").card.download
    assert downloads.path_of(file) == folder / "madrylab/resnet18_l2_eps3.ckpt"
    assert ModelCard.read(registry.shipped()["madrylab/resnet18-l2-eps3"], ours=True).download == (file,)
    assert registry.find(str(registry.shipped()["madrylab/resnet18-l2-eps3"])).card.download == (file,)
    (file,) = registry.find("robustbench/cifar10/L2/Standard").card.download
    assert downloads.path_of(file) == folder / "robustbench/cifar10/L2/Standard.pt"


@pytest.mark.parametrize("path", ["mine/x.pt", "mine/X.pt", "mine/x.pt/x.pt"])
def test_two_cards_never_share_a_place_but_for_the_same_file(path, folder, tmp_path):
    """Not by one name, by names that some file systems take for one, or by the name of the other's folder."""
    with Mirror() as server:
        good, evil = server.serve("/good", b"good"), server.serve("/evil", b"evil")
        first = registry.find(str(card_of(tmp_path, "good", path="mine/x.pt", mirrors=[good]))).card.download[0]
        second = registry.find(str(card_of(tmp_path, "evil", path=path, mirrors=[evil]))).card.download[0]
        places = [downloads.path_of(file).relative_to(folder).as_posix().lower() for file in (first, second)]
        assert places[0].split("/")[:2] != places[1].split("/")[:2]
        server.shutdown()
    same = RemoteFile(path="mine/x.pt", sha256="1" * 64, mirrors=("https://a.org/x",))
    other = RemoteFile(path="mine/x.pt", sha256="1" * 64, mirrors=("https://b.org/x",))
    assert downloads.path_of(same) == downloads.path_of(other) != downloads.path_of(first)


def test_first_uses_are_kept_apart_as_files_are(folder):
    with Mirror() as server:
        files = [RemoteFile(path="mine/list.txt", mirrors=(server.serve(f"/{n}", f"text {n}".encode()),)) for n in "ab"]
        texts = [downloads.get(file).read_text() for file in files]
        assert texts == ["text a", "text b"]
        assert set(json.loads((folder / "fetched.json").read_text())) == {file.place for file in files}
        server.shutdown()


# Where it is


NOWHERE = [
    "~nobody_x/y",
    "~nobody_x",
    "~/../~nobody",
    "afile",
    "afile/below",
    "/proc/nowhere",
    "x" * 5000,
    "a\x1b[2Jb",
    "\udcff",
]


@pytest.mark.parametrize("folder", [*NOWHERE, "", "rel", "rel/../other", "~"], ids=ascii)
@pytest.mark.parametrize("variable", ["PAGBENCH_CACHE", "PAGBENCH_DATA"])
def test_a_cache_folder_that_is_none_ends_in_one_line_or_works(folder, variable, tmp_path, monkeypatch):
    (tmp_path / "afile").write_text("")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(variable, folder)
    card = card_of(tmp_path, "one", path="mine/x.pt", mirrors=["https://example.org/x"])
    for command in (
        ["list", "models"], ["list", "benchmarks"], ["fetch", card, "--offline"], ["fetch", card, "--list"],
        ["fetch", "--benchmark", "gaussians", "--offline"],
    ):  # fmt: skip
        done = invoke(*command)
        assert done.exit_code in (0, 2), (command, done.output, done.exception)
        assert "Traceback" not in done.output and len(done.stderr.splitlines()) <= 2
    assert not list(tmp_path.glob("~*")), "no folder of that name is made"


@pytest.mark.parametrize("variable", ["PAGBENCH_CACHE", "PAGBENCH_DATA"])
def test_a_home_folder_of_nobody_is_said(variable, monkeypatch):
    monkeypatch.setenv(variable, "~nobody_x/y")
    said = f"~nobody_x/y: there is no such home folder; set {variable} to a folder"
    with pytest.raises(PagbenchError, match=said):
        (cache.root if variable == "PAGBENCH_CACHE" else base.root)()
    if variable == "PAGBENCH_CACHE":
        with pytest.raises(PagbenchError, match=said):
            downloads.get(RemoteFile(path="mine/x.pt", mirrors=("https://example.org/x",)))
        done = invoke("run", "digits/standard", "--limit", 2)
        assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.output
        done = invoke("doctor", "--benchmark", "digits")
        assert said in done.output and "Traceback" not in done.output


def test_without_any_home_folder_the_variable_is_asked_for(monkeypatch):
    monkeypatch.delenv("PAGBENCH_CACHE")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(PagbenchError, match="set PAGBENCH_CACHE"):
        cache.root()


# What lies in it


def test_a_pipe_in_place_of_a_record_or_of_the_beginning_of_a_file_does_not_wait(folder, tmp_path):
    (folder / "smoothing").mkdir(parents=True)
    os.mkfifo(folder / "fetched.json")
    file = RemoteFile(path="smoothing/x.txt", mirrors=("https://example.org/x",))
    (folder / "smoothing/x.txt").write_text("here")
    with pytest.raises(WeightsError, match=r"fetched\.json: cannot be read \(a pipe, device or socket"):
        downloads.get(file)
    (folder / "fetched.json").unlink()
    os.mkfifo(tmp_path / "pipe")
    also = RemoteFile(path="smoothing/y.txt", also=("pipe", "/dev/zero", str(folder)))
    assert downloads.find(also) is None
    with Mirror() as server:
        for name in (".z.txt.part", ".z.txt.part.json"):
            os.mkfifo(folder / "smoothing" / name)
        url = server.serve("/z", b"whole")
        got = downloads.get(RemoteFile(path="smoothing/z.txt", mirrors=(url,)))
        assert got.read_bytes() == b"whole"
        server.shutdown()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": {"sha256": 1}}', b"[]", b"\xff", b'{"x":' * 5000, b"9" * 5000]
)
def test_a_record_that_is_none_is_one_line(content, folder):
    (folder / "smoothing").mkdir(parents=True)
    (folder / "smoothing/x.txt").write_text("here")
    (folder / "fetched.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"fetched\.json: cannot be read") as caught:
        downloads.get(RemoteFile(path="smoothing/x.txt"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"\xff", b"9" * 5000, b'{"x":' * 5000, b" " * (downloads.LARGEST_JSON + 1), b"", b"nul"]
)
def test_a_configuration_that_is_none_is_one_line(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match="not a JSON configuration") as caught:
        downloads.read_json(tmp_path / "config.json")
    assert "\n" not in str(caught.value)
