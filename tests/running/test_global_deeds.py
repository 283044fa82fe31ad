"""What models' files and a caller's notebook do to the process changes no row of another model, and no target."""

from contextlib import ExitStack

import deeds
import light
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pagbench
from pagbench import data
from pagbench.data import dataset
from pagbench.models import checks, registry
from pagbench.running import target_files
from pagbench.running.runner import RunError
from pagbench.storage import global_state

pytestmark = pytest.mark.usefixtures("short_preflight")

SMALL = light.benchmark(12)

GOOD = """
import torch
from torch import nn

def make():
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(288, 64), nn.SiLU(), nn.Linear(64, 10)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
    return network
"""

STAGES = {
    "import": "import deeds\ndeeds.DEEDS[{deed!r}]()\n" + GOOD,
    "construction": GOOD.replace("    return network", "    import deeds; deeds.DEEDS[{deed!r}](); return network"),
    "forward": GOOD.replace("return network", "return Naughty(network)")
    + """
class Naughty(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x):
        import deeds
        found = self.network(x)
        self.calls += 1
        if self.calls > {after}:
            deeds.DEEDS[{deed!r}]()
        return found
""",
}

AROUND = {
    "nothing": ExitStack,
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "a device": lambda: torch.device("meta"),
    "a function mode": deeds.Doubling,
    "a dispatch mode": deeds.Halving,
    "other tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: 0 * x, lambda x: x),
    "NumPy's errors": lambda: np.errstate(all="raise"),
}


def naughty(folder, number, stage, deed, after=0):
    path = folder / f"naughty{number}.py"
    path.write_text(STAGES[stage].replace("{deed!r}", repr(deed)).replace("{after}", str(after)))
    return f"{path}:make"


@pytest.fixture
def _own_state():
    """The test's own deeds are undone by an outer context, in which NumPy's generator is one like a caller's."""
    with global_state.known():
        np.random.set_bit_generator(np.random.MT19937(3))
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.py"
    path.write_text(GOOD)
    return f"{path}:make"


@pytest.fixture(scope="module")
def alone(good):
    return run([good])


def run(models, **options):
    """Rows of the good model; the others may fail."""
    try:
        rows = pagbench.run(models, benchmark=SMALL, anchors=False, batch_size=8, **options)
    except RunError as error:
        assert "local/good" not in str(error)
        rows = error.rows
    rows = rows[rows["entrant"] == "local/good.make"].reset_index(drop=True)
    assert len(rows) == 12
    return rows


def forget():
    """What this process has loaded and computed of the data."""
    dataset.splits.cache_clear()
    checks.probe.cache_clear()


def differences(first, second):
    return {name for name in first if first[name] != second[name]}


NEIGHBOURS = st.lists(
    st.tuples(st.sampled_from(list(STAGES)), st.sampled_from(list(deeds.DEEDS)), st.sampled_from([0, 5, 40])),
    min_size=1,
    max_size=2,
)


def check_neighbours(good, alone, folder, neighbours, place):
    models = [naughty(folder, number, *neighbour) for number, neighbour in enumerate(neighbours)]
    models.insert(min(place, len(models)), good)
    before = deeds.seen()
    pd.testing.assert_frame_equal(run(models), alone, check_exact=True)
    assert not differences(before, deeds.seen())


@given(NEIGHBOURS, st.integers(0, 2))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_the_same_among_any_neighbours_in_any_order(good, alone, tmp_path, _own_state, neighbours, place):
    check_neighbours(good, alone, tmp_path, neighbours, place)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("deed", deeds.DEEDS)
def test_rows_are_the_same_after_every_deed(good, alone, tmp_path, _own_state, stage, deed):
    check_neighbours(good, alone, tmp_path, [(stage, deed, 3), (stage, deed, 30)], 1)


def check_caller(good, alone, monkeypatch, folder, deed, around):
    """The benchmark's data and targets are read and computed anew; a clean run then uses them."""
    monkeypatch.setattr(target_files, "folder", lambda: folder)
    forget()
    deeds.DEEDS[deed]()
    with AROUND[around]():
        before = deeds.seen()
        hostile = run([good])
        assert not differences(before, deeds.seen())
    pd.testing.assert_frame_equal(hostile, alone, check_exact=True)
    with global_state.known():
        clean = run([good])
    pd.testing.assert_frame_equal(clean, alone, check_exact=True)


@pytest.mark.parametrize(
    ("deed", "around"),
    [
        ("double", "inference mode"),
        ("meta", "no gradients"),
        ("medium matmul", "autocast"),
        ("warnings are errors", "a device"),
        ("numpy's errors", "a function mode"),
        ("forward hook", "a dispatch mode"),
        ("newer precision of cuDNN", "other tensors"),
        ("half", "NumPy's errors"),
        ("deterministic", "nothing"),
    ],
)
def test_rows_and_targets_are_the_same_whatever_the_caller_has_done(
    good, alone, tmp_path, monkeypatch, _own_state, deed, around
):
    check_caller(good, alone, monkeypatch, tmp_path, deed, around)


@pytest.mark.slow
@given(st.sampled_from(list(deeds.DEEDS)), st.sampled_from(list(AROUND)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_and_targets_are_the_same_whatever_any_caller_does(good, alone, tmp_path_factory, deed, around):
    with pytest.MonkeyPatch.context() as patch, global_state.known():
        np.random.set_bit_generator(np.random.MT19937(3))
        check_caller(good, alone, patch, tmp_path_factory.mktemp("targets"), deed, around)


@pytest.mark.parametrize("around", AROUND)
def test_a_loaded_model_is_an_ordinary_one_whatever_is_around(around, _own_state):
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = pagbench.load_model("digits/standard")(x)
    torch.set_default_dtype(torch.float64)
    with AROUND[around]():
        classifier = pagbench.load_model("digits/standard")
    torch.set_default_dtype(torch.float32)
    assert torch.equal(classifier(x), expected)
    assert torch.autograd.grad(classifier(y := x.clone().requires_grad_()).sum(), y)[0].isfinite().all()


def test_a_module_made_under_inference_mode_is_measured_and_left_as_it_was(alone, _own_state):
    written = {}
    exec(GOOD, written)
    with torch.inference_mode():
        network = written["make"]()
        rows = pagbench.run({"local/good.make": network}, benchmark=SMALL, anchors=False, batch_size=8)
    assert all(parameter.is_inference() for parameter in network.parameters())
    measured = rows.select_dtypes("number").columns
    pd.testing.assert_frame_equal(rows[measured], alone[measured], check_exact=True)


def test_a_check_of_a_model_says_the_same_whatever_is_around(good, _own_state):
    request = registry.resolve_one(good, SMALL)

    def found():
        card = checks.examine(request, SMALL, device=torch.device("cpu"), batch_size=8)
        return [check for check in card.checks if check.name != "cost"]

    expected = found()
    for around in AROUND.values():
        forget()
        with around():
            assert found() == expected


def test_between_two_batches_the_state_is_the_callers(good, _own_state):
    from pagbench.running.config import RunConfig
    from pagbench.running.session import Session

    config = RunConfig(benchmark=SMALL, ids=SMALL.samples, device=torch.device("cpu"), seed=0, batch_size=4)
    with torch.inference_mode(), torch.autocast("cpu"):
        session, model = Session(config), registry.resolve_one(good, SMALL).load(SMALL)
        before = deeds.seen()
        between = [differences(before, deeds.seen()) for _ in session.rows(model, SMALL.samples)]
    assert between == [set()] * 3


def test_the_provenance_says_what_was_in_force(good, tmp_path, _own_state):
    torch.set_float32_matmul_precision("medium")
    pagbench.run([good], benchmark=SMALL, anchors=False, results=tmp_path)
    document = pagbench.results.read_all(tmp_path, SMALL)[0].document
    assert document["numerics"]["matmul"] == "highest" and document["numerics"]["default_dtype"] == "float32"
    assert document["numerics"]["threads"] == torch.get_num_threads()


def test_data_are_ordinary_tensors_whoever_asks_first(_own_state):
    forget()
    with torch.inference_mode():
        assert not data.splits(SMALL).test.images.is_inference()


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["meta", "double", "autocast", "grad mode", "threads", "forward hook", "import path"])
def test_workers_that_do_several_models_undo_what_each_does(good, alone, tmp_path, _own_state, deed):
    models = [naughty(tmp_path, number, stage, deed, after=3) for number, stage in enumerate(STAGES)]
    rows = run([*models, good], executor="local:1", results=tmp_path / "results")
    pd.testing.assert_frame_equal(rows, alone, check_exact=True)
