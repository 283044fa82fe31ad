"""AutoAttack, PGD and confined PGD: budgets, spaces, agreement with the package, closed forms, storage."""

import json
import logging
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from closed_forms import images_of, normal
from light import benchmark
from pyautoattack import AutoAttack
from torch import nn
from typer.testing import CliRunner

import pagbench
from pagbench import columns, geometry, measures, results
from pagbench.cli import app
from pagbench.columns import Budget
from pagbench.errors import ResultsError, UnknownNameError
from pagbench.measures import adversarial, pgd
from pagbench.models.classifier import Classifier
from pagbench.ranking import render
from pagbench.running.runner import RunError

pytestmark = pytest.mark.usefixtures("short_runs")

L2, LINF = Budget("l2", 0.5, "0.5"), Budget("linf", 8 / 255, "8/255")
AUTOATTACK = ["adversarial_l2_0.5", "adversarial_linf_8_255"]
PGD = ["pgd_l2_0.5", "pgd_linf_8_255"]
CONFINED = ["pgd_on_manifold", "pgd_off_manifold"]


@pytest.fixture
def quick(monkeypatch):
    """AutoAttack with few of its steps and queries, for whoever calls it."""
    original = AutoAttack._set_version

    def set_version(self, version="standard"):
        original(self, version)
        self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 3
        self.square.n_queries = 5

    monkeypatch.setattr(AutoAttack, "_set_version", set_version)


@pytest.fixture(scope="module")
def standard():
    return pagbench.load_model("digits/standard")


def length(delta, norm):
    return delta.flatten(1).norm(dim=1, p=2 if norm == "l2" else torch.inf)


@pytest.mark.parametrize("budget", [L2, LINF], ids=lambda budget: budget.norm)
def test_autoattack_through_us_is_a_direct_call_of_the_package(quick, standard, digits_batch, budget):
    images, labels = digits_batch.images, digits_batch.labels
    norm = {"l2": "L2", "linf": "Linf"}[budget.norm]
    direct = AutoAttack(standard, norm=norm, eps=budget.epsilon, seed=3, version="standard")
    expected, _ = direct.run_standard_evaluation(images, labels, batch_size=len(images))
    found = adversarial.attack(standard, images, labels, budget, seed=3)
    assert torch.equal(found, expected)
    assert (found != images).any()


@pytest.mark.parametrize("budget", [L2, LINF], ids=lambda budget: budget.norm)
def test_attacked_images_lie_in_the_ball_and_in_range(quick, standard, digits_batch, budget):
    images, labels = digits_batch.images, digits_batch.labels
    start = pgd.random_start(images, digits_batch.ids, norm=budget.norm, epsilon=budget.epsilon, seed=0)
    by_pgd = pgd.attack(standard, images, labels, start, norm=budget.norm, epsilon=budget.epsilon)
    for found in (adversarial.attack(standard, images, labels, budget, seed=0), by_pgd.images):
        assert length(found - images, budget.norm).max() <= budget.epsilon * (1 + 1e-5)
        assert torch.equal(found, found.clamp(0, 1))
    assert torch.equal(by_pgd.robust, standard(by_pgd.images).argmax(1) == labels)
    assert not by_pgd.robust.all()
    assert all(parameter.grad is None for parameter in standard.parameters())


def test_autoattack_finds_what_pgd_finds_and_neither_helps_accuracy(standard, digits_batch, observe, monkeypatch):
    original = AutoAttack._set_version

    def set_version(self, version="standard"):
        original(self, version)
        self.attacks_to_run = ["apgd-ce"]

    monkeypatch.setattr(AutoAttack, "_set_version", set_version)
    context = observe(standard)
    strong, weak = measures.load("adversarial")(context), measures.load("pgd")(context)
    clean = measures.load("accuracy")(context)["correct"]
    for a, b in zip(AUTOATTACK, PGD, strict=True):
        assert strong[a].mean() <= weak[b].mean() + 1 / len(clean)
        assert (strong[a] <= clean).all() and (weak[b] <= clean).all()
    assert weak[PGD[0]].mean() < clean.mean()


def test_the_attack_leaves_random_state_trace_function_and_log_alone(quick, standard, digits_batch, capfd):
    def trace(frame, event, argument):
        return None

    before, former = torch.random.get_rng_state(), sys.gettrace()
    sys.settrace(trace)
    try:
        adversarial.attack(standard, digits_batch.images[:4], digits_batch.labels[:4], LINF, seed=0)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(former)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not logging.getLogger("auto-attack").disabled
    assert capfd.readouterr() == ("", "")


def test_a_stochastic_classifier_gets_the_version_for_such(quick, monkeypatch, digits_batch):
    versions = []

    class Recorded(AutoAttack):
        def __init__(self, *args, **kwargs):
            versions.append(kwargs["version"])
            super().__init__(*args, **kwargs)
            self.apgd.eot_iter = 1

    class Noisy(nn.Module):
        noise = 0.0

        def forward(self, x):
            z = x.flatten(1)[:, :10]
            return z + self.noise * torch.rand_like(z)

    monkeypatch.setattr(adversarial, "AutoAttack", Recorded)
    network = Noisy()
    for noise in (0.0, 1e-3):
        network.noise = noise
        adversarial.attack(network, digits_batch.images[:2], digits_batch.labels[:2], L2, seed=0)
    assert versions == ["standard", "rand"]


def test_masked_gradients_are_attacked_without_them(observe, standard, digits_batch, monkeypatch):
    original = AutoAttack._set_version

    def set_version(self, version="standard"):
        original(self, version)
        self.attacks_to_run = ["apgd-ce", "square"]
        self.apgd.n_iter, self.square.n_queries = 5, 300

    class Quantised(nn.Module):
        def forward(self, x):
            return standard((8 * x).round() / 8)

    monkeypatch.setattr(AutoAttack, "_set_version", set_version)
    monkeypatch.setattr(columns, "budgets", lambda _: (L2,))
    context = observe(Classifier(Quantised()))
    assert context.gradient.isnan().all()
    found, clean = measures.load("adversarial")(context)[AUTOATTACK[0]], measures.load("accuracy")(context)["correct"]
    assert found.mean() < clean.mean() - 0.1
    assert torch.equal(measures.load("pgd")(context)[PGD[0]], clean)  # which has nothing but gradients


def test_ties_count_as_changed_and_stop_no_attack(quick, observe, standard, digits_batch):
    tied = (torch.arange(len(digits_batch.images)) % 3 == 0) & (digits_batch.labels < 9)

    class Nearest(nn.Module):
        """The label of the nearest image; some of them are no likelier than another class."""

        def forward(self, x):
            near = torch.cdist(x.flatten(1), digits_batch.images.flatten(1)).argmin(1)
            labels = digits_batch.labels[near]
            z = nn.functional.one_hot(labels, 10) + nn.functional.one_hot((labels + 1) % 10, 10) * tied[near, None]
            return z + 0 * x.flatten(1).sum(1, keepdim=True)

    context = observe(Classifier(Nearest()))
    assert measures.load("accuracy")(context)["correct"].all()
    assert not measures.load("adversarial")(context)[AUTOATTACK[1]][tied].any()
    assert measures.load("adversarial")(context)[AUTOATTACK[1]][~tied].any()


def test_too_few_classes_are_not_attacked_and_constant_outputs_have_nothing_to_attack(observe, digits_batch):
    class Two(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :2]

    with pytest.raises(ValueError, match="AutoAttack needs 4 classes, got 2; take --measures pgd"):
        adversarial.attack(Two(), digits_batch.images, digits_batch.labels % 2, L2, seed=0)
    constant = pagbench.load_model("control/constant")
    found = measures.load("adversarial")(observe(constant))
    assert list(found) == AUTOATTACK
    assert not any(values.any() for values in found.values())
    clean = measures.load("accuracy")(observe(constant))["correct"]
    assert all(torch.equal(values, clean) for values in measures.load("pgd")(observe(constant)).values())


class Linear(nn.Module):
    """Two classes, logits (0, w·x)."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x):
        z = (x - 0.5).flatten(1) @ self.weight
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pgd_breaks_a_linear_network_exactly_within_its_distance(norm):
    network, x = Linear(normal(0, 9)), 0.5 + images_of(normal(1, 40, 9)) / 40
    labels = network(x).argmax(1)
    margin = network(x)[:, 1].abs()
    distance = margin / network.weight.norm(p=2 if norm == "l2" else 1)
    epsilon = float(distance.median())
    start = pgd.random_start(x, tuple(map(str, range(40))), norm=norm, epsilon=epsilon, seed=0)
    robust = pgd.attack(network, x, labels, start, norm=norm, epsilon=epsilon).robust
    assert torch.equal(robust[distance > 1.001 * epsilon], torch.ones_like(robust[distance > 1.001 * epsilon]))
    assert not robust[distance < 0.95 * epsilon].any()


def test_an_image_that_is_wrong_before_any_attack_counts_as_changed(quick, observe, digits_batch):
    """The network is wrong on the images themselves and right on all others, where attacks look."""

    class Spiteful(nn.Module):
        def forward(self, x):
            distance = torch.cdist(x.flatten(1), digits_batch.images.flatten(1))
            right = nn.functional.one_hot(digits_batch.labels[distance.argmin(1)], 10)
            return right * (distance.amin(1, keepdim=True) - 1e-3).sign() + 0 * x.flatten(1).sum(1, keepdim=True)

    context = observe(Classifier(Spiteful()))
    assert not measures.load("accuracy")(context)["correct"].any()
    for measure in ("adversarial", "pgd", "confined"):
        assert not any(values.any() for values in measures.load(measure)(context).values())


@pytest.mark.parametrize("side", ["on", "off"])
def test_confined_perturbations_lie_in_their_space(side, standard, digits, digits_batch):
    images, labels, basis = digits_batch.images, digits_batch.labels, digits_batch.basis

    def within(v):
        tangent = geometry.project(basis, v)
        return tangent if side == "on" else v - tangent

    start = pgd.random_start(images, digits_batch.ids, norm="l2", epsilon=digits.epsilon, seed=0, within=within)
    found = pgd.attack(standard, images, labels, start, norm="l2", epsilon=digits.epsilon, within=within)
    delta = (found.images - images).flatten(1)
    assert (delta - within(delta)).norm(dim=1).max() < 1e-5
    assert delta.norm(dim=1).max() <= digits.epsilon * (1 + 1e-5)
    assert delta.norm(dim=1).min() > 0.1 * digits.epsilon


def test_a_network_that_sees_the_tangent_space_only_is_robust_off_it(digits, digits_batch, observe):
    """It is linear in one tangent direction per image, so that steps off the manifold cannot change it."""
    direction = digits_batch.on[:, 0]

    class Tangent(nn.Module):
        def forward(self, x):
            z = ((x - digits_batch.images).flatten(1) * direction).sum(1)
            rest = torch.zeros(len(x), 10)
            return rest.index_put((torch.arange(len(x)), digits_batch.labels), z + 0.5)

    found = measures.load("confined")(observe(Classifier(Tangent())))
    assert not found["pgd_on_manifold"].any()
    assert found["pgd_off_manifold"].all()


def test_random_starts_depend_on_seed_and_sample_only(digits_batch):
    images, ids = digits_batch.images, digits_batch.ids
    for norm in ("l2", "linf"):
        whole = pgd.random_start(images, ids, norm=norm, epsilon=0.5, seed=0)
        assert torch.equal(pgd.random_start(images[5:7], ids[5:7], norm=norm, epsilon=0.5, seed=0), whole[5:7])
        assert not torch.equal(pgd.random_start(images, ids, norm=norm, epsilon=0.5, seed=1), whole)
        assert length(whole, norm).max() <= 0.5


def test_budgets_are_the_customary_ones(digits):
    assert columns.budgets(digits) == (L2, LINF)
    large = digits.model_copy(update={"input_shape": (3, 224, 224)})
    assert [columns.budget_name("pgd", budget) for budget in columns.budgets(large)] == ["pgd_l2_0.5", "pgd_linf_4_255"]


FEW = benchmark()


def run(network, **options):
    return pagbench.run({"mine": network}, benchmark=FEW, **options)


def chosen(rows, names, model="mine"):
    return rows[rows["entrant"] == model].set_index("sample_id")[names]


@pytest.fixture
def network():
    """Some of its images are robust at L2 .5 and some are not."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_rows_depend_neither_on_the_batch_size_nor_on_resuming(quick, monkeypatch, network, tmp_path):
    monkeypatch.setitem(columns.BLOCKS, "adversarial", 8)
    wanted = ["adversarial", "pgd", "confined"]
    names = [*AUTOATTACK, *PGD, *CONFINED]
    whole = chosen(run(network, limit=12, measures=wanted, anchors=False), names)
    assert set(np.unique(whole)) == {0, 1}
    run(network, limit=3, batch_size=2, measures=["adversarial", "pgd"], results=tmp_path)
    place = results.path_of(tmp_path, FEW, "mine", "adversarial")
    assert len(results.Store(place, FEW, "adversarial").load().rows) == 8  # a whole block
    resumed = run(network, limit=12, batch_size=5, measures=wanted, results=tmp_path)
    pd.testing.assert_frame_equal(chosen(resumed, names), whole)
    board = pagbench.leaderboard(tmp_path, benchmark=FEW).set_index("model")
    assert board.loc["mine", PGD[0]] == pytest.approx(whole[PGD[0]].mean())
    assert board.loc["mine", f"{PGD[0]}_low"] <= board.loc["mine", PGD[0]] <= board.loc["mine", f"{PGD[0]}_high"]
    assert np.isnan(board.loc["digits/standard", PGD[0]])
    from_rows = pagbench.leaderboard(resumed, benchmark=FEW).set_index("model")
    np.testing.assert_allclose(from_rows[names], board[names])
    plain = run(network, limit=12, results=tmp_path)
    assert not set(names) & set(plain.columns)
    both = pagbench.leaderboard(pd.concat([plain, resumed]), benchmark=FEW).set_index("model")
    np.testing.assert_allclose(both[names], board[names])


def test_the_leaderboard_says_which_measures_are_means_over_fewer_images(network, tmp_path):
    run(network, limit=3, measures=["pgd", "confined"], results=tmp_path)
    assert columns.PARTIAL_MEASURES not in pagbench.leaderboard(tmp_path, benchmark=FEW)
    run(network, limit=5, measures="confined", results=tmp_path)
    board = pagbench.leaderboard(tmp_path, benchmark=FEW)
    told = board.set_index("model")[columns.PARTIAL_MEASURES]
    assert told["mine"] == "pgd on 3 of 5 images"
    assert told.drop("mine").isna().all()
    for text in (render.to_table(board, FEW, notes=True), render.to_markdown(board, FEW, notes=True)):
        assert "mine: pgd on 3 of 5 images." in text


def test_finished_rows_are_not_measured_again(network, tmp_path, monkeypatch):
    first = run(network, limit=4, measures="pgd", results=tmp_path, anchors=False)
    monkeypatch.setattr(pgd, "measure", lambda context: pytest.fail("measured again"))
    again = run(network, limit=4, measures="pgd", results=tmp_path, anchors=False)
    pd.testing.assert_frame_equal(chosen(again, PGD), chosen(first, PGD))


def test_rows_of_another_network_are_not_joined(network, tmp_path):
    kept = {"results": tmp_path, "anchors": False}
    run(network, limit=2, measures="pgd", **kept)
    with torch.no_grad():
        network[1].weight.neg_()
    run(network, limit=2, **kept, overwrite=True)
    with pytest.raises(ResultsError, match=r"mine: its rows and those of pgd.*--measures pgd --overwrite"):
        pagbench.leaderboard(tmp_path, benchmark=FEW)
    run(network, limit=2, measures="pgd", **kept, overwrite=True)
    assert PGD[0] in pagbench.leaderboard(tmp_path, benchmark=FEW)


def test_a_measure_that_fails_loses_no_other_rows(network, tmp_path, monkeypatch):

    def fails(context):
        raise RuntimeError("no weather")

    monkeypatch.setattr(adversarial, "measure", fails)
    with pytest.raises(
        RunError, match=r"mine: fails while 'adversarial' is measured \(RuntimeError: no weather, test_"
    ) as caught:
        run(network, limit=2, measures=["adversarial", "pgd"], anchors=False)
    assert caught.value.rows.set_index("entrant").loc["mine", PGD].notna().all(axis=None)


def test_a_measure_that_is_none_is_refused(network):
    for name in ("pdg", "accuracy"):
        with pytest.raises(UnknownNameError, match=f"unknown optional measure '{name}'"):
            run(network, limit=1, measures=[name])


def test_the_command_line_takes_measures_and_shows_their_columns(tmp_path):
    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})

    done = invoke("run", "digits/standard", "--limit", 3, "--measures", "pgd, confined", "-r", tmp_path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "digits@2+pgd" / "digits" / "standard.parquet").exists()
    short = invoke("leaderboard", "-r", tmp_path, "--format", "markdown").output
    assert "| accuracy ↑ | alignment ↑ | PGD L2 0.5 ↑ | tangent energy ↑ |" in short
    whole = ["--columns", "all", "--notes", "--format", "markdown"]
    table = invoke("leaderboard", "-r", tmp_path, *whole).output
    assert "| accuracy ↑ | PGD L2 0.5 ↑ | PGD L∞ 8/255 ↑ | alignment ↑ |" in table
    assert "| PGD on ↑ | PGD off ↑ |" in table
    assert "moves an image by at most L2 0.5 or L∞ 8/255" in table
    rows = {row["model"]: row for row in json.loads(invoke("leaderboard", "-r", tmp_path, "--format", "json").output)}
    assert 0 <= rows["digits/standard"]["pgd_on_manifold"] <= 1
    assert rows["control/bayes"]["pgd_on_manifold"] is None
    done = invoke("run", "digits/standard", "--measures", "pdg", "-r", tmp_path)
    assert done.exit_code == 2
    assert "error: unknown optional measure 'pdg'; closest: pgd" in done.stderr
