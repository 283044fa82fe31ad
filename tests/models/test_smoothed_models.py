"""Models under `smoothed:...`: draws per sample, their errors, certificates; against closed forms and repetition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from closed_forms import images_of, normal
from scipy.stats import binom, binomtest
from torch import nn

import pagbench
from pagbench import geometry, measures
from pagbench.errors import CardError, UnknownNameError
from pagbench.measures import certified
from pagbench.measures.smoothing import standard_errors
from pagbench.models import registry, smoothing
from pagbench.models.classifier import Classifier
from pagbench.models.smoothing import SmoothedNetwork, sampled

pytestmark = pytest.mark.usefixtures("short_runs")

WRAPPED = "smoothed:0.25:8:digits/noise-0.6"
ID = "smoothed-0.25-8/digits/noise-0.6"
IDS = ("7", "3", "11", "4")


@pytest.fixture(scope="module")
def run():
    return pagbench.run(WRAPPED, limit=12, measures=["smoothing", "certified"], benchmark="digits@1")


@pytest.fixture(scope="module")
def rows(run):
    return run.set_index("entrant").loc[ID]


def small_network(d=6, classes=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(d, 16), nn.SiLU(), nn.Linear(16, classes)).double()


def per_sample(network, *, samples=20, seed=0, sigma=0.5, d=6):
    return SmoothedNetwork(network, (1, 1, d), sigma=sigma, samples=samples, seed=seed, per_sample=True)


def log_odds_gradient(network, x, labels):
    return geometry.log_odds_gradient(network, x, labels).gradient


def measured(rows):
    return rows.select_dtypes(float).drop(columns=["strength"])


def assert_same(a, b):
    np.testing.assert_allclose(
        measured(a.sort_values("sample_id")), measured(b.sort_values("sample_id")), rtol=1e-4, atol=1e-5
    )


def test_any_model_can_be_smoothed_under_an_id_of_its_own(digits, tmp_path):
    request = registry.find("smoothed:0.25:digits/standard")
    card, path = request.card, request.path
    assert (card.id, card.family, card.strength) == ("smoothed-0.25-100/digits/standard", "smoothed", 0.25)
    assert card.weights_sha256 == registry.find("digits/standard").card.weights_sha256
    file = tmp_path / "mine.yaml"
    shipped = path.read_text().replace("id: digits/standard", "id: mine/net")
    file.write_text(shipped)
    (tmp_path / "standard.safetensors").write_bytes(path.with_suffix(".safetensors").read_bytes())
    (found,) = registry.resolve([f"smoothed:0.5:32:{file}"], digits)
    assert found.card.id == "smoothed-0.5-32/mine/net"
    loaded = found.load(digits).classifier
    assert isinstance(loaded.network, SmoothedNetwork)
    assert (loaded.network.sigma, len(loaded.network.noise)) == (0.5, 32)
    assert registry.find("smoothed:0.5:control/bayes").card.control


def test_the_smoothed_models_of_a_source_are_built_from_its_own_ids(digits, monkeypatch):
    base = registry.find("digits/standard").card
    built = []

    class Shop:
        @staticmethod
        def names():
            return ["shop/linear"]

        @staticmethod
        def card(model):
            fields = {"id": model, "title": "t", "family": "own", "input_shape": (1, 8, 8), "classes": 10}
            return base.__class__(loader="source", **fields)

        @staticmethod
        def build(card, files):
            built.append(card.id)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    monkeypatch.setattr("pagbench.models.sources.find", lambda name: Shop if name.startswith("shop/") else None)
    model = registry.find("smoothed:0.25:10:shop/linear").load(digits)
    assert model.card.id == "smoothed-0.25-10/shop/linear"
    assert built == ["shop/linear"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("smoothed:digits/standard", r"expected smoothed:SIGMA\[:SAMPLES\]:MODEL"),
        ("smoothed:x:digits/standard", "field 'sigma'.*got 'x'"),
        ("smoothed:-1:digits/standard", "field 'sigma'.*greater than 0"),
        ("smoothed:0.25:7:digits/standard", "field 'samples'.*multiple of 2, got '7'"),
        ("smoothed:inf:digits/standard", "field 'sigma'.*finite"),
        ("smoothed:0.25:²:digits/standard", "field 'samples'.*got '²'"),
        ("smoothed:0.25:1000000000000:digits/standard", "field 'samples'.*less than or equal to 10000"),
        ("smoothed:0.25:digits/smoothing-0.6", "digits/smoothing-0.6: is smoothed already"),
        ("smoothed:0.25:smoothed:0.5:digits/standard", "is smoothed already"),
    ],
)
def test_a_wrong_wrapper_is_one_clear_line(request_, message):
    with pytest.raises(CardError, match=message) as caught:
        registry.find(request_)
    assert len(str(caught.value).splitlines()) == 1


def test_the_id_that_results_show_names_the_model_too(tmp_path):
    assert registry.find(ID) == registry.find(WRAPPED)
    assert registry.find("smoothed-1e-05-8/digits/standard").card.smoothing.sigma == 1e-5
    file = tmp_path / "smoothed-0.25-8" / "net.yaml"
    assert registry.parse_smoothed(str(file.relative_to(tmp_path))) is None


def test_an_unknown_model_within_a_wrapper_is_named():
    with pytest.raises(UnknownNameError, match="unknown model 'digits/standart'"):
        registry.find("smoothed:0.25:digits/standart")


def test_cards_with_smoothing_of_their_own_keep_their_hashes_and_shared_draws():
    card = registry.find("digits/smoothing-0.6").card
    assert "around" not in card.model_dump(exclude_none=True)["smoothing"]
    network = pagbench.load_model("digits/smoothing-0.6").network
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with sampled(Classifier(network), ("1", "2")):
        inside = network(x)
    assert torch.equal(inside, network(x))


def test_a_samples_draws_do_not_depend_on_its_batch_and_other_samples_have_others():
    network, x = per_sample(small_network()), images_of(normal(2, 4, 6))
    classifier = Classifier(network)
    with sampled(classifier, IDS):
        together = network.noisy(x, 0, network.pairs)
    order = [2, 0, 3, 1]
    with sampled(classifier, [IDS[i] for i in order]):
        assert torch.equal(network.noisy(x[order], 0, network.pairs), together[order])
    for row, name in enumerate(IDS):
        with sampled(classifier, [name]):
            assert torch.equal(network.noisy(x[row : row + 1], 0, network.pairs)[0], together[row])
            middle = network.noisy(x[row : row + 1], 3, 5)[0]
            assert torch.equal(middle, together[row][[3, 4, 13, 14]])
    noise = together - x[:, None]
    assert (noise[0] - noise[1]).abs().min() > 0


def test_draws_of_a_sample_have_the_asked_standard_deviation():
    network = per_sample(small_network(), samples=4000)
    with sampled(Classifier(network), ("5",)):
        noise = network.noisy(torch.zeros(1, 1, 1, 6, dtype=torch.float64), 0, network.pairs)[0]
    first, second = noise.chunk(2)
    assert torch.equal(first, -second)
    assert float(first.std()) == pytest.approx(0.5, rel=4 / math.sqrt(2 * first.numel()))
    assert abs(float(first.mean())) < 4 * 0.5 / math.sqrt(first.numel())


def test_a_batch_of_other_samples_is_refused():
    network = per_sample(small_network())
    with sampled(Classifier(network), IDS), pytest.raises(ValueError, match="3 images, but draws for 4 samples"):
        network(images_of(normal(2, 3, 6)))


@pytest.mark.parametrize("kept", [smoothing._KEPT, 0])
def test_many_passes_give_the_outputs_and_gradients_of_one(monkeypatch, kept):
    monkeypatch.setattr(smoothing, "_KEPT", kept)
    network, x, labels = per_sample(small_network()), images_of(normal(2, 4, 6)), torch.tensor([0, 1, 2, 0])
    with sampled(Classifier(network), IDS):
        assert len(network.passes(x)) == 1
        logits, gradient = geometry.log_odds_gradient(network, x, labels)
        jacobian = geometry.ForwardPass(network, x).probability_jacobian()
        monkeypatch.setattr(smoothing, "PASS", 6 * 2 * 4 * 3)
        assert network.passes(x) == [(0, 3), (3, 6), (6, 9), (9, 10)]
        again, other = geometry.log_odds_gradient(network, x, labels)
        torch.testing.assert_close(again, logits, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(other, gradient, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            geometry.ForwardPass(network, x).probability_jacobian(), jacobian, rtol=1e-10, atol=1e-12
        )


def test_no_forward_pass_holds_all_draws_at_once():
    seen = []

    class Counting(nn.Module):
        def forward(self, x):
            seen.append(x.numel())
            return x.flatten(1)[:, :2]

    network = SmoothedNetwork(Counting(), (3, 64, 64), sigma=0.1, samples=100, seed=0, per_sample=True)
    x = torch.rand(4, 3, 64, 64)
    with sampled(Classifier(network), IDS):
        geometry.log_odds_gradient(network, x, torch.zeros(4, dtype=torch.long))
    assert max(seen) <= smoothing.PASS
    assert sum(seen) == 2 * 100 * x.numel()  # forward, and again on the way back


def test_the_gradient_of_a_sample_is_autograds_mean_over_its_own_draws():
    base, x = small_network(), images_of(normal(2, 4, 6))
    network = per_sample(base)
    with sampled(Classifier(network), IDS):
        noisy = network.noisy(x, 0, network.pairs)
        found = log_odds_gradient(network, x, torch.ones(4, dtype=torch.long))
    at = x.clone().requires_grad_(True)
    p = base((at[:, None] + (noisy - x[:, None])).flatten(0, 1)).softmax(1)[:, 1].unflatten(0, (4, -1)).mean(1)
    (expected,) = torch.autograd.grad((p.log() - (1 - p).log()).sum(), at)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_rows_depend_neither_on_the_batch_size_nor_on_resuming(rows, tmp_path):
    pagbench.run(WRAPPED, limit=5, batch_size=3, measures="certified", results=tmp_path, benchmark="digits@1")
    found = pagbench.run(
        WRAPPED, limit=12, batch_size=7, measures=["smoothing", "certified"], results=tmp_path, benchmark="digits@1"
    )
    assert_same(found.set_index("entrant").loc[ID], rows)


class Unlikely(nn.Module):
    """Linear log-odds, the last class seldom: the error is along the gradient, and in its denominator."""

    def forward(self, x):
        z = x.flatten(1).sum(1) / 2
        return torch.stack([z + 2, z, torch.zeros_like(z) - 1], dim=1)


@pytest.mark.parametrize(("base", "samples"), [(small_network(), 40), (Unlikely(), 400)], ids=["curved", "unlikely"])
def test_reported_errors_are_the_spread_over_seeds(base, samples):
    x, labels = images_of(normal(2, 3, 6)), torch.tensor([0, 1, 2])
    probabilities, gradients, reported = [], [], []
    for seed in range(75):
        network = per_sample(base, seed=seed, samples=samples, sigma=1.0)
        with sampled(Classifier(network), IDS[:3]):
            logits, gradient = geometry.log_odds_gradient(network, x, labels)
            reported.append(torch.stack(standard_errors(network, x, labels)))
        probabilities.append(logits.exp().gather(1, labels[:, None])[:, 0])
        gradients.append(gradient.flatten(1))
    error, relative = torch.stack(reported).square().mean(0).sqrt()
    # a standard deviation of 75 values is known to 1/√150 = 8 %
    np.testing.assert_allclose(error, torch.stack(probabilities).std(0), rtol=0.2)
    drawn = torch.stack(gradients)
    spread = (drawn - drawn.mean(0)).square().sum(2).mean(0).sqrt() / drawn.mean(0).norm(dim=1)
    np.testing.assert_allclose(relative, spread, rtol=0.2)


def test_an_error_of_the_gradient_lowers_cosines_by_what_its_column_says():
    d, x, labels = 100, images_of(normal(2, 1, 100)), torch.tensor([1])
    first, second = normal(3, 300, 100) * 0.15, normal(4, 3, 300) * 0.1

    class Waves(nn.Module):
        """Its gradient turns with the noise in all directions alike."""

        def forward(self, x):
            return torch.sin(x.flatten(1) @ first.mT) @ second.mT

    base = Waves()
    exact = log_odds_gradient(per_sample(base, samples=20_000, sigma=1.0, d=d), x, labels)
    cosines, errors = [], []
    for seed in range(20):
        network = per_sample(base, samples=10, seed=seed, sigma=1.0, d=d)
        cosines.append(geometry.cosine(log_odds_gradient(network, x, labels), exact))
        errors.append(standard_errors(network, x, labels)[1])
    e = torch.stack(errors).square().mean()
    assert e > 0.1
    # it is relative to the drawn gradient, which is longer than the exact one by the error itself
    assert float(torch.stack(cosines).mean()) == pytest.approx(float((1 - e).sqrt()), abs=0.03)


def test_errors_fall_with_the_root_of_the_number_of_draws_and_do_not_depend_on_the_passes(monkeypatch):
    base, x, labels = small_network(), images_of(normal(2, 3, 6)), torch.tensor([0, 1, 2])
    few, many = per_sample(base, samples=400), per_sample(base, samples=6400)
    for small, large in zip(standard_errors(few, x, labels), standard_errors(many, x, labels), strict=True):
        np.testing.assert_allclose(small / large, 4, rtol=0.2)
    whole = standard_errors(few, x, labels)
    monkeypatch.setattr(smoothing, "PASS", 6 * 2 * 3 * 7)
    for a, b in zip(whole, standard_errors(few, x, labels), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_linear_log_odds_has_no_gradient_error_and_a_single_pair_none_that_is_known():
    class Odds(nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).sum(1), torch.zeros(len(x)).to(x)], dim=1)

    x, labels = images_of(normal(2, 3, 6)), torch.tensor([0, 1, 0])
    # p(1 - p) weighs every draw's gradient alike in direction: the error is along the gradient only
    _, relative = standard_errors(per_sample(Odds(), samples=1000, sigma=1e-3), x, labels)
    assert relative.max() < 1e-5
    assert all(part.isnan().all() for part in standard_errors(per_sample(Odds(), samples=2), x, labels))


def test_models_that_are_not_smoothed_have_neither_errors_nor_certificates(observe, noise_trained):
    for measure in ("smoothing", "certified"):
        assert all(values.isnan().all() for values in measures.load(measure)(observe(noise_trained)).values())


@pytest.mark.parametrize("hits", [0, 1, 500, 950, 1000])
def test_the_lower_bound_is_clopper_and_pearsons(hits):
    exact = binomtest(hits, 1000, alternative="greater").proportion_ci(0.999, method="exact").low
    assert certified.lower_bound(np.array([hits]), 1000, 0.001)[0] == pytest.approx(exact, abs=1e-9)


class LinearNetwork(nn.Module):
    """Two classes, logits (0, w·x + b)."""

    def __init__(self, weight, bias):
        super().__init__()
        self.register_buffer("weight", weight)
        self.bias = bias

    def forward(self, x):
        z = x.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_the_certified_radius_of_a_linear_network_approaches_its_distance_from_the_boundary():
    weight = normal(0, 4).float()
    network, x = LinearNetwork(weight, 0.1), images_of(normal(5, 6, 4)).float() / 3
    distance = (network(x)[:, 1] / weight.norm()).numpy()
    found = certified.certify(network, x, list("abcdef"), sigma=0.5, seed=0, estimation=200_000)
    assert (found.prediction.numpy() == (distance > 0)).all()
    assert (found.radius.numpy() <= np.abs(distance)).all()
    near = np.abs(distance) < 1
    assert near.sum() >= 3
    np.testing.assert_allclose(found.radius.numpy()[near], np.abs(distance)[near], rtol=0.1, atol=0.01)
    few = certified.certify(network, x, list("abcdef"), sigma=0.5, seed=0, estimation=1000)
    assert (few.radius < found.radius + 1e-6).float().mean() > 0.8


def test_a_certificate_is_wrong_no_oftener_than_it_says():
    """On the boundary every certificate is wrong. Draws that chose the class must not bound its probability, too."""
    network, n, alpha = LinearNetwork(torch.ones(4), 0.0), 2000, 0.2
    x, ids = torch.zeros(n, 1, 1, 4), [str(i) for i in range(n)]
    found = certified.certify(network, x, ids, sigma=0.5, seed=0, selection=51, estimation=51, alpha=alpha)
    wrong = float((found.radius > 0).float().mean())
    exact = binom.sf(np.nonzero(certified.lower_bound(np.arange(52), 51, alpha) > 0.5)[0][0] - 1, 51, 0.5)
    assert exact <= alpha
    assert wrong == pytest.approx(exact, abs=4 * math.sqrt(alpha / n))


def test_certificates_do_not_depend_on_how_many_draws_go_through_the_network_together(monkeypatch):
    network, x = LinearNetwork(normal(0, 4).float(), 0.1), images_of(normal(5, 4, 4)).float() / 3
    whole = certified.certify(network, x, IDS, sigma=0.5, seed=0)
    monkeypatch.setattr(certified, "PASS", 7 * x.numel())
    assert torch.equal(certified.certify(network, x, IDS, sigma=0.5, seed=0).radius, whole.radius)


def test_the_majority_vote_is_certified_and_not_the_mean_softmax():
    """A network is sure on 30 % of the noise and barely not on the rest: mean and vote are of different classes."""

    class Seldom(nn.Module):
        def forward(self, x):
            z = torch.where(x.flatten(1)[:, 0] > 0.5244, 10.0, -0.1)
            return torch.stack([torch.zeros_like(z), z], dim=1)

    x = torch.zeros(1, 1, 1, 4)
    smooth = SmoothedNetwork(Seldom(), (1, 1, 4), sigma=1.0, samples=2000, seed=0)
    assert int(smooth(x).argmax()) == 1
    found = certified.certify(Seldom(), x, ["a"], sigma=1.0, seed=0, estimation=20_000)
    assert int(found.prediction) == 0
    assert float(found.radius) == pytest.approx(0.5244, abs=0.05)


def test_it_abstains_on_the_boundary_and_no_radius_exceeds_what_the_draws_allow():
    network = LinearNetwork(torch.ones(4), 0.0)
    x = torch.tensor([0.0, 10.0])[:, None, None, None].expand(2, 1, 1, 4)
    found = certified.certify(network, x, ["a", "b"], sigma=0.5, seed=0)
    assert found.prediction.tolist() == [certified.ABSTAINS, 1]
    assert found.radius[0] == 0
    assert float(found.radius[1]) == pytest.approx(0.5 * 2.4624, rel=1e-3)  # sigma Φ⁻¹(.001^(1/1000))


def test_certificates_depend_on_seed_and_sample_only():
    network, x = LinearNetwork(normal(0, 4).float(), 0.1), images_of(normal(5, 4, 4)).float() / 3
    both = certified.certify(network, x, IDS, sigma=0.5, seed=0)
    alone = [certified.certify(network, x[i : i + 1], IDS[i : i + 1], sigma=0.5, seed=0).radius for i in range(4)]
    assert torch.equal(torch.cat(alone), both.radius)
    assert not torch.equal(certified.certify(network, x, IDS, sigma=0.5, seed=1).radius, both.radius)


def test_certified_correct_is_of_the_label(observe):
    network = pagbench.load_model("smoothed:0.25:8:digits/noise-0.6")
    seen = observe(network)
    right = measures.load("certified")(seen)
    wrong = measures.load("certified")(replace(seen, batch=replace(seen.batch, labels=(seen.batch.labels + 1) % 10)))
    assert torch.equal(right["certified_radius"], wrong["certified_radius"])
    assert right["certified_correct"].mean() > 0.5
    assert not (right["certified_correct"] * wrong["certified_correct"]).any()


def test_a_certificate_of_another_class_counts_for_nothing_on_the_leaderboard(run):
    rows = run.copy()
    mine = rows["entrant"] == ID
    rows.loc[mine, "certified_radius"] = 0.3
    rows.loc[mine, "certified_correct"] = (np.arange(mine.sum()) % 3 > 0).astype(float)
    board = pagbench.leaderboard(rows).set_index("model").loc[ID]
    assert board["certified_accuracy_0.25"] == pytest.approx(2 / 3)
    assert board["certified_accuracy_0.5"] == 0
    assert board["average_certified_radius"] == pytest.approx(0.2)


def test_the_leaderboard_has_certified_accuracy_and_average_radius(run, rows):
    board = pagbench.leaderboard(run).set_index("model")
    correct, radius = rows["certified_correct"], rows["certified_radius"]
    assert board.loc[ID, "average_certified_radius"] == pytest.approx((correct * radius).mean(), rel=1e-6)
    for r in (0.25, 0.5, 1.0):
        assert board.loc[ID, f"certified_accuracy_{r:g}"] == pytest.approx(((radius >= r) & (correct == 1)).mean())
    assert math.isnan(board.loc["control/bayes", "average_certified_radius"])
    assert (rows["smoothed_probability_error"] > 0).all()
