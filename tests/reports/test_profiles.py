"""What the published second edition of digits says of noise levels: on the board, in the figure, along paths."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pagbench
from pagbench import benchmarks
from pagbench.benchmarks import validation
from pagbench.ranking import render
from pagbench.reports.figures import canvas, profiles
from pagbench.studies import paths
from pagbench.studies.models import read_study

RESULTS = Path(__file__).parent.parent.parent / "leaderboard" / "results"


@pytest.fixture(scope="module")
def edition():
    return benchmarks.load("digits@2")


@pytest.fixture(scope="module")
def board(edition):
    return pagbench.leaderboard(RESULTS, benchmark=edition)


@pytest.fixture(scope="module")
def study(edition):
    return read_study(RESULTS, edition, lambda line: None)


def test_the_ceiling_is_the_published_one_corrected_as_the_alignment_is(board, edition):
    known = validation.published("digits@2").ceilings[edition.sigma]
    measured = board[board["alignment"].notna()]
    chance = measured["alignment_cosine_chance"]
    for part, bound in zip(("", "_low", "_high"), known, strict=True):
        np.testing.assert_allclose(measured[f"alignment_ceiling{part}"], (bound - chance) / (1 - chance))
    ranked = board[board["status"] == "ranked"]
    assert (ranked["alignment_high"] < ranked["alignment_ceiling"]).all()
    assert f"a perfect model's cosine with it would be about {known.with_bounds(3)}" in " ".join(
        render.to_table(board, edition, notes=True).split()
    )
    assert "alignment_ceiling" in json.loads(render.to_json(board, edition))[0]


def test_without_published_evidence_no_ceiling_is_said(edition, monkeypatch):
    monkeypatch.setattr(validation, "published", lambda label: None)
    found = pagbench.leaderboard(RESULTS, benchmark=edition)
    assert "alignment_ceiling" not in found
    assert "perfect model" not in render.to_table(found, edition)


def test_the_peak_is_the_largest_of_the_profile_and_lies_beside_its_sigma(board, edition):
    ranked = board[board["status"] == "ranked"]
    profile = ranked[[f"alignment_profile_{sigma:g}" for sigma in edition.sigmas]].to_numpy()
    np.testing.assert_allclose(ranked["alignment_peak"], profile.max(axis=1))
    step = np.abs(np.log(ranked["alignment_peak_sigma"]) - np.log(np.array(edition.sigmas)[profile.argmax(axis=1)]))
    assert (step < np.log(2) / 2).all()


def test_points_of_a_path_are_the_rows_of_the_board(study, board):
    rows = board.set_index("model")
    for path in paths.main_paths(study):
        for part in path.points:
            (row,) = {study.row_of[model.card.id] for model in part.models}
            assert len(part.models) == rows.loc[row, "n_networks"]
            assert part.regime == rows.loc[row, "regime"]
            for name in ("alignment", "alignment_peak", "alignment_peak_sigma"):
                assert part.values[name].value == pytest.approx(rows.loc[row, name])


def test_a_point_at_the_last_sigma_has_no_upper_end_and_half_a_bar(study):
    row, name, last = "digits/noise-2.5", "alignment_peak_sigma", max(study.benchmark.sigmas)
    known = study.row_replicates[row]
    drawn = np.linspace(1.5, 1.1 * last, len(known[name]))
    drawn[0] = last
    changed = replace(study, row_replicates={**study.row_replicates, row: {**known, name: drawn}})
    main = paths.main_paths(changed)
    (noise,) = [path for path in main if path.family == "noise"]
    found = noise.points[-1].values[name]
    assert found[:2] == pytest.approx((last, np.quantile(drawn[1:], 0.025))) and np.isnan(found.high)
    with canvas.style():
        axis = profiles.draw(changed, main).axes[-2]
    ends = [segment[:, 1] for bars in axis.collections for segment in bars.get_segments()]
    assert max(high for _, high in ends) == last
    assert [low for low, high in ends if high == last] == [pytest.approx(found.low)]


def test_the_figure_has_a_panel_for_each_family_and_two_below(study, tmp_path):
    main = paths.main_paths(study)
    with canvas.style():
        figure = profiles.draw(study, main)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [*(path.family for path in main), "", ""]
    for axis, path in zip(figure.axes, main, strict=False):
        curves = [line.get_ydata() for line in axis.lines if len(line.get_xdata()) == len(study.benchmark.sigmas)]
        expected = [
            [part.values[f"alignment_profile_{sigma:g}"].value for sigma in study.benchmark.sigmas]
            for part in path.points
        ]
        assert len(curves) == 1 + len(expected)  # the first is the model without regularisation
        np.testing.assert_allclose(curves[1:], expected)
    saved = canvas.save(figure, tmp_path / "profiles.png")
    assert min(Image.open(saved).size) > 600


def test_no_label_at_the_end_of_a_line_lies_on_another(study):
    main = paths.main_paths(study)
    with canvas.style():
        figure = profiles.draw(study, main)
    figure.canvas.draw()
    for axis, path in zip(figure.axes, main, strict=False):
        assert [text.get_text() for text in axis.texts] == [f"{part.strength:g}" for part in path.points]
        boxes = [text.get_window_extent() for text in axis.texts]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        assert all(box.x1 < axis.get_window_extent().x1 + 5 for box in boxes)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]),
        ([3.0, 1.0, 2.0], [3.0, 1.0, 2.0]),
        ([0.0, 0.2, 0.9, 9.0], [-0.633333, 0.366667, 1.366667, 9.0]),
    ],
)
def test_labels_are_spread_as_little_as_they_must(at, expected):
    np.testing.assert_allclose(canvas.spread(at, 1.0), expected, atol=1e-6)
