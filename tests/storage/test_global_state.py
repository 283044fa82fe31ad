"""Known global state while pagbench computes, and the caller's afterwards."""

import random
import sys
import warnings

import deeds
import numpy as np
import pytest
import torch
from torch import nn

from pagbench.storage import global_state

KEPT = {"threads", "folder", "import path", "environment"}
"""What stays the caller's within, and of which only changes are undone."""


@pytest.fixture(autouse=True)
def _undone():
    """The test's own deeds are undone by an outer context, in which NumPy's generator is one like a caller's."""
    with global_state.known():
        np.random.set_bit_generator(np.random.MT19937(3))
        yield


def differences(first, second):
    return {name for name in first if first[name] != second[name]}


@pytest.mark.parametrize("deed", deeds.DEEDS)
def test_what_is_done_within_is_undone(deed):
    before = deeds.seen()
    with global_state.known():
        deeds.DEEDS[deed]()
    assert not differences(before, deeds.seen())


@pytest.mark.parametrize("deed", deeds.DEEDS)
def test_what_the_caller_has_done_does_not_count_within_and_does_afterwards(deed):
    with global_state.known():
        known = deeds.seen()
    before = deeds.seen()
    deeds.DEEDS[deed]()
    callers = deeds.seen()
    assert differences(before, callers), "the deed shows nowhere"
    with global_state.known():
        within = deeds.seen()
        within["warnings"], known["warnings"] = within["warnings"][0], known["warnings"][0]
        assert differences(known, within) <= KEPT
    assert not differences(callers, deeds.seen())


@pytest.mark.parametrize("first", ["medium matmul", "tf32 of cuBLAS", "newer precision", "meta", "autocast"])
@pytest.mark.parametrize(
    "second", ["newer precision of cuDNN", "high matmul", "double", "meta by context", "function mode"]
)
def test_a_callers_deed_and_a_models_are_told_apart(first, second):
    deeds.DEEDS[first]()
    before = deeds.seen()
    with global_state.known():
        deeds.DEEDS[second]()
    assert not differences(before, deeds.seen())


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu"), torch.random.fork_rng]
)
def test_gradients_are_those_of_float32_whatever_is_entered_around(mode):
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 300), torch.rand(3, 300)
    (expected,) = torch.autograd.grad(layer(x.requires_grad_()).square().sum(), x)
    with mode():
        before = deeds.seen()
        with global_state.known():
            y = x.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(layer(y).square().sum(), y)
        assert not differences(before, deeds.seen())
    assert torch.equal(found, expected)


def test_draws_within_are_the_same_each_time_and_the_callers_go_on():
    def draw():
        return random.random(), float(np.random.randn()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [draw() for _ in range(3)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    found, inner = [], []
    for _ in range(3):
        found.append(draw())
        with global_state.known():
            inner.append(draw())
            with global_state.known():
                inner.append(draw())
    assert found == expected and len(set(inner)) == 1


def test_an_error_within_undoes_as_well_and_decorated_functions_keep_their_values():
    before = deeds.seen()

    @global_state.known()
    def fail(value):
        """What it does."""
        torch.set_default_dtype(torch.float64)
        raise KeyError(value)

    with pytest.raises(KeyError, match="7"):
        fail(7)
    assert not differences(before, deeds.seen()) and fail.__doc__ == "What it does."


def test_a_models_warnings_are_no_errors_and_some_are_shown():
    warnings.simplefilter("error")
    with warnings.catch_warnings(record=True) as told, global_state.known():
        warnings.warn("of no use to users", DeprecationWarning, stacklevel=1)
        warnings.warn("of use", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in told] == ["of use"]


def test_tensors_of_inference_mode_become_ordinary_ones():
    with torch.inference_mode():
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10))
        network.scale, network[3].tied = torch.tensor(2.0), network[0].weight
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    global_state.as_ordinary(network)
    assert not any(value.is_inference() for value in [*network.state_dict().values(), network.scale])
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert network[3].tied is network[0].weight and isinstance(network[0].weight, nn.Parameter)
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    assert torch.autograd.grad(network.eval()(x).sum() * network.scale, x)[0].isfinite().all()


def test_what_was_in_force_is_said():
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    with global_state.known():
        said = global_state.numerics()
    assert said["default_dtype"] == "float32" and said["matmul"] == "highest" and said["tf32"] is False
    assert said["threads"] == torch.get_num_threads() and sys.getsizeof(said) < 2000
