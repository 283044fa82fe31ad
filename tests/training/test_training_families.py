"""Attacks keep their budget per image, losses do not depend on the batch size, training is deterministic."""

import copy
import math

import pytest
import torch
from closed_forms import images_of, normal, standard_error
from torch import nn

from pagbench import benchmarks, geometry
from pagbench.errors import TrainingError, UnknownNameError
from pagbench.models import architectures
from pagbench.training import FAMILIES, Minibatch, Recipe, TrainingPlan, train
from pagbench.training.families import gradient_norm, noise_augmentation, pgd, score_matching

STRENGTHS = {
    "standard": 0.0,
    "gradient-norm": 0.1,
    "noise": 0.3,
    "smoothness": 1.0,
    "adversarial": 0.5,
    "adversarial-linf": 0.05,
    "smoothing": 0.3,
    "score-matching": 1.0,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(seed, count, side=6):
    return torch.rand(count, 1, side, side, generator=generator(seed))


def labels_of(count, classes=3):
    return torch.arange(count) % classes


def seeded(build):
    """A network whose weights do not depend on what ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def network(side=6):
    return seeded(lambda: architectures.build("small-cnn", (1, side, side), 3))


def linear_network(d=6, classes=3):
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(d, classes)).double())


def batch_norm_network(side=6):
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Dropout(0.5), nn.Flatten())
    return seeded(lambda: nn.Sequential(*layers, nn.Linear(4 * (side - 2) ** 2, 3)))


def attack(model, x, y, epsilon, **options):
    return pgd(model, x, y, epsilon=epsilon, generator=generator(), **options)


def cross_entropies(model, x, y):
    with torch.no_grad():
        return nn.functional.cross_entropy(model(x), y, reduction="none")


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", math.inf)])
@pytest.mark.parametrize("epsilon", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_attack_keeps_its_budget_for_every_image_and_stays_within_the_pixel_range(epsilon, count, norm, order):
    x, model = pixels(0, count), network()
    moved = attack(model, x, labels_of(count), epsilon, norm=norm)
    assert torch.linalg.vector_norm((moved - x).flatten(1), order, dim=1).max() <= epsilon * (1 + 1e-5)
    assert moved.min() >= 0
    assert moved.max() <= 1


@pytest.mark.parametrize("count", [1, 64])
def test_attack_spends_nearly_the_whole_budget_on_every_image(count):
    x = 0.4 + 0.2 * pixels(0, count)
    lengths = (attack(network(), x, labels_of(count), 0.3) - x).flatten(1).norm(dim=1)
    assert lengths.min() > 0.95 * 0.3


def test_attack_raises_the_loss_of_every_image_more_than_noise_of_the_same_length():
    x, y, model = pixels(0, 64), labels_of(64), network().eval()
    moved = attack(model, x, y, 1.0)
    noise = torch.randn(x.shape, generator=generator(1))
    noise *= ((moved - x).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))[:, None, None, None]
    gain = cross_entropies(model, moved, y) - cross_entropies(model, x, y)
    by_noise = cross_entropies(model, x + noise, y) - cross_entropies(model, x, y)
    assert (gain > 0).all()
    assert (gain > by_noise).all()


def test_attack_on_a_linear_network_comes_close_to_the_best_step():
    model, d = linear_network(classes=2), 6
    x, y, epsilon = torch.full((200, 1, 1, d), 0.5, dtype=torch.float64), labels_of(200, 2), 0.2
    weight = model[1].weight.detach()
    best = epsilon * (weight[1 - y] - weight[y]) / (weight[0] - weight[1]).norm()
    reached = cross_entropies(model, attack(model, x, y, epsilon), y) - cross_entropies(model, x, y)
    share = reached / (cross_entropies(model, x + images_of(best), y) - cross_entropies(model, x, y))
    assert share.max() < 1 + 1e-12
    # a path of twice the budget turns even an opposite start by more than 90 degrees, but not all the way
    assert share.min() > 0.85
    assert share.mean() > 0.95


def test_linf_attack_on_a_linear_network_is_the_best_step():
    model, d = linear_network(classes=2), 6
    x, y, epsilon = torch.full((50, 1, 1, d), 0.5, dtype=torch.float64), labels_of(50, 2), 0.2
    weight = model[1].weight.detach()
    best = x + images_of(epsilon * (weight[1 - y] - weight[y]).sign())
    torch.testing.assert_close(attack(model, x, y, epsilon, norm="linf"), best, rtol=0, atol=1e-12)


def test_attack_leaves_no_gradient_in_the_parameters():
    model = network()
    attack(model, pixels(0, 8), labels_of(8), 0.5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_attack_result_carries_no_graph():
    moved = attack(network(), pixels(0, 8), labels_of(8), 0.5)
    assert not moved.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_attack_restores_the_networks_mode_and_its_batch_statistics(training):
    model = batch_norm_network().train(training)
    before = copy.deepcopy(model.state_dict())
    attack(model, pixels(0, 8), labels_of(8), 0.5)
    assert all(module.training is training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_attack_on_an_image_does_not_depend_on_the_other_images():
    x, y, model = pixels(0, 8), labels_of(8), linear_network(36).float()
    other = torch.cat([x[:1], pixels(1, 7)])
    torch.testing.assert_close(attack(model, other, y, 0.5)[0], attack(model, x, y, 0.5)[0], rtol=0, atol=1e-6)


def test_gradient_norm_loss_of_a_linear_network_is_its_closed_form():
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    weight = model[1].weight.detach()
    gradient = (model(x).softmax(dim=1).detach() - nn.functional.one_hot(y, 3)) @ weight
    expected = cross_entropies(model, x, y).mean() + 0.7 * gradient.square().sum(1).mean()
    found = gradient_norm(0.7)(model, Minibatch(x, y), generator()).detach()
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("copies", [2, 5])
def test_gradient_norm_loss_does_not_depend_on_the_batch_size(copies):
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    once = gradient_norm(0.7)(model, Minibatch(x, y), generator()).detach()
    repeated = gradient_norm(0.7)(model, Minibatch(x.repeat(copies, 1, 1, 1), y.repeat(copies)), generator()).detach()
    assert float(repeated) == pytest.approx(float(once), rel=1e-12)


def test_gradient_norm_loss_can_be_differentiated_in_the_parameters():
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    loss, weight, step = gradient_norm(0.7), model[1].weight, 1e-5
    loss(model, Minibatch(x, y), generator()).backward()
    values = []
    for offset in (step, -step):
        moved = copy.deepcopy(model)
        moved[1].weight.data[1, 2] += offset
        values.append(float(loss(moved, Minibatch(x, y), generator()).detach()))
    assert float(weight.grad[1, 2]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


class Recorder(nn.Module):
    """Keeps what it is called with and returns the logits of another network."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen = inner, []

    def forward(self, x):
        self.seen.append(x.detach())
        return self.inner(x)


def test_noise_family_trains_on_unclipped_gaussian_noise_of_its_strength():
    recorder, x = Recorder(linear_network()), torch.full((5000, 1, 1, 6), 0.1, dtype=torch.float64)
    loss, source = noise_augmentation(0.4), generator()
    for _ in range(2):
        loss(recorder, Minibatch(x, labels_of(5000)), source)
    first, second = (seen - x for seen in recorder.seen)
    assert float(first.mean()) == pytest.approx(0, abs=4 * 0.4 / math.sqrt(first.numel()))
    assert float(first.std()) == pytest.approx(0.4, rel=4 / math.sqrt(2 * first.numel()))
    assert (x + first).min() < 0
    assert not torch.equal(first, second)


def test_noise_family_penalises_the_trace_of_the_losss_hessian():
    model, std, count = linear_network(), 0.1, 100_000
    x = images_of(normal(0, 1, 6))
    label = torch.tensor([1])

    def loss_at(at):
        return nn.functional.cross_entropy(model(at), label)

    hessian = torch.autograd.functional.hessian(loss_at, x).reshape(6, 6)
    (gradient,) = torch.autograd.grad(loss_at(x.requires_grad_(True)), x)
    many = x.detach().expand(count, 1, 1, 6)
    recorder = Recorder(model)
    mean = noise_augmentation(std)(recorder, Minibatch(many, label.expand(count)), generator()).detach()
    # the noise's linear effect is known, and taking it off leaves the curvature visible
    noise = (recorder.seen[0] - many).flatten(1)
    linear = noise @ gradient.flatten()
    curvature = cross_entropies(model, recorder.seen[0], label.expand(count)) - loss_at(x).detach() - linear
    extra = mean - loss_at(x).detach() - linear.mean()
    expected = std**2 / 2 * hessian.trace()
    assert (extra - expected).abs() < 4 * standard_error(curvature) + 0.01 * expected
    assert expected > 20 * standard_error(curvature)


def test_smoothing_family_trains_like_the_noise_family_and_is_smoothed_in_use():
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    losses = [FAMILIES[name].loss(0.4)(model, Minibatch(x, y), generator(5)) for name in ("noise", "smoothing")]
    assert losses[0] == losses[1]
    assert [name for name, family in FAMILIES.items() if family.smoothed] == ["smoothing"]


def test_smoothness_loss_of_a_linear_network_is_the_weights_norm():
    model, count = linear_network(), 50_000
    x, y = torch.zeros(count, 1, 1, 6, dtype=torch.float64), labels_of(count)
    loss = FAMILIES["smoothness"].loss(1.0)(model, Minibatch(x, y), generator()).detach()
    penalty = loss - cross_entropies(model, x, y).mean()
    weight = model[1].weight.detach()
    # a quadratic form of normal values with matrix A = WWᵀ has mean tr A and variance 2 tr A²
    error = 0.1**2 * math.sqrt(2 * float((weight @ weight.T).square().sum()) / count)
    assert float(penalty) == pytest.approx(0.1**2 * float(weight.square().sum()), abs=4 * error)


def test_standard_loss_ignores_strength_and_noise():
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    losses = [FAMILIES["standard"].loss(strength)(model, Minibatch(x, y), generator()) for strength in (0.0, 5.0)]
    assert losses[0] == losses[1]
    assert float(losses[0].detach()) == pytest.approx(float(cross_entropies(model, x, y).mean()), rel=1e-12)


def test_adversarial_loss_is_the_loss_of_the_attacked_images():
    model, x, y = network().eval(), pixels(0, 16), labels_of(16)
    found = FAMILIES["adversarial"].loss(0.5)(model, Minibatch(x, y), generator())
    assert float(found.detach()) == pytest.approx(float(cross_entropies(model, attack(model, x, y, 0.5), y).mean()))
    assert found > cross_entropies(model, x, y).mean()


def data_set(count=60, side=6):
    """Classes of random images around their own centres, easy to learn."""
    labels = labels_of(count)
    centres = pixels(9, 3, side)
    images = (0.7 * centres[labels] + 0.3 * pixels(10, count, side)).clamp(0, 1)
    return Minibatch(images, labels, centres[labels] - 0.5)


CPU = torch.device("cpu")


def fit(name, *, seed=0, epochs=2, **options):
    loss = FAMILIES[name].loss(STRENGTHS[name])
    return train(network(), loss, data_set(), Recipe(epochs=epochs, batch_size=16, **options), seed=seed, device=CPU)


def test_every_family_has_a_strength_to_test_with():
    assert set(STRENGTHS) == set(FAMILIES)


@pytest.mark.parametrize("name", STRENGTHS)
def test_training_twice_with_one_seed_gives_the_same_weights(name):
    first, second = fit(name).state_dict(), fit(name).state_dict()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", STRENGTHS)
def test_training_with_another_seed_gives_other_weights(name):
    first, second = fit(name).state_dict(), fit(name, seed=1).state_dict()
    assert not torch.equal(first["0.weight"], second["0.weight"])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_losss_noise_follows_the_seed(seed):
    draws = []

    def recording(model, batch, source):
        draws.append(torch.randn(4, generator=source))
        return nn.functional.cross_entropy(model(batch.images), batch.labels)

    recipe = Recipe(epochs=1, batch_size=60)
    train(network(), recording, data_set(), recipe, seed=seed, device=CPU)
    assert torch.equal(draws[0], torch.randn(4, generator=generator(seed)))


def test_training_neither_reads_nor_moves_the_global_random_state():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = fit("adversarial").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = fit("adversarial").state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_training_learns_and_reports_its_progress():
    reported = []
    loss, recipe = FAMILIES["standard"].loss(0.0), Recipe(epochs=20, batch_size=16, learning_rate=1e-2)
    model = train(
        network(), loss, data_set(), recipe, seed=0, device=CPU, on_step=lambda *report: reported.append(report)
    )
    assert not model.training
    assert [done for done, _, _ in reported] == [20, 40, 60, 80]
    assert {total for _, total, _ in reported} == {80}
    assert reported[-1][2] < 0.5 * reported[0][2]
    data = data_set()
    assert (model(data.images).argmax(dim=1) == data.labels).float().mean() > 0.95


def mean_gradient_norm(model):
    data = data_set()
    return geometry.log_odds_gradient(model, data.images, data.labels).gradient.flatten(1).norm(dim=1).mean()


@pytest.mark.slow
def test_gradient_norm_training_shrinks_the_input_gradients_with_its_strength():
    recipe, data = Recipe(epochs=10, batch_size=16, learning_rate=3e-3), data_set()
    norms = [
        mean_gradient_norm(train(network(), gradient_norm(strength), data, recipe, seed=0, device=CPU))
        for strength in (0.0, 1.0, 10.0)
    ]
    assert norms[1] < 0.5 * norms[0]
    assert norms[2] < 0.1 * norms[1]


@pytest.mark.parametrize("name", ["standard", "gradient-norm", "adversarial"])
def test_divergence_is_an_error_that_says_what_to_lower(name):
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) by step \d+ of 12; lower"):
        fit(name, epochs=3, learning_rate=1e30)


def test_models_need_a_known_family_and_a_strength_above_zero():
    benchmark = benchmarks.load("gaussians")
    with pytest.raises(UnknownNameError, match="adversarial"):
        TrainingPlan(benchmark, "adversarail", 1.0)
    for strength in (None, 0.0, -1.0, math.nan, math.inf):
        with pytest.raises(TrainingError, match="needs a strength above 0"):
            TrainingPlan(benchmark, "noise", strength)
    with pytest.raises(TrainingError, match="has no strength"):
        TrainingPlan(benchmark, "standard", 1.0)
    with pytest.raises(UnknownNameError, match="small-resnet"):
        TrainingPlan(benchmark, "standard", architecture="smal-resnet")
    with pytest.raises(TrainingError, match="cannot begin an id"):
        TrainingPlan(benchmark, "standard", prefix="../mine")


@pytest.mark.slow
def test_a_shipped_model_is_trained_again_by_the_command_on_its_card(tmp_path):
    """On another machine rounding differs and the weights with it, so the networks are compared by what they do."""
    from typer.testing import CliRunner

    from pagbench import benchmarks, data, geometry
    from pagbench.cli import app
    from pagbench.models import registry

    benchmark = benchmarks.load("digits@1")
    request = registry.find("digits/standard")
    command = [*request.card.training_command.split()[1:], "--output", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    shipped = request.load(benchmark).classifier
    again = registry.find(str(tmp_path / "standard.yaml")).load(benchmark).classifier
    test = data.splits(benchmark).test
    first, second = (geometry.log_odds_gradient(f, test.images, test.labels) for f in (shipped, again))
    assert (first.logits.argmax(1) == second.logits.argmax(1)).float().mean() > 0.97
    assert geometry.cosine(first.gradient, second.gradient).mean() > 0.9


def test_score_matching_loss_is_zero_for_the_target_and_two_for_its_opposite():
    model, x, y = linear_network(), images_of(normal(0, 10, 6)), labels_of(10)
    gradient = geometry.log_odds_gradient(model, x, y).gradient
    plain = float(cross_entropies(model, x, y).mean())
    for sign, expected in ((1, 0.0), (-1, 2.0)):
        loss = score_matching(0.7)(model, Minibatch(x, y, 3.0 * sign * gradient), generator())
        assert float(loss.detach()) == pytest.approx(plain + 0.7 * expected, rel=1e-12)


def test_score_matching_training_turns_the_gradient_towards_its_target():
    data = data_set()
    recipe = Recipe(epochs=20, batch_size=16, learning_rate=3e-3)

    def similarity(strength):
        model = train(network(), score_matching(strength), data, recipe, seed=0, device=CPU)
        gradient = geometry.log_odds_gradient(model, data.images, data.labels).gradient
        return float(geometry.cosine(gradient, data.target).mean())

    assert similarity(10.0) > similarity(1e-6) + 0.1
