"""Models by name: one request whatever names them, and the keywords of 0.1.0."""

import inspect

import pytest
import torch
from commands import assert_one_line, invoke

import pagbench
from pagbench.models import registry
from pagbench.models.registry import Request


@pytest.mark.parametrize("name", ["digits/standard", "control/bayes", "smoothed:0.25:8:digits/standard"])
def test_a_name_and_what_it_resolves_to_are_one_request(name, digits):
    request = registry.find(name)
    assert isinstance(request, Request) and registry.resolve(name, digits) == [request]
    assert registry.resolve(request, digits) == [request]


def test_controls_of_the_bayes_classifier_are_left_out_where_there_is_none(digits):
    def controls(benchmark):
        return {name for name in registry.models_of(benchmark) if name.startswith("control/")}

    assert controls(digits) == {f"control/{name}" for name in registry.CONTROLS}
    assert controls(digits.model_copy(update={"bayes": None})) == {"control/random-init", "control/constant"}


def test_every_keyword_of_the_first_release_is_still_taken(digits):
    x = torch.rand(2, *digits.input_shape, generator=torch.Generator().manual_seed(0))
    older = pagbench.load_model(entrant="control/random-init", benchmark="digits")
    assert torch.equal(older(x), pagbench.load_model(model="control/random-init")(x))
    with pytest.raises(TypeError, match="entrant"):
        pagbench.load_model(model="control/constant", entrant="control/bayes")
    with pytest.raises(TypeError, match="multiple values for argument 'model'"):
        pagbench.load_model("control/constant", entrant="control/bayes")
    assert list(inspect.signature(pagbench.load_model).parameters) == ["model", "benchmark"]
    assert {"rows", "benchmark", "sort"} <= set(inspect.signature(pagbench.leaderboard).parameters)
    first_release = (
        "benchmark measures results limit batch_size device seed overwrite anchors executor shard gpus_per_task timeout"
        " progress"
    )
    assert set(first_release.split()) <= set(inspect.signature(pagbench.run).parameters)


def test_every_model_that_cannot_be_resolved_has_its_line(tmp_path):
    (tmp_path / "s.py").write_text(
        "def wrong():\n    return 3\n\ndef boom():\n    raise RuntimeError('boom it is')\n\ndef good():\n"
        "    import torch\n    return torch.nn.Flatten()\n"
    )
    (tmp_path / "bad.yaml").write_text(
        "id: a/b\narchitecture: mlp\nclasses: -1\ninput_shape: 8\nweights: x\nactivation: x\n"
    )
    names = [f"{tmp_path}/s.py:{name}" for name in ("wrong", "boom", "good", "notmod")]
    done = invoke("run", *names, "digits/standart", tmp_path / "bad.yaml", "-r", tmp_path / "results")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and not (tmp_path / "results").exists()
    said = ["returned int", "boom it is", "notmod", "closest: ", "'title' is missing", "'family' is missing"]
    said += ["'classes'", "'input_shape'", "'activation'"]
    assert len(errors) == len(said), errors
    assert all(any(part in line for line in errors) for part in said), errors
    assert "unknown model" in invoke("run", "digits/standart", "-r", tmp_path / "results").stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("somefolder", "somefolder: a folder; name a card"),
        ("./somefolder/", "a folder; name a card"),
        ("nothere.pt", "nothere.pt: no such file"),
        ("runs/best.SAFETENSORS", "no such file"),
        ("./nothere", "no such file"),
        ("../up/net", "no such file"),
        ("nets.py", "nets.py: no such file"),
        ("digits/standart", "unknown model 'digits/standart'; closest: digits/standard"),
        ("digits", "unknown model 'digits'; closest: "),
    ],
)
def test_a_path_is_told_from_an_id(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somefolder").mkdir()
    for command in ("run", "check"):
        assert_one_line(invoke(command, name), said)


def test_models_whose_weights_have_to_be_trained_again_are_not_measured_unasked(digits, tmp_path, monkeypatch):
    card = registry.find("digits/noise-0.6")
    copy = tmp_path / "digits" / "noise-0.6.seed1.yaml"
    copy.parent.mkdir()
    copy.write_text(card.path.read_text().replace("id: digits/noise-0.6", "id: digits/noise-0.6.seed1"))
    known = registry._known() | {"digits/noise-0.6.seed1": copy}
    monkeypatch.setattr(registry, "_known", lambda: known)
    monkeypatch.setattr(registry, "names", lambda: tuple(known))
    monkeypatch.setattr(registry, "shipped", lambda: known)
    assert registry.find("digits/noise-0.6.seed1").to_be_trained
    found = registry.models_of(digits)
    assert "digits/noise-0.6" in found and "digits/noise-0.6.seed1" not in found
