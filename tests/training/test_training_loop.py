"""Training resumes to the same weights after any interruption, and says in one line what went wrong."""

import copy
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from pagbench import benchmarks, data, geometry
from pagbench.cards import SmoothingCard
from pagbench.errors import TrainingError, WeightsError
from pagbench.models import architectures
from pagbench.models.registry import find
from pagbench.storage import weights
from pagbench.training import FAMILIES, Minibatch, Recipe, TrainingPlan, loop, model, train, train_model
from pagbench.training.recipe import shift_and_flip

CPU = torch.device("cpu")
VARIANTS = {
    "adamw, one-cycle": Recipe(epochs=3, batch_size=16),
    "sgd, steps": Recipe(epochs=3, batch_size=16, optimiser="sgd", schedule="step", learning_rate=0.05),
    "averaged, augmented, clipped": Recipe(3, 16, schedule="constant", ema=0.9, augmentation="crop-flip", clip=1.0),
}


def network(norm=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 4, 3), *([nn.BatchNorm2d(4), nn.Dropout(0.3)] if norm else []), nn.SiLU(), nn.Flatten())
        return nn.Sequential(*layers, nn.Linear(64, 3))


def images(count=70):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    return Minibatch((torch.rand(count, 1, 6, 6, generator=generator) + labels[:, None, None, None] / 3) / 2, labels)


class Stopped(Exception):
    pass


def run(recipe, checkpoint=None, stop_at=None, net=None):
    """Trains with noise and dropout, so that every random state matters; may be stopped like a killed process."""

    def report(done, total, loss):
        if done == stop_at:
            raise Stopped

    net = net or network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        loss = FAMILIES["noise"].loss(0.1)
        return train(net, loss, images(), recipe, seed=3, device=CPU, checkpoint=checkpoint, on_step=report)


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_REPORT_STEPS", 1)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("stop_at", [9, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 5, 14))])
def test_a_stopped_training_goes_on_to_the_same_weights(name, stop_at, tmp_path, every_step):
    recipe, checkpoint = VARIANTS[name], tmp_path / "state"
    whole = run(recipe).state_dict()
    with pytest.raises(Stopped):
        run(recipe, checkpoint, stop_at)
    assert checkpoint.exists()
    resumed = run(recipe, checkpoint).state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    again = run(recipe, checkpoint).state_dict()  # what is kept after the end is the end
    assert all(torch.equal(value, again[key]) for key, value in whole.items())


def test_a_resumed_training_starts_where_it_stopped(tmp_path, every_step):
    checkpoint, recipe, seen = tmp_path / "state", Recipe(epochs=3, batch_size=16), []
    with pytest.raises(Stopped):
        run(recipe, checkpoint, 9)
    train(
        network(), FAMILIES["noise"].loss(0.1), images(), recipe, seed=3, device=CPU,
        checkpoint=checkpoint, on_step=lambda done, total, loss: seen.append(done),
    )  # fmt: skip
    assert seen[0] == 9  # the state of step 8 was the last that was kept


@pytest.mark.slow
def test_training_that_is_killed_goes_on_to_the_same_weights(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from pagbench import benchmarks
from pagbench.training import TrainingPlan, Recipe, loop, train_model
loop._CHECKPOINT_SECONDS, loop._REPORT_STEPS = 0.0, 1
def die(done, total, loss):
    if done == 30:
        os.kill(os.getpid(), signal.SIGKILL)
plan = TrainingPlan(benchmarks.load("gaussians"), "noise", 0.1, recipe=Recipe(epochs=10, batch_size=64))
train_model(plan, output=Path(sys.argv[1]), on_step=die)
"""
    from pagbench import benchmarks

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run([sys.executable, "-c", code, str(killed)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in killed.iterdir()] == [".noise-0.1.checkpoint"]
    plan = TrainingPlan(benchmarks.load("gaussians"), "noise", 0.1, recipe=Recipe(epochs=10, batch_size=64))
    steps = []
    for folder in (killed, whole):
        train_model(plan, output=folder, on_step=lambda done, total, loss: steps.append(done))
    assert steps[0] == 40
    files = [folder / "noise-0.1.safetensors" for folder in (killed, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_of_other_data_or_another_strength_is_refused(tmp_path, every_step, digits):
    plans = [TrainingPlan(digits, "noise", strength, recipe=Recipe(epochs=1)) for strength in (0.1, 0.1000001)]
    other = TrainingPlan(digits.model_copy(update={"seed": 1}), "noise", 0.1, recipe=Recipe(epochs=1))
    assert len({plan.identity for plan in (*plans, other)}) == 3
    assert plans[0].name != plans[1].name

    def stop(done, total, loss):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train_model(plans[0], output=tmp_path, on_step=stop)
    with pytest.raises(TrainingError, match="checkpoint of another training"):
        train_model(other, output=tmp_path)


def test_a_finished_training_survives_a_disk_that_refuses_its_weights(tmp_path, digits):
    plan = TrainingPlan(digits, "noise", 0.3, recipe=Recipe(epochs=1))
    (tmp_path / "noise-0.3.safetensors").mkdir()
    with pytest.raises(WeightsError, match="cannot write"):
        train_model(plan, output=tmp_path)
    (tmp_path / "noise-0.3.safetensors").rmdir()
    steps = []
    train_model(plan, output=tmp_path, on_step=lambda *report: steps.append(report))
    assert steps == []  # nothing was left to train
    assert not list(tmp_path.glob(".*"))


def test_the_checkpoint_of_another_training_is_refused(tmp_path, every_step):
    checkpoint = tmp_path / "state"
    with pytest.raises(Stopped):
        run(Recipe(epochs=3, batch_size=16), checkpoint, 4)
    with pytest.raises(TrainingError, match=r"checkpoint of another training .+ delete it"):
        run(Recipe(epochs=4, batch_size=16), checkpoint)
    checkpoint.write_bytes(b"half a checkpoint")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        run(Recipe(epochs=3, batch_size=16), checkpoint)


def test_divergence_is_one_line_and_keeps_what_was_finite(tmp_path, every_step):
    checkpoint = tmp_path / "state"

    def explode(net, batch, generator):
        explode.calls += 1
        return net(batch.images).square().mean() * (float("nan") if explode.calls > 4 else 1.0)

    explode.calls = 0
    with pytest.raises(TrainingError, match=r"the loss became nan by step 5 of 15; lower the strength"):
        train(network(), explode, images(), Recipe(3, 16), seed=0, device=CPU, checkpoint=checkpoint)
    assert not checkpoint.exists()  # the same would happen again, and a remedy is another training


def test_weights_that_are_not_finite_are_never_kept(tmp_path, every_step):
    """The loss of a step is finite before the step that an infinite gradient makes."""
    checkpoint = tmp_path / "state"

    def explode(net, batch, generator):
        explode.calls += 1
        value = net(batch.images).square().mean()
        return value + (0 * next(net.parameters()).sum()).sqrt() if explode.calls > 4 else value

    explode.calls = 0
    with pytest.raises(TrainingError, match="the loss became nan by step 5"):
        train(network(), explode, images(), Recipe(3, 16), seed=0, device=CPU, checkpoint=checkpoint)
    assert not checkpoint.exists()


def test_running_out_of_memory_is_one_line_that_says_what_to_lower():
    def greedy(net, batch, generator):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 EiB")

    with pytest.raises(TrainingError, match="out of memory with 16 images at a time; lower the recipe's batch_size"):
        train(network(), greedy, images(), Recipe(3, 16), seed=0, device=CPU)


def test_the_average_of_the_weights_is_what_is_kept():
    """With decay d the average of steps 1..n weighs step i by (1 - d) d^(n-i), and the first by d^(n-1)."""
    states, decay = [], 0.5

    def following(net, batch, generator):
        states.append(copy.deepcopy(net.state_dict()))
        return FAMILIES["standard"].loss(0.0)(net, batch, generator)

    recipe = Recipe(epochs=1, batch_size=16, ema=decay, schedule="constant")
    kept = train(network(norm=False), following, images(64), recipe, seed=0, device=CPU).state_dict()
    plain = train(network(norm=False), FAMILIES["standard"].loss(0.0), images(64), Recipe(1, 16, schedule="constant"),
                  seed=0, device=CPU).state_dict()  # fmt: skip
    after = [*states[1:], plain]
    shares = [decay**3, (1 - decay) * decay**2, (1 - decay) * decay, 1 - decay]
    for key, value in kept.items():
        expected = sum(share * state[key] for share, state in zip(shares, after, strict=True))
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_augmentation_moves_whole_pixels_and_a_target_with_its_image(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 1, *size, generator=generator) + 1
    moved, target = shift_and_flip([x, 10 * x], generator)
    torch.testing.assert_close(target, 10 * moved)
    found = set()
    for before, after in zip(x, moved, strict=True):
        kept = after[after > 0]
        assert torch.isin(kept, before).all()
        rows, columns = (after[0] > 0).any(1), (after[0] > 0).any(0)
        assert kept.numel() == rows.sum() * columns.sum()
        assert size[0] - rows.sum() <= size[0] // 8
        assert size[1] - columns.sum() <= size[1] // 8
        found.add((int(rows.sum()), int(columns.sum())))
    assert len(found) == (size[0] // 8 + 1) * (size[1] // 8 + 1)
    centred = [after for after in moved if (after > 0).all()]
    same = [any(torch.equal(after, before) for before in x) for after in centred]
    flipped = [any(torch.equal(after.flip(-1), before) for before in x) for after in centred]
    assert any(same)
    assert any(flipped)
    assert all(a or b for a, b in zip(same, flipped, strict=True))


@pytest.mark.slow
def test_bfloat16_trains_in_float32_weights():
    recipe = Recipe(epochs=30, batch_size=16, precision="bfloat16", learning_rate=1e-2)
    net = train(network(norm=False), FAMILIES["gradient-norm"].loss(0.01), images(), recipe, seed=0, device=CPU)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert (net(images().images).argmax(1) == images().labels).float().mean() > 0.8


def test_half_precision_weights_give_the_same_results_to_a_thousandth(tmp_path, digits, digits_splits):
    request = find("digits/adversarial-0.8")
    card, path = request.card, request.path
    full = request.load(digits).classifier
    weights.write(full.network, tmp_path / "half.safetensors", half=True)
    half = architectures.build(card.architecture, card.input_shape, card.classes, card.activation)
    weights.load_into(half, weights.read(tmp_path / "half.safetensors"), "half")
    x, y = digits_splits.test.images, digits_splits.test.labels
    first, second = geometry.log_odds_gradient(full, x, y), geometry.log_odds_gradient(half, x, y)
    assert (first.logits.softmax(1) - second.logits.softmax(1)).abs().mean() < 1e-3
    assert (1 - geometry.cosine(first.gradient, second.gradient)).mean() < 1e-4
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * path.with_suffix(".safetensors").stat().st_size


def test_a_value_beyond_half_precision_is_one_line(tmp_path):
    net = network()
    net[1].running_var[0] = 1e5
    with pytest.raises(WeightsError, match=r"1.running_var has values up to 1e\+05, beyond half precision"):
        weights.write(net, tmp_path / "w.safetensors", half=True)


def test_a_last_batch_of_one_image_is_left_out_for_batch_norm():
    net = network()
    train(net, FAMILIES["standard"].loss(0.0), images(33), Recipe(2, 16), seed=0, device=CPU)
    assert int(net[1].num_batches_tracked) == 4


def test_dropout_follows_the_seed_and_leaves_the_global_state_alone():
    def weights_after(global_seed):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        net = train(network(), FAMILIES["standard"].loss(0.0), images(), Recipe(1, 16), seed=0, device=CPU)
        assert torch.equal(torch.get_rng_state(), before)
        return net[-1].weight

    assert torch.equal(weights_after(1), weights_after(2))


def test_weights_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot write .*give another --output"):
        weights.write(network(), tmp_path / "file" / "w.safetensors")


def test_a_finished_model_is_not_trained_again_and_another_is_not_overwritten(tmp_path, digits):
    recipe = Recipe(epochs=1)
    plan = TrainingPlan(digits, "noise", 0.3, recipe=recipe)
    path = train_model(plan, output=tmp_path)
    before = path.with_suffix(".safetensors").stat().st_mtime_ns
    assert train_model(plan, output=tmp_path) == path
    assert path.with_suffix(".safetensors").stat().st_mtime_ns == before
    others = (
        TrainingPlan(digits, "noise", 0.3, recipe=Recipe(epochs=2)),
        TrainingPlan(digits, "noise", 0.3, recipe=recipe, half=True),
    )
    for other in others:
        with pytest.raises(TrainingError, match="already there"):
            train_model(other, output=tmp_path)
    with path.with_suffix(".safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(TrainingError, match=r"its weights .+ are altered"):
        train_model(plan, output=tmp_path)


def test_weights_that_are_missing_are_trained_again_and_have_to_be_the_same(tmp_path, digits):
    path = train_model(TrainingPlan(digits, "noise", 0.3, recipe=Recipe(epochs=1)), output=tmp_path)
    file, text = path.with_suffix(".safetensors"), path.read_text()
    known = weights.file_sha256(file)
    file.unlink()
    request = find(str(path))
    assert request.to_be_trained
    command = r"pagbench train digits@\d .*--epochs 1 --prefix trained/digits --output"
    with pytest.raises(
        WeightsError,
        match=f"cannot read the weights, .*is not there; put the file there, or train them again with `{command}",
    ):
        request.load(digits)
    assert train_model(TrainingPlan(digits, "noise", 0.3, recipe=Recipe(epochs=1)), output=tmp_path) == path
    assert weights.file_sha256(file) == known
    assert (path.read_text(), [*tmp_path.glob(".*")]) == (text, [])
    file.unlink()
    path.write_text(text.replace(known, "a" * 64))
    with pytest.raises(TrainingError, match=r"training again gives other weights than the card's.* made on cpu by"):
        train_model(TrainingPlan(digits, "noise", 0.3, recipe=Recipe(epochs=1)), output=tmp_path)
    assert not file.exists()


def test_networks_of_editions_with_one_training_split_are_of_one_recipe():
    first, second = (TrainingPlan(benchmarks.load(f"digits@{v}"), "noise", 0.3, prefix="digits") for v in (1, 2))
    assert first.command == second.command
    assert first.card("0" * 64, "x") == second.card("0" * 64, "x")
    first, second = (TrainingPlan(benchmarks.load(f"digits@{v}"), "score-matching", 0.3) for v in (1, 2))
    assert first.command.startswith("pagbench train digits@1 ")
    assert second.command.startswith("pagbench train digits@2 ")


def test_a_model_is_trained_like_the_reference_unless_told_otherwise(digits):
    card = find(digits.reference).card
    plan = TrainingPlan(digits, "noise", 0.3)
    assert (plan.architecture, plan.activation) == (card.architecture, card.activation)
    assert (plan.recipe.epochs, plan.recipe.batch_size) == (card.training["epochs"], card.training["batch_size"])
    assert plan.command == "pagbench train digits@1 --family noise --strength 0.3 --seed 0 --epochs 40"
    other = TrainingPlan(digits, "noise", 0.3, activation="relu", recipe=Recipe(3, 32, optimiser="sgd"), half=True)
    assert other.command == (
        "pagbench train digits@1 --family noise --strength 0.3 --seed 0 --activation relu --epochs 3 "
        "--recipe batch_size=32 --recipe optimiser=sgd --half"
    )


def test_a_smoothed_models_card_says_how_it_is_smoothed(digits):
    plan = TrainingPlan(digits, "smoothing", 0.3, draws=32)
    assert plan.card("0" * 64, "w.safetensors").smoothing == SmoothingCard(sigma=0.3, samples=32, seed=0)
    assert plan.command.endswith("--epochs 40 --draws 32")
    assert TrainingPlan(digits, "noise", 0.3, draws=32).command.endswith("--epochs 40")


def test_score_matching_targets_leave_the_image_itself_out(digits):
    """A training image among its own density's points would be certain of its class."""
    found = model.bayes_targets(digits, CPU)
    split = data.splits(digits).train
    index = 17
    others = data.Dataset(*(
        (split.ids[:index] + split.ids[index + 1 :]),
        torch.cat([split.images[:index], split.images[index + 1 :]]),
        torch.cat([split.labels[:index], split.labels[index + 1 :]]),
    ))  # fmt: skip
    from pagbench.densities import scores

    density = scores.load(digits, others)
    expected = density.log_odds_gradient(split.images[index : index + 1], digits.sigma, split.labels[index : index + 1])
    assert float(geometry.cosine(found[index : index + 1].double(), expected)) > 1 - 1e-5
    assert len(found) == len(split.ids)
