"""The second target and the paper protocol as measures of a benchmark."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from pagbench import cards, columns, geometry, leaderboard, measures, run
from pagbench.benchmarks import Benchmark
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.densities.scores import load_second
from pagbench.errors import CardError, ContractError
from pagbench.measures import lpips, paper
from pagbench.models.classifier import Classifier
from pagbench.models.controls import BayesClassifier
from pagbench.ranking import render
from pagbench.ranking.board import agreements
from pagbench.running import targets

pytestmark = pytest.mark.usefixtures("short_runs")


def with_second(benchmark, sigma):
    """The same benchmark with its own score as the second, at another noise level."""
    second = cards.SecondTargetCard(score=cards.ScoreCard(kind="empirical"), sigma=sigma, paper_sigma=0.5)
    return benchmark.model_copy(
        update={"second": second, "measures": (*benchmark.measures, "alignment_second", "paper")}
    )


@pytest.fixture(scope="module")
def batch(digits, digits_splits):
    """Eight digits with a second target that equals the first."""
    benchmark = with_second(digits, digits.sigma)
    ids = digits.samples[:8]
    return targets.compute(benchmark, digits_splits, ids, seed=0, device=torch.device("cpu")).batch(ids)


def test_with_the_same_score_the_second_alignment_is_the_first(observe, noise_trained, batch):
    context = observe(noise_trained, batch=batch)
    first, second = measures.load("alignment_cosine")(context), measures.load("alignment_second")(context)
    torch.testing.assert_close(second["alignment_second"], first["alignment_cosine"], rtol=0, atol=1e-5)
    torch.testing.assert_close(second["alignment_second_chance"], first["alignment_cosine_chance"], rtol=0, atol=1e-5)


def test_the_bayes_classifier_of_the_second_score_is_aligned_with_the_second_target(digits, digits_splits, observe):
    other = with_second(digits, 1.5)
    ids = digits.samples[:8]
    batch = targets.compute(other, digits_splits, ids, seed=0, device=torch.device("cpu")).batch(ids)
    density = load_second(other, digits_splits.train)
    assert isinstance(density, EmpiricalDensity)
    classifier = Classifier(BayesClassifier(density, 1.5))
    context = observe(classifier, batch=batch)
    assert measures.load("alignment_second")(context)["alignment_second"].min() > 1 - 1e-5
    assert measures.load("alignment_cosine")(context)["alignment_cosine"].mean() < 0.99


def test_the_paper_measure_changes_with_what_it_should_not_change_with(observe, noise_trained, batch):
    """Adding c(x) to all logits leaves every prediction alone and moves the paper's alignment, not the responses."""

    class Shifted(torch.nn.Module):
        def forward(self, x):
            return noise_trained(x) + 50 * x.square().sum(dim=(1, 2, 3))[:, None]

    plain = measures.load("paper")(observe(noise_trained, batch=batch))
    shifted = measures.load("paper")(observe(Classifier(Shifted()), batch=batch))
    for name in ("paper_on_response", "paper_off_response"):
        torch.testing.assert_close(shifted[name], plain[name], rtol=0, atol=1e-4)
    for name in ("paper_alignment", "paper_alignment_sum"):
        assert (shifted[name] - plain[name]).abs().mean() > 0.02


def test_small_maps_get_a_margin_and_large_ones_do_not():
    generator = torch.Generator().manual_seed(0)
    for side, padded in ((28, 32), (33, 33)):
        a, b = torch.randn(2, 3, 1, side, side + 1, generator=generator)
        low = (padded - side) // 2
        size = (3, 1, padded, max(32, side + 1))
        framed = []
        for part in (a, b):
            frame = torch.zeros(size)
            left = (size[3] - side - 1) // 2
            frame[:, :, low : low + side, left : left + side + 1] = geometry.scale_to_unit_range(part)
            framed.append(lpips.embed(frame, side=None))
        torch.testing.assert_close(paper.perceptual_distance(a, b), lpips.distance(*framed))


def test_columns_reach_rows_and_leaderboard(digits):
    benchmark = with_second(digits, digits.sigma)
    rows = run("digits/noise-0.6", benchmark=benchmark, limit=4)
    assert {"alignment_second", "paper_alignment", "paper_on_response"} <= set(rows.columns)
    assert list(rows.columns) == columns.schema(benchmark).names
    board = leaderboard(rows, benchmark=benchmark).set_index("model")
    bayes = board.loc["control/bayes"]
    assert bayes["alignment_second_corrected"] == pytest.approx(1, abs=1e-5)
    assert bayes["paper_log_ratio"] < 0


def test_a_batch_without_a_second_target_says_so(observe, noise_trained):
    for name in ("alignment_second", "paper"):
        with pytest.raises(ContractError, match="the batch has no second target"):
            measures.load(name)(observe(noise_trained))


def test_second_target_and_its_measures_go_together(digits):
    fields = digits.model_dump(mode="json")
    with pytest.raises(Exception, match="go with a second target"):
        Benchmark.parse({**fields, "measures": [*digits.measures, "paper"]}, "test")
    second = {"score": {"kind": "empirical"}, "sigma": 1.0, "paper_sigma": 0.25}
    with pytest.raises(Exception, match="go with a second target"):
        Benchmark.parse({**fields, "second": second}, "test")
    with pytest.raises(Exception, match="kind 'diffusion' needs the field 'weights'"):
        Benchmark.parse({**fields, "score": {"kind": "diffusion"}}, "test")
    for measure, sigmas in (("alignment_second", second), ("paper", {**second, "paper_sigma": None})):
        taken = {**fields, "second": sigmas, "measures": [*digits.measures, measure]}
        with pytest.raises(Exception, match=r"goes with the second target's (sigma|paper_sigma): give both"):
            Benchmark.parse(taken, "test")


def test_a_second_target_without_the_paper_protocol_computes_no_scores_for_it(digits, digits_splits):
    second = cards.SecondTargetCard(score=cards.ScoreCard(kind="empirical"), sigma=digits.sigma).model_dump(mode="json")
    changes = {"second": second, "measures": [*digits.measures, "alignment_second"]}
    benchmark = Benchmark.parse({**digits.model_dump(mode="json"), **changes}, "test")
    ids = digits.samples[:4]
    batch = targets.compute(benchmark, digits_splits, ids, seed=0, device=torch.device("cpu")).batch(ids)
    assert batch.second.target is not None
    assert batch.second.conditional is None and batch.second.marginal is None


def fake_board(benchmark, **columns_):
    rng = np.random.default_rng(0)
    alignment = rng.uniform(size=12)
    frame = {
        "model": [f"m{index}" for index in range(12)],
        "family": ["a", "b", "c"] * 4,
        "status": ["ranked"] * 11 + ["control"],
        "alignment": alignment,
        f"{benchmark.alignment}_corrected": alignment,
    }
    return pd.DataFrame({**frame, **{name: change(alignment) for name, change in columns_.items()}})


def test_agreement_of_two_rankings_is_scipys_over_ranked_models_only(digits):
    noise = np.random.default_rng(1).normal(scale=0.2, size=12)
    board = fake_board(digits, alignment_second_corrected=lambda a: a**3, paper_alignment=lambda a: a + noise)
    second, protocol = agreements(board, digits)
    assert second.spearman.value == second.kendall == 1 and np.isnan(second.spearman.low)  # 1 has no Fisher z
    assert (second.column, second.models) == ("alignment_second_corrected", 11)
    ranked = board[:11]
    expected = spearmanr(ranked["alignment"], ranked["paper_alignment"]).statistic
    assert protocol.spearman.value == pytest.approx(expected)
    assert protocol.spearman.low < expected < protocol.spearman.high
    assert "Spearman 1.00 [no interval]" in second.sentence()
    assert agreements(board[:4], digits) == []


def test_what_a_score_model_does_not_say_is_not_scored_and_the_rest_is(observe, noise_trained, batch, digits):
    """An unconditional model has no s(x|y); responses are left out where the benchmark asks for none."""
    asked = torch.tensor([True] * 5 + [False] * 3)
    parts = geometry.Directions(*(part.where(asked[:, None, None], torch.nan) for part in batch.noise_parts))
    second = batch.second._replace(conditional=None, target=None, chance_target=None)
    whole = measures.load("paper")(observe(noise_trained, batch=batch))
    context = observe(noise_trained, batch=dataclasses.replace(batch, second=second, noise_parts=parts))
    found = measures.load("paper")(context)
    assert found["paper_alignment"].isnan().all()
    torch.testing.assert_close(found["paper_alignment_sum"], whole["paper_alignment_sum"])
    for name in ("paper_on_response", "paper_off_response"):
        torch.testing.assert_close(found[name], whole[name].where(asked, torch.nan), equal_nan=True)
    with pytest.raises(ContractError, match="no second target"):
        measures.load("alignment_second")(context)
    nothing = dataclasses.replace(batch, second=second._replace(marginal=None), noise_parts=None)
    assert all(
        values.isnan().all() for values in measures.load("paper")(observe(noise_trained, batch=nothing)).values()
    )


def test_the_predicted_class_may_stand_for_the_label(observe, noise_trained, batch, digits):
    """With the predictions as labels the two gradients are one; with the labels they differ where the network errs."""
    predicting = digits.model_copy(
        update={"second": with_second(digits, 0.5).second.model_copy(update={"paper_gradient": "predicted"})}
    )
    wrong = dataclasses.replace(batch, labels=(batch.labels + 1) % 10)
    predicted = noise_trained(batch.images).argmax(1)
    of_predicted = measures.load("paper")(observe(noise_trained, batch=wrong, benchmark=predicting))["paper_alignment"]
    renamed = dataclasses.replace(batch, labels=predicted)
    torch.testing.assert_close(
        of_predicted, measures.load("paper")(observe(noise_trained, batch=renamed))["paper_alignment"]
    )
    of_wrong = measures.load("paper")(observe(noise_trained, batch=wrong))["paper_alignment"]
    assert (of_predicted - of_wrong).abs().min() > 1e-4


def test_a_benchmark_may_rank_by_the_papers_own_alignment(digits):
    own = with_second(digits, 0.75).model_copy(update={"alignment": "paper_alignment"})
    rows = run("digits/noise-0.6", benchmark=own, limit=12)
    board = leaderboard(rows, benchmark=own).set_index("model")
    expected = rows.groupby("entrant")["paper_alignment"].mean()
    np.testing.assert_allclose(board["alignment"], expected[board.index], rtol=1e-6)
    assert "not corrected for chance" in render.to_markdown(board.reset_index(), own)


def test_a_benchmark_without_a_manifold_measures_gradients_alone(digits, digits_splits):
    content = digits.model_dump(exclude_none=True)
    for name in ("manifold", "epsilons", "epsilon", "bayes", "reference", "thresholds"):
        del content[name]
    content |= {"calibration": (), "training": digits_splits.train.ids}
    bare = Benchmark.parse(
        {**content, "measures": ["accuracy", "faithfulness", "alignment_cosine"], "alignment": "alignment_cosine"},
        "bare",
    )
    rows = run("digits/noise-0.6", benchmark=bare, limit=12)
    whole = run("digits/noise-0.6", benchmark=digits, limit=12).query("entrant == 'digits/noise-0.6'")
    assert set(rows["entrant"]) == {"digits/noise-0.6"}
    assert rows["gradient_faithful"].eq(1).all()
    np.testing.assert_allclose(rows["alignment_cosine"], whole["alignment_cosine"], rtol=1e-5)
    shown = render.to_markdown(leaderboard(rows, benchmark=bare), bare)
    assert "| alignment" in shown and "tangent" not in shown and "No regimes are judged" in shown
    with pytest.raises(CardError, match=r"a manifold, epsilons and the measures .* go together"):
        Benchmark.parse({**bare.model_dump(), "measures": [*bare.measures, "tangent"]}, "bare")
