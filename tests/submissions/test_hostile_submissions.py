"""Submissions that attack whoever checks, measures or shows them. Nothing runs, nothing escapes, one line says why."""

import hashlib
import io
import json
import os
import pickle
import struct
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from commands import invoke
from submissions import ID, change, fields, make, weigh

from pagbench import benchmarks, columns, results
from pagbench.errors import CardError
from pagbench.reports.site import build
from pagbench.results import PUBLISHED
from pagbench.submissions import check, check_network, check_results, folder, sandbox
from pagbench.submissions.findings import Finding, refused
from pagbench.submissions.sandbox import Limits

SCRIPT = "<script>alert('pagbench')</script>"


@pytest.fixture
def canary(tmp_path):
    """A file that an attack would make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "something ran"


@pytest.fixture
def root(tmp_path, canary):
    return make(tmp_path / "mine")


def error_of(root, *parts):
    """The one line for which a submission is refused."""
    before = {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")}
    done = invoke("submit", "check", root, "--leaderboard", root.parent / "leaderboard", "--offline")
    lines = [line for line in done.output.splitlines() if not line.startswith(("ok: ", "warning: "))]
    assert done.exit_code == 1, done.output
    assert len(lines) == 1, done.output
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]
    assert {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")} == before, "something was written"
    return lines[0]


def test_a_submission_that_attacks_nobody_passes(root):
    done = invoke("submit", "check", root, "--leaderboard", root.parent, "--offline")
    assert done.exit_code == 0, done.output
    others = [line for line in done.output.splitlines() if not line.startswith("ok: ")]
    assert len(others) == 1 and others[0].startswith("warning: training_accuracy: none is declared"), others
    assert "derivatives" in done.output


# The folder


def test_a_weights_file_that_is_a_link_is_not_followed(root):
    (root / "newcomer.safetensors").unlink()
    (root / "newcomer.safetensors").symlink_to("/etc/passwd")
    error_of(root, "newcomer.safetensors: a symbolic link")


def test_a_folder_that_is_a_link_is_not_entered(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "results").symlink_to(tmp_path / "elsewhere")
    error_of(root, "results: a symbolic link")


def test_a_submission_that_is_a_link_is_not_entered(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    error_of(tmp_path / "link", "not a folder")


def test_hard_links_and_pipes_are_refused(root, tmp_path):
    (tmp_path / "secret").write_text("secret")
    os.link(tmp_path / "secret", root / "notes.pt")
    error_of(root, "notes.pt: a hard link")
    (root / "notes.pt").unlink()
    os.mkfifo(root / "pipe")
    error_of(root, "pipe: a device, pipe or socket")


@pytest.mark.parametrize("instead", ["nothing", "folder"])
def test_weights_that_are_not_there_are_one_line(root, instead):
    (root / "newcomer.safetensors").unlink()
    if instead == "folder":
        (root / "newcomer.safetensors").mkdir()
    error_of(root, "newcomer.safetensors: the card names it, and it is not here; put the file beside the card")
    done = invoke("submit", "add", root, "--leaderboard", root)
    assert done.exit_code == 1 and "the card names it, and it is not here" in done.output, done.output


def test_weights_of_ten_gigabytes_are_not_opened(root):
    with (root / "newcomer.safetensors").open("r+b") as file:
        file.truncate(10 * 2**30)
    error_of(root, "newcomer.safetensors: 10737418240 bytes, at most 8388608", "put it behind a link")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.py", "not a file of a submission"),
        ("setup.sh", "not a file of a submission"),
        ("notes.txt", "not a file of a submission"),
        (".git/config", "not a file of a submission"),
        ("results/digits@1/digits/other.parquet", "not a file of a submission"),
        ("results/digits@9/digits/newcomer.parquet", "not a file of a submission"),
        ("a/b/c/d/e/f/g.txt", "not a file of a submission"),
        ("/".join(["a"] * 100), "more than 64 files and folders"),
    ],
)
def test_files_without_a_name_there_are_refused(root, name, reason):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("touch canary")
    error_of(root, reason)


def test_a_thousand_files_are_not_walked(root):
    for number in range(1000):
        (root / f"{number}.txt").write_text("x")
    error_of(root, "more than 64 files and folders")


# The card

BOMB = "a: &a [lol]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "an anchor or alias"),
        ("title: !!python/object/apply:os.system ['touch canary']", "the tag"),
        ("id: digits/a\nid: digits/b", "the key 'id' for the second time"),
        ("training: " + "{a: " * 40 + "1" + "}" * 40, "more than 8 levels of nesting"),
        ("title: " + "x" * 300_000, "262144"),
        ("[a, b]", "expected a YAML mapping"),
        ("seed: " + "9" * 5000, "a number of 5000 characters"),
        ("\x00\x01", "not a YAML card"),
    ],
)
def test_hostile_yaml_is_refused(root, text, reason, monkeypatch):
    monkeypatch.chdir(root.parent)
    (root / "model.yaml").write_text(text)
    error_of(root, reason)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.pt", "..\\secret.pt", "C:\\secret.pt", "\\\\host\\x.pt"])
def test_weights_outside_the_folder_are_refused(root, name):
    change(root, weights=name)
    error_of(root, "weights must be a file beside the card")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../up/x", "field 'id'"),
        ("/etc/passwd", "field 'id'"),
        ("digits/.hidden", "field 'id'"),
        ("digits/x\n", "field 'id'"),
        ("digits/ѕtandard", "field 'id'"),
        ("digits/<b>", "field 'id'"),
        ("digits", "expected <data set or group>/<name>"),
        ("digits/a/results", "expected <data set or group>/<name>"),
        ("digits/" + "x" * 200, "at most 100 characters"),
        ("digits/standard", "is the id of a published model"),
        ("DIGITS/Standard", "can be mistaken for 'digits/standard'"),
        ("digits/n0ise-O.6", "can be mistaken for 'digits/noise-0.6'"),
        ("control/bayes2", "ids that begin with 'control' are reserved"),
        ("timm/resnet18", "ids that begin with 'timm' are reserved"),
        ("Torch/hub", "ids that begin with 'Torch' are reserved"),
        ("smoothed-1-100/x", "are reserved"),
        ("digits/con", "not every system can have a file of that name"),
        ("nul.txt/x", "not every system can have a file of that name"),
        ("digits/x.", "not every system can have a file of that name"),
    ],
)
def test_ids_that_escape_or_deceive_are_refused(root, name, reason):
    change(root, id=name)
    error_of(root, reason)


def test_ids_that_differ_by_case_from_another_submission_are_refused(root, tmp_path):
    make(tmp_path / "leaderboard" / "submissions" / "digits@1" / "digits" / "NewComer", id="digits/NewComer")
    error_of(root, "'digits/newcomer' can be mistaken for 'digits/NewComer'")


def test_an_id_of_others_on_another_benchmark_is_taken_too(root, tmp_path):
    """A reader finds one page per id, whatever the benchmark."""
    home = tmp_path / "leaderboard" / "submissions"
    make(home / "gaussians@1" / ID, authors="Somebody else")
    error_of(root, f"error: id: '{ID}' is a submission of Somebody else; choose another id")
    found = check.check_outside(make(home / "digits@1" / ID), tmp_path / "leaderboard", "digits@1")
    assert [finding.message for finding in found if finding.level == "error"] == [
        f"'{ID}' is a submission of Somebody else; choose another id"
    ]


@pytest.mark.parametrize(("changed", "level"), [({}, "ok"), ({"mean": [0.5], "std": [1.0]}, "warning")])
def test_another_network_of_the_same_id_is_told(root, tmp_path, changed, level):
    make(tmp_path / "leaderboard" / "submissions" / "gaussians@1" / ID, **changed)
    found = [one for one in check.check_outside(root, tmp_path / "leaderboard", "digits") if one.subject == "id"]
    assert [finding.level for finding in found] == [level]


@pytest.mark.parametrize("value", ["a\u202eb", "a\u200bb", "a\x07b", "a\nb", "x" * 3000])
def test_text_that_hides_something_is_refused(root, value):
    change(root, title=value)
    error_of(root, "field 'title': ")


@pytest.mark.parametrize(
    "changed",
    [
        {"input_shape": [1, 10**6, 10**6], "resize": "bilinear"},
        {"classes": 10**9},
        {"smoothing": {"sigma": 0.1, "samples": 10_000}},
        {"loader": "source"},
        {"authors": None},
        {"trained_on": None},
        {"trained_on": "anything"},
        {"activation": None},
        {"license": None},
        {"weights_sha256": None},
        {"weights_sha256": "0" * 64},
        {"weights": "sub/newcomer.safetensors"},
        {"weights": "model.yaml"},
        {"architecture": "timm/hf-hub:evil/net"},
        {"dataset": "nothing"},
        {"unknown": 1},
        {"classes": 11},
        {"mean": [0.1, 0.2], "std": [1.0, 1.0]},
        {"strength": float("nan")},
        {"strength": float("inf")},
        {"training": {"x": [[]]}},
    ],
    ids=str,
)
def test_cards_that_ask_for_too_much_or_say_too_little_are_refused(root, changed):
    change(root, **changed)
    error_of(root)


DOWNLOAD = {
    "path": f"{ID}/x.safetensors", "mirrors": ["https://example.org/x.safetensors"], "sha256": "0" * 64, "size": 1000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"path": "../x.safetensors"}, "field 'download.0.path'"),
        ({"path": f"{ID}/x.pt"}, "ending in .safetensors"),
        ({"path": "digits/other/x.safetensors"}, "expected digits/newcomer/<file>"),
        ({"path": "fetched.json"}, "a name of pagbench's own files; expected <id of the card>/<file>"),
        ({"path": "robustbench/cifar10/L2/x.safetensors"}, "a name of pagbench's own files"),
        ({"sha256": None}, "needs sha256 and size"),
        ({"size": None}, "needs sha256 and size"),
        ({"size": 10 * 2**30}, "at most 4294967296 are fetched"),
        ({"mirrors": []}, "mirrors must be"),
        ({"mirrors": ["http://example.org/x.pt"]}, "mirrors must be"),
        ({"mirrors": ["file:///etc/passwd"]}, "no mirror that pagbench knows"),
        ({"mirrors": ["https://169.254.169.254/latest"]}, "mirrors must be"),
        ({"mirrors": ["https://localhost/x.pt"]}, "mirrors must be"),
        ({"mirrors": ["https://[::1/x.pt"]}, "expected https://<host>/<file> in plain ASCII"),
        ({"mirrors": ["https://[::1]/x.pt"]}, "mirrors must be"),
        ({"also": ["/etc/passwd"]}, "`also` and `archive` are not for a submission"),
        ({}, "not in the cache, and offline"),
    ],
)
def test_links_that_are_not_pinned_or_lead_inside_are_refused(root, changed, reason, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    (root / "newcomer.safetensors").unlink()
    download = {name: value for name, value in (DOWNLOAD | changed).items() if value is not None}
    change(root, weights=None, weights_sha256=None, download=[download])
    error_of(root, reason)


# The weights


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("kind", ["archive", "pickle"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_pickles_are_refused_unopened(root, canary, kind, suffix):
    file = io.BytesIO()
    torch.save({"0.weight": Evil(canary)}, file)
    content = file.getvalue() if kind == "archive" else pickle.dumps({"0.weight": Evil(canary)})
    weigh(root, f"evil{suffix}", content)
    (root / "newcomer.safetensors").unlink()
    if suffix == ".pt":
        error_of(
            root, "'evil.pt', expected a file ending in .safetensors; `pagbench submit init` converts a state dict"
        )
    else:
        (error,) = [finding for finding in probed(root) if finding.level == "error"]
        assert "not a whole safetensors file" in error.message


def test_a_pickle_with_code_is_not_converted(tmp_path, canary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Evil(canary)}, "evil.pt")
    words = ("--authors", "me", "--license", "MIT", "--activation", "silu", "--trained-on", "train")
    done = invoke("submit", "init", "mine", "--yes", "--weights", "evil.pt", *words)
    assert done.exit_code == 2
    assert "evil.pt: holds code" in done.stderr
    assert not (tmp_path / "mine").exists()


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


WHOLE = safetensors({"a": tensor(0, 8, [2])}, bytes(8))


@pytest.mark.parametrize(
    "content",
    [
        safetensors({}, length=2**63),
        safetensors({}, length=10 * 2**30),
        b"short",
        b"",
        safetensors(b"[" * 100_000),
        safetensors(b'{"a": 1'),
        safetensors(b"[1]"),
        safetensors({}),
        safetensors({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
        safetensors({"a": tensor(0, 8, [2]), "b": tensor(12, 20, [2])}, bytes(20)),
        safetensors({"a": tensor(0, 8, [2])}, bytes(4)),
        safetensors({"a": tensor(0, 8, [2])}, bytes(99)),
        safetensors({"a": tensor(0, 8, [2**31, 2**31])}, bytes(8)),
        safetensors({"a": tensor(0, 8, [2**60, 16])}, bytes(8)),
        safetensors({"a": tensor(0, 8, [-2])}, bytes(8)),
        safetensors({"a": tensor(8, 0, [2])}, bytes(8)),
        safetensors({"a": tensor(0, 8, [True, 2])}, bytes(8)),
        safetensors({"a": tensor(0, 8, [2], "F128")}, bytes(8)),
        safetensors({"a": {"dtype": "F32"}}),
        safetensors({"__metadata__": {"a": {}}, "a": tensor(0, 8, [2])}, bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}'),
        safetensors(
            {str(i): tensor(i, i + 1, [1], "U8") for i in range(folder.TENSORS + 1)}, bytes(folder.TENSORS + 1)
        ),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_safetensors_say_what_they_are_to_the_last_byte(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(WHOLE)
    assert check_network.check_safetensors(path).level == "ok"
    path.write_bytes(content)
    found = check_network.check_safetensors(path)
    assert found.level == "error", found
    assert "\n" not in str(found)


def test_more_parameters_than_are_measured_are_refused(root, monkeypatch):
    monkeypatch.setattr(check_network, "PARAMETERS", 1000)
    found = check_network.check_safetensors(root / "newcomer.safetensors")
    assert found.level == "error" and "of at most 1000" in found.message


def test_what_the_header_check_lets_through_is_what_the_library_reads(root):
    from safetensors.torch import load_file

    path = root / "newcomer.safetensors"
    found = check_network.check_safetensors(path)
    values = sum(value.numel() for value in load_file(path).values())
    assert f"{len(load_file(path))} tensors, {values} values" in found.message


@pytest.mark.slow
def test_a_network_that_eats_all_memory_is_stopped(root):
    """VGG's first linear layer for 10^5 classes of 10^3-sided images, in half a gigabyte."""
    change(root, architecture="torchvision/vgg16", activation=None)
    found = list(check.check_inside(root, "digits", Limits(seconds=60, memory=1 << 30)))
    if sandbox.COMPLETE:
        (error,) = [finding for finding in found if finding.level == "error"]
        assert "memory" in error.message
    assert refused(found)


def test_a_network_that_takes_too_long_is_stopped(root):
    found = list(check.check_inside(root, "digits", Limits(seconds=1)))
    assert str(found[-1]).startswith("error: network: stopped after 1 s")


def test_an_architecture_that_nobody_builds_is_told(root):
    change(root, architecture="os/system", activation=None)
    (error,) = [finding for finding in probed(root) if finding.level == "error"]
    assert "unknown architecture 'os/system'" in error.message


def probed(root):
    """Findings of the confined process's function, in this one."""
    return [Finding(**value) for value in check_network.examine(str(root), "digits@1")]


def test_logits_that_share_a_term_beyond_float32_are_found(root):
    """c(x) = 10^6 on all logits changes no prediction on paper, and hides the gradient from finite differences."""
    from safetensors.torch import load_file, save

    state = load_file(root / "newcomer.safetensors")
    last = (
        list(state)[-1] if list(state)[-1].endswith("bias") else next(name for name in state if len(state[name]) == 10)
    )
    state[last] = state[last] + 1e6
    weigh(root, "newcomer.safetensors", save(state))
    assert refused(probed(root))


# The results


def put_results(root, repeated=1, **changed):
    """Puts results there that a shipped network has earned, with changed columns."""
    definition = benchmarks.load("digits@1")
    schema = columns.schema(definition)
    shipped = results.read(PUBLISHED / "digits@1/digits/noise-0.6.parquet", schema)
    card = folder.read_card(root)
    own = {"card": card.model_dump(mode="json"), "behaviour": card.functional_hash()}
    provenance = {**shipped.document, **own, "weights_sha256": card.weights_sha256}
    rows = shipped.rows.assign(entrant=card.id, **changed)
    rows = pd.concat([rows] * repeated, ignore_index=True)
    results.write(root / f"results/digits@1/{card.id}.parquet", results.Result(rows, provenance), schema)
    return rows


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"alignment_cosine": float("inf")}, "alignment_cosine: 360 values out of range"),
        ({"nll": float("nan")}, "nll: 360 values are missing"),
        ({"alignment_cosine": 7.0}, "alignment_cosine: 360 values out of range"),
        ({"sample_id": "0"}, "samples more than once"),
        ({"repeated": 10}, "3600 rows, expected at most 360"),
    ],
    ids=str,
)
def test_results_that_cannot_be_are_refused(root, changed, reason):
    put_results(root, **changed)
    card = folder.read_card(root)
    found = check_results.check_folder(root / "results", card, card.weights_sha256)
    assert refused(found) == (reason is not None), found
    assert reason is None or any(reason in finding.message for finding in found), found


def test_results_of_older_weights_are_told_once(root):
    put_results(root)
    card = folder.read_card(root).model_copy(update={"weights_sha256": "0" * 64})
    (error,) = check_results.check_folder(root / "results", card, "0" * 64)
    assert "the results are of other weights; measure again (pagbench submit run DIR --overwrite)" in error.message


def test_text_in_the_results_is_looked_at_as_on_the_card(root):
    """The pages show the card that the results file carries."""
    card, path = folder.read_card(root), root / f"results/digits@1/{ID}.parquet"
    put_results(root)
    schema = columns.schema(benchmarks.load("digits@1"))
    result = results.read(path, schema)
    shown = {**result.document, "card": {**result.document["card"], "title": "a\u202eb"}}
    results.write(path, results.Result(result.rows, shown), schema)
    (error,) = check_results.check_folder(root / "results", card, card.weights_sha256)
    assert error.level == "error" and "'card.title' holds the invisible character '\\u202e'" in error.message


def test_weights_of_a_submission_are_checked_before_a_rerun_loads_them(root, canary):
    """`verify` measures without limits, so it loads nothing that `check` refuses."""
    file = io.BytesIO()
    torch.save({"0.weight": Evil(canary)}, file)
    (root / "newcomer.safetensors").unlink()
    weigh(root, "evil.safetensors", file.getvalue())
    put_results(root)
    done = invoke("verify", root, "--by", "me", "--samples", "1", "--offline")
    assert done.exit_code == 2, done.output
    assert "evil.safetensors: not a whole safetensors file" in done.output
    assert not list(root.rglob("*.verified.json"))


def test_results_are_looked_at_by_the_check(root):
    put_results(root, alignment_cosine=7.0)
    errors = [finding for finding in probed(root) if finding.level == "error"]
    assert [finding.subject for finding in errors] == ["digits@1/newcomer.parquet"]


# Whatever is shown

STRINGS = {
    "title": SCRIPT, "authors": f'"><img src=x onerror=alert(1)>{SCRIPT}', "license": "javascript:alert(1)",
    "reference": "javascript:alert(document.cookie)", "training_command": "$(touch canary) `touch canary`",
    "preprocessing": "{{ 7 * 7 }} {% raw %}</script><script>alert(2)</script>", "state_key": None,
    "training": {"</td><script>alert(3)</script>": "<svg onload=alert(4)>"},
}  # fmt: skip


class _Elements(HTMLParser):
    """What a browser would run or follow."""

    def __init__(self):
        super().__init__()
        self.scripts, self.handlers, self.links, self._kind = [], [], [], None

    def handle_starttag(self, tag, attributes):
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.links += [value for name, value in attributes if name in ("href", "src") and value]
        given = dict(attributes)
        self._kind = given.get("type", "text/javascript") if tag == "script" and "src" not in given else None

    def handle_endtag(self, tag):
        self._kind = None

    def handle_data(self, data):
        if self._kind == "text/javascript":
            self.scripts.append(data)


def test_pages_escape_whatever_a_card_says(root, tmp_path):
    leaderboard = tmp_path / "leaderboard"
    definition = benchmarks.load("digits@1")
    place = make(leaderboard / "submissions" / "digits@1" / ID, **STRINGS)
    put_results(place)
    for anchor in definition.anchors:
        copy = leaderboard / f"results/digits@1/{anchor}.parquet"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((PUBLISHED / f"digits@1/{anchor}.parquet").read_bytes())
    written = [path for path in build(leaderboard / "results", tmp_path / "site") if str(path).endswith(".html")]
    pages = {path: Path(tmp_path / "site" / path).read_text(encoding="utf-8") for path in written}
    assert any("alert(" in page for page in pages.values()), "the strings are shown"
    for path, page in pages.items():
        seen = _Elements()
        seen.feed(page)
        assert not [script for script in seen.scripts if "alert" in script], path
        assert not seen.handlers, path
        assert not [link for link in seen.links if link.strip().lower().startswith(("javascript:", "data:text"))], path


def test_a_finding_is_one_line_whatever_it_speaks_of():
    text = str(Finding("error", "a\nb\x1b[31m", "c\r\nd\u202e\u2028e"))
    assert len(text.splitlines()) == 1
    assert text.isprintable()


def test_every_string_of_a_card_is_looked_at(root):
    """A field that is added later is looked at, too."""
    card = folder.read_card(root)
    texts = [name for name, kind in type(card).model_fields.items() if kind.annotation in (str, str | None)]
    assert {"title", "authors", "license", "reference", "state_key", "strip_prefix", "preprocessing"} <= set(texts)
    for name in texts:
        with pytest.raises(CardError, match=f"field '{name}'"):
            type(card).parse(card.model_dump(exclude_none=True) | {name: "x\u202ex"}, "model.yaml")
    for nested in ({"training": {"a\u202eb": 1}}, {"training": {"a": "x\u200bx"}}):
        with pytest.raises(CardError, match=r"field 'training.*the invisible character"):
            type(card).parse(card.model_dump(exclude_none=True) | nested, "model.yaml")
    assert yaml.safe_load((root / "model.yaml").read_text()) == fields(root)
    assert hashlib.sha256((root / "newcomer.safetensors").read_bytes()).hexdigest() == card.weights_sha256
