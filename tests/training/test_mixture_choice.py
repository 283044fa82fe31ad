"""Which size of a mixture is chosen, and what the command says."""

import pytest
import torch
from commands import assert_one_line, invoke

from pagbench import data
from pagbench.densities import heldout, mixture
from pagbench.densities.mixture import MixtureDensity
from pagbench.errors import CardError, DataError, TrainingError
from pagbench.storage import weights
from pagbench.training import components

SMALL = {"components": (1, 2, 3), "rank": (2, 4, 8), "directions": (16, 32)}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(components, "CANDIDATES", SMALL)


def choose(digits, given=None, **options):
    trials = []
    return components.choose_mixture(digits, given or {}, on_trial=trials.append, **options), trials


def test_the_smallest_of_each_size_whose_error_is_near_the_least_is_chosen(digits):
    chosen, trials = choose(digits)
    first, least = trials[0].recipe, float("inf")
    names = list(SMALL)
    for place, name in enumerate(names):
        others = {o: getattr(chosen.recipe if o in names[:place] else first, o) for o in names if o != name}
        tried = [t for t in trials if all(getattr(t.recipe, o) == value for o, value in others.items())]
        least = min(least, *(t.error for t in tried))
        smaller = [t.error for t in tried if getattr(t.recipe, name) < getattr(chosen.recipe, name)]
        assert len(tried) > 1 and all(error > 1.01 * least for error in smaller), name
    assert chosen.error <= 1.01 * min(t.error for t in trials)
    assert chosen in trials


def test_the_error_is_that_on_the_calibration_split(digits):
    chosen, trials = choose(digits, {"components": 2, "rank": 4, "directions": 32})
    assert trials == [chosen]
    expected = heldout.denoising_error(MixtureDensity(chosen.parameters), data.splits(digits).calibration, digits.sigma)
    assert chosen.error == pytest.approx(float(expected.mean()))


@pytest.mark.slow
def test_given_sizes_stay_and_the_seed_counts(digits):
    chosen, trials = choose(digits, {"rank": 4, "directions": 32}, seed=3)
    assert {(t.recipe.rank, t.recipe.directions, t.recipe.seed) for t in trials} == {(4, 32, 3)}
    other, _ = choose(digits, {"components": 2, "rank": 4, "directions": 32}, seed=4)
    same = next(t for t in trials if t.recipe.components == 2)
    assert not torch.equal(same.parameters.means, other.parameters.means)
    assert chosen.recipe.components in SMALL["components"]


def test_what_does_not_fit_is_one_line(digits):
    with pytest.raises(CardError, match="its mixture: rank 40 of components that differ in 16 directions; give fewer"):
        choose(digits, {"components": 1, "rank": 40, "directions": 16})
    with pytest.raises(DataError, match="training images for 200 components; use fewer"):
        choose(digits, {"components": 200, "rank": 2, "directions": 16})
    unheld = digits.model_copy(update={"calibration": ()})
    with pytest.raises(TrainingError, match="has no images to choose a mixture by; give --rank and --directions"):
        choose(unheld, {"components": 1})


def test_the_command_writes_a_file_that_a_card_can_name(digits, tmp_path):
    done = invoke("fit", "digits@1", "mixture", "--rank", "4", "--directions", "16", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.output.count("held-out denoising error") == 5  # the start, three others, and the chosen one
    path = tmp_path / "digits-mixture.safetensors"
    digest = weights.file_sha256(path)
    assert f"weights_sha256: {digest})" in done.output
    assert mixture.read(path, digest).most_directions == 16
    again = invoke("fit", "digits@1", "mixture", "--rank", "4", "--directions", "16", "--output", tmp_path)
    assert digest in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mixture", "--epochs", "3"], ["--epochs means nothing for 'mixture'", "leave it out"]),
        (["mixture", "--half"], ["--half means nothing for 'mixture'"]),
        (["autoencoder", "--rank", "3"], ["--rank means nothing for 'autoencoder'"]),
        (["mixtur"], ["unknown part 'mixtur'", "mixture"]),
        (["mixture", "--components", "1", "--rank", "9", "--directions", "4"], ["rank 9", "4 directions", "fewer"]),
    ],
)
def test_options_that_mean_nothing_are_refused_in_a_line(arguments, words, tmp_path):
    assert_one_line(invoke("fit", "digits@1", *arguments, "--output", tmp_path), *words)
