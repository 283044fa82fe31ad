"""Networks with the same outputs and other gradients are other networks: no rows of both are mixed or resumed."""

import json

import light
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pagbench
from pagbench import columns, results
from pagbench.errors import ResultsError
from pagbench.models import fingerprint, registry
from pagbench.models.classifier import Classifier
from pagbench.results import Provenance, Result, Store
from pagbench.results.files import _is_same_gradient
from pagbench.running import provenance
from pagbench.running.runner import RunError

pytestmark = pytest.mark.usefixtures("short_preflight")

SMALL = light.benchmark(12)
PROBE = torch.rand(4, *SMALL.input_shape, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two branches; `way` says what its gradient lacks. Its outputs are the same to the bit, whatever that is."""

    way = "whole"

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.wide, self.narrow = nn.Conv2d(1, 24, 3), nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(28 * 36, 10)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)

    def forward(self, x):
        x = self.before(x)
        return self.after(self.last(torch.cat(self.branches(x), 1).relu().flatten(1)), x)

    def branches(self, x):
        return self.wide(x), self.narrow(x)

    def before(self, x):
        return x

    def after(self, logits, x):
        return logits


class LacksChannels(Net):
    def branches(self, x):
        wide = self.wide(x)
        return torch.cat([wide[:, :4], wide[:, 4:].detach()], 1), self.narrow(x)


class LacksABranch(Net):
    def branches(self, x):
        return self.wide(x), self.narrow(x).detach()


class LacksPixels(Net):
    def before(self, x):
        return torch.cat([x[:, :, :6], x[:, :, 6:].detach()], 2)


class LacksAClass(Net):
    def after(self, logits, x):
        return torch.cat([logits[:, :9], logits[:, 9:].detach()], 1)


class IsLonger(Net):
    def after(self, logits, x):
        return Stretched.apply(logits)


class IsNan(Net):
    def after(self, logits, x):
        return logits + (x - x.detach()).square().sum((1, 2, 3)).sqrt()[:, None]


class Fails(Net):
    def after(self, logits, x):
        return Failing.apply(logits)


class Stretched(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1.01 * gradient


class Failing(Stretched):
    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no backward pass")


OTHERS = [LacksChannels, LacksABranch, LacksPixels, LacksAClass, IsLonger, IsNan, Fails]


def loaded(network):
    return registry.from_module(network, "net", SMALL).load(SMALL)


def source(network, **changed):
    """Provenance as a run would gather it."""
    from pagbench.running.config import RunConfig

    config = RunConfig(benchmark=SMALL, ids=SMALL.samples, device=torch.device("cpu"), seed=0)
    return {**provenance.gather(loaded(network), config), **changed}


def difference(first, second):
    return Result(None, json.loads(json.dumps(first))).difference(Provenance.model_validate(second))


@pytest.mark.parametrize("other", OTHERS)
def test_another_gradient_is_another_network_though_no_output_differs(other):
    first, second = loaded(Net()).fingerprint, loaded(other()).fingerprint
    assert first.outputs == second.outputs
    for pair in ((Net(), other()), (other(), Net())):
        assert "another input gradient on the probe images" in difference(*map(source, pair))
    assert difference(source(other()), source(other())) == ""


@pytest.mark.parametrize("threads", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_rounding_makes_no_other_network(threads):
    """Other threads and other kernels, and float64."""
    for name in ("digits/standard", "smoothed:0.25:8:digits/noise-0.6", "control/constant"):
        classifier = registry.find(name).load(SMALL).classifier
        first, before = fingerprint.take(classifier, PROBE), torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            torch._C._set_mkldnn_enabled(False)
            second = fingerprint.take(classifier, PROBE * (1 + 2**-23))
            third = fingerprint.take(classifier.double(), PROBE.double())
        finally:
            torch._C._set_mkldnn_enabled(True)
            torch.set_num_threads(before)
        for other in (second, third):
            assert all(map(_is_same_gradient, first.gradients, other.gradients))


def test_a_fingerprint_has_few_numbers_and_none_for_a_gradient_that_is_none():
    taken = loaded(Net()).fingerprint
    assert [len(row) for row in taken.gradients] == [4] * 4 and len(taken.outputs) == 40
    classifier = Classifier(IsNan())
    assert fingerprint.take(classifier, PROBE).gradients == (None,) * 4
    constant = registry.find("control/constant").load(SMALL)
    assert constant.fingerprint.gradients == (None,) * 4


ROWS = st.one_of(st.none(), st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4))


@given(ROWS, ROWS)
def test_gradients_are_compared_alike_in_both_directions(ours, theirs):
    assert _is_same_gradient(ours, ours)
    assert _is_same_gradient(ours, theirs) == _is_same_gradient(theirs, ours)
    if ours is not None:
        assert _is_same_gradient(ours, [value * (1 + 1e-4) for value in ours])
        assert _is_same_gradient(ours, None) == (max(map(abs, ours)) <= 1.002e-5)


def write(folder, network):
    return pagbench.run({"net": network}, benchmark=SMALL, results=folder, anchors=False)


def test_a_file_that_was_mended_is_not_answered_with_its_older_rows(tmp_path):
    path = tmp_path / "net.py"
    body = f"import sys\nfrom {__name__} import Net, LacksChannels\n\ndef make():\n    return "
    path.write_text(body + "LacksChannels()\n")
    options = {"benchmark": SMALL, "results": tmp_path / "results", "anchors": False}
    pagbench.run(f"{path}:make", limit=5, **options)
    path.write_text(body + "Net()\n")
    with pytest.raises(RunError, match=r"another input gradient.*another results folder, .*--overwrite") as caught:
        pagbench.run(f"{path}:make", **options)
    assert "\n" not in str(caught.value)
    assert len(results.read_all(options["results"], SMALL)[0].rows) == 5, "the older rows stay as they were"
    rows = pagbench.run(f"{path}:make", overwrite=True, **options)
    expected = pagbench.run(f"{path}:make", benchmark=SMALL, anchors=False)
    light.assert_same_rows(rows, expected)


def test_shards_of_two_gradients_are_not_merged(tmp_path):
    for name, network in (("a", Net()), ("b", LacksChannels())):
        write(tmp_path / name, network)
    (first,), (second,) = (results.read_all(tmp_path / name, SMALL) for name in "ab")
    store = Store(tmp_path / "c" / "net.parquet", SMALL)
    for result, span in ((first, slice(0, 6)), (second, slice(6, 12))):
        plain = {key: value for key, value in result.document.items() if key not in ("maps", "gallery", "runs")}
        store.add(Result(result.rows.iloc[span].reset_index(drop=True), plain))
    assert len(store.load().rows) == 6


def test_rows_of_an_optional_measure_are_not_joined_with_those_of_another_gradient(tmp_path):
    write(tmp_path, Net())
    with pytest.raises(RunError, match="other results") as caught:
        pagbench.run({"net": IsLonger()}, benchmark=SMALL, results=tmp_path, anchors=False, measures=["pgd"])
    assert "another input gradient" in str(caught.value)
    own = results.read_all(tmp_path, SMALL)[0]
    other = Result(own.rows, json.loads(json.dumps(dict(own.document))) | source(IsLonger()))
    with pytest.raises(ResultsError, match="another input gradient"):
        results.with_measure(own, other, SMALL, "pgd")


def older(folder, name):
    """A results file as version 0.1.0 wrote it."""
    path = results.path_of(folder, SMALL, name)
    found = results.read(path, columns.schema(SMALL))
    lacking = ("gradient_fingerprint", "numerics")
    document = {key: value for key, value in found.document.items() if key not in lacking}
    results.write(path, Result(found.rows, document), columns.schema(SMALL))


def test_older_rows_of_a_card_are_resumed_and_those_of_a_function_or_module_are_not(tmp_path):
    options = {"benchmark": SMALL, "results": tmp_path, "anchors": False}
    first = pagbench.run("digits/standard", limit=6, **options)
    write(tmp_path, Net())
    for name in ("digits/standard", "net"):
        older(tmp_path, name)
    assert {result.name for result in results.read_all(tmp_path, SMALL)} == {"digits/standard", "net"}
    rows = pagbench.run("digits/standard", **options)
    np.testing.assert_array_equal(rows["alignment_cosine"][:6], first["alignment_cosine"])
    with pytest.raises(RunError, match=r"kept no gradient.*another results folder, .*--overwrite") as caught:
        write(tmp_path, Net())
    assert "\n" not in str(caught.value)
    pagbench.run({"net": Net()}, overwrite=True, **options)
    write(tmp_path, Net())


def test_published_files_have_no_gradients_and_are_rows_of_the_shipped_cards(digits):
    if not results.PUBLISHED.is_dir():
        pytest.skip("no checkout")
    published = results.read(results.path_of(results.PUBLISHED, digits, "digits/standard"), columns.schema(digits))
    assert published.provenance.gradient_fingerprint is None
    from pagbench.running.config import RunConfig

    config = RunConfig(benchmark=digits, ids=digits.samples, device=torch.device("cpu"), seed=digits.seed)
    here = provenance.gather(registry.find("digits/standard").load(digits), config)
    assert published.difference(Provenance.model_validate(here)) == ""
