"""Models by name: one request whatever names them, and the keywords of 0.1.0."""

import inspect

import pytest
import torch

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
