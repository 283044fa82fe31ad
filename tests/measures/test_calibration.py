"""Benchmarks whose outputs are divided by the model's temperature before anything is measured."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import second_edition
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pagbench
from pagbench import benchmarks, columns, geometry, measures
from pagbench.errors import CardError
from pagbench.measures import calibration, paper
from pagbench.measures.calibration import Calibrated, fit_temperature
from pagbench.measures.context import SecondScores
from pagbench.models import registry
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import SmoothedNetwork, sampled, smoothed_network
from pagbench.ranking import eligibility
from pagbench.ranking.eligibility import NO_TEMPERATURE

NETWORKS = ("digits/noise-0.6", "digits/standard", "digits/smoothness-10")
MEASURES = ("accuracy", "response", "sensitivity", "faithfulness", "tangent", "alignment_cosine")


class Moved(nn.Module):
    """Logits a (z + c(x)): the same classifier, other logits."""

    def __init__(self, base, factor, shift):
        super().__init__()
        self.base, self.factor, self.shift = base, factor, shift

    def forward(self, x):
        return self.factor * (self.base(x) + self.shift * torch.sin(5 * x.flatten(1)).sum(1, keepdim=True))


class NearestCalibration(nn.Module):
    """Knows the calibration images, and is wrong on none of them; on others it is often right."""

    def __init__(self, images, labels):
        super().__init__()
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("chosen", nn.functional.one_hot(labels, 10).bool())

    def forward(self, x):
        squared = (x.flatten(1)[:, None] - self.images).square().sum(2)
        return (-50 * squared[:, :, None]).masked_fill(~self.chosen, -1e4).logsumexp(1)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(calibration, "_RESAMPLES", 20)


@pytest.fixture(scope="module")
def calibrated(digits):
    """Digits by calibrated outputs."""
    return digits.model_copy(update={"gradient": "calibrated"})


@pytest.fixture(scope="module")
def networks(digits):
    return {name: registry.find(name).load(digits).classifier for name in NETWORKS}


def drawn(classes=5, temperature=2.5, images=400, seed=0):
    """Logits, and labels that are drawn at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


def fitted(classifier, splits):
    with torch.no_grad():
        logits = classifier(splits.calibration.images)
    return fit_temperature(logits, splits.calibration.labels, seed=0, exact=True).value


@settings(max_examples=10)
@given(factor=st.floats(1e-30, 1e30), classes=st.integers(2, 12), seed=st.integers(0, 99))
def test_logits_a_times_as_large_have_a_times_the_temperature(factor, classes, seed):
    logits, labels = drawn(classes=classes, seed=seed)
    shifted = logits + torch.linspace(-5, 5, len(logits), dtype=torch.float64)[:, None]
    plain, scaled, moved = (
        fit_temperature(z, labels, seed=0, exact=True) for z in (logits, factor * logits, factor * shifted)
    )
    assert np.allclose(np.array(scaled) / factor, plain, rtol=1e-9, atol=0)
    assert np.allclose(np.array(moved) / factor, plain, rtol=1e-9, atol=0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_exact_temperature_is_where_the_slope_of_the_likelihood_vanishes(temperature):
    logits, labels = drawn(temperature=temperature, images=2_000)
    found = fit_temperature(logits, labels, seed=0, exact=True)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(temperature, rel=0.1)
    scale = torch.tensor(1 / found.value, dtype=torch.float64, requires_grad=True)
    nn.functional.cross_entropy(scale * logits, labels).backward()
    assert abs(float(scale.grad)) < 1e-12


def test_both_ways_find_the_same_temperature_of_real_networks(networks, digits_splits):
    images, labels = digits_splits.calibration.images, digits_splits.calibration.labels
    for network in networks.values():
        first, exact = (fit_temperature(network(images), labels, seed=0, exact=exact) for exact in (False, True))
        assert np.allclose(first, exact, rtol=1e-4)


CYCLE = torch.arange(40) % 4
RIGHT = nn.functional.one_hot(CYCLE, 4).float()


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param(torch.zeros(40, 4), id="constant"),
        pytest.param(1e6 + torch.zeros(40, 4), id="a large constant"),
        pytest.param(torch.arange(40.0)[:, None].expand(-1, 4), id="of the image alone"),
        pytest.param(-RIGHT, id="worse than chance"),
        pytest.param(RIGHT.roll(1, 0), id="always another class"),
        pytest.param(RIGHT, id="none is wrong"),
        pytest.param(1e-20 * RIGHT, id="none is wrong by little"),
        pytest.param(RIGHT * torch.nan, id="not a number"),
        pytest.param(RIGHT * torch.inf, id="infinite"),
    ],
)
def test_there_is_no_temperature_where_none_is_the_best(logits):
    assert np.isnan(fit_temperature(logits, CYCLE, seed=0, exact=True)).all()


@pytest.mark.parametrize("wrong", [1, 3, 20])
def test_a_few_wrong_images_are_enough_for_a_temperature(wrong):
    logits = RIGHT + 0.1 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    logits[:wrong] = logits[:wrong].roll(1, 1)
    found = fit_temperature(logits, CYCLE, seed=0, exact=True)
    assert 0 < found.value < np.inf
    assert not found.low > found.value and not found.high < found.value


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 3.0, 1e6, 1e30])
def test_no_division_by_a_temperature_loses_anything(observe, digits, calibrated, noise_trained, temperature):
    scaled = Classifier(Moved(noise_trained, temperature, 0.0))
    plain, divided = observe(noise_trained), observe(scaled, temperature, benchmark=calibrated)
    torch.testing.assert_close(divided.logits, plain.logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(divided.gradient, plain.gradient, rtol=1e-4, atol=1e-5)


def rows_of(observe, classifier, temperature, benchmark, names=MEASURES):
    context = observe(classifier, temperature, benchmark=benchmark)
    return {name: values for measure in names for name, values in measures.load(measure)(context).items()}


@settings(max_examples=6)
@given(name=st.sampled_from(NETWORKS), exponent=st.floats(-3, 3), shift=st.floats(-3, 3))
def test_no_column_but_the_temperature_tells_a_z_plus_c_of_x_from_z(
    observe, networks, calibrated, digits_splits, name, exponent, shift
):
    """To a thousandth: that is what float32 leaves of logits with a shift of their own size."""
    factor, network = 10**exponent, networks[name]
    moved = Classifier(Moved(network, factor, shift))
    plain, other = (fitted(classifier, digits_splits) for classifier in (network, moved))
    assert other == pytest.approx(factor * plain, rel=1e-4)
    expected, found = (
        rows_of(observe, classifier, temperature, calibrated)
        for classifier, temperature in ((network, plain), (moved, other))
    )
    for column in expected:
        if not column.startswith("temperature"):
            torch.testing.assert_close(
                found[column], expected[column], rtol=1e-3, atol=2e-5, msg=lambda text, column=column: column + text
            )


def test_calibrated_columns_are_those_of_logits_over_the_temperature(observe, calibrated, noise_trained, digits):
    """The same as of a network that divides by itself, in every measure; and the gradient has turned."""
    cooled = Classifier(Moved(noise_trained, 1 / 0.5, 0.0))
    found = rows_of(observe, noise_trained, 0.5, calibrated, digits.measures)
    expected = rows_of(observe, cooled, 1.0, digits, digits.measures)
    assert set(expected) - set(found) == {"on_response_calibrated", "off_response_calibrated"}
    for column in set(found) - {"temperature", "temperature_low", "temperature_high"}:
        torch.testing.assert_close(found[column], expected[column], rtol=1e-5, atol=1e-6)
    raw = rows_of(observe, noise_trained, 0.5, digits, ("alignment_cosine", "accuracy", "sensitivity"))
    for column in ("alignment_cosine", "nll", "on_sensitivity"):
        assert (raw[column] - found[column]).abs().max() > 1e-3, column


def test_optional_measures_see_calibrated_outputs_too(observe, calibrated, noise_trained):
    cooled = Classifier(Moved(noise_trained, 1 / 0.05, 0.0))
    found, expected = (
        measures.load("confined")(context)
        for context in (observe(noise_trained, 0.05, benchmark=calibrated), observe(cooled))
    )
    for column, values in expected.items():
        assert torch.equal(found[column], values), column


def test_the_papers_protocol_undoes_the_temperature(observe, calibrated, noise_trained, digits_batch):
    noise = torch.randn(digits_batch.images.shape, generator=torch.Generator().manual_seed(0))
    scores = SecondScores(digits_batch.target, digits_batch.chance_target, digits_batch.target, digits_batch.target)
    batch = replace(digits_batch, second=scores, noise_parts=paper.split_noise(digits_batch.basis, noise))
    raw = paper.measure(observe(noise_trained, 7.0, batch=batch))
    undone = paper.measure(observe(noise_trained, 7.0, batch=batch, benchmark=calibrated))
    for column, values in raw.items():
        torch.testing.assert_close(undone[column], values, rtol=1e-4, atol=1e-6)
    assert (raw["paper_on_response"] > 0.05).any()


def test_smoothed_networks_stay_so_behind_their_temperature(noise_trained, digits_batch):
    smoothed = Classifier(
        SmoothedNetwork(noise_trained, (1, 8, 8), sigma=0.2, samples=4, seed=0, per_sample=True),
        output="log-probabilities",
    )
    divided = Calibrated(smoothed, 2.0)
    assert smoothed_network(divided) is smoothed_network(smoothed) is not None
    with sampled(divided, digits_batch.ids):
        torch.testing.assert_close(divided(digits_batch.images), smoothed(digits_batch.images) / 2)


def test_columns_that_say_nothing_new_do_not_exist(calibrated, digits):
    gone = {"on_response_calibrated", "off_response_calibrated"}
    named, before = ({column.name for column in columns.sample_columns(part)} for part in (calibrated, digits))
    assert before - named == gone
    assert set(columns.schema(digits).names) - set(columns.schema(calibrated).names) == gone


@pytest.mark.parametrize("missing", ["response", "tangent"])
def test_calibrated_outputs_go_with_the_measure_that_keeps_the_temperature(missing):
    content = benchmarks.load("digits@1").model_dump() | {"gradient": "calibrated"}
    benchmarks.Benchmark.parse(content, "digits")
    without = {"manifold": None, "epsilons": (), "epsilon": None, "calibration": (), "thresholds": None}
    kept = tuple(name for name in MEASURES if name not in ("response", "sensitivity", "tangent"))
    with pytest.raises(
        CardError, match="calibrated outputs go with the measure response, whose temperature"
    ) as refused:
        benchmarks.Benchmark.parse(content | without | {"measures": kept, "alignment": "alignment_cosine"}, "digits")
    assert "\n" not in str(refused.value)
    with pytest.raises(CardError, match="field 'gradient'"):
        benchmarks.Benchmark.parse(content | {"gradient": missing}, "digits")


@pytest.fixture(scope="module")
def small(digits):
    return second_edition.definition(samples=digits.samples[:40])


@pytest.fixture(scope="module")
def rows(short_runs, small, networks, digits_splits):
    network = networks["digits/noise-0.6"]
    knowing = NearestCalibration(digits_splits.calibration.images, digits_splits.calibration.labels)
    models = {"plain": network, "large": Moved(network, 700.0, 2.0), "small": Moved(network, 2e-3, -1.0)}
    return pagbench.run(models | {"knowing": knowing}, benchmark=small)


def test_rows_are_the_same_whatever_the_scale_of_the_logits(rows, small):
    measured = {name: part.set_index("sample_id") for name, part in rows.groupby("entrant")}
    values = [column.name for column in columns.sample_columns(small) if not column.name.startswith("temperature")]
    assert {"alignment_lpips", "on_jacobian", "alignment_at_0.25", "gradient_norm"} <= set(values)
    for name, factor in (("large", 700.0), ("small", 2e-3)):
        found, plain = measured[name], measured["plain"]
        np.testing.assert_allclose(found[values], plain.loc[found.index, values], rtol=1e-3, atol=2e-5)
        np.testing.assert_allclose(found["temperature"] / factor, plain["temperature"].iloc[0], rtol=1e-4)


def test_the_bayes_control_is_taken_as_it_is(rows):
    bayes = rows[rows["entrant"] == "control/bayes"]
    assert (bayes[["temperature", "temperature_low", "temperature_high"]] == 1).all(axis=None)
    assert bayes["alignment_cosine"].min() > 1 - 1e-4


def test_a_model_without_a_temperature_has_no_result_and_its_rows(rows, small):
    knowing = rows[rows["entrant"] == "knowing"]
    assert knowing["temperature"].isna().all() and knowing["alignment_cosine"].notna().all()
    assert knowing["correct"].mean() > 0.5
    board = pagbench.leaderboard(rows, benchmark=small).set_index("model")
    assert board.loc["knowing", "status"] == NO_TEMPERATURE
    assert pd.isna(board.loc["knowing", "rank"])
    assert board.loc["plain", "status"] == "ranked" and board.loc["control/bayes", "status"] == "control"
    assert board.loc["digits/standard", "status"] == "ranked"
    assert "log_ratio" in board and "log_ratio_calibrated" not in board


def test_first_editions_give_a_result_without_a_temperature(rows, small):
    knowing = rows[rows["entrant"] == "knowing"]
    raw = small.model_copy(update={"gradient": None})
    assert [eligibility.evidence(knowing, part, None, None).no_result for part in (small, raw)] == [
        NO_TEMPERATURE,
        None,
    ]


def test_gradients_of_calibrated_logits_are_the_same_direction_for_two_classes(noise_trained, digits_batch):
    """Of two classes alone: the log-odds over T are those of the logits over T."""

    class Two(nn.Module):
        def forward(self, x):
            return noise_trained(x)[:, :2]

    labels = digits_batch.labels % 2
    raw = geometry.log_odds_gradient(Classifier(Two()), digits_batch.images, labels).gradient
    divided = geometry.log_odds_gradient(Calibrated(Classifier(Two()), 0.2), digits_batch.images, labels).gradient
    torch.testing.assert_close(0.2 * divided, raw)
