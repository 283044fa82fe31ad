"""From a checkpoint to a place on the leaderboard, as a newcomer goes."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from commands import invoke
from safetensors.torch import load_file, save_file
from submissions import ID, fields, make

from pagbench import benchmarks, results
from pagbench.cards.plain_yaml import LARGEST_YAML
from pagbench.models import architectures, registry
from pagbench.results import PUBLISHED
from pagbench.submissions import add, check, check_network, folder
from pagbench.submissions.create import QUESTIONS

OPTIONS = (
    "--weights", "net.pt", "--architecture", "small-cnn", "--authors", "A. Newcomer", "--license", "MIT",
    "--reference", "https://example.org", "--activation", "silu", "--trained-on", "train",
)  # fmt: skip


@pytest.fixture
def leaderboard(tmp_path):
    """The published results on digits, without submissions."""
    shutil.copytree(PUBLISHED / "digits@1", tmp_path / "leaderboard" / "results" / "digits@1")
    return tmp_path / "leaderboard"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(architectures.build("small-cnn", (1, 8, 8), 10).state_dict(), "net.pt")
    return tmp_path / "net.pt"


def test_options_answer_every_question(checkpoint):
    done = invoke("submit", "init", "mine", "--yes", *OPTIONS)
    assert done.exit_code == 0, done.output
    found = fields(Path("mine"))
    assert (found["id"], found["title"]) == ("digits/net", "small-cnn, standard")
    assert found["input_shape"] == [1, 8, 8]
    state, kept = torch.load(checkpoint), load_file("mine/net.safetensors")
    assert found["weights"] == "net.safetensors" and kept.keys() == state.keys(), "converted"
    assert all(torch.equal(kept[name], state[name]) for name in state)
    options = {f"--{question.name.replace('_', '-')}" for question in QUESTIONS}
    assert options <= set(re.findall(r"--[a-z-]+", invoke("submit", "init", "--help").output))


def test_a_wrong_answer_is_asked_for_again_in_one_line(checkpoint):
    from typer.testing import CliRunner

    from pagbench.cli import app

    answers = {
        "benchmark": ["digit", "digits"], "weights": ["nothing.pt", "net.pt"], "strength": ["much", "-1", "0.5"],
        "activation": ["", "swish", "silu"], "trained_on": ["everything", "other"], "training_accuracy": ["1.5", "0.9"],
        "id": ["../up", "digits/ok"], "output": ["scores", "logits"], "mean": ["a", "0.5"], "std": ["0", "0.5"],
        "authors": ["", "me"], "license": ["MIT"], "trained_on_target": ["perhaps", "yes"], "link": ["ftp://x", ""],
    }  # fmt: skip
    typed = "\n".join(text for question in QUESTIONS for text in answers.get(question.name, [""])) + "\n"
    done = CliRunner().invoke(app, ["submit", "init", "mine"], input=typed, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    wrong = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert [line.split()[1] for line in wrong] == [
        "benchmark:", "weights:", "activation:", "activation:", "strength:", "strength:", "trained_on:",
        "training_accuracy:", "id:", "output:", "mean:", "std:", "authors:", "trained_on_target:",
        "link:",
    ]  # fmt: skip
    assert fields(Path("mine")).items() >= {"strength": 0.5, "mean": [0.5], "trained_on_target": True}.items()
    assert (
        fields(Path("mine")).items() >= {"activation": "silu", "trained_on": "other", "training_accuracy": 0.9}.items()
    )


def test_what_no_state_dict_tells_has_no_default(checkpoint):
    for option in ("--activation", "--trained-on"):
        index = OPTIONS.index(option)
        done = invoke("submit", "init", "mine", "--yes", *OPTIONS[:index], *OPTIONS[index + 2 :])
        assert done.exit_code == 2 and done.stderr.endswith(f"; give {option}\n"), done.output
        assert not Path("mine").exists()
    done = invoke("submit", "init", "mine", "--yes", *OPTIONS, "--activation", "")
    assert done.exit_code == 2 and "needs the field 'activation', one of silu, relu" in done.stderr
    at = OPTIONS.index("small-cnn")
    others = (*OPTIONS[:at], "torchvision/resnet18", *OPTIONS[at + 1 : OPTIONS.index("--activation")])
    done = invoke("submit", "init", "mine", "--yes", *others, "--trained-on", "unknown", "--training-accuracy", "0.98")
    assert done.exit_code == 0, done.output
    found = fields(Path("mine"))
    assert "activation" not in found and (found["trained_on"], found["training_accuracy"]) == ("unknown", 0.98)


def test_without_an_answer_or_over_another_card_nothing_is_written(checkpoint):
    done = invoke("submit", "init", "mine", "--yes")
    assert (done.exit_code, done.stderr) == (
        2, "error: no answer to 'File of the weights: a state dict, safetensors or .pt'; give --weights\n"
    )  # fmt: skip
    invoke("submit", "init", "mine", "--yes", *OPTIONS)
    before = Path("mine/model.yaml").read_bytes()
    again = invoke("submit", "init", "mine", "--yes", *OPTIONS)
    assert (again.exit_code, Path("mine/model.yaml").read_bytes()) == (2, before)


def test_large_weights_need_a_link_and_a_link_is_pinned(checkpoint, monkeypatch):
    monkeypatch.setattr("pagbench.submissions.create.WEIGHTS_BESIDE", 1000)
    refused = invoke("submit", "init", "mine", "--yes", *OPTIONS)
    assert refused.exit_code == 2
    assert "needed above" in refused.stderr
    assert refused.stderr.endswith("; give --link\n")
    link = ("--link", "hf:me/nets@v1/net.safetensors")
    refused = invoke("submit", "init", "mine", "--yes", *OPTIONS, *link)
    assert (refused.exit_code, "publish it as .safetensors" in refused.stderr) == (2, True)
    save_file(torch.load(checkpoint), "net.safetensors")
    done = invoke("submit", "init", "mine", "--yes", "--weights", "net.safetensors", *OPTIONS[2:], *link)
    assert done.exit_code == 0, done.output
    (file,) = fields(Path("mine"))["download"]
    assert (file["path"], file["size"]) == ("digits/net/net.safetensors", Path("net.safetensors").stat().st_size)
    assert not list(Path("mine").glob("net.*"))


def test_a_submission_goes_from_its_folder_to_its_rank(leaderboard, tmp_path, monkeypatch):
    """The weights are those of a shipped network, so that its rows, and its place beside it, are known."""
    root = make(tmp_path / "mine")
    done = invoke("submit", "run", root, "-b", "digits@1", "--leaderboard", leaderboard)
    assert done.exit_code == 0, done.output
    assert [path.name for path in (root / "results").rglob("*.parquet")] == ["newcomer.parquet"], "no anchors"
    added = invoke("submit", "add", root, "-b", "digits@1", "--leaderboard", leaderboard)
    assert added.exit_code == 0, added.output
    place = leaderboard / "submissions" / "digits@1" / ID
    assert {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} == {
        "model.yaml", "newcomer.safetensors", f"results/digits@1/{ID}.parquet"
    }  # fmt: skip
    assert sorted(path.name for path in leaderboard.iterdir()) == ["results", "submissions"], "nothing is left over"
    assert re.search(rf"{ID} takes rank \d+ \(\d+–\d+\) of 15, alignment 0\.\d+ \[", added.output)
    assert f"{ID} is not alone: it has the outputs of digits/noise-0.6" in added.output
    standing = add.standing(leaderboard, benchmarks.load("digits@1"), place, ID)
    rows = standing.after.set_index("model")
    assert rows.loc[ID, "alignment"] == pytest.approx(
        rows.loc["digits/noise-0.6", "alignment"], abs=1e-3
    )  # published rows are rounded
    assert f"git add {place}" in added.output
    assert len(results.read_all(leaderboard / "results", benchmarks.load("digits@1"))) == len(rows)
    monkeypatch.setattr("pagbench.submissions.check.check_inside", lambda *_: [])  # as it was a moment ago
    again = invoke("submit", "add", root, "-b", "digits@1", "--leaderboard", leaderboard)
    assert again.exit_code == 0, again.output
    assert "ok: id: digits/newcomer is submitted already by the same authors: this is an update" in again.output
    assert registry.submitted(leaderboard) == {ID: [place / "model.yaml"]}


def test_what_cannot_be_ranked_is_not_laid_down(leaderboard, tmp_path, monkeypatch):
    """Whatever the checks let through: the board is made of a copy first."""
    root = make(tmp_path / "mine")
    home = root / "results/digits@1" / f"{ID}.parquet"
    home.parent.mkdir(parents=True)
    shutil.copyfile(PUBLISHED / "digits@1/digits/noise-0.6.parquet", home)
    monkeypatch.setattr("pagbench.submissions.check.check_inside", lambda *_: [])
    done = invoke("submit", "add", root, "-b", "digits@1", "--leaderboard", leaderboard)
    assert done.exit_code == 2 and "holds rows of digits/noise-0.6" in done.stderr, done.output
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in leaderboard.iterdir()] == ["results"]


def test_another_authors_submission_is_not_overwritten(leaderboard, tmp_path):
    make(leaderboard / "submissions" / "digits@1" / ID)
    before = (leaderboard / "submissions/digits@1" / ID / "model.yaml").read_bytes()
    root = make(tmp_path / "mine", authors="Somebody else")
    done = invoke("submit", "add", root, "-b", "digits@1", "--leaderboard", leaderboard)
    assert done.exit_code == 1
    assert "error: id: 'digits/newcomer' is a submission of A. Newcomer; choose another id" in done.output
    assert (leaderboard / "submissions/digits@1" / ID / "model.yaml").read_bytes() == before


def test_a_submitted_model_is_found_by_its_id(leaderboard, monkeypatch):
    make(leaderboard / "submissions" / "digits@1" / ID)
    monkeypatch.setattr(registry, "LEADERBOARD", leaderboard)
    registry._known.cache_clear()
    try:
        request = registry.find(ID)
        card, path = request.card, request.path
    finally:
        registry._known.cache_clear()
    assert (card.title, path.parent.name) == ("A newcomer", "newcomer")


def test_networks_of_other_libraries_need_no_code(tmp_path):
    """A card names the architecture; the installed library builds it, without its pretrained weights."""
    network = architectures.build("torchvision/resnet18", (3, 32, 32), 10)
    assert network.fc.out_features == 10
    with pytest.raises(Exception, match="unknown architecture 'timm/resnet1'"):
        architectures.build("timm/resnet1", (3, 32, 32), 10)


DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "how-to" / "submit.md"


@pytest.mark.slow
def test_the_document_does_what_it_says(tmp_path, monkeypatch):
    """Its script and its commands, as they stand there; what `run` and `add` do is tested above."""
    text = DOCUMENT.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(script, "train.py", "exec"), {})
    init = next(line for line in text.splitlines() if line.startswith("pagbench submit init my-resnet --yes"))
    assert invoke(*shlex.split(init)[1:]).exit_code == 0
    found = [str(line) for line in check.check(Path("my-resnet"), tmp_path / "leaderboard")]
    assert not [line for line in found if line.startswith("error")], found
    steps = re.findall(r"^pagbench (submit \w+) my-resnet$", text, re.MULTILINE)
    assert steps == ["submit init", "submit check", "submit run", "submit add"]


def test_the_limits_that_the_document_states_are_those_of_the_checks():
    told = DOCUMENT.read_text(encoding="utf-8").partition("## Limits")[2]
    assert (LARGEST_YAML, folder.WEIGHTS_BESIDE, folder.WEIGHTS_LINKED) == (256 * 2**10, 8 * 2**20, 4 * 2**30)
    assert (folder.PARAMETERS, folder.RESULTS_BYTES, folder.FILES) == (10**9, 16 * 2**20, 64)
    assert (check.LIMITS.seconds, check.LIMITS.memory) == (600, 8 * 2**30)
    for stated in ("256 KiB", "8 MiB; 4 GiB", "10⁹", "16 MiB", "| 64,", "10 minutes", "8 GiB"):
        assert stated in told


@pytest.mark.parametrize("name", ["digits/STANDARD", "digits/standarc1", "Digits/Standard", "digits/n0ise-o.6"])
def test_lookalikes_of_published_ids_are_told(name, tmp_path):
    card = registry.find("digits/standard").card.model_copy(update={"id": name})
    levels = {finding.level for finding in check.check_id(card, tmp_path, tmp_path)}
    assert levels == ({"ok"} if name == "digits/standarc1" else {"error"})


@pytest.mark.parametrize(("declared", "level"), [(None, "warning"), (0.99, "ok"), (0.2, "warning")])
def test_a_training_accuracy_is_asked_for(tmp_path, declared, level):
    root = make(tmp_path / "mine", training_accuracy=declared)
    (found,) = [f for f in check_network.examine(str(root), "digits") if f["subject"] == "training_accuracy"]
    assert found["level"] == level and ("none is declared" in found["message"]) == (declared is None)


def test_an_embargo_has_a_line(tmp_path):
    for embargo in (True, False, None):
        card = folder.read_card(make(tmp_path / f"net{embargo}", embargo=embargo))
        lines = [str(f) for f in check.check_card(card) if f.subject == "embargo"]
        assert len(lines) == bool(embargo) and all(line.startswith("ok: embargo: ") for line in lines)
