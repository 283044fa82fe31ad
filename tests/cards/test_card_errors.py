"""What is wrong with a card is said at once, a line each; what no state dict tells may not be left open."""

import pytest
import yaml
from commands import assert_one_line, invoke

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import CardError
from pagbench.models import architectures, registry
from pagbench.submissions import folder as submission

CARD = {
    "id": "mine/net", "title": "a network", "family": "own", "dataset": "digits", "architecture": "small-cnn",
    "activation": "relu", "input_shape": [1, 8, 8], "classes": 10, "weights": "net.safetensors",
}  # fmt: skip


def lines(changes, parse=ModelCard.parse_written):
    """The lines of the error; a field that is changed to None is left out."""
    fields = {name: value for name, value in (CARD | changes).items() if value is not None}
    with pytest.raises(CardError) as caught:
        parse(fields, "card.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"activaton": "relu", "activation": None}, ["'activaton' is unknown; did you mean 'activation'?"]),
        (
            {"licence": "MIT", "id": "my net", "classes": 0},
            ["'id': expected letters and digits", "'classes': Input should be greater", "did you mean 'license'?"],
        ),
        ({"id": None, "input_shape": [8, 8]}, ["'id' is missing", "'input_shape.2' is missing"]),
        (
            {"architecture": None, "classes": None, "weights": None, "mean": [0.5]},
            [
                "needs the field 'architecture'",
                "the field 'classes'",
                "the field 'weights'",
                "mean and std go together",
            ],
        ),
        (
            {"outptu": "logits", "weights": None, "id": 3},
            ["'id'", "did you mean 'output'?", "needs the field 'weights'"],
        ),
        (
            {"weights": None, "download": [{"path": "a/b", "sha265": "0"}]},
            ["'download.0.sha265' is unknown; did you mean 'sha256'?"],
        ),
        ({"weights_sha256": "abc"}, ["expected the 64 hexadecimal digits of a sha256, got 'abc'"]),
        (
            {"activation": "swish", "zzz": 1},
            ["'silu', 'relu', 'gelu' or 'softplus'", "'zzz' is unknown; known fields: "],
        ),
        ({"training": {"x": [[]]}, "strength": float("nan")}, ["field 'training.x'", "field 'strength'"]),
        ({"smoothing": {"sigma": -1, "samples": 3, "sede": 1}}, ["sigma", "samples", "did you mean 'seed'?"]),
        ({"family": None, "familly": "own"}, ["'familly' is unknown; did you mean 'family'?"]),
        ({"title": None, "titel": "x", "family": None}, ["did you mean 'title'?", "'family' is missing"]),
        ({"smoothing": {"sgima": 0.1, "samples": 2}}, ["'smoothing.sgima' is unknown; did you mean 'sigma'?"]),
        (
            {"mean": 0.5, "std": 0.5},
            ["'mean': expected a list, one number for each channel, as [0.5], got '0.5'", "'std'"],
        ),
        (
            {"input_shape": 8, "classes": "ten"},
            ["'input_shape': expected a list, got", "expected a whole number, got 'ten'"],
        ),
        (
            {"strength": "much", "title": 3},
            ["'strength': expected a number, got 'much'", "'title': expected text, got '3'"],
        ),
        ({"classes": 9.5, "embargo": "maybe"}, ["expected a whole number, got '9.5'", "expected true or false"]),
        ({"mean": [0.5], "std": [0.5, 0.5]}, ["mean has 1 values and std 2"]),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, ["3 values for 1 channels"]),
        ({"mean": [0.5] * 2, "std": [0.5] * 2, "input_shape": [3, 8, 8]}, ["2 values for 3 channels"]),
        ({"architecture": "timm/resnet18"}, ["'timm/resnet18' has its own activation; leave the field"]),
        ({"architecture": "torchvision/resnet18", "id": 1}, ["has its own activation", "'id'"]),
    ],
)
def test_every_wrong_field_has_a_line_of_its_own(changes, parts):
    found = lines(changes)
    assert len(found) == len(parts) and all(line.startswith("card.yaml: ") for line in found), found
    for part in parts:
        assert any(part in line for line in found), (part, found)


@pytest.mark.parametrize("name", ["mynets:resnet", "my.nets:make_it", "nets.py:make"])
def test_a_function_as_the_architecture_is_told_what_takes_it(name):
    (line,) = lines({"architecture": name})
    assert f"{name!r} is a function" in line and f"`--architecture {name}` on the command line" in line


@pytest.mark.parametrize("name", sorted(architectures.ARCHITECTURES))
def test_a_card_says_the_activation_of_pagbenchs_own_networks(name, tmp_path):
    (line,) = lines({"architecture": name, "activation": None})
    assert name in line and "one of silu, relu, gelu, softplus" in line
    assert set(architectures.ACTIVATIONS) == {"silu", "relu", "gelu", "softplus"}
    open_card = ModelCard.parse({**CARD, "architecture": name} | {"activation": None}, "an older result")
    with pytest.raises(CardError, match=r"mine/net: architecture .* needs the field 'activation'"):
        architectures.build_for(open_card)
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**CARD, "architecture": name, "activation": None}))
    with pytest.raises(CardError, match="needs the field 'activation'"):
        registry.find(str(tmp_path / "model.yaml"))
    with pytest.raises(CardError, match="needs the field 'activation'"):
        submission.read_card(tmp_path)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18", "locuslab/cifar_resnet110"])
def test_networks_of_others_have_their_own_activation(name):
    assert ModelCard.parse_written({**CARD, "architecture": name, "activation": None}, "card").activation is None


def test_results_of_older_cards_may_have_what_a_new_card_may_not():
    older = {"architecture": "timm/resnet18", "mean": [0.5], "std": [0.5, 0.5]}
    assert ModelCard.parse(CARD | older, "a result").activation == "relu"
    assert ModelCard.parse_written({**CARD, "input_shape": [3, 8, 8], "mean": [0.5], "std": [1]}, "one for all").mean


@pytest.mark.parametrize("day", ["2026-13-45", "2026-02-30", "2026-1-1", "2026-01-01 10:00:00", "tomorrow"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_day_that_is_none_hides_no_other_error(tmp_path, day, command):
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump({**CARD, "familly": "own", "classes": -1}) + f"date: {day}\n")
    done = invoke(command, path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(errors) == 3, done.stderr
    assert any("field 'date': expected a day" in line and f"got '{day}'" in line for line in errors), errors


def test_all_published_cards_leave_nothing_open():
    cards = [registry.find(name).card for name in registry.names()]
    assert len(cards) > 90 and not [card.id for card in cards if card.lacks_activation]
    assert {card.trained_on for card in cards} == {None, "train"}


def test_what_is_only_declared_changes_no_hash():
    card = ModelCard.parse(CARD, "card")
    declared = ModelCard.parse({**CARD, "training_accuracy": 0.99, "trained_on": "train"}, "card")
    assert card.functional_hash() == declared.functional_hash()
    assert card.functional_hash() != ModelCard.parse({**CARD, "activation": "silu"}, "card").functional_hash()


def test_other_cards_have_their_own_names(digits):
    fields = digits.model_dump(mode="json", exclude_none=True)
    fields["dataset"]["shaa256"], fields["sampels"] = "0", ["1"]
    with pytest.raises(CardError) as caught:
        Benchmark.parse(fields, "digits.yaml")
    first, second = sorted(str(caught.value).splitlines())
    assert "did you mean 'sha256'?" in first and "did you mean 'samples'?" in second


def test_the_command_prints_a_line_each(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump({**CARD, "familly": "own", "classes": -1, "architecture": "nets:make"}))
    done = invoke("run", path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(errors) == 3, done.stderr
    path.write_text(yaml.safe_dump({**CARD, "activation": None}))
    assert_one_line(invoke("run", path), "needs the field 'activation', one of silu, relu, gelu, softplus")
