"""Ids of models that only a file, a function or a user names: any name, told apart, stable; and `~`."""

from itertools import permutations
from pathlib import Path

import pytest
import torch
from commands import assert_one_line, invoke
from pydantic import TypeAdapter
from torch import nn

import pagbench
from pagbench.cards import Identifier
from pagbench.errors import CardError, ContractError
from pagbench.models import factories, registry
from pagbench.models.architectures import build
from pagbench.models.local_ids import LocalFile, clean, derive

pytestmark = pytest.mark.usefixtures("short_runs")

NET = (
    "from pagbench.models.architectures import build\n"
    "def make():\n    return build('small-cnn', (1, 8, 8), 10, 'relu')\n"
    "def own():\n    return make(), {'id': 'mine/relu'}\n"
    "def taken():\n    return make(), {'id': 'digits/standard'}\n"
    "def größe():\n    return make()\n"
)


def ids(*names):
    return list(derive(LocalFile(Path(name)) for name in names).values())


@pytest.mark.parametrize("name", ["best", "epoch-9_v1.2", "a" * 180, "x+y@2"])
def test_what_an_id_holds_is_kept(name):
    assert ids(f"/x/{name}.pt") == [f"local/{name}"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("epoch=9-val_acc=0.98.ckpt", "local/epoch-9-val_acc-0.98"),
        ("my net (1).pt", "local/my-net-1"),
        (".hidden.pt", "local/hidden"),
        ("-best.pt", "local/best"),
        ("modèle.pt", "local/modele"),
        ("a:b\\c\n.pt", "local/a-b-c"),
    ],
)
def test_what_it_cannot_hold_is_replaced(name, expected):
    assert ids(f"/x/{name}") == [expected]


@pytest.mark.parametrize(
    "name", ["模型.pt", "модель.pt", "größe.pt", "=.pt", "\udcff.pt", "z" * 250 + ".pt", "№.ckpt", "😀.pt"]
)
def test_any_name_has_an_id_that_a_file_can_be_called_by(name):
    (one,) = ids(f"/x/{name}")
    TypeAdapter(Identifier).validate_python(one)
    assert len(one) < 200 and ids(f"/y/{name}") == [one]


def test_letters_that_are_left_out_still_tell_names_apart():
    assert len({clean(name) for name in ("模型1", "网络1", "1", "ж" * 200, "ж" * 201, "q" * 200, "q" * 201)}) == 7


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/e/run1/best.pt", "/e/run2/best.pt"], ["run1/best", "run2/best"]),
        (["/a/ckpt/best.pt", "/b/ckpt/best.pt", "/b/ckpt/last.pt"], ["a/ckpt/best", "b/ckpt/best", "last"]),
        (["/e/best.pt", "/e/x/best.pt"], ["e/best", "x/best"]),
        (["/x/net.pt", "/x/net.safetensors"], ["net.pt", "net.safetensors"]),
        (["/r u/b=1.pt", "/s/b=1.pt"], ["r-u/b-1", "s/b-1"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_the_fewest_folders_whatever_their_order(names, expected):
    known = dict(zip(names, expected, strict=True))
    for order in permutations(names):
        assert ids(*order) == [f"local/{known[name]}" for name in order]


@pytest.mark.parametrize(
    "names", [["/x/a b.pt", "/x/a=b.pt"], ["/x/.net.pt", "/x/net.pt", "/y/net.pt"], ["/a b/n.pt", "/a=b/n.pt"]]
)
def test_files_that_only_marks_tell_apart_have_ids_of_their_own(names):
    assert len(set(ids(*names))) == len(names)
    assert set(ids(*names)) == set(ids(*reversed(names)))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two folders with files of the same names."""
    for folder in ("run1", "run2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NET)
        torch.save(build("small-cnn", (1, 8, 8), 10, "relu").state_dict(), tmp_path / folder / "epoch=9.ckpt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(models, benchmark):
    return [request.card.id for request in registry.resolve(models, benchmark)]


def test_functions_of_two_folders_are_told_apart(files, digits):
    names = ["run1/net.py:make", str(files / "run2/net.py:make"), "run1/net.py:größe"]
    assert resolved(names[:2], digits) == ["local/run1/net.make", "local/run2/net.make"]
    assert resolved(names[1::-1], digits) == ["local/run2/net.make", "local/run1/net.make"]
    assert resolved(names[:1], digits) == ["local/net.make"]
    assert resolved(names[2:], digits)[0].startswith("local/net.gro-e-")
    both = ["run1/net.py:make", "smoothed:0.25:run2/net.py:make", "smoothed:0.25:run1/net.py:make"]
    assert resolved(both, digits)[1:] == [
        "smoothed-0.25-100/local/run2/net.make",
        "smoothed-0.25-100/local/run1/net.make",
    ]


def test_checkpoints_of_two_folders_are_told_apart_and_loaded(files, digits):
    requests = registry.from_checkpoints(["run1/epoch=9.ckpt", files / "run2/epoch=9.ckpt"], "run1.net:make", digits)
    assert [request.card.id for request in requests] == ["local/run1/epoch-9", "local/run2/epoch-9"]
    loaded = [request.load(digits).weights_sha256 for request in requests]
    assert loaded[0] != loaded[1]
    Path("run1/epoch=9.ckpt").rename("run1/C:\\x.pt")
    (request,) = registry.from_checkpoints(["run1/C:\\x.pt"], "run1.net:make", digits)
    assert request.card.id == "local/C-x" and request.load(digits).weights_sha256 == loaded[0]


def test_a_function_may_say_its_id_but_not_take_ours(files, digits):
    assert resolved(["run1/net.py:own"], digits) == ["mine/relu"]
    with pytest.raises(ContractError, match=r"'digits/standard' is the id of a shipped model.*--id"):
        registry.resolve(["run1/net.py:taken"], digits)
    with pytest.raises(ContractError, match=r"two models are called 'mine/relu'.*--id.*mapping"):
        registry.resolve(["run1/net.py:own", "run2/net.py:own"], digits)


def test_a_mapping_gives_ids_to_whatever_it_holds(files, digits):
    named = {"mine": "run1/net.py:own", "other/net": nn.Flatten(), "digits/standard": "digits/standard"}
    assert resolved(named, digits) == list(named)
    for name, part in [
        ("digits/standard", "id of a shipped model"),
        ("torchvision/mine", "id of the source"),
        ("smoothed-0.25-100/digits/standard", "smoothed"),
        ("epoch=9", "letters"),
        (3, "id"),
    ]:
        with pytest.raises((CardError, ContractError), match=part):
            registry.resolve({name: "run1/net.py:make"}, digits)
    with pytest.raises(ContractError, match="control/bayes: is measured under its own id"):
        registry.resolve({"mine": "control/bayes"}, digits)
    with pytest.raises(ContractError, match="model of type int"):
        registry.resolve({"mine": 3}, digits)


def test_a_module_whose_class_has_any_name_has_an_id(digits):
    kind = type("_Größe", (nn.Flatten,), {})
    assert resolved([kind()], digits)[0].startswith("Gro-e-")


def test_the_command_gives_ids_in_order(files):
    done = invoke("run", "run1/net.py:make", "run2/net.py:make", "--id", "a/one,a/two", "--limit", 2, "-r", "out")
    assert done.exit_code == 0, done.output
    assert (files / "out/digits@2/a/one.parquet").exists() and (files / "out/digits@2/a/two.parquet").exists()
    done = invoke(
        "run", "run1/epoch=9.ckpt", "--architecture", "run1.net:make", "--id", "a/one", "--limit", 2, "-r", "out"
    )
    assert_one_line(done, "holds other results under this id (other weights, ", "--id", "--overwrite")
    assert_one_line(
        invoke("run", "run1/net.py:make", "--id", "a", "--id", "b"), "2 of --id for 1 models", "one for each"
    )
    assert_one_line(invoke("gradients", "--id", "a"), "1 of --id for 0 models")
    assert_one_line(invoke("check", "run1/net.py:make", "run2/net.py:make", "--id", "a,a"), "'a' is given twice")
    done = invoke("check", "run1/net.py:make", "-b", "digits", "--id", "digits/standard")
    assert done.exit_code == 2 and "id of a shipped model" in done.stderr


def test_the_home_folder_is_found_wherever_a_path_is_taken(files, digits, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    assert resolved(["~/run1/net.py:make", "~/run2/net.py:make"], digits) == [
        "local/run1/net.make",
        "local/run2/net.make",
    ]
    assert resolved("smoothed:0.25:~/run1/net.py:make", digits) == ["smoothed-0.25-100/local/net.make"]
    card = registry.find("digits/standard").path
    (files / "card.yaml").write_text(card.read_text().replace("digits/standard", "mine"))
    (files / "standard.safetensors").write_bytes(card.with_name("standard.safetensors").read_bytes())
    assert registry.find("~/card.yaml").card.id == "mine" and registry.find("smoothed:1:~/card.yaml")
    assert pagbench.load_model("~/card.yaml") is not None
    pagbench.run("~/card.yaml", limit=2, results="~/out", anchors=False)
    assert (files / "out/digits@2/mine.parquet").exists() and not (files / "~").exists()
    assert list(pagbench.leaderboard("~/out")["model"]) == ["mine"]
    done = invoke("leaderboard", "--results=~/out", "--format", "csv", "--output=~/table.csv")
    assert done.exit_code == 0 and (files / "table.csv").exists(), done.output
    monkeypatch.setenv("PAGBENCH_RESULTS", "~/out")
    assert "mine" in invoke("leaderboard", "--format", "csv").stdout
    assert not (files / "~").exists()


def test_a_home_folder_of_nobody_stays_as_it_is(digits):
    assert factories.local_file("~nobody-here/net.py:make").path == Path.cwd() / "~nobody-here/net.py"
