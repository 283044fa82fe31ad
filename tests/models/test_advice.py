"""What to do with a network that breaks its contract, in the terms of how it was given."""

import pytest
from commands import assert_one_line, invoke
from torch import nn

import pagbench
from pagbench import benchmarks
from pagbench.errors import ContractError
from pagbench.models import registry
from pagbench.models.loading import check_shapes

NETWORKS = """
from torch import nn
def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
def few():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def soft():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
def other():
    return nn.Flatten(), {"input_shape": (1, 16, 16)}
"""


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("large", "let the function return {'input_shape': (channels, height, width), 'resize': 'bilinear'} beside it"),
        ("few", "let the network that the function builds return one value for each class"),
        ("soft", "let the function return {'output': 'probabilities'} beside the network"),
        ("other", "let the function return {'resize': 'bilinear'} beside the network"),
    ],
)
def test_a_function_is_told_what_to_return(name, advice, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    refused = invoke("run", f"{tmp_path}/nets.py:{name}", "-b", "digits@1", "--limit", 2, "-r", tmp_path / "r")
    assert_one_line(refused, advice)
    assert "card" not in refused.stderr.replace("pre-flight", "").partition("error:")[2]


@pytest.mark.parametrize(
    ("network", "advice"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), "bring the pixels to its shape inside the network"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "let it return one value for each class"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1)), "return the logits"),
    ],
)
def test_a_module_is_told_what_to_do_inside(network, advice):
    with pytest.raises(pagbench.running.runner.RunError, match=advice) as caught:
        pagbench.run({"mine": network}, benchmark="digits@1", limit=2, anchors=False)
    assert "card" not in str(caught.value)


def test_a_model_of_other_data_is_told_of_its_own():
    digits = benchmarks.load("digits")
    with pytest.raises(ContractError, match="measure it on its own data, -b gaussians"):
        check_shapes(registry.find("gaussians/standard").card, digits)


def test_a_card_of_other_sizes_may_say_how_its_images_are_resized():
    card = registry.find("digits/standard").card.model_copy(update={"input_shape": (1, 16, 16)})
    with pytest.raises(ContractError, match="set `resize: bilinear` in its card, or measure it on its own data"):
        check_shapes(card, benchmarks.load("digits"))
    check_shapes(card.model_copy(update={"resize": "bilinear"}), benchmarks.load("digits"))
