"""Models under moved factors: gradients, similarities, the published level, and runs that are interrupted."""

import numpy as np
import pandas as pd
import pytest
import torch
from light import benchmark as light
from scipy.stats import spearmanr
from torch import nn

import pagbench
from pagbench import geometry
from pagbench.errors import ResultsError
from pagbench.measures import lpips
from pagbench.studies.stability import blocks, factors, measuring, similarities, study
from pagbench.studies.stability.blocks import Block
from pagbench.studies.stability.factors import Similarity

SIMILARITIES = {
    **factors.SIMILARITIES,
    **{how: Similarity("lpips", normalisation=how) for how in factors.NORMALISATIONS},
    "LPIPS 32": Similarity("lpips", side=32),
}
MODELS = ("digits/standard", "digits/noise-0.6", "digits/gradient-norm-1")


@pytest.fixture(scope="module")
def maps():
    return torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def similar(similarity, a, b):
    return similarities.compare(similarity, *(similarities.embed(similarity, part) for part in (a, b)))


class Shifted(nn.Module):
    """Adds c(x) to all logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) + 5 * x.flatten(1).square().sum(dim=1, keepdim=True)


def gradients(network, x, labels):
    passed = geometry.ForwardPass(network.double(), x.double(), keep=True)
    return {
        "log p": passed.log_probability_gradient(labels),
        "log-odds": passed.log_odds_gradient(labels),
        "p": passed.probability_gradient(labels),
        "margin": passed.margin_gradient(labels),
        "log-sum-exp": passed.logsumexp_gradient(),
        "logit": passed.logit_gradient(labels),
        "sum": passed.logit_sum_gradient(),
    }


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 20), nn.SiLU(), nn.Linear(20, 5))


def test_gradients_of_what_predictions_fix_do_not_see_a_shift_of_all_logits(network, maps):
    labels = torch.tensor([0, 1, 2, 3])
    plain, moved = (gradients(each, maps, labels) for each in (network, Shifted(network)))
    same = {name for name in plain if torch.allclose(plain[name], moved[name], rtol=1e-8, atol=1e-10)}
    assert same == {"log p", "log-odds", "p", "margin"}


def test_gradients_of_p_and_log_p_are_those_of_the_log_odds_but_for_their_length(network, maps):
    labels = torch.tensor([0, 1, 2, 3])
    found = gradients(network, maps, labels)
    p = network(maps.double()).softmax(dim=1).gather(1, labels[:, None])[:, 0, None, None, None]
    torch.testing.assert_close(found["log p"], (1 - p) * found["log-odds"])
    torch.testing.assert_close(found["p"], p * (1 - p) * found["log-odds"])


def test_gradients_of_margin_and_log_sum_exp_are_those_of_their_logits(network, maps):
    labels = torch.tensor([0, 1, 2, 3])
    found = gradients(network, maps, labels)
    passed = geometry.ForwardPass(network, maps.double(), keep=True)
    logits = [passed.logit_gradient(torch.full((4,), k)) for k in range(5)]
    others = passed.logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    torch.testing.assert_close(found["margin"], found["logit"] - passed.logit_gradient(others))
    weights = passed.logits.softmax(dim=1)
    expected = sum(weights[:, k, None, None, None] * logits[k] for k in range(5))
    torch.testing.assert_close(found["log-sum-exp"], expected)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_map_is_most_similar_to_itself_and_its_scale_does_not_count(name, maps):
    how, other = SIMILARITIES[name], maps.flip(0)
    torch.testing.assert_close(similar(how, maps, maps), torch.ones(4), rtol=0, atol=2e-5)
    found = similar(how, maps, other)
    assert (found < 0.99).all()
    torch.testing.assert_close(similar(how, 7 * maps, 0.01 * other), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_map_that_is_not_scored_has_no_similarity_and_the_others_have(name, maps):
    broken = maps.clone()
    broken[1] = torch.nan
    found = similar(SIMILARITIES[name], broken, maps.flip(0))
    whole = similar(SIMILARITIES[name], maps, maps.flip(0))
    assert found[1].isnan()
    torch.testing.assert_close(found[[0, 2, 3]], whole[[0, 2, 3]])


def test_published_similarities_are_the_measures(maps):
    other = maps.flip(0)
    torch.testing.assert_close(similar(Similarity("cosine"), maps, other), geometry.cosine(maps, other))
    embedded = (lpips.embed(geometry.scale_to_unit_range(part)) for part in (maps, other))
    torch.testing.assert_close(similar(Similarity("lpips"), maps, other), 1 - lpips.distance(*embedded))


def test_spearman_is_scipys(maps):
    other = maps.flip(0)
    expected = [spearmanr(a.abs().flatten(), b.abs().flatten()).statistic for a, b in zip(maps, other, strict=True)]
    torch.testing.assert_close(similar(Similarity("spearman"), maps, other), torch.tensor(expected), check_dtype=False)


def test_ssim_is_its_definition_at_every_pixel(maps):
    """Wang et al. 2004, equation 13, window by window."""
    a, b = ((part / part.abs().max()).double().numpy()[0] for part in (maps[:1, 0], maps[1:2, 0]))
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    padded = [np.pad(part, 5, mode="symmetric") for part in (a, b)]
    found = []
    for row, column in np.ndindex(a.shape):
        x, y = (part[row : row + 11, column : column + 11] for part in padded)
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy, c = (
            (window * (u - m) * (v - n)).sum() for u, v, m, n in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
        )
        c1, c2 = 0.02**2, 0.06**2
        found.append((2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert float(similar(Similarity("ssim"), maps[:1], maps[1:2])[0]) == pytest.approx(np.mean(found), abs=1e-6)


def test_coherence_sees_phases_in_rings_and_no_sign(maps):
    how = Similarity("coherence")
    torch.testing.assert_close(similar(how, maps, -maps), torch.ones(4), rtol=0, atol=1e-5)
    one = np.zeros((1, 1, 12, 12), np.float32)
    one[0, 0] = np.cos(2 * np.pi * 2 * np.arange(12) / 12)[None]
    two = one + np.cos(2 * np.pi * 4 * np.arange(12) / 12)[:, None]
    rings = torch.fft.fft2(torch.from_numpy(two - one)).abs() > 1e-3
    assert rings.sum() == 2  # one frequency and its mirror image: another ring
    noise = 1e-3 * maps[:1]
    found = similar(how, torch.from_numpy(one) + noise, torch.from_numpy(two) + noise)
    assert 0.5 < float(found[0]) < 1


def test_normalised_maps_are_on_one_scale(maps):
    for how in (*factors.NORMALISATIONS, "max-abs"):
        found = similarities.normalised(maps, how)
        assert found.abs().amax() <= 1 or how == "unit RMS"
        torch.testing.assert_close(similarities.normalised(3 * maps, how), found)
    rms = similarities.normalised(maps, "unit RMS").flatten(1).square().mean(dim=1)
    torch.testing.assert_close(rms, torch.ones(4))
    clipped = similarities.normalised(maps, "3-std clip").flatten(1)
    inside = (maps.flatten(1) / (3 * maps.flatten(1).std(dim=1, keepdim=True))).abs() < 1
    torch.testing.assert_close(clipped[inside] * 3, (maps.flatten(1) / maps.flatten(1).std(1, keepdim=True))[inside])


def test_other_backbones_are_used_only_where_their_weights_lie(maps, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "squeezenet" in lpips.lacking("squeeze")
    with pytest.raises(pagbench.errors.WeightsError, match=r"no .*squeezenet1_1-b8a52dc0.pth"):
        lpips.model(torch.device("cpu"), "squeeze")
    from torchvision.models import squeezenet1_1

    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(squeezenet1_1().state_dict(), folder / lpips.WEIGHTS["squeeze"])
    assert lpips.lacking("squeeze") == ""
    found = similar(Similarity("lpips", backbone="squeeze"), maps, maps.flip(0))
    assert (found < 1).all()
    lpips._model.cache_clear()


def test_partners_are_a_cycle_without_fixed_points(digits):
    block = Block(digits, tuple("abcdef"), torch.zeros(6, 1, 8, 8), torch.zeros(6, dtype=torch.long), {}, {})
    assert block.partners(digits.seed).tolist() == [1, 2, 3, 4, 5, 6]
    found = block.partners(digits.seed + 1).tolist()
    place, seen = 0, []
    for _ in range(6):
        seen.append(place)
        place = found[place]
    assert sorted(seen) == list(range(6))
    assert place == 0


@pytest.fixture(scope="module")
def measured(short_runs, tmp_path_factory):
    """A small benchmark, and the results of three models on it."""
    folder, definition = tmp_path_factory.mktemp("results"), light(16)
    pagbench.run(MODELS, benchmark=definition, results=folder)
    return definition, folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Tables of this test alone."""
    monkeypatch.setattr(pagbench.running.target_files, "folder", lambda: tmp_path / "targets")


@pytest.fixture
def few(monkeypatch):
    """Two factors alone, for tests of what happens around the measuring."""
    every = factors.benchmark_factors
    chosen = ("permutation", "directions")
    monkeypatch.setattr(
        study, "benchmark_factors", lambda definition: tuple(f for f in every(definition) if f.name in chosen)
    )


def moved(measured, **options):
    definition, folder = measured
    return study.run(definition, folder, device=torch.device("cpu"), **options)


@pytest.mark.slow
def test_the_published_levels_are_the_published_rows(measured, cache):
    definition, folder = measured
    report = moved(measured)
    board = pagbench.leaderboard(folder, benchmark=definition).set_index("model").loc[list(report.names)]
    assert [model.id for model in report.models if model.ranked] == list(
        board[board["status"] == "ranked"].sort_values("rank").index
    )
    assert report.images == report.responses == 16
    for factor in report.factors:
        own = factor.published
        assert (own.tau.value, own.tau.low, own.tau.high) == (1, None, None)
        if factor.ranking in board:
            np.testing.assert_allclose(pd.Series(own.values, dtype=float), board[factor.ranking], rtol=1e-3, atol=1e-4)
        if factor.ranking != "alignment":
            continue
        ranks = [None if pd.isna(rank) else int(rank) for rank in board["rank"]]
        assert list(own.ranks) == ranks
    by_steps = {factor.name: factor for factor in report.factors}
    for name in ("epsilon", "directions", "noise", "tangent space", "rank"):
        assert list(by_steps[name].published.regimes) == board["regime"].where(board["regime"].notna(), None).tolist()


def test_a_run_that_was_stopped_goes_on_where_it_was(measured, cache, few, monkeypatch):
    """Four tables are finished; the next run measures the others, and a third one nothing."""
    real, made = measuring.measure, []

    def measure(classifier, block, levels):
        made.append(block.ids[0])
        if len(made) == 5:
            raise KeyboardInterrupt
        return real(classifier, block, levels)

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(blocks, "_BLOCK", 4)
    with pytest.raises(KeyboardInterrupt):
        moved(measured, images=8)
    report = moved(measured, images=8)
    whole = 2 * len(report.models)
    assert len(made) == whole + 1
    assert moved(measured, images=8) == report
    assert len(made) == whole + 1


def test_a_model_that_is_another_network_now_is_left_out(measured, cache, few, monkeypatch):
    real = measuring.measure

    def measure(classifier, block, levels):
        found = real(classifier, block, levels)
        seen.append(found)
        return found + 0.5 if len(seen) == 1 else found

    seen, warnings = [], []
    monkeypatch.setattr(measuring, "measure", measure)
    report = moved(measured, images=8, on_warning=warnings.append)
    assert any("differs from its published rows by 0.5" in line for line in warnings)
    assert len(report.models) == len(MODELS)  # of them and the Bayes control


def test_one_model_is_no_ranking(short_runs, cache, tmp_path):
    definition = light(24)
    pagbench.run(["digits/standard"], benchmark=definition, results=tmp_path / "results")
    with pytest.raises(ResultsError, match=r"digits@1: 1 ranked models .* a ranking needs 2; measure more"):
        moved((definition, tmp_path / "results"))
