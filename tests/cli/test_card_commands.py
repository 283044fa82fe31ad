"""Cards from the command line: one that was asked for runs, and one that is shown can be saved."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from commands import invoke
from safetensors.torch import load_file
from typer.testing import CliRunner

import pagbench
from pagbench import results
from pagbench.cards import ModelCard
from pagbench.cli import app
from pagbench.models import architectures, registry
from pagbench.submissions.create import CARD_QUESTIONS

SHIPPED = "digits/noise-0.6"
OPTIONS = ("--weights", "weights.safetensors", "--architecture", "small-cnn", "--dataset", "digits")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Those of a shipped network, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(registry.find(SHIPPED).weights_file, "weights.safetensors")
    return load_file("weights.safetensors")


def card_of(path="my-net.yaml"):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def test_a_new_card_runs_as_the_network_that_its_weights_are_of(weights, short_runs):
    done = invoke("card", "new", "my-net.yaml", *OPTIONS, "--activation", "silu", "--yes")
    assert done.exit_code == 0, done.output
    accuracy, written = done.output.splitlines()
    assert written == "written: my-net.yaml  (next: pagbench run my-net.yaml --benchmark digits@2)"
    assert (
        float(re.fullmatch(r"accuracy on \d+ images that are not measured: (\S+); if .* normalisation", accuracy)[1])
        > 0.9
    )
    shipped, written = registry.find(SHIPPED).card, ModelCard.read(Path("my-net.yaml"))
    assert written.id == "digits/my-net" and written.weights == "weights.safetensors"
    assert written.weights_sha256 == shipped.weights_sha256
    ran = invoke("run", "my-net.yaml", "--benchmark", "digits@2", "--limit", "8", "--results", "kept")
    assert ran.exit_code == 0, ran.output
    rows = pagbench.load_results("kept", model="digits/my-net").set_index("sample_id")
    published = pagbench.load_results(results.PUBLISHED, "digits@2", SHIPPED).set_index("sample_id").loc[rows.index]
    assert len(rows) == 8
    assert rows["alignment_cosine"].to_numpy() == pytest.approx(published["alignment_cosine"].to_numpy(), abs=1e-3)


def test_what_is_missing_is_asked_for_and_a_wrong_answer_again(weights):
    torch.save({"state": {f"module.{name}": tensor for name, tensor in weights.items()}}, "checkpoint.pt")
    typed = [
        "digits", "nothing.pt", "checkpoint.pt", "small-cnn", "swish", "", "silu", "noise", "0.6", "", "",
        "digits/mine", "", "", "", "", "state", "module.",
    ]  # fmt: skip
    done = CliRunner().invoke(
        app, ["card", "new", "my-net.yaml"], input="\n".join(typed) + "\n", env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    wrong = [line.split()[1] for line in done.output.splitlines() if line.startswith("Error: ")]
    assert wrong == ["weights:", "activation:", "activation:"]
    assert "activation: an answer is needed" in done.output and "small-cnn needs one of silu, relu" in done.output
    expected = {"id": "digits/mine", "strength": 0.6, "state_key": "state", "strip_prefix": "module."}
    assert card_of().items() >= expected.items()


@pytest.mark.parametrize(
    ("card", "options", "line"),
    [
        ("my-net.yaml", (), "give --activation"),
        ("my-net.yaml", ("--activation", "swish"), "activation: "),
        ("my-net.yaml", ("--activation", "silu", "--architecture", "mlp"), "weights of another network"),
        ("my-net.yaml", ("--activation", "silu", "--mean", "0.5"), "mean and std go together"),
        ("my-net.yaml", ("--activation", "silu", "--dataset", "fashion-mnist"), "weights.safetensors"),
        ("elsewhere/my-net.yaml", ("--activation", "silu"), "pagbench card new weights.yaml"),
        ("my-net.txt", ("--activation", "silu"), "expected a name ending in .yaml"),
    ],
)
def test_a_card_that_would_not_run_is_not_written(weights, card, options, line):
    done = invoke("card", "new", card, *OPTIONS, *options, "--yes")
    assert done.exit_code == 2 and line in done.stderr, done.output
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not Path(card).exists()


def test_a_card_that_is_there_stays_as_it_is(weights):
    Path("my-net.yaml").write_text("mine")
    done = invoke("card", "new", "my-net.yaml", *OPTIONS, "--activation", "silu", "--yes")
    assert done.exit_code == 2 and "is there already; edit it, or give another name" in done.stderr
    assert Path("my-net.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", [SHIPPED, "control/bayes", "smoothed:0.25:digits/standard"])
def test_a_card_that_is_shown_can_be_saved_and_is_the_same(tmp_path, name):
    shown = invoke("show", name, "--card")
    assert shown.exit_code == 0, shown.output
    (tmp_path / "saved.yaml").write_text(shown.output, encoding="utf-8")
    assert ModelCard.read(tmp_path / "saved.yaml") == registry.find(name).card


def test_the_question_names_every_architecture_and_activation():
    asked = {question.name: question.asks({"architecture": "mlp"}) for question in CARD_QUESTIONS}
    assert all(name in asked["architecture"] for name in architectures.ARCHITECTURES)
    assert all(name in asked["activation"] for name in ["mlp", *architectures.ACTIVATIONS])


def test_a_benchmark_has_no_card_to_show():
    done = invoke("show", "digits", "--card")
    assert (
        done.exit_code == 2 and done.stderr == "error: --card is for a model, and digits is a benchmark; leave it out\n"
    )
