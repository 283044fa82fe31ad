"""Published benchmarks: their definitions are frozen, their data is what they say, and the ruler is straight."""

import numpy as np
import pytest
import torch
from installed import splits_or_skip

import pagbench
from pagbench import benchmarks, data
from pagbench.data import gaussians
from pagbench.data.samples import SamplesCard
from pagbench.densities import manifolds, scores
from pagbench.densities.posterior import PosteriorCovariance
from pagbench.errors import CardError, DataError

pytestmark = pytest.mark.usefixtures("short_runs")

PUBLISHED = {
    "cifar10-paper@1": "3677fe81617448aabd995652b7a06c0ee47abc2de901170e77872c20295c7c56",
    "cifar100@1": "35ada7c9bfc328b8525a3b31ee240bd68e20eccd091098e2181487a73dbde75d",
    "cifar100@2": "23559c9194eedaf8c70c478c33691442676d4341563736e1211f78c94f753caa",
    "cifar10@1": "3f744395513fd634203fcdfa23fd3750caac0f03449db4e8fb02590ea9805457",
    "cifar10@2": "63f7e6800549b2c3b64b562b74bbe4546d7d0828a308752e2a3239d3a318ab6c",
    "digits@1": "c6c8aa2a1f1cefae8052d82c081bd15ab354e95fa9a16733066b437a177e095a",
    "digits@2": "359e3a7504f63dff5cab8794999e618d0bf5977655e0faffe296de4a7dac5de6",
    "fashion-distractor@1": "0523fffc7999cc4998d39869d2c61d321a00b2daeb4f0293f89944a8c3257a2d",
    "fashion-distractor@2": "d9b2b8f7d11de21025aab72a024b4693f35abf841beff549697eafa38b1f3e72",
    "fashion-mnist-full@1": "d7a3a696fbb541a9ed055300e18e9df703db3db4e3e027ef6b680d039f581409",
    "fashion-mnist-full@2": "ee67251bee9e8b83e0f5d2de8405d4ec668bdd1fa52d5bba5f6b6dd2e16dca10",
    "fashion-mnist@1": "84317b6ecd21f7fe6a21d36e7df15b392f246ae55dcdc432736fac5e40fbdc6f",
    "fashion-mnist@2": "a8bdaa20f57d454661dd2495de8ce08d1930c5d86a0344edd4243e322e61ab4f",
    "gaussians-off-span@1": "62c012bea5f6640b8fcba0822c7d41d97c72f4cead11c36091cdea382b092b92",
    "gaussians@1": "8e7d8f4107f6b5223cb2989a8a69d3f2e0bf0f1456b5dd017952005f32b97cc0",
    "imagenet-paper@1": "68f67bd13c30a32aacf58c45b0b8672886d1ba8be879ea6fda559368bccbfd94",
    "imagenet64-paper@1": "a934a26cd5ac93123362faf493deb0ebc06930b3b6e27edfa379949f40bf76eb",
    "imagenet@1": "d8e4e90cdb60910bdcd822d91b727f5c66cd5b14cb09f17b8130c67eac7a07fe",
    "mnist-distractor@1": "195331f912493239dce6d8ba6dfebc281a9fc727a9d8cbb1c3dfe7f6cc94ce80",
    "photographs@1": "892b20f2a4a1c1e0a97c1a7543e01fd72d8b6fd4093e371d6dedf4949498974f",
    "samples-cifar10@1": "f7baba58255cb3c168a32bb3220be9737d207eca1b4ff133e4f1dea22fbc4ff1",
    "samples-imagenet@1": "75ce05c74a5a243119bc0132ce7ca9e4fa1f33790049dbac5df0d88252821ee3",
    "sphere@1": "e93bf4b57b15e7bb341b8c3181070d0fb9f2ca343342b1dcef44c5d8f9a9be28",
}


@pytest.fixture(scope="module")
def closed_form_boards():
    found = {"gaussians": (), "gaussians-off-span": (), "sphere": ["control/bayes", "control/sign-flipped"]}
    rows = {name: pagbench.run(models, benchmark=name, limit=40) for name, models in found.items()}
    return {name: pagbench.leaderboard(measured).set_index("model") for name, measured in rows.items()}


def test_published_definitions_have_not_changed():
    """A changed hash means changed numbers: publish a new version instead, and keep the old file."""
    assert {name: benchmarks.load(name).digest() for name in benchmarks.names()} == PUBLISHED


LARGE = {
    "fashion-distractor@1",
    "fashion-distractor@2",
    "fashion-mnist-full@1",
    "fashion-mnist-full@2",
    "samples-imagenet@1",
}
ALIKE = {"fashion-distractor@1", "fashion-mnist-full@1", "fashion-mnist-full@2"}
"""The same 70,000 images as in another benchmark, which is quick enough for all of them."""


@pytest.mark.parametrize("name", benchmarks.names())
def test_no_definition_uses_an_image_twice(name):
    benchmark = benchmarks.load(name)
    used = [*benchmark.samples, *benchmark.calibration, *(benchmark.training or ())]
    assert len(used) == len(set(used))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in benchmarks.names()]
)
def test_splits_are_disjoint_and_complete(name):
    benchmark = benchmarks.load(name)
    splits = splits_or_skip(benchmark)
    parts = [set(part.ids) for part in (splits.train, splits.calibration, splits.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts))
    if benchmark.training is None:
        assert len(set.union(*parts)) == len(data.load(benchmark.dataset).ids)
    assert splits.test.ids == benchmark.samples
    assert splits.test.images.shape[1:] == benchmark.input_shape
    assert splits.test.images.dtype == torch.float32
    for part in (splits.train, splits.calibration, splits.test):
        if isinstance(benchmark.dataset, SamplesCard) or not part.ids:
            continue  # twenty pictures, and never mind which
        share = 1 / benchmark.classes
        shares = np.bincount(part.labels, minlength=benchmark.classes) / len(part.labels)
        assert shares == pytest.approx(share, abs=max(0.02, 4 * np.sqrt(share * (1 - share) / len(part.labels))))


@pytest.mark.parametrize("name", ["cifar10@1", "cifar10@2", "cifar10-paper", "cifar100@1", "cifar100@2"])
def test_temperatures_on_cifar_are_fitted_on_images_that_no_published_network_was_trained_on(name):
    """Where no image is wrong there is no temperature, and training images of most published networks are not."""
    benchmark = benchmarks.load(name)
    assert benchmark.training == tuple(map(str, range(50_000)))
    assert min(map(int, (*benchmark.samples, *benchmark.calibration))) >= 50_000


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("name", "images"), [("fashion-mnist", 100), pytest.param("fashion-mnist-full", 1000, marks=pytest.mark.slow)]
)
def test_fashion_mnist_is_measured_on_as_many_test_images_of_each_class(name, images, version):
    benchmark = benchmarks.load(f"{name}@{version}")
    assert {int(name) // 60_000 for name in benchmark.samples} == {1}
    assert all(int(name) < 60_000 for name in (*benchmark.training, *benchmark.calibration))
    labels = splits_or_skip(benchmark).test.labels
    assert np.bincount(labels).tolist() == [images] * 10
    in_rounds = all(len(part.unique()) == 10 for part in labels.split(10))
    assert in_rounds == (version == 2)


@pytest.mark.parametrize("version", [1, 2])
def test_the_full_benchmark_differs_from_the_small_one_in_its_images_only(version):
    small, full = (
        benchmarks.load(f"{name}@{version}").model_dump() for name in ("fashion-mnist", "fashion-mnist-full")
    )
    differing = {name for name, value in small.items() if full[name] != value}
    assert differing == {"name", "title", "description", "trained_on", "samples"}
    assert set(small["samples"]) < set(full["samples"])


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_second_editions_on_cifar_keep_the_images_and_the_reference_of_the_first(name):
    first, second = (benchmarks.load(f"{name}@{version}") for version in (1, 2))
    for field in (
        "dataset",
        "samples",
        "calibration",
        "training",
        "reference",
        "bayes",
        "data_name",
        "rank",
        "epsilon",
    ):
        assert getattr(first, field) == getattr(second, field), field
    assert benchmarks.load(name) is second


def test_digits_are_scikit_learns(digits, digits_splits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    index = [int(name) for name in digits.samples]
    np.testing.assert_array_equal(digits_splits.test.images[:, 0] * 16, raw.images[index])
    np.testing.assert_array_equal(digits_splits.test.labels, raw.target[index])


def test_other_pixels_than_the_cards_are_refused(digits):
    with pytest.raises(DataError, match="reinstall scikit-learn"):
        data.load(digits.dataset.model_copy(update={"sha256": "0" * 64}))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in benchmarks.names()]
)
def test_tangent_bases_are_orthonormal_and_of_the_cards_rank(name):
    benchmark = benchmarks.load(name)
    if benchmark.manifold is None:
        pytest.skip("the benchmark has no manifold")
    splits = splits_or_skip(benchmark)
    manifold = manifolds.load(benchmark, scores.load(benchmark, splits.train), splits.train)
    basis = manifold.tangent_basis(splits.test.images[:8]).double()
    identity = torch.eye(benchmark.manifold.rank, dtype=torch.float64).expand(8, -1, -1)
    torch.testing.assert_close(basis.mT @ basis, identity, rtol=0, atol=1e-10)


def test_a_posterior_of_too_low_rank_is_refused(digits, digits_splits):
    manifold = PosteriorCovariance(scores.load(digits, digits_splits.train), 0.05, 12)
    with pytest.raises(DataError, match="varies in fewer than 12 directions"):
        manifold.tangent_basis(digits_splits.test.images[:4])


def test_a_score_model_that_does_not_fit_the_data_is_refused(digits, digits_splits):
    wrong = digits.model_copy(update={"score": benchmarks.load("sphere").score})
    with pytest.raises(CardError, match="'von-mises-fisher' does not fit data set 'digits'"):
        scores.load(wrong, digits_splits.train)


def test_unknown_benchmark_fields_are_refused():
    content = benchmarks.load("sphere").model_dump()
    with pytest.raises(CardError, match="field 'epsilon'"):
        benchmarks.Benchmark.parse({**content, "epsilon": "far"}, "sphere")
    with pytest.raises(CardError, match="not one of epsilons"):
        benchmarks.Benchmark.parse({**content, "epsilon": 0.3}, "sphere")
    with pytest.raises(CardError, match="do not fit a manifold of rank 6"):
        benchmarks.Benchmark.parse({**content, "directions": 7}, "sphere")
    for changes in ({"measures": ("accuracy", "alignment_cosine")}, {"measures": (*content["measures"], "accuracy")}):
        with pytest.raises(CardError, match="measures must be distinct and include"):
            benchmarks.Benchmark.parse({**content, **changes}, "sphere")
    with pytest.raises(CardError, match="field 'measures"):
        benchmarks.Benchmark.parse({**content, "measures": ("beauty",)}, "sphere")
    with pytest.raises(CardError, match="field 'alignment'"):
        benchmarks.Benchmark.parse({**content, "alignment": "nll"}, "sphere")
    with pytest.raises(CardError, match="calibration ids go with the measure response"):
        benchmarks.Benchmark.parse({**content, "calibration": ()}, "sphere")
    with pytest.raises(CardError, match="samples are empty"):
        benchmarks.Benchmark.parse({**content, "samples": ()}, "sphere")


@pytest.mark.parametrize("name", ["gaussians", "gaussians-off-span", "sphere"])
def test_the_bayes_control_scores_one(closed_form_boards, name):
    bayes = closed_form_boards[name].loc["control/bayes"]
    assert bayes["alignment_cosine"] == pytest.approx(1, abs=1e-5)
    assert bayes["alignment"] == pytest.approx(1, abs=1e-5)
    flipped = closed_form_boards[name].loc["control/sign-flipped"]
    assert flipped["alignment_cosine"] == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(("name", "tolerance"), [("gaussians", 1e-6), ("sphere", 1e-3)])
def test_the_bayes_gradient_is_tangent_where_classes_share_the_manifold(closed_form_boards, name, tolerance):
    bayes = closed_form_boards[name].loc["control/bayes"]
    assert bayes["tangent_energy"] == pytest.approx(1, abs=tolerance)
    assert bayes["off_response"] < 0.02 * bayes["on_response"]


def test_the_off_span_counter_example_shows_the_energy_of_the_formula(closed_form_boards):
    """Pw = U diag(1/(l + v)) Uᵀ delta and Pn w = Pn delta / v, v = noise² + sigma²."""
    benchmark = benchmarks.load("gaussians-off-span")
    classes = gaussians.parameters(benchmark.dataset)
    v = classes.noise**2 + benchmark.sigma**2
    delta = classes.means[1] - classes.means[0]
    inside = classes.basis.T @ delta
    on = (inside / (classes.variances[0] + v)).square().sum()
    off = ((delta - classes.basis @ inside) / v).square().sum()
    found = closed_form_boards["gaussians-off-span"].loc["control/bayes", "tangent_energy"]
    assert found == pytest.approx(float(on / (on + off)), abs=1e-5)
    assert found < 0.95


def test_no_regime_is_named_where_the_anchors_coincide(closed_form_boards):
    assert closed_form_boards["gaussians-off-span"]["regime"].isna().all()
    assert set(closed_form_boards["gaussians"]["regime"].dropna()) >= {"weak", "excessive", "bayes-aligned"}
