"""What networks return, judged by its values: whatever a shift or a factor makes of logits stays logits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from pagbench.models import outputs

KINDS = {
    "logits": lambda z, w: z,
    "log-probabilities": lambda z, w: z.log_softmax(1),
    "probabilities": lambda z, w: z.softmax(1),
    "mean of probabilities": lambda z, w: (z.softmax(1) + w[:, 1:].softmax(1)) / 2,
    "without their largest": lambda z, w: z - z.amax(1, keepdim=True),
    "without their smallest": lambda z, w: z - z.amin(1, keepdim=True),
    "centred": lambda z, w: z - z.mean(1, keepdim=True),
    "saturated probabilities": lambda z, w: (100 * z).softmax(1),
    "negative distances": lambda z, w: -torch.cdist(z, torch.eye(z.shape[1])),
    "one large image": lambda z, w: z * torch.where(torch.arange(len(z)) == 7, 1e4, 1.0)[:, None],
    "cosines": lambda z, w: functional.normalize(z),
}
OTHERS = {
    "sigmoids": (lambda z, w: z.sigmoid(), "between 0 and 1"),
    "saturated sigmoids": (lambda z, w: (100 * z).sigmoid(), "between 0 and 1"),
    "percent": (lambda z, w: 100 * z.softmax(1), "times 100"),
    "sum of softmaxes": (lambda z, w: z.softmax(1) + w[:, 1:].softmax(1), "times 2"),
    "half of a softmax": (lambda z, w: z.softmax(1) / 2, "times 0.5"),
    "class cut off": (lambda z, w: w.softmax(1)[:, 1:], "cut off"),
    "negated probabilities": (lambda z, w: -z.softmax(1), "negated"),
    "one minus probabilities": (lambda z, w: 1 - z.softmax(1), "one minus"),
    "losses": (lambda z, w: -z.log_softmax(1), "losses"),
    "odds": (lambda z, w: z.softmax(1) / (1 - z.softmax(1)), "odds"),
    "log-odds": (lambda z, w: (z.softmax(1) / (1 - z.softmax(1))).log(), "log-odds"),
    "exponentials": (lambda z, w: (3 * z).exp(), "above 0"),
    "ReLU": (lambda z, w: z.relu(), "clamped at 0"),
    "clamp": (lambda z, w: z.clamp(-3, 3), "clamped at"),
    "clamp of the largest": (lambda z, w: z.clamp(max=5), "clamped at 5"),
    "clamped probabilities": (lambda z, w: z.softmax(1).clamp(0.01, 0.99), "clamped at 0.01"),
    "logarithm of clamped ones": (lambda z, w: z.softmax(1).clamp(min=1e-3).log(), "clamped"),
    "log-softmax of a softmax": (lambda z, w: z.softmax(1).log_softmax(1), "second softmax"),
    "softmax of a softmax": (lambda z, w: z.softmax(1).softmax(1), "second softmax"),
    "probabilities without a prior": (lambda z, w: z.softmax(1) - 0.1, "at -0.1"),
    "exponentials of probabilities": (lambda z, w: z.softmax(1).exp(), " 1"),
    "logarithm with a constant": (lambda z, w: (z.softmax(1) + 1e-3).log(), "log(p + 0.001)"),
    "smoothed probabilities": (lambda z, w: 0.9 * (2 * z).softmax(1) + 0.1 / z.shape[1], "probabilities"),
    "evidence": (lambda z, w: z.exp() + 1, "above"),
    "positive evidence": (lambda z, w: functional.softplus(3 * z), "above 0"),
    "GELU": (lambda z, w: functional.gelu(4 * z), "saturate"),
    "ReLU before a softmax": (lambda z, w: z.relu().log_softmax(1), "equal within an image"),
    "centred ReLU": (lambda z, w: z.relu() - z.relu().mean(1, True), "equal within an image"),
    "masked classes": (lambda z, w: torch.where(torch.arange(z.shape[1]) < 2, -1e4, z), "clamped at -1e+04"),
    "scaled in each image": (lambda z, w: 5 * (z - z.amin(1, True)) / (z.amax(1, True) - z.amin(1, True)) - 1, "range"),
    "scaled to 1": (lambda z, w: (z - z.amin(1, True)) / (z.amax(1, True) - z.amin(1, True)), "one range"),
    "affine": (lambda z, w: 2 * (3 * z).softmax(1) - 1, "at -1"),
}


def drawn(scale: float, classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(256, classes, generator=generator)
    return z, scale * torch.randn(256, classes + 1, generator=generator)


@pytest.mark.parametrize("name", KINDS)
@given(scale=st.floats(0.05, 8), classes=st.integers(3, 60), seed=st.integers(0, 2**20))
def test_what_pagbench_takes_is_taken_for_what_it_is(name, scale, classes, seed):
    z, w = drawn(scale, classes, seed)
    kind = outputs.recognise(KINDS[name](z, w))
    expected = "log-probabilities" if name.startswith("log-") else "probabilities" if "prob" in name else "logits"
    assert (kind.output, kind.advice) == (expected, "")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("classes", [3, 10, 40])
def test_what_is_neither_is_named_with_what_to_return(name, classes):
    convert, words = OTHERS[name]
    if classes == 3 and ("second softmax" in words or words == "at -0.1"):
        pytest.skip("with three classes, logits may look like that")
    kind = outputs.recognise(convert(*drawn(3.0, classes)))
    assert kind.output is None
    assert words in kind.name
    assert "logits" in kind.advice or "negative" in kind.advice


@given(factor=st.floats(1e-3, 1e3), shift=st.floats(-50, 50), seed=st.integers(0, 2**20))
def test_a_factor_and_a_term_that_all_classes_share_make_no_difference(factor, shift, seed):
    z, w = drawn(3.0, 10, seed)
    kind = outputs.recognise(factor * z + shift * w[:, :1])
    assert kind.output == "logits"


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_values_that_passed_through_half_precision_are_known_and_still_recognised(dtype, bits):
    z, w = drawn(3.0, 100)
    for convert, expected in ((KINDS["probabilities"], "probabilities"), (KINDS["logits"], "logits")):
        raw = convert(z, w).to(dtype)
        assert outputs.significant_bits(raw) == outputs.significant_bits(raw.float()) == bits
        assert outputs.recognise(raw.float()).output == expected
    assert outputs.recognise((100 * z.softmax(1)).to(dtype)).output is None
    assert outputs.significant_bits(z) == outputs.significant_bits(z.double()) == 24


def test_a_constant_and_few_images_are_no_evidence():
    assert outputs.recognise(torch.zeros(256, 10)).output == "logits"
    assert outputs.recognise(torch.rand(256, 10)[:1].expand(256, 10)).output == "logits"
    assert outputs.recognise(drawn(3.0, 10)[0][:2].sigmoid()).output == "logits"


def test_two_classes_have_log_odds_that_are_logits():
    z = drawn(3.0, 3)[0][:, :1]
    assert outputs.recognise(torch.cat([z, -z], 1)).output == "logits"


def test_the_logits_in_a_tuple_a_dict_or_a_dataclass_are_found():
    z = torch.randn(4, 10)
    features = torch.randn(4, 3)
    for returned, source in (
        ((z, features), "item 0 of tuple"),
        ([features, z], "item 1 of list"),
        ({"logits": z, "aux": z + 1}, "logits of dict"),
        ({"features": features, "out": z}, "out of dict"),
    ):
        found = outputs.taken(returned, (4, 10))
        assert torch.equal(found.take(returned), z)
        assert found.source == source
    for returned, words in (
        ((z, z), r"tuple of item 0 \(4, 10\), item 1 \(4, 10\)"),
        ({"features": features}, r"dict of features \(4, 3\)"),
        (None, "NoneType"),
        ("logits", "str"),
    ):
        with pytest.raises(ValueError, match=words):
            outputs.taken(returned, (4, 10))
