"""Alignment with the targets of several noise levels, and where it is largest."""

import json
from dataclasses import replace

import numpy as np
import pytest
import second_edition
import torch
from hypothesis import given
from hypothesis import strategies as st

import pagbench
from pagbench import benchmarks, columns, geometry
from pagbench.cli import listing
from pagbench.densities import scores
from pagbench.errors import CardError, ContractError, DataError
from pagbench.measures import profile
from pagbench.measures.calibration import Temperature
from pagbench.measures.context import MeasureContext
from pagbench.models.classifier import Classifier
from pagbench.models.controls import BayesClassifier
from pagbench.ranking import render
from pagbench.ranking.profile import bound, censored, columns_of, peak, within
from pagbench.ranking.statistics import Interval
from pagbench.results import PUBLISHED, contradictions
from pagbench.running import targets

CPU = torch.device("cpu")
SIGMAS = (0.25, 0.5, 0.75, 1.5)


@pytest.fixture(scope="module")
def second():
    return second_edition.definition()


@pytest.fixture(scope="module")
def score(second, digits_splits):
    return scores.load(second, digits_splits.train)


@pytest.fixture(scope="module")
def batch(second, digits_splits):
    ids = second.samples[:12]
    return targets.compute(second, digits_splits, ids, seed=0, device=CPU).batch(ids)


def observed(classifier, batch, second):
    return MeasureContext(classifier, batch, second, Temperature(1.0, 1.0, 1.0))


def test_targets_are_those_of_benchmarks_at_each_sigma(second, score, batch, digits_splits):
    images = digits_splits.test.select(batch.ids)
    assert batch.profile.shape == (12, 4, 1, 8, 8) and batch.profile.dtype == torch.float32
    for index, sigma in enumerate(SIGMAS):
        single = second.model_copy(update={"sigma": sigma, "sigmas": None})
        expected = targets.bayes_target(score, single, images, CPU)
        torch.testing.assert_close(batch.profile[:, index], expected.float(), rtol=1e-6, atol=1e-7)
    assert torch.equal(batch.profile[:, 2], batch.target)
    assert torch.equal(batch.chance_profile[:, 2], batch.chance_target)


def test_targets_are_kept_with_the_others_and_counted(second, digits_splits, batch, monkeypatch):
    kept = targets.compute(second, digits_splits, batch.ids, seed=0, device=CPU)
    monkeypatch.setattr(targets.Computation, "__call__", lambda *_: pytest.fail("computed again"))
    read = kept.batch(batch.ids)
    assert torch.equal(read.profile, batch.profile) and torch.equal(read.chance_profile, batch.chance_profile)
    without = second.model_copy(update={"sigmas": None})
    assert targets.size_of(second) - targets.size_of(without) == 4 * 4 * 64


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_bayes_classifier_at_a_sigma_is_aligned_with_its_own_target(second, score, batch, sigma):
    found = profile.measure(observed(Classifier(BayesClassifier(score, sigma)), batch, second))
    assert set(found) == {f"alignment_at_{s:g}{end}" for s in SIGMAS for end in ("", "_chance")}
    own = found.pop(f"alignment_at_{sigma:g}")
    assert (own > 1 - 1e-4).all()
    assert all(values.mean() < 0.95 for values in found.values())


def test_all_are_of_one_gradient_that_is_computed_once(second, batch, noise_trained, monkeypatch):
    context = observed(noise_trained, batch, second)
    gradient = context.gradient
    monkeypatch.setattr(geometry.ForwardPass, "_gradient", lambda *_, **__: pytest.fail("differentiated again"))
    found = profile.measure(context)
    for index, sigma in enumerate(SIGMAS):
        for end, target in (("", batch.profile), ("_chance", batch.chance_profile)):
            expected = geometry.cosine(gradient, target[:, index])
            assert torch.equal(found[f"alignment_at_{sigma:g}{end}"], expected)


def test_targets_that_vanish_at_a_sigma_are_null_there_and_no_error(second, score, batch, noise_trained, digits_splits):
    class Vanishing:
        """Of a certain class from some sigma on."""

        def score(self, x, sigma, labels=None):
            found = score.score(x, sigma, labels)
            return torch.zeros_like(found) if sigma > 1 else found

    few = digits_splits.test.select(batch.ids[:3])
    assert targets.bayes_direction(Vanishing(), second, few, CPU, 1.5).isnan().all()
    with pytest.raises(DataError, match=r"vanishes at sigma 1\.5; use another"):
        targets.bayes_target(Vanishing(), second.model_copy(update={"sigma": 1.5}), few, CPU)
    holed = batch.profile.clone()
    holed[0, 3] = torch.nan
    found = profile.measure(observed(noise_trained, replace(batch, profile=holed), second))
    assert found["alignment_at_1.5"].isnan().tolist() == [True] + 11 * [False]
    assert not found["alignment_at_0.75"].isnan().any() and not found["alignment_at_1.5_chance"].isnan().any()


def test_a_batch_without_these_targets_is_refused(second, batch, noise_trained):
    with pytest.raises(ContractError, match="no targets of several noise levels"):
        profile.measure(observed(noise_trained, replace(batch, profile=None), second))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigmas": None}, "the measure profile goes with sigmas: give both or neither"),
        ({"measures": second_edition.MEASURES[:-1]}, "the measure profile goes with sigmas: give both or neither"),
        ({"sigmas": (0.25, 0.5)}, r"sigma 0.75 is not one of sigmas \(0.25, 0.5\)"),
        ({"sigmas": ()}, r"sigma 0.75 is not one of sigmas \(\)"),
        ({"sigmas": (0.75, 0.5)}, "do not ascend"),
        ({"sigmas": (0.75, 0.75)}, "do not ascend"),
        ({"sigmas": (0.75, 0.75 + 1e-9)}, "or not by more than their names tell apart"),
        ({"sigmas": (-0.1, 0.75)}, "field 'sigmas"),
    ],
)
def test_sigmas_that_do_not_fit_are_refused_in_one_line(changes, message):
    content = benchmarks.load("digits@1").model_dump() | second_edition.FIELDS
    with pytest.raises(CardError, match=message) as refused:
        benchmarks.Benchmark.parse(content | changes, "digits")
    assert "\n" not in str(refused.value)


GRID = st.lists(st.floats(0.01, 10), min_size=3, max_size=9, unique_by=lambda sigma: f"{sigma:.2g}").map(sorted)


@given(sigmas=GRID, place=st.floats(0, 1), width=st.floats(0.1, 10))
def test_the_peak_of_a_parabola_in_log_sigma_is_found_where_it_is(sigmas, place, width):
    low, high = np.log(sigmas[0]), np.log(sigmas[-1])
    summit = low + place * (high - low)
    values = 1 - width * (np.log(sigmas) - summit) ** 2
    found = peak(values[None], sigmas)
    assert found.value[0] == values.max()
    best = int(values.argmax())
    expected = np.exp(summit) if 0 < best < len(sigmas) - 1 else sigmas[best]
    assert found.sigma[0] == pytest.approx(expected, rel=1e-6)


def test_the_peak_stays_between_its_neighbours_and_on_the_grid_without_them():
    profiles = np.array(
        [[0.1, 0.5, 0.4], [0.45, 0.5, 0.1], [0.5, 0.5, 0.1], [0.3, 0.3, 0.3], [np.nan, 0.5, 0.1], [0.2, -np.inf, 0.1]]
    )
    found = peak(profiles, (0.5, 1.0, 4.0))
    assert 1 < found.sigma[0] < 2 and 2**-0.5 < found.sigma[1] < 1
    np.testing.assert_allclose(found.sigma[2:], [0.5, 0.5, 1.0, 0.5])
    assert np.isnan(peak(np.full((2, 3), np.nan), (1, 2, 3))).all()
    assert peak(np.array([[0.3]]), (0.75,)) == (0.3, pytest.approx(0.75))


def test_the_largest_of_the_grid_is_hardly_too_high_with_a_thousand_images():
    """Of cosines that vary by .15 between images, half of it together: a bias of a tenth of the interval's half."""
    rng, truth = np.random.default_rng(0), np.array([0.28, 0.3, 0.3, 0.28])
    means = truth + (rng.normal(0, 0.15, (4000, 1)) + rng.normal(0, 0.15, (4000, 4))) / np.sqrt(2 * 1000)
    found = peak(means, SIGMAS).value
    bias, half = found.mean() - 0.3, 1.96 * found.std()
    assert 0 < bias < 0.35 * half


@pytest.mark.parametrize(
    ("sigma", "sigmas", "said"),
    [
        (4.0, (0.35, 1.0, 4.0), "at least"),
        (float(np.exp(np.log(2.83))), (0.125, 0.35, 2.83), "at least"),
        (0.25, (0.25, 0.5), "at most"),
        (float(np.float32(0.35)), (0.35, 1.0), "at most"),
        (1.0, (0.35, 1.0, 4.0), None),
        (3.9, (0.35, 1.0, 4.0), None),
        (np.nan, (0.35, 1.0, 4.0), None),
        (1.0, None, None),
    ],
)
def test_a_peak_at_an_end_of_the_grid_is_a_bound(sigma, sigmas, said):
    assert censored(sigma, sigmas) == said


_OPEN = np.nan


@pytest.mark.parametrize(
    ("drawn", "known", "text"),
    [
        ((4.0, 3.339973, 4.166), (4.0, 3.339973, _OPEN), "≥ 3.33"),
        ((4.0, 0.665, 4.0), (4.0, 0.665, _OPEN), "≥ 0.665"),
        ((4.0, 4.0, 4.0), (4.0, 4.0, _OPEN), "≥ 4"),
        ((4.0, 4.01, 4.2), (4.0, 4.0, _OPEN), "≥ 4"),
        ((4.0, 0.35, 4.0), (4.0, _OPEN, _OPEN), "–"),
        ((4.0, 0.3, 4.2), (4.0, _OPEN, _OPEN), "–"),
        ((0.35, 0.35, 0.35), (0.35, _OPEN, 0.35), "≤ 0.35"),
        ((0.35, 0.33, 1.25), (0.35, _OPEN, 1.25), "≤ 1.25"),
        ((0.35, 0.35, 4.1), (0.35, _OPEN, _OPEN), "–"),
        ((3.9, 3.0, 4.17), (3.9, 3.0, 4.0), ""),
        ((0.4, 0.3, 1.0), (0.4, 0.35, 1.0), ""),
        ((1.0, 0.9, 1.1), (1.0, 0.9, 1.1), ""),
        ((np.nan, np.nan, np.nan), (np.nan, np.nan, np.nan), ""),
        ((4.0, np.nan, np.nan), (4.0, _OPEN, _OPEN), "–"),
    ],
)
def test_a_bound_is_the_end_of_the_interval_that_is_known(drawn, known, text):
    """No end lies beyond the grid, and none at which the replicates only say that the peak may be anywhere beyond."""
    grid = (0.35, 1.0, 4.0)
    found = within(Interval(*drawn), grid)
    np.testing.assert_equal(found, known)
    np.testing.assert_equal(within(found, grid), found)
    assert bound("alignment_peak_sigma", found, grid) == text
    assert bound("alignment_peak", found, grid) == ""


def test_a_grid_of_one_sigma_bounds_nothing():
    assert bound("alignment_peak_sigma", within(Interval(1.0, 1.0, 1.0), (1.0,)), (1.0,)) == "–"


def test_a_peak_inside_never_comes_near_an_end():
    """The parabola's vertex lies nearer to its middle point than to its neighbours, however steep one side is."""
    profiles = np.array([[0.5 - 1e-12, 0.5, -1.0], [-1.0, 0.5, 0.5 - 1e-12]])
    assert [censored(sigma, (0.5, 1.0, 2.0)) for sigma in peak(profiles, (0.5, 1.0, 2.0)).sigma] == [None, None]


@pytest.fixture(scope="module")
def board_and_rows(short_runs, digits):
    second = second_edition.definition(samples=digits.samples[:60])
    rows = pagbench.run("digits/noise-0.6", benchmark=second)
    return pagbench.leaderboard(rows, benchmark=second).set_index("model"), rows, second


def test_the_board_has_the_profile_and_its_peak(board_and_rows):
    board, rows, second = board_and_rows
    row, own = board.loc["digits/noise-0.6"], rows[rows["entrant"] == "digits/noise-0.6"]
    curve = []
    for sigma in SIGMAS:
        mean, chance = own[f"alignment_at_{sigma:g}"].mean(), own[f"alignment_at_{sigma:g}_chance"].mean()
        curve.append((mean - chance) / (1 - chance))
        name = f"alignment_profile_{sigma:g}"
        assert row[name] == pytest.approx(curve[-1])
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    expected = peak(np.array([curve]), SIGMAS)
    assert row["alignment_peak"] == pytest.approx(expected.value[0]) == pytest.approx(max(curve))
    assert row["alignment_peak_sigma"] == pytest.approx(expected.sigma[0])
    assert row["alignment_peak_low"] < row["alignment_peak"] < row["alignment_peak_high"]
    assert row["alignment_peak_sigma_low"] <= row["alignment_peak_sigma"] <= row["alignment_peak_sigma_high"]
    assert row["alignment_profile_0.75"] == pytest.approx(row["alignment_cosine_corrected"])
    bayes = board.loc["control/bayes"]
    assert bayes["alignment_peak"] == pytest.approx(1, abs=1e-4)
    assert [column.name for column in columns.board_columns(second) if column.per == "sigma"] == [
        f"alignment_profile_{sigma:g}" for sigma in SIGMAS
    ]


def test_texts_show_the_peak_and_files_all_of_it(board_and_rows):
    board, _, second = board_and_rows
    table = render.to_table(board.reset_index(), second, columns="all")
    assert "peak ↑" in table and "peak sigma" in table and "alignment_profile" not in table
    assert "alignment_profile_0.25_low" in render.to_csv(board.reset_index(), second).partition("\n")[0]
    assert '"alignment_peak_sigma"' in render.to_json(board.reset_index(), second)


_ENDS = ("alignment_peak_sigma_low", "alignment_peak_sigma_high")


def test_published_intervals_of_the_peak_lie_within_the_grid():
    """Retraining moves replicates beyond the last sigma; of a peak there the interval has no upper end."""
    found = pagbench.leaderboard(PUBLISHED, benchmark="fashion-mnist@2").set_index("model")
    sigmas = benchmarks.load("fashion-mnist@2").sigmas
    ends = found[list(_ENDS)].to_numpy(float)
    assert np.nanmin(ends) >= min(sigmas) and np.nanmax(ends) <= max(sigmas)
    at_end = found["alignment_peak_sigma_censored"] == "at least"
    assert {"fashion-mnist/noise-6", "fashion-mnist/smoothing-6"} < set(found.index[at_end])
    assert np.isnan(found.loc[at_end, _ENDS[1]]).all() and np.isfinite(found.loc[at_end, _ENDS[0]]).all()
    assert found.loc["fashion-mnist/smoothing-6", "alignment_peak_sigma"] == max(sigmas)


def test_forms_of_the_board_write_a_bound_without_an_interval_and_files_say_that_it_is_one(board_and_rows):
    board, _, second = board_and_rows
    board = board.reset_index()
    last, first = max(SIGMAS), min(SIGMAS)
    rest = [(0.6, 0.5, 0.7)] * (len(board) - 2)
    drawn = [(last, 1.234, last * 1.04), (first, first * 0.96, 0.432), *rest]
    entries = [dict(zip(("alignment_peak_sigma", *_ENDS), values, strict=True)) for values in drawn]
    for name in (*_ENDS, "alignment_peak_sigma_censored"):
        board[name] = [columns_of(entry, SIGMAS)[name] for entry in entries]
    board["alignment_peak_sigma"] = [entry["alignment_peak_sigma"] for entry in entries]
    for form in (render.to_table, render.to_markdown):
        text = form(board, second, columns="all")
        assert "≥ 1.23" in text and "≤ 0.432" in text
        assert f"{last:.3f} ±" not in text and f"{first:.3f} ±" not in text and "0.600 ±" in text
    exported = json.loads(render.to_json(board, second))
    assert [row["alignment_peak_sigma_censored"] for row in exported[:3]] == ["at least", "at most", None]
    assert [row["alignment_peak_sigma"] for row in exported[:2]] == [last, first]
    assert [[row[end] for end in _ENDS] for row in exported[:3]] == [[1.234, None], [None, 0.432], [0.5, 0.7]]
    assert f",{last},1.234,,at least," in render.to_csv(board, second)
    shown = [listing._value(row, "alignment_peak_sigma", second) for _, row in board.head(3).iterrows()]
    assert shown == ["≥ 1.23", "≤ 0.432", "0.6000 [0.5000, 0.7000]"]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("alignment_at_0.75", np.nan, "1 rows lack some but not all columns of the gradient"),
        ("alignment_at_0.75_chance", np.nan, "1 rows lack some but not all columns of the gradient"),
        ("alignment_at_0.25", np.nan, ""),
        ("alignment_at_1.5_chance", np.nan, ""),
        ("alignment_at_0.25", 1.5, "alignment_at_0.25: 1 values out of range"),
        ("on_jacobian", -0.1, "on_jacobian: 1 values out of range"),
        ("off_jacobian", np.nan, "off_jacobian: 1 values are missing, which every network has"),
        ("temperature", np.nan, "temperature: 2 values, expected one"),
    ],
)
def test_submitted_rows_that_cannot_be_are_told(board_and_rows, column, value, said):
    _, rows, second = board_and_rows
    own = rows[rows["entrant"] == "digits/noise-0.6"].reset_index(drop=True)
    assert not list(contradictions.implausible(own, second))
    own.loc[3, column] = value
    ranges = contradictions._ranges(own, columns.sample_columns(second))
    lines = [*ranges, *contradictions.implausible(own, second)]
    assert (said in lines[0] and len(lines) == 1) if said else not lines


def test_first_editions_have_none_of_it(digits):
    names = [column.name for column in (*columns.sample_columns(digits), *columns.board_columns(digits))]
    assert not [name for name in names if name.startswith(("alignment_at", "alignment_profile"))]
