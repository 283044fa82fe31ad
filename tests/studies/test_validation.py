"""What a validation says is what was computed, and its rules follow from its numbers."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pagbench import benchmarks, data, geometry
from pagbench.benchmarks import validation as evidence
from pagbench.benchmarks.partners import partners
from pagbench.benchmarks.validation import DensityRow, Estimate, Validation, ceiling
from pagbench.cards import ManifoldCard, MixtureRecipe, ScoreCard
from pagbench.cli import app
from pagbench.densities import heldout, scores
from pagbench.densities.empirical import EmpiricalDensity
from pagbench.errors import CardError
from pagbench.measures import lpips
from pagbench.studies import transformations, validation

IMAGES = 40
NOTHING = Estimate(None, None, None)


@pytest.fixture(scope="module")
def second_edition():
    """Digits by a mixture."""
    recipe = MixtureRecipe(components=2, rank=6, directions=32)
    update = {
        "score": ScoreCard(kind="mixture", recipe=recipe),
        "manifold": ManifoldCard(kind="posterior-covariance", rank=12),
        "sigma": 0.35,
        "sigmas": (0.25, 0.35, 1.0),
    }
    return benchmarks.load("digits@1").model_copy(update=update)


@pytest.fixture(scope="module")
def found(second_edition, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield validation.validate(second_edition, images=IMAGES)


def row(sigma, accuracy, halves):
    return DensityRow(
        density="mixture", sigma=sigma, error=NOTHING, lead=NOTHING, nll=NOTHING,
        accuracy=Estimate(accuracy, None, None), halves=Estimate(halves, None, None),
    )  # fmt: skip


def test_held_out_errors_are_those_of_the_denoisers(found, second_edition):
    splits = data.splits(second_edition)
    unseen = splits.calibration.select(splits.calibration.ids[:IMAGES])
    empirical = EmpiricalDensity(splits.train.images, splits.train.labels, classes=10)
    expected = heldout.denoising_error(empirical, unseen, 0.35).mean()
    (mine,) = [row for row in found.densities if (row.density, row.sigma) == ("empirical", 0.35)]
    assert mine.error.value == pytest.approx(float(expected), rel=1e-5)
    assert mine.error.low < mine.error.value < mine.error.high
    (own,) = [row for row in found.own if row.sigma == 0.35]
    assert mine.lead.value == pytest.approx(mine.error.value - own.error.value, rel=1e-4)
    assert own.lead.value == 0


def test_the_mixture_is_the_best_candidate_for_digits(found):
    assert found.better(0.35) == []
    errors = {row.density: row.error.value for row in found.densities if row.sigma == 0.35}
    assert list(errors) == ["mixture", "empirical", "class means"]
    assert errors["mixture"] < errors["empirical"] < errors["class means"]
    halves = {row.density: row.halves.value for row in found.densities if row.sigma == 0.35}
    assert halves["mixture"] > halves["empirical"] + 0.1


def test_ceilings_grow_with_sigma_and_bound_the_agreement_of_halves(found):
    values = [found.ceilings[sigma].value for sigma in (0.25, 0.35, 1.0)]
    assert values == sorted(values)
    for own in found.own:
        bound = found.ceilings[own.sigma]
        assert own.halves.value < bound.value <= 1
        assert bound.low <= bound.value <= bound.high


@pytest.mark.parametrize("r", [0.05, 0.4, 0.78, 0.999])
def test_the_ceiling_is_what_a_perfect_model_reaches_with_noisy_halves(r):
    """Targets t + e of two halves agree by r = |t|²/(|t|² + |e|²); the whole has half the noise."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(400_000)
    noise = math.sqrt(1 / r - 1)
    a, b = (truth + noise * rng.standard_normal(truth.size) for _ in range(2))

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    assert cosine(a, b) == pytest.approx(r, abs=0.01)
    assert ceiling(r) == pytest.approx(cosine(truth, (a + b) / 2), abs=0.01)


def test_ceilings_of_halves_that_do_not_agree():
    assert (ceiling(0.0), ceiling(-0.3), ceiling(None)) == (0.0, 0.0, None)


def test_ceilings_are_corrected_for_the_chance_level_of_the_target(found, second_edition):
    """That is the Bayes control's: its gradient is the target."""
    splits = data.splits(second_edition)
    among = second_edition.model_copy(update={"samples": second_edition.samples[:IMAGES]})
    measured = splits.test.select(among.samples)
    partner = partners(among, second_edition.seed, measured.labels.tolist())
    density = scores.load(second_edition, splits.train)
    for own in found.own:
        target = dict(zip(measured.ids, validation.targets_of(density, measured, own.sigma), strict=True))
        each = [geometry.cosine(target[name][None], target[partner[name]][None]).item() for name in measured.ids]
        assert own.chance.value == pytest.approx(np.mean(each), abs=1e-5)
        bound, corrected = found.ceilings[own.sigma], found.corrected_ceilings[own.sigma]
        assert corrected.value == pytest.approx((bound.value - own.chance.value) / (1 - own.chance.value))
        assert corrected.low < corrected.value < corrected.high
    assert all(row.chance.value is None for row in found.densities if row.density != "mixture")


def test_halves_are_compared_by_lpips_as_models_are(found, second_edition):
    """The similarity is the measure's own, 1 - LPIPS of maps that are scaled to [-1, 1]."""
    splits = data.splits(second_edition)
    measured = splits.test.select(second_edition.samples[:IMAGES])
    embedded = [
        lpips.embed(geometry.scale_to_unit_range(targets.unflatten(1, (1, 8, 8)).float()))
        for half in validation.parts_of(splits.train, 2, second_edition.seed)
        for targets in [validation.targets_of(validation._mixture(second_edition, half, splits), measured, 0.35)]
    ]
    alike = found.lpips
    assert alike.sigma == 0.35
    assert alike.halves.value == pytest.approx(float(1 - lpips.distance(*embedded).mean()), abs=1e-4)
    partner = dict(zip(measured.ids, embedded[1], strict=True))
    among = partners(
        second_edition.model_copy(update={"samples": measured.ids}), second_edition.seed, measured.labels.tolist()
    )
    others = torch.stack([partner[among[name]] for name in measured.ids])
    assert alike.chance.value == pytest.approx(float(1 - lpips.distance(embedded[0], others).mean()), abs=1e-4)
    assert alike.chance.value < alike.halves.value
    agreement = (alike.halves.value - alike.chance.value) / (1 - alike.chance.value)
    assert alike.agreement.value == pytest.approx(agreement, abs=1e-5)
    assert alike.ceiling.value == pytest.approx(ceiling(agreement), abs=1e-5)
    assert alike.ceiling.low < alike.ceiling.value < alike.ceiling.high < 1
    measured_quarters, predicted = alike.quarters
    assert predicted == pytest.approx(agreement / (2 - agreement), abs=1e-5)
    assert 0 < measured_quarters < agreement


@pytest.mark.parametrize("r", [0.2, 0.55, 0.9])
def test_the_ceiling_of_lpips_is_that_of_unit_features_with_noise(r):
    """Of many unit features of a truth and noise; the chance level is that of another truth."""
    rng = np.random.default_rng(0)
    noise = math.sqrt(1 / r - 1)
    images, pixels = 30, 4000

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    mean = 0.5 * rng.standard_normal(pixels)  # what all have in common, so that chance is far from 0
    truth = rng.standard_normal((images, pixels))
    first, second = (mean + truth + noise * rng.standard_normal(truth.shape) for _ in range(2))

    def similarity(x, y):
        return 1 - ((unit(x) - unit(y)) ** 2).sum(1).mean() / 10

    def corrected(x, y):
        level = similarity(x, np.roll(y, 1, axis=0))
        return (similarity(x, y) - level) / (1 - level)

    assert ceiling(corrected(first, second)) == pytest.approx(corrected(mean + truth, (first + second) / 2), abs=0.02)


def test_a_record_without_the_newer_fields_stays_readable_and_leaves_them_out():
    fields = json.loads((evidence.FOLDER / "digits@2.json").read_text())
    whole = evidence.to_text(Validation.model_validate(fields))
    for row in fields["densities"]:
        del row["chance"]
    del fields["lpips"], fields["passes"]
    older = evidence.to_text(Validation.model_validate(fields))
    for said in ("LPIPS", "corrected for chance", "directions by rule", "how much wider"):
        assert said in whole
        assert said not in older
    assert "noise ceiling of the cosine" in older
    assert len(older.splitlines()) < len(whole.splitlines())


def test_the_definition_is_the_one_that_was_validated():
    known = evidence.published("digits@2")
    assert known.definition == benchmarks.load("digits@2").digest()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0.25, 0.9, 0.8), (0.5, 0.85, 0.9), (1.0, 0.5, 0.99)], 0.5),
        ([(0.25, 0.9, 0.5), (0.5, 0.85, 0.6), (1.0, 0.5, 0.99)], None),
        ([(0.25, 0.9, 0.5), (0.5, 0.765, 0.7)], 0.5),
        ([(0.25, 0.9, 0.5), (0.5, 0.764, 0.7)], None),
    ],
)
def test_sigma_is_the_largest_that_keeps_the_classes_and_whose_halves_agree(rows, expected):
    assert validation.sigma_by_rule([row(*each) for each in rows]) == expected


def test_the_rank_holds_the_targets_energy(found, second_edition):
    assert found.rank_by_rule % 4 == 0
    assert 4 < found.rank_by_rule < 32


def test_parts_are_disjoint_and_have_all_classes(second_edition):
    train = data.splits(second_edition).train
    parts = validation.parts_of(train, 4, seed=1)
    ids = [name for part in parts for name in part.ids]
    assert len(set(ids)) == len(ids) == len(train.ids)
    counts = torch.stack([torch.bincount(part.labels, minlength=10) for part in parts])
    assert (counts.amax(0) - counts.amin(0)).max() <= 1
    assert validation.parts_of(train, 4, seed=2)[0].ids != parts[0].ids


def test_manifolds_are_judged_by_what_nobody_fitted(found):
    assert [row.manifold.partition(" ")[0] for row in found.manifolds] == [
        "posterior-covariance", "local-pca", "posterior-covariance",
    ]  # fmt: skip
    for each in found.manifolds:
        assert each.chance == 0.1875
        assert each.chance + 0.2 < each.transformations.value < 1
        assert set(each.by_transformation) == set(transformations.TRANSFORMATIONS)
    own, _, empirical = found.manifolds
    assert own.residuals.value > empirical.residuals.value


def test_a_validation_survives_json(found):
    again = Validation.model_validate_json(found.model_dump_json())
    assert again == found
    assert again.definition == found.definition


def test_the_tables_fit_a_narrow_terminal_and_say_the_rules(found):
    text = evidence.to_text(found)
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= 80
    for said in (
        "held-out denoising error",
        "noise ceiling",
        "energy captured by",
        "rank by rule",
        "two quarters agree",
    ):
        assert said in text


def test_a_benchmark_whose_density_loses_says_so(found, second_edition, monkeypatch):
    def published(label):
        worse = [
            each.model_copy(update={"lead": Estimate(-0.2, -0.3, -0.1)}) if each.density == "empirical" else each
            for each in found.densities
        ]
        return found.model_copy(update={"densities": tuple(worse)})

    monkeypatch.setattr(evidence, "published", published)
    said = evidence.weakness(second_edition)
    assert said.startswith("Another density denoises held-out images better at sigma 0.35: empirical (")
    monkeypatch.setattr(evidence, "published", lambda label: found)
    assert evidence.weakness(second_edition) == ""
    monkeypatch.setattr(evidence, "published", lambda label: None)
    assert evidence.weakness(second_edition) == ""


def test_without_held_out_images_nothing_is_validated(second_edition):
    with pytest.raises(CardError, match="has no images that are neither trained on nor measured"):
        validation.validate(second_edition.model_copy(update={"calibration": ()}))


def test_the_command_prints_and_writes(tmp_path):
    output = tmp_path / "v.json"
    done = CliRunner().invoke(app, ["validate", "digits@1", "--images", "10", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert "digits@1: 10 images that were neither trained on nor measured" in done.output
    assert Validation.model_validate_json(output.read_bytes()).benchmark == "digits@1"


def test_all_that_computes_gets_the_device(second_edition, monkeypatch, tmp_path):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path))
    asked = torch.device("cpu", 0)  # another name of the same device
    seen = dict.fromkeys(("denoised", "noisy_classes", "targets_of", "measure"), ())

    def watch(module, name):
        real = getattr(module, name)

        def watched(*args, **given):
            seen[name] += tuple(each for each in (*args, *given.values()) if isinstance(each, torch.device))
            return real(*args, **given)

        monkeypatch.setattr(module, name, watched)

    watch(heldout, "denoised")
    watch(heldout, "noisy_classes")
    watch(validation, "targets_of")
    watch(validation.passes, "measure")
    few = second_edition.model_copy(update={"sigmas": (0.35,), "second": None})
    validation.validate(few, images=10, others=[], device=asked)
    assert all(places and {place.index for place in places} == {0} for places in seen.values()), seen


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_ends_before_anything_is_computed():
    done = CliRunner().invoke(app, ["validate", "digits@2", "--device", "cuda"])
    assert done.exit_code == 2
    assert done.output.startswith("error: device 'cuda' is not usable here")
    assert "computing" not in done.output


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: a validation there against the CPU's")
def test_a_gpu_finds_what_the_cpu_finds(found, second_edition):
    there = validation.validate(second_edition, images=IMAGES, device=torch.device("cuda"))
    for mine, other in zip(found.densities, there.densities, strict=True):
        assert mine.error.value == pytest.approx(other.error.value, rel=1e-4)
        assert mine.accuracy.value == pytest.approx(other.accuracy.value, abs=0.05)
    assert there.rank_by_rule == found.rank_by_rule


@pytest.mark.parametrize("name", transformations.TRANSFORMATIONS)
def test_derivatives_are_those_of_a_smooth_image(name):
    """An image that is a Gaussian bump, whose transformations are known in closed form."""
    side, width = 65, 9.0
    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    bump = torch.exp(-((x - 3) ** 2 + 2 * (y + 2) ** 2) / (2 * width**2))
    dx, dy = bump * -(x - 3) / width**2, bump * -2 * (y + 2) / width**2
    expected = {
        "shift right": -dx, "shift down": -dy, "rotation": dx * y - dy * x, "scale": -dx * x - dy * y, "shear": dx * y,
        "brightness": bump,
    }[name]  # fmt: skip
    found = transformations.derivatives(name, bump[None, None])
    inside = (slice(None), slice(None), slice(12, -12), slice(12, -12))
    cosine = geometry.cosine(found[inside], expected[None, None][inside]).abs()
    assert cosine.item() > 0.998
