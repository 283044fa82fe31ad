"""Theory and package agree, and a formula that is off by a little is found out."""

import dataclasses

import numpy as np
import pytest
import torch
from closed_forms import gaussian_classes, normal, orthonormal, quadratic_response
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from pagbench.cli import app
from pagbench.data.gaussians import GaussianClasses
from pagbench.data.sphere import SphereClasses
from pagbench.densities.gaussian_mixture import GaussianMixture
from pagbench.densities.von_mises_fisher import Sphere, VonMisesFisherMixture
from pagbench.errors import PredictionError
from pagbench.reports.figures import canvas
from pagbench.reports.figures import theory as charts
from pagbench.studies import theory
from pagbench.studies.theory import claims, closed_forms, distractor, equivalence, ridge, sphere
from pagbench.studies.theory.claims import Claim

DRAWS = 200
NAMES = list(theory.EXPERIMENTS)


def run(name, draws=DRAWS):
    """An experiment's values, of fewer draws than the published ones where draws cost."""
    return equivalence.measure(draws) if name == "equivalence" else theory.EXPERIMENTS[name].measure()


@pytest.fixture(scope="module")
def values():
    return {name: run(name) for name in NAMES}


def failures(name, found):
    return [claim.statement for claim in theory.EXPERIMENTS[name].claims(found) if not claim.agrees]


@pytest.mark.parametrize("name", NAMES)
def test_what_theory_predicts_is_found(values, name):
    assert failures(name, values[name]) == []


def scaled(field, factor):
    return lambda found: found._replace(**{field: getattr(found, field) * factor})


def of_curve(field, change):
    """Changes a curve of the equivalence: the only one, or each of several."""

    def changed(found):
        curves = getattr(found, field)
        new = tuple(map(change, curves)) if type(curves) is tuple else change(curves)
        return found._replace(**{field: new})

    return changed


def unlike(curve):
    """A ρ₁ that tends to 1.05 ρ₂."""
    return curve._replace(gap=curve.gap._replace(value=curve.gap.value + 0.05 * curve.energy[:, None]))


def expected(field, factor):
    return lambda path: path._replace(expected=scaled(field, factor)(path.expected))


def separated(found):
    """Formula of a gradient off the span that is 5 % too large."""
    return found._replace(by_sigma=tuple(each._replace(expected=1.05 * each.expected) for each in found.by_sigma))


def wavy(path):
    """An alignment that dips a little before its peak."""
    cosine = path.measured.cosine.copy()
    cosine[:, 3] -= 0.001
    return path._replace(measured=path.measured._replace(cosine=cosine))


OFF = torch.tensor([1.0, 1.05], dtype=torch.float64)
WRONG = [
    ("equivalence", scaled("squares", OFF), "quarters when s is halved, in closed form"),
    ("equivalence", scaled("squares", OFF), "measured mean squares"),
    ("equivalence", scaled("squares", 1.05), "measured mean squares"),
    ("equivalence", scaled("squares", 1.2 * OFF**5), "measured ρ₁"),
    ("equivalence", of_curve("others", unlike), "no closed form"),
    ("equivalence", of_curve("linear", unlike), "linear f"),
    ("flat", lambda found: found._replace(shared=found.shared + 1e-9), "at any point"),
    ("flat", separated, "even where the means leave it"),
    ("sphere", lambda found: found._replace(bayes=found.bayes * found.sigmas[:, None] ** 0.2), "square of the blur"),
    ("sphere", scaled("bayes_expected", 1.05), "by the leading order"),
    ("sphere", scaled("class_score_limit", 1.05), "becomes tangent"),
    ("sphere", scaled("blurred_expected", 1.05), "clean image's tangent space"),
    ("distractor", lambda found: found._replace(fixed=found.fixed + 1e-9), "known place"),
    ("distractor", lambda found: found._replace(energy=found.energy.flip(0)), "unknown place"),
    ("distractor", lambda found: found._replace(reactions=found.reactions.flip(1)), "noise on the distractor"),
    ("ridge", expected("on", 0.95), "gradient on the manifold"),
    ("ridge", expected("off", 0.85), "gradient off the manifold"),
    ("ridge", expected("cosine", 0.95), "alignment, along"),
    ("ridge", expected("excess", 0.85), "excess risk"),
    ("ridge", scaled("crossing", 1.3), "random vector"),
    ("ridge", wavy, "one peak"),
    ("ridge", lambda path: path._replace(strengths=path.strengths[::-1]), "before alignment peaks"),
    ("ridge", lambda path: path._replace(regimes=path.regimes[::-1]), "in this order"),
    ("ridge", lambda path: path._replace(regimes=np.minimum(path.regimes, 1)), "in this order"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "statement"), WRONG)
def test_what_is_off_by_a_little_is_found_out(values, name, change, statement):
    failed = failures(name, change(values[name]))
    assert any(statement in each for each in failed), failed


def test_every_claim_is_tried_with_something_wrong(values):
    for name in NAMES:
        for claim in theory.EXPERIMENTS[name].claims(values[name]):
            assert any(each == name and part in claim.statement for each, _, part in WRONG), claim.statement


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in {"sphere", "distractor"} else name for name in NAMES]
)
def test_experiments_find_the_same_each_time(values, name):
    first, again = (run(name, 10) for _ in range(2)) if name == "equivalence" else (values[name], run(name))
    assert theory.EXPERIMENTS[name].claims(again) == theory.EXPERIMENTS[name].claims(first)


def test_mean_square_change_of_a_quadratic_is_that_of_the_oracle():
    gradient, half = normal(0, 7), normal(1, 7, 7)
    basis = orthonormal(2, 7, 3)
    for projector in (torch.eye(7, dtype=torch.float64), basis @ basis.T):
        found = equivalence.mean_square(gradient, half + half.T, projector, 0.3)
        torch.testing.assert_close(found, quadratic_response(gradient, half + half.T, projector, 0.3))


def test_limits_on_the_sphere_hold_for_other_spheres_than_the_benchmarks():
    directions = torch.nn.functional.normalize(normal(1, 4, 5), dim=1)
    classes = SphereClasses(0.5, orthonormal(0, 9, 5), directions, 2.0, 3.0)
    units, labels = torch.nn.functional.normalize(normal(2, 40, 5), dim=1), torch.arange(40) % 4
    x = (classes.centre + classes.radius * units @ classes.frame.T).reshape(40, 1, 3, 3)
    basis, density, sigma = Sphere(classes).tangent_basis(x), VonMisesFisherMixture(classes), 0.01
    bayes = closed_forms.normal_fraction(basis, closed_forms.bayes_gradient(density, sigma, x, labels))
    score = closed_forms.normal_fraction(basis, density.score(x, sigma, labels))
    coefficient = sphere.bayes_coefficient(classes, units, labels)
    assert (bayes - sigma**2 * coefficient).abs().max() < 1e-3 * sigma**2 * coefficient.mean()
    assert (score / sphere.class_score_limit(classes, units, labels) - 1).abs().max() < 1e-3


def test_ridge_weights_are_scikit_learns():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((ridge.DIMENSION, ridge.RANK)))[0]
    x, y = ridge.sample(rng, basis, rng.standard_normal(ridge.RANK))
    strengths = np.array([1e-3, 1.0, 100.0])
    for strength, weights in zip(strengths, ridge.ridge_weights(x, y, strengths), strict=True):
        fitted = Ridge(alpha=len(x) * strength, fit_intercept=False, solver="svd").fit(x, y)
        np.testing.assert_allclose(weights, fitted.coef_, rtol=1e-9, atol=1e-12)


def test_a_distractor_that_tells_the_class_is_not_taken_for_one(monkeypatch):
    """With covariances that differ by class on it, too."""

    def telling(means, basis, variances, noise):
        half = variances.shape[1] // 2
        return GaussianClasses(means, basis, torch.cat([variances[:, :half]] * 2, dim=1), noise)

    monkeypatch.setattr(distractor, "GaussianClasses", telling)
    assert distractor._fixed().max() > 0.01


def test_classes_on_spans_of_their_own_are_not_taken_for_sharing_one():
    classes = gaussian_classes(0, shared_span=False)
    x = normal(1, 10, 1, 3, 4)
    gradient = closed_forms.bayes_gradient(GaussianMixture(classes), 0.4, x, torch.arange(10) % 3)
    assert closed_forms.normal_fraction(classes.basis.expand(10, 12, 4), gradient).min() > 0.01


def test_slope_of_a_power_is_its_exponent():
    x = torch.tensor([0.1, 0.3, 1.0, 2.0], dtype=torch.float64)
    assert closed_forms.slope(x, 5 * x**1.7) == pytest.approx(1.7)


def claim(deviation, **more):
    return Claim("it holds", "a = b", "after nobody", deviation, "relative", 0.1, **more)


def test_a_failed_prediction_is_one_line_and_a_control_that_fails_as_predicted_is_none():
    claims.require([claim(0.1), claim(0.0, control=True)])
    assert claim(0.0).verdict == "holds" and claim(0.0, control=True).verdict == "does not hold, as predicted"
    for wrong in (claim(0.2), claim(0.2, control=True), claim(float("nan"))):
        assert wrong.verdict == "PREDICTION FAILED"
        with pytest.raises(PredictionError, match=r"^1 of 2 predictions failed, as 'it holds': deviation .*\Z"):
            claims.require([claim(0.0), wrong])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_figures_are_small_and_say_formula_source_and_deviation(values, name, tmp_path):
    experiment = theory.EXPERIMENTS[name]
    found = experiment.claims(values[name])
    with canvas.style():
        figure = charts.DRAW[name](values[name], found)
        path = canvas.save_palette(figure, tmp_path / "figure.png")
    said = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    for each in found:
        assert all(" ".join(cell.split()) in said for cell in each.cells())
    assert path.stat().st_size < 150_000


def only_flat(monkeypatch, **changed):
    monkeypatch.setattr(charts, "EXPERIMENTS", {"flat": dataclasses.replace(theory.EXPERIMENTS["flat"], **changed)})


def invoke(*arguments):
    return CliRunner().invoke(app, ["theory", *map(str, arguments)])


def test_command_prints_the_claims_and_draws(values, monkeypatch, tmp_path):
    only_flat(monkeypatch, measure=lambda: values["flat"])
    done = invoke("--output", tmp_path / "new" / "folder")
    assert done.exit_code == 0, done.output
    assert "does not hold, as predicted" in " ".join(done.stdout.split())
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["theory-flat.png"]


def test_command_says_in_one_line_that_a_prediction_failed(values, monkeypatch, tmp_path):
    only_flat(monkeypatch, measure=lambda: separated(values["flat"]))
    done = invoke("--output", tmp_path)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("computing: ")]
    assert line.startswith("error: 1 of 2 predictions failed, as 'it stays in the span even where")
    assert (tmp_path / "theory-flat.png").exists()


def test_command_refuses_a_folder_that_is_a_file_before_it_computes(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    for output in (place, place / "below"):
        done = invoke("--output", output)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: {output}: not a folder (") and line.endswith("give another --output")
