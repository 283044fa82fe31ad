import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from commands import assert_one_line, invoke
from safetensors.torch import save_file
from typer.testing import CliRunner

from pagbench import models, results
from pagbench.cards import ModelCard
from pagbench.cli import app, options
from pagbench.models import architectures

pytestmark = pytest.mark.usefixtures("short_runs")

COMMANDS = [
    "run", "leaderboard", "fetch", "list", "show", "check", "gradients", "figures", "train", "sweep", "fit", "tangents",
    "theory", "sensitivity", "site", "doctor", "verify", "submit init", "submit check", "submit run", "submit add",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a limited run of two models and the anchors."""
    path = tmp_path_factory.mktemp("results")
    done = invoke("run", "digits/noise-0.6", "--limit", 12, "--results", path)
    assert done.exit_code == 0, done.output
    assert str(path / "digits@2") in done.output
    return path


@pytest.fixture
def anchored(folder, tmp_path):
    """A results folder in which the anchors are measured, so that a run measures what it names and no more."""
    shutil.copytree(folder, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def card(tmp_path):
    """A copy of a shipped model's card and weights that a test may damage."""
    request = models.find("digits/standard")
    found, path = request.card, request.path
    for name in (path.name, found.weights):
        shutil.copy(path.parent / name, tmp_path / name)
    change(tmp_path / path.name, id="mine/standard")
    return tmp_path / path.name


def change(card, **fields):
    content = yaml.safe_load(card.read_text())
    content.update(fields)
    card.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--bogus"], ["no such option", "--bogus"]),
        (["leaderbord"], ["no such command 'leaderbord'", "'leaderboard'?"]),
        (["run", "--bogus"], ["no such option", "--bogus"]),
        (["show"], ["missing argument"]),
        (["compare", "digits/standard"], ["missing argument", "B"]),
        (["show", "a", "b"], ["unexpected extra argument", "b"]),
        (["train", "digits", "--family"], ["--family", "requires an argument"]),
        (["run", "--limit", "many"], ["--limit", "valid integer", "'many'"]),
        (["run", "--device", "gpu"], ["--device", "'gpu'", "'cuda'"]),
        (["leaderboard", "--format", "x\n\x1b[2J"], ["--format", "'markdown'"]),
        (["submit", "inti"], ["no such command 'inti'"]),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, parts):
    done = invoke(*arguments)
    assert_one_line(done, *parts, " --help")
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout, done.output


@pytest.mark.parametrize("arguments", [[], ["submit"]])
def test_no_command_shows_the_help(arguments):
    done = invoke(*arguments)
    assert done.exit_code == 2 and "Usage:" in done.output and "error:" not in done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    text = invoke(*command.split(), "--help").output
    assert f"Example: pagbench {command}" in text


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_help_breaks_lines_where_the_terminal_ends(command):
    said = invoke(command, "--help", width=1000).output.partition("Arguments")[0].strip(" ╭─\n").splitlines()
    assert sum(map(bool, map(str.strip, said))) == 3, "usage and two paragraphs"


def test_help_lists_every_command():
    text = invoke("--help").output
    assert all(re.search(rf"\b{command.partition(' ')[0]}\b", text) for command in COMMANDS)


def test_leaderboard_formats_agree(folder, tmp_path):
    rows = json.loads(invoke("leaderboard", "-r", folder, "--format", "json").output)
    table = invoke("leaderboard", "-r", folder).output
    markdown = invoke("leaderboard", "-r", folder, "--format", "markdown").output
    output = tmp_path / "board.csv"
    assert f"written: {output}" in invoke("leaderboard", "-r", folder, "--format", "csv", "--output", output).output
    csv = pd.read_csv(output)
    assert list(csv["model"]) == [row["model"] for row in rows]
    for row in rows:
        assert row["model"] in table
        if row["alignment"] is not None:
            cell = f"{row['alignment']:.3f} ±{(row['alignment_high'] - row['alignment_low']) / 2:.3f}"
            assert re.search(rf"\| {row['model']} \| {row['accuracy']:.3f} \| {re.escape(cell)}", markdown)


def test_json_rows_carry_what_is_promised(folder):
    rows = json.loads(invoke("leaderboard", "-r", folder, "--format", "json").output)
    plain = [
        "rank",
        "rank_low",
        "rank_high",
        "model",
        "family",
        "strength",
        "n_scored",
        "n_total",
        "regime",
        "regime_probability",
        "status",
    ]
    measured = [
        "accuracy",
        "alignment",
        "alignment_lpips",
        "alignment_cosine",
        "tangent_energy",
        "on_response",
        "off_response",
        "log_ratio",
        "temperature",
    ]
    for row in rows:
        assert set(plain) <= set(row)
        for name in measured:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], (row["model"], name)


@pytest.mark.parametrize(
    ("columns", "longest"), [("60", 60), ("80", 80), ("120", 120), ("0", 400), ("many", 400), ("", 400), ("-5", 400)]
)
def test_what_is_piped_follows_columns(folder, columns, longest):
    """Without them, lines are as long as they are, as programs want them."""
    done = CliRunner().invoke(app, ["leaderboard", "-r", str(folder)], env={"COLUMNS": columns})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= longest
    listed = [CliRunner().invoke(app, ["list", "models"], env={"COLUMNS": each}).stdout for each in (columns, "")]
    assert listed[0].split() == listed[1].split()
    assert max(map(len, listed[0].splitlines())) <= longest


@pytest.mark.parametrize("columns", ["1", "40", "60", "80", ""])
def test_a_card_stays_yaml_and_a_comparison_a_line_for_each_measure(folder, columns):
    def invoked(*command):
        return CliRunner().invoke(app, [*command, "-r", str(folder)], env={"COLUMNS": columns}).stdout

    card = yaml.safe_load(invoked("show", "digits/noise-0.6").partition("\n\n")[0])
    assert card["id"] == "digits/noise-0.6"
    rows = [line for line in invoked("compare", "digits/noise-0.6", "digits/standard").splitlines() if "[" in line]
    assert len(rows) > 5 and all(re.search(r"\] +\d\.\d{3}  [AB–≠]", line) for line in rows)


@pytest.mark.parametrize(("size", "columns", "width"), [(0, "", 80), (0, "0", 80), (100, "x", 100), (9, "", 40)])
def test_a_terminal_of_no_width_is_as_wide_as_is_usual(monkeypatch, size, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(options.sys, "stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(options.os, "get_terminal_size", lambda *_: os.terminal_size((size, 24)))
    monkeypatch.setattr(options.sys, "__stdout__", SimpleNamespace(fileno=lambda: 1))
    assert options.terminal_width() == width


def test_sort_orders_by_any_column(folder):
    rows = json.loads(invoke("leaderboard", "-r", folder, "--format", "json", "--sort", "off_response").output)
    values = [row["off_response"] for row in rows if "control" not in row["status"]]
    assert values == sorted(values)
    assert_one_line(invoke("leaderboard", "-r", folder, "--sort", "beauty"), "unknown column 'beauty'")
    assert_one_line(invoke("leaderboard", "-r", folder, "--sort", "tangent enrgy"), "closest: tangent energy")
    by_heading, by_name = (
        invoke("leaderboard", "-r", folder, "--sort", column).output for column in ("log OFF/on", "log_ratio")
    )
    assert by_heading == by_name


def test_show_prints_the_card_and_the_results(folder):
    text = invoke("show", "digits/noise-0.6", "-r", folder).output
    assert "training_command: pagbench train digits --family noise --strength 0.6 --seed 0" in text
    assert re.search(r"alignment +0\.\d{4} \[", text)
    assert "partial: 12 of 360 images" in text


@pytest.mark.parametrize(
    ("edition", "label"), [("digits@1", "digits@1"), ("digits@2", "digits@2"), ("digits", "digits@2")]
)
def test_show_prints_the_edition_that_it_is_asked_for(edition, label):
    text = invoke("show", "digits/noise-0.6", "-b", edition, "-r", results.PUBLISHED).stdout
    assert re.findall(r"^# (digits@\d) in", text, re.MULTILINE) == [label] and "also measured" not in text
    assert f"# pre-flight on {label}: pass" in text


def test_show_prints_the_newest_edition_and_names_the_earlier():
    text = invoke("show", "digits/noise-0.6", "-r", results.PUBLISHED).output
    shown = re.findall(r"^# (digits@\d) in ", text, re.MULTILINE)
    assert shown == ["digits@2"]
    assert "# also measured on digits@1: pagbench show digits/noise-0.6 --benchmark digits@1" in text
    assert "# pre-flight on digits@2: pass" in text


@pytest.mark.parametrize(
    ("what", "expected"), [("models", "digits/standard"), ("benchmarks", "sphere@1"), ("measures", "tangent_energy")]
)
def test_list(what, expected):
    assert expected in invoke("list", what).output


def test_tangents_compares_a_benchmarks_manifold_with_a_card(tmp_path):
    (tmp_path / "pca.yaml").write_text("{kind: local-pca, rank: 8, neighbours: 64}")
    result = invoke("tangents", "gaussians", "--manifold", tmp_path / "pca.yaml", "--images", 3)
    assert result.exit_code == 0, result.output
    header, row = (line.split() for line in result.stdout.strip().splitlines())
    assert header == ["first", "second", "agreement", "standard_error", "chance"]
    assert (row[0], row[-1]) == ("span", "0.125")
    (tmp_path / "mask.yaml").write_text("{kind: mask, rank: 8}")
    refused = invoke("tangents", "gaussians", "--manifold", tmp_path / "mask.yaml")
    assert_one_line(refused, "manifold 'mask' does not fit data set 'gaussians'")


def test_gradients_draws_a_picture(tmp_path):
    output = tmp_path / "new" / "grid.png"
    done = invoke("gradients", "digits/standard", "control/constant", "--samples", 2, "--output", output)
    assert done.exit_code == 0, done.output
    from matplotlib.image import imread

    picture = imread(output)
    assert picture.shape[0] > 200
    assert picture.std() > 0.1


def test_train_writes_what_run_takes(tmp_path):
    done = invoke(
        "train", "digits", "--family", "noise", "--strength", "0.3", "--seed", 3, "--epochs", 2, "--output", tmp_path
    )
    assert done.exit_code == 0, done.output
    card = tmp_path / "noise-0.3.seed3.yaml"
    found = ModelCard.read(card)
    assert found.trained_on == "train" and 0.2 < found.training_accuracy <= 1
    declared = invoke("check", card, "--benchmark", "digits").stdout.partition("training_accuracy")[2]
    assert declared.split()[0] == "pass" and f"{found.training_accuracy:.3f}, the declared one" in declared
    done = invoke("run", card, "--limit", 4, "-r", tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "results/digits@2/trained/digits/noise-0.3.seed3.parquet").exists()


def test_a_checkpoint_with_a_function_needs_no_card(tmp_path, monkeypatch):
    network = architectures.build("small-cnn", (1, 8, 8), 10)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    (tmp_path / "mynets.py").write_text(
        "from pagbench.models.architectures import build\ndef small():\n    return build('small-cnn', (1, 8, 8), 10)\n"
    )
    monkeypatch.chdir(tmp_path)
    done = invoke("run", "mine.pt", "--architecture", "mynets:small", "--limit", 2)
    assert done.exit_code == 0, done.output
    assert "warning: --architecture runs the code of mynets:small" in done.stderr
    assert Path("results/digits@2/local/mine.parquet").exists()
    (tmp_path / "badnets.py").write_text(
        "def fails():\n    raise RuntimeError('no weather')\ndef three():\n    return 3\n"
    )
    (tmp_path / "worse.py").write_text("def (:\n")
    for architecture, part in [
        ("badnets:fails", "no weather"),
        ("badnets:three", "returned int"),
        ("worse:net", "invalid syntax"),
    ]:
        assert_one_line(invoke("run", "mine.pt", "--architecture", architecture), architecture, part)
    assert_one_line(
        invoke("run", "mine.pt", "--architecture", "mynets:large"), "mynets:large", "has no attribute 'large'"
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "digits/nose-0.6"], ["unknown model 'digits/nose-0.6'", "digits/noise-0.6"]),
        (["run", "-b", "digit"], ["unknown benchmark 'digit'", "digits@1"]),
        (["leaderboard", "-b", "digits@9"], ["unknown benchmark 'digits@9'", "digits@1", "digits@2"]),
        (["run", "missing.yaml"], ["missing.yaml", "No such file", "give a card id or a YAML file"]),
        (["run", "--limit", "0"], ["limit 0 is out of range"]),
        (["run", "--batch-size", "-1"], ["batch size -1 is out of range"]),
        (["run", "--seed", "-1"], ["seed -1 is out of range"]),
        (["train", "digits", "--family", "standard", "--seed", "-1"], ["seed -1 is out of range"]),
        (
            ["run", "gaussians/standard", "--limit", "1"],
            ["gaussians/standard", "digits@2 has", "measure it on its own data, -b gaussians"],
        ),
        (["leaderboard", "-r", "nowhere"], ["nowhere: no results of digits@2 (it has none)", "pagbench run"]),
        (["leaderboard", "-r", "nowhere", "--output", "/proc/none/x"], ["no results"]),
        (["show", "digits/standart"], ["unknown model", "digits/standard"]),
        (["show", "digits/standard", "-b", "digit"], ["unknown benchmark", "digits@2"]),
        (
            ["show", "sphere/standard", "-b", "sphere", "-r", "nowhere"],
            ["no results on sphere@1", "pagbench run sphere/standard -b sphere@1"],
        ),
        (
            ["show", "digits/standard", "-b", "cifar10"],
            ["no results on cifar10@2", "cannot be measured there, for it takes images of shape (1, 8, 8)"],
        ),
        (["show", "digits", "-b", "digits@1"], ["--benchmark is for a model's results", "leave it out"]),
        (["train", "digits", "--family", "nosie", "--strength", "1"], ["unknown family 'nosie'", "noise"]),
        (["train", "digits", "--family", "noise"], ["needs a strength above 0", "pixel units", "got None"]),
        (["train", "digits", "--family", "noise", "--strength", "-1"], ["needs a strength above 0", "got -1"]),
        (["train", "digits", "--family", "standard", "--strength", "1"], ["has no strength"]),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(invoke(*arguments), *parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, so it cannot be missing")
def test_a_missing_device_is_one_clear_line(tmp_path):
    assert_one_line(invoke("run", "--device", "cuda", "-r", tmp_path), "device 'cuda' is not usable here", "cpu")


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"familly": "noise"}, ["field 'familly' is unknown", "did you mean 'family'?"]),
        ({"family": None}, ["field 'family' is missing"]),
        ({"strength": "strong"}, ["field 'strength'", "got 'strong'"]),
        ({"id": "../../etc/passwd"}, ["field 'id'"]),
        ({"weights": "/etc/passwd"}, ["weights must be a file beside the card"]),
        ({"weights": "../standard.safetensors"}, ["weights must be a file beside the card"]),
        ({"weights": "gone.safetensors"}, ["gone.safetensors", "cannot read the weights", "put the file there"]),
        ({"weights_sha256": "0" * 64}, ["the card says 000000000000"]),
        ({"input_shape": [3, 8, 8]}, ["takes images of shape (3, 8, 8), digits@2 has (1, 8, 8)"]),
        ({"classes": 9}, ["has 9 classes, digits@2 has 10"]),
        ({"architecture": "resnet-5000"}, ["unknown architecture 'resnet-5000'", "small-resnet"]),
        ({"architecture": "mlp"}, ["weights of another network"]),
        ({"output": "probabilities"}, ["outputs do not sum to 1", "output: logits"]),
        ({"mean": [0.5]}, ["mean and std go together"]),
    ],
)
def test_a_wrong_card_gets_one_clear_line(card, fields, parts, anchored):
    change(card, **fields)
    assert_one_line(invoke("run", card, "--limit", 1, "-r", anchored), *parts)


def test_yaml_that_is_none_gets_one_clear_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1\nb: 2")
    assert_one_line(invoke("run", bad), "bad.yaml: not a YAML card", "line 2")
    bad.write_text("- 1")
    assert_one_line(invoke("run", bad), "expected a YAML mapping of fields, got list")


class Exploit:
    def __reduce__(self):
        return (Path.touch, (Path("exploited"),))


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("cut.safetensors", "cut", "not a whole safetensors file"),
        ("cut.pt", "cut", "truncated or not a PyTorch file"),
        ("code.pt", "code", "holds code"),
        ("page.pt", b"<!DOCTYPE html><html>quota exceeded</html>", "quota of downloads is used up"),
        ("list.pt", "list", "expected a state dict"),
    ],
)
def test_bad_weights_get_one_clear_line_and_no_code_runs(card, anchored, tmp_path, monkeypatch, name, content, part):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    network = architectures.build("small-cnn", (1, 8, 8), 10)
    if content == "code":
        torch.save({"state": Exploit()}, file)
    elif content == "list":
        torch.save([1, 2], file)
    elif content == "cut":
        (save_file if file.suffix == ".safetensors" else torch.save)(network.state_dict(), file)
        file.write_bytes(file.read_bytes()[:2000])
    else:
        file.write_bytes(content)
    change(card, weights=name, weights_sha256=None)
    assert_one_line(invoke("run", card, "--limit", 1, "-r", anchored), part)
    assert not Path("exploited").exists()


def test_a_results_folder_that_is_a_file_gets_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    assert_one_line(invoke("run", "-r", tmp_path / "file"), "cannot write results there", "--results")


def assert_left_out(folder, *parts):
    done = invoke("leaderboard", "-r", folder)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert done.exit_code == 0 and "digits/standard" in done.stdout and all(part in line for part in parts), line


def test_a_foreign_or_damaged_parquet_file_is_left_out_in_one_clear_line(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    target = tmp_path / "copy/digits@2/digits/noise-0.6.parquet"
    target.write_bytes(target.read_bytes()[:100])
    assert_left_out(tmp_path / "copy", "not a readable results file", "run again")
    pd.DataFrame({"a": [1]}).to_parquet(target)
    assert_left_out(tmp_path / "copy", "without pagbench's provenance")
    shutil.copy(folder / "digits@2/digits/standard.parquet", target)
    assert_left_out(tmp_path / "copy", "holds rows of digits/standard")
    table = pq.read_table(folder / "digits@2/digits/noise-0.6.parquet")
    pq.write_table(table.drop_columns(["off_jacobian"]), target)
    assert_left_out(tmp_path / "copy", "columns off_jacobian do not fit")
    for content in ("[1]", '{"format": 1}', '{"format": 99}'):
        pq.write_table(table.replace_schema_metadata({"pagbench": content}), target)
        assert_left_out(tmp_path / "copy", "noise-0.6.parquet", "run again")
    target.unlink()
    (tmp_path / "copy/digits@2/control/bayes.parquet").unlink()
    assert "for control/bayes is not measured" in " ".join(
        invoke("leaderboard", "-r", tmp_path / "copy").output.split()
    )
    assert_one_line(
        invoke("figures", "-r", tmp_path / "copy", "-o", tmp_path), "need the Bayes control", "pagbench run"
    )


def test_a_picture_of_an_unknown_kind_is_one_clear_line(tmp_path):
    done = invoke("gradients", "digits/standard", "--samples", 1, "--output", tmp_path / "grid.txt")
    assert_one_line(done, "grid.txt", "give another --output")


def test_training_into_a_file_is_refused_before_it_starts(tmp_path):
    (tmp_path / "file").touch()
    assert_one_line(
        invoke("train", "digits", "--family", "standard", "--output", tmp_path / "file"), "cannot write there"
    )


def test_a_checkpoint_without_its_function_is_told_what_is_missing(tmp_path):
    (tmp_path / "w.pt").touch()
    assert_one_line(invoke("run", tmp_path / "w.pt"), "a file, but no card", "--architecture")
    assert_one_line(invoke("run", "--architecture", "a:b"), "needs the checkpoints")


def test_published_results_are_shown_where_there_are_none_and_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("leaderboard", "-b", "gaussians", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert "no results in results: these are the published ones" in done.stderr
    assert "gaussians/standard" in done.stdout
    assert_one_line(invoke("leaderboard", "-b", "gaussians", "-r", "other"), "other: no results of gaussians@1")
