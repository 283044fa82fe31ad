"""Benchmarks on CIFAR-10 and on foolbox's pictures, end to end through the command line."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from commands import assert_one_line, invoke
from publishers import write_cifar
from safetensors.torch import save_file

import pagbench
from pagbench import benchmarks, columns, data, results
from pagbench.cards import MixtureRecipe
from pagbench.data.samples import SamplesCard
from pagbench.densities import mixture
from pagbench.densities.empirical import EmpiricalDensity, SomeClasses
from pagbench.errors import DataError, MissingPackageError
from pagbench.models import architectures
from pagbench.running import targets
from pagbench.running.runner import RunError
from pagbench.storage.weights import file_sha256

pytestmark = pytest.mark.usefixtures("short_runs")


def write_card(folder, shape, classes, dataset):
    """A small network with random weights and its card."""
    torch.manual_seed(0)
    network = architectures.build("small-resnet", shape, classes)
    save_file(network.state_dict(), folder / "mine.safetensors")
    card = {
        "id": "mine/net", "title": "random", "family": "own", "dataset": dataset, "architecture": "small-resnet",
        "activation": "silu", "input_shape": list(shape), "classes": classes, "weights": "mine.safetensors",
    }  # fmt: skip
    (folder / "mine.yaml").write_text(yaml.safe_dump(card))
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("of", "side", "classes", "count"),
    [("cifar10", 32, 10, 3), pytest.param("imagenet", 224, 1000, 1, marks=pytest.mark.slow)],
)
def test_the_samples_run_without_any_download(tmp_path, monkeypatch, of, side, classes, count):
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "empty"))
    card = write_card(tmp_path, (3, side, side), classes, of)
    name = f"samples-{of}"
    done = invoke("run", card, "--benchmark", name, "--limit", count, "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    rows = pd.read_parquet(tmp_path / f"results/{name}@1/mine/net.parquet")
    assert len(rows) == count
    assert rows["gradient_faithful"].eq(1).all()
    assert (
        rows["alignment_cosine"].between(-1, 1).all()
        and rows["on_response_" + f"{benchmarks.load(name).epsilon:g}"].gt(0).all()
    )
    shown = invoke("leaderboard", "--benchmark", name, "--results", tmp_path / "results")
    assert "mine/net" in shown.output and "define no target" in shown.output and "alignment ↑" not in shown.output
    picture = tmp_path / "grid.png"
    done = invoke("gradients", card, "--benchmark", name, "--samples", 2, "--output", picture)
    assert done.exit_code == 0 and picture.stat().st_size > 1000


def test_samples_asks_which_of_the_two():
    assert_one_line(invoke("run", "--benchmark", "samples"), "samples-cifar10@1", "samples-imagenet@1")


def test_the_samples_are_foolboxs():
    import foolbox.utils

    for of, shape in (("cifar10", (32, 32)), ("imagenet", (512, 512))):
        images, labels = foolbox.utils._samples(of, 0, 20, shape, "channels_first", (0, 1))
        found = data.load(benchmarks.load(f"samples-{of}").dataset)
        assert found.labels.tolist() == labels.tolist() * 3
        assert torch.equal(found.images[20:40], found.images[:20].flip(3))
        assert torch.equal(found.images[40:], found.images[:20].flip(2))
        if of == "cifar10":
            torch.testing.assert_close(found.images[:20], torch.from_numpy(images))
    with pytest.raises(DataError, match=r"sha256 2582e2bde7bd…, expected 0000.*install foolbox anew"):
        data.load(SamplesCard(kind="samples", of="cifar10", sha256="0" * 64))


def test_samples_without_foolbox_say_how_to_install_it_and_look_nowhere_else(tmp_path, monkeypatch):
    """Pictures below the working folder are not taken for its own."""
    (tmp_path / "data").mkdir()
    for number in range(20):
        (tmp_path / "data" / f"cifar10_{number:02d}_0.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "foolbox", None)
    dataset = benchmarks.load("samples-cifar10").dataset
    line = "foolbox is not installed; install it: pip install 'pagbench[samples]'"
    assert dataset.missing() == line
    with pytest.raises(MissingPackageError) as caught:
        dataset.load()
    assert str(caught.value) == line


def test_samples_of_a_foolbox_without_pictures_ask_for_another(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("foolbox", tmp_path / "foolbox.py")
    monkeypatch.setitem(sys.modules, "foolbox", importlib.util.module_from_spec(spec))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^foolbox carries 0 pictures of cifar10, expected 20; install foolbox anew"):
        benchmarks.load("samples-cifar10").dataset.load()


def test_absent_classes_change_nothing_but_their_own_numbers():
    """The density of classes 1 and 3 of five is that of two classes; a mixture of all five with no mass elsewhere."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(9, 1, 2, 3, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1])
    inner = EmpiricalDensity(images, labels, classes=2)
    density = SomeClasses(inner, torch.tensor([1, 3]), 5)
    x, own = torch.rand(2, 1, 2, 3, generator=generator), torch.tensor([3, 1])
    among = torch.tensor([1, 0])
    torch.testing.assert_close(density.posterior(x, 0.7)[:, [1, 3]], inner.posterior(x, 0.7))
    assert density.posterior(x, 0.7)[:, [0, 2, 4]].eq(0).all()
    torch.testing.assert_close(density.class_scores(x, 0.7)[:, [1, 3]], inner.class_scores(x, 0.7))
    torch.testing.assert_close(density.score(x, 0.7), inner.score(x, 0.7))
    torch.testing.assert_close(density.score(x, 0.7, own), inner.score(x, 0.7, among))
    torch.testing.assert_close(density.log_odds_gradient(x, 0.7, own), inner.log_odds_gradient(x, 0.7, among))
    torch.testing.assert_close(density.posterior_covariance(x, 0.7), inner.posterior_covariance(x, 0.7))
    with pytest.raises(ValueError, match="class without training images"):
        density.log_odds_gradient(x, 0.7, torch.tensor([3, 4]))


RECIPE = MixtureRecipe(components=1, rank=2, directions=16)


def fewer(whole, training, recipe=RECIPE):
    """A definition with so many training images, ten to fit temperatures on and ten to measure on."""
    ids = list(map(str, range(training + 20)))
    score, manifold = (whole.score, {"rank": 8, "neighbours": 20})
    if whole.score.recipe is not None:
        score, manifold = score.model_copy(update={"recipe": recipe}), {"rank": 8}
    parts = {"training": ids[:training], "calibration": ids[training : training + 10], "samples": ids[training + 10 :]}
    return whole.model_copy(
        update={
            "score": score,
            "manifold": whole.manifold.model_copy(update=manifold),
            **{name: tuple(part) for name, part in parts.items()},
        }
    )


def directions_of_few(images, count):
    """The same directions without 3,072 eigenvectors, where there are fewer images than pixels."""
    flat = images.flatten(1).double()
    return flat.mean(0), torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:count].T


def put_in_place(monkeypatch, small):
    load = benchmarks.load
    monkeypatch.setattr(benchmarks, "load", lambda name: small if name in (small.name, small.label) else load(name))


@pytest.fixture(params=["cifar10@1", "cifar10@2"])
def small_cifar(request, monkeypatch, tmp_path):
    """An edition of `cifar10` with 120 images in the publisher's layout; nothing may be fetched."""
    write_cifar(monkeypatch, tmp_path / "data", per_batch=20)
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mixture, "_principal_directions", directions_of_few)
    small = fewer(benchmarks.load(request.param), 90)
    put_in_place(monkeypatch, small)
    yield small
    data.splits.cache_clear()


def test_cifar10_runs_from_files_on_disk_and_without_its_reference(small_cifar, tmp_path):
    card = write_card(tmp_path, (3, 32, 32), 10, "cifar10")
    done = invoke("run", card, "--benchmark", "cifar10", "--limit", 3, "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "robustbench/cifar10/L2/Standard is not measured, and without it no regimes are judged" in warnings[0]
    shown = " ".join(invoke("leaderboard", "--benchmark", "cifar10", "--results", tmp_path / "results").output.split())
    assert "mine/net" in shown and "control/bayes" in shown
    assert "No regimes are judged, for robustbench/cifar10/L2/Standard is not measured" in shown
    fits = list((tmp_path / "cache" / "fitted").glob("*/mixture.safetensors"))
    assert len(fits) == (small_cifar.version == 2)
    assert ("fitting the mixture of cifar10@2 once and for all" in done.stderr) == bool(fits)
    for path in (tmp_path / "results" / small_cifar.label).rglob("*.parquet"):
        networks = results.read(path, columns.schema(small_cifar)).document["networks"]
        assert {record["weights_sha256"] for record in networks.values()} == {file_sha256(fit) for fit in fits}
        assert ("score" in networks) == bool(fits)


def test_too_few_images_for_the_recipe_are_one_line(monkeypatch, tmp_path):
    write_cifar(monkeypatch, tmp_path / "data", per_batch=20)
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    whole = benchmarks.load("cifar10@2")
    put_in_place(monkeypatch, fewer(whole, 90, whole.score.recipe))
    card = write_card(tmp_path, (3, 32, 32), 10, "cifar10")
    done = invoke("run", card, "--benchmark", "cifar10", "--limit", 1, "--results", tmp_path / "results")
    assert_one_line(done, "training images for 10 components; use fewer components")
    data.splits.cache_clear()


def test_a_second_edition_needs_images_of_every_class(monkeypatch, tmp_path):
    """A hundred classes and ninety training images: the missing one is named."""
    write_cifar(monkeypatch, tmp_path / "data", kind="cifar100", per_batch=60)
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    small = fewer(benchmarks.load("cifar100@2"), 90)
    with pytest.raises(RunError, match=r"^cifar100@2: its mixture cannot be fitted to .*: class \d+ has no training"):
        pagbench.run("control/bayes", benchmark=small, limit=1)
    data.splits.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_cifar100_runs_from_files_on_disk(monkeypatch, tmp_path, version):
    write_cifar(monkeypatch, tmp_path / "data", kind="cifar100", per_batch=1500)
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    put_in_place(monkeypatch, fewer(benchmarks.load(f"cifar100@{version}"), 1400))
    card = write_card(tmp_path, (3, 32, 32), 100, "cifar100")
    done = invoke("run", card, "--benchmark", "cifar100", "--limit", 2, "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    rows = pd.read_parquet(tmp_path / f"results/cifar100@{version}/mine/net.parquet")
    assert rows["alignment_cosine"].between(-1, 1).all() and rows["gradient_faithful"].eq(1).all()
    assert ("on_jacobian" in rows) == (version == 2)
    data.splits.cache_clear()


RICE = "robustbench/cifar10/L2/Rice2020Overfitting"


@pytest.mark.parametrize("small_cifar", [pytest.param("cifar10@1", marks=pytest.mark.slow), "cifar10@2"], indirect=True)
def test_a_robustbench_model_runs_from_its_checkpoint_on_disk(small_cifar, tmp_path):
    """The network of `Rice2020Overfitting`, a ResNet-18, with random weights in RobustBench's own format and place."""
    source = pytest.importorskip("pagbench.models.sources.robustbench")
    from pagbench.models.sources.robustbench import zoo

    card = source.card(RICE)
    (file,) = card.download
    with zoo.quiet():
        network = zoo._constructor(zoo.robustbench(), card)()
    place = tmp_path / "cache" / file.path
    place.parent.mkdir(parents=True)
    torch.save(network.state_dict(), place)
    done = invoke("run", RICE, "--benchmark", "cifar10", "--limit", 1, "--results", tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert [line for line in done.stderr.splitlines() if line.startswith("warning: ")][-1].count("Standard.pt") >= 1
    (row,) = pd.read_parquet(tmp_path / "results" / small_cifar.label / f"{RICE}.parquet").to_dict("records")
    assert row["gradient_faithful"] == 1 and 0 < row["tangent_energy"] < 1
    network.eval()
    images = data.splits(small_cifar).test.images[:1]
    with torch.no_grad():
        logits = network(images)
    softened = logits / (row["temperature"] if small_cifar.gradient == "calibrated" else 1)
    assert row["confidence"] == pytest.approx(float(softened.softmax(1).max()), rel=1e-4)


def test_a_named_model_that_cannot_be_had_is_still_an_error(small_cifar, tmp_path):
    done = invoke(
        "run", "robustbench/cifar10/L2/Standard", "--benchmark", "cifar10", "--limit", 1, "-r", tmp_path / "r"
    )
    assert done.exit_code == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_bayes_control_has_the_target_for_its_gradient(small_cifar):
    """On data of CIFAR's size in each direction, as on digits."""
    rows = pagbench.run("control/bayes", benchmark=small_cifar, limit=4, on_warning=lambda line: None)
    assert rows["alignment_cosine"].min() > 1 - 1e-4
    shared = targets.compute(
        small_cifar, data.splits(small_cifar), small_cifar.samples[:2], seed=0, device=torch.device("cpu")
    )
    assert shared.batch(small_cifar.samples[:2]).basis.shape == (2, 3072, 8)


def test_every_benchmark_has_a_page_and_show_names_it():
    listed = invoke("list", "benchmarks").output
    for name in benchmarks.names():
        assert f"docs/reference/benchmarks/{name}.md" in listed
    shown = invoke("show", "imagenet@1").output
    assert "docs/reference/benchmarks/imagenet@1.md" in shown and benchmarks.load("imagenet").digest() in shown
    assert len(shown) < 5000
    content = yaml.safe_load(shown)
    assert content["samples"].startswith("5000: 15253, 20685")


@pytest.mark.parametrize(("name", "count"), [("imagenet", 5000), ("imagenet-paper", 1000), ("imagenet64-paper", 1000)])
def test_imagenet_is_measured_on_robustbenchs_images_in_its_order(name, count):
    robustbench = importlib.util.find_spec("robustbench")
    if robustbench is None:
        pytest.skip("robustbench is not installed")
    (home,) = robustbench.submodule_search_locations
    listed = (Path(home) / "helper_files" / "imagenet_test_image_ids.txt").read_text().split()
    numbers = [str(int(line.rpartition("_")[2].removesuffix(".JPEG"))) for line in listed]
    assert benchmarks.load(name).samples == tuple(numbers[:count])
