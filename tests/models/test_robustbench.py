"""RobustBench's models: their index, the import, its checkpoint formats, and what goes wrong on the way."""

import argparse
import importlib.util
import io
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from pagbench.cli import app
from pagbench.errors import ContractError, UnknownNameError, WeightsError
from pagbench.models import registry, sources
from pagbench.models.sources import robustbench
from pagbench.models.sources.robustbench import zoo
from pagbench.storage import weights

pytestmark = pytest.mark.usefixtures("short_runs")

PREACT = "robustbench/cifar10/Linf/Andriushchenko2020Understanding"
DEEPMIND = "robustbench/cifar10/Linf/Rade2021Helper_R18_extra"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def raw(model):
    """RobustBench's own network, as its constructor makes it."""
    torch.manual_seed(1)
    with zoo.quiet():
        return zoo._constructor(zoo.robustbench(), registry.find(model).card)().eval()


def like(digits, model):
    """A benchmark of the model's shape."""
    card = registry.find(model).card
    return digits.model_copy(update={"input_shape": card.input_shape, "classes": card.classes})


def place(cache, model, *checkpoints):
    """Writes checkpoints where RobustBench's files are looked for."""
    paths = [cache / file.path for file in registry.find(model).card.download]
    for path, checkpoint in zip(paths, checkpoints, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)
    return paths


def prefixed(state, prefix="module."):
    return {f"{prefix}{name}": value for name, value in state.items()}


def images(model, count=2):
    return torch.rand(count, *registry.find(model).card.input_shape, generator=torch.Generator().manual_seed(2))


def assert_same(classifier, network, model):
    x = images(model)
    with torch.no_grad(), zoo.quiet():
        expected = network(x)
        torch.testing.assert_close(classifier.network(x), expected, rtol=1e-5, atol=1e-5)


def test_the_index_is_the_installed_zoo():
    installed = {
        f"robustbench/{data.value}/{threat.value}/{name}": entry["gdrive_id"]
        for data, kinds in zoo.robustbench().all_models.items()
        for threat, models in kinds.items()
        for name, entry in models.items()
    }
    assert set(robustbench.names()) == set(installed)
    for name, drive in installed.items():
        mirrors = [file.mirrors[0] for file in robustbench.card(name).download]
        if drive:
            assert mirrors == [f"gdrive:{one}" for one in (drive if isinstance(drive, list) else [drive])]
        else:
            assert [mirror.startswith("https://") for mirror in mirrors] == [True]


def test_cards_say_what_is_known():
    cards = [registry.find(name).card for name in robustbench.names()]
    assert all(card.published_accuracy > 0.5 and card.license and card.reference for card in cards)
    by_id = {card.id.removeprefix("robustbench/"): card for card in cards}
    assert by_id["cifar10/L2/Engstrom2019Robustness"].published_accuracy == pytest.approx(0.9083)
    assert by_id["imagenet/Linf/Wong2020Fast"].input_shape == (3, 288, 288)
    assert by_id["cifar10/Linf/Ding2020MMA"].license == "CC-BY-NC-SA-4.0"
    deck = by_id["cifar10/corruptions/Diffenderfer2021Winning_LRR_CARD_Deck"]
    assert [file.path.rpartition("/")[2] for file in deck.download] == [
        f"Diffenderfer2021Winning_LRR_CARD_Deck.pt_m{index}.pt" for index in range(6)
    ]


def test_unknown_names_have_a_closest_one():
    with pytest.raises(UnknownNameError, match="Engstrom2019Robustness"):
        registry.find("robustbench/cifar10/L2/Engstrom2019")
    assert isinstance(sources.find(PREACT), sources.Source)


IMPORT = """
import sys
before = set(sys.modules)
from pagbench.models.sources.robustbench.zoo import robustbench
assert robustbench().all_models
for name in {names}:
    kept = [module for module in sys.modules if module.partition(".")[0] == name]
    assert kept == {kept}.get(name, []), (name, kept)
    if not kept:
        try:
            __import__(name)
        except ModuleNotFoundError:
            continue
        raise AssertionError(name)
{after}
"""


def run_python(code, path=""):
    env = {"PATH": "", "PYTHONPATH": f"{path}:{':'.join(sys.path)}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)


def test_the_import_leaves_no_stand_in_behind_and_says_nothing():
    pytest.importorskip("pyautoattack")
    absent = [name for name in ("autoattack", "pkg_resources") if importlib.util.find_spec(name) is None]
    done = run_python(IMPORT.format(names=absent, kept={}, after=""))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_the_import_uses_real_modules_where_there_are_some(tmp_path):
    package = tmp_path / "site" / "autoattack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class AutoAttack: pass\n")
    (package / "state.py").write_text("class EvaluationState: pass\n")
    (tmp_path / "site" / "pkg_resources.py").write_text("import warnings; warnings.warn('old')\nreal = True\n")
    kept = {"autoattack": ["autoattack", "autoattack.state"], "pkg_resources": ["pkg_resources"]}
    after = (
        "import autoattack, pkg_resources, robustbench.eval\n"
        "assert robustbench.eval.AutoAttack is autoattack.AutoAttack and pkg_resources.real\n"
        f"assert autoattack.__file__.startswith({str(tmp_path)!r})"
    )
    done = run_python(IMPORT.format(names=list(kept), kept=kept, after=after), tmp_path / "site")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("model", "checkpoint"),
    [
        pytest.param(
            PREACT, lambda state: {"last": prefixed(state), "best": {}, "epoch": np.float64(3)}, id="preactresnet18"
        ),
        pytest.param(
            "robustbench/cifar10/L2/Engstrom2019Robustness",
            lambda state: {"state_dict": prefixed(state), "args": argparse.Namespace(lr=0.1), "acc": np.float32(0.9)},
            id="resnet50",
        ),
        pytest.param(
            "robustbench/cifar10/Linf/Gowal2020Uncovering_28_10_extra",
            dict,
            id="deepmind-wrn-28-10",
            marks=pytest.mark.slow,
        ),
        pytest.param(DEEPMIND, lambda state: {"model." + name: value for name, value in state.items()}, id="deepmind"),
        pytest.param(
            "robustbench/imagenet/Linf/Salman2020Do_R18",
            lambda state: {
                "state_dict": {name[len("model.") :]: value for name, value in state.items() if name[0] == "m"}
            },
            id="imagenet-resnet18",
        ),
    ],
)
def test_checkpoints_in_robustbench_formats_give_its_networks(model, checkpoint, cache, digits):
    network = raw(model)
    place(cache, model, checkpoint(network.state_dict()))
    loaded = registry.find(model).load(like(digits, model))
    assert_same(loaded.classifier, network, model)
    assert loaded.weights_sha256 == weights.file_sha256(next(cache.rglob("*.pt")))


@pytest.mark.slow
def test_a_run_needs_nothing_but_the_file(cache, tmp_path):
    place(cache, PREACT, {"last": prefixed(raw(PREACT).state_dict())})
    done = CliRunner().invoke(
        app, ["run", PREACT, "--benchmark", "samples-cifar10", "--limit", "1", "--results", str(tmp_path / "results")]
    )
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "results").rglob(f"{PREACT}.parquet")
    rows = pd.read_parquet(path)
    assert len(rows) == 1
    assert rows["gradient_faithful"].all()


@pytest.mark.slow
def test_ensembles_are_read_file_by_file(cache, digits):
    model = "robustbench/cifar10/Linf/Chen2020Adversarial"
    network = raw(model)
    paths = place(cache, model, *(prefixed(branch.state_dict()) for branch in network.models))
    assert [path.name for path in paths] == [f"Chen2020Adversarial.pt_m{index}.pt" for index in range(3)]
    loaded = registry.find(model).load(like(digits, model))
    assert_same(loaded.classifier, network, model)
    torch.testing.assert_close(loaded.classifier(images(model)).exp().sum(1), torch.ones(2))


@pytest.mark.parametrize(
    "model",
    [
        "robustbench/cifar10/Linf/Debenedetti2022Light_XCiT-S12",
        pytest.param("robustbench/imagenet/corruptions/Standard_R50", marks=pytest.mark.slow),
    ],
)
def test_networks_of_timm_and_torchvision_are_not_fetched_by_those(model, digits, tmp_path):
    """Their files lie in torch's own cache already, under the names of their addresses."""
    card = registry.find(model).card
    network = zoo.untrained(card)
    for parameter in network.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    path = tmp_path / "torch" / "hub" / "checkpoints" / card.download[0].mirrors[0].rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(network.model.state_dict(), path)
    loaded = registry.Request(card).load(like(digits, model))
    assert_same(loaded.classifier, network, model)


def test_files_that_robustbench_fetched_itself_are_found(cache, tmp_path, digits):
    network = raw(PREACT)
    (path,) = place(cache, PREACT, {"last": network.state_dict()})
    own = tmp_path / "models" / "cifar10" / "Linf" / path.name
    own.parent.mkdir(parents=True)
    path.rename(own)
    assert_same(registry.find(PREACT).load(like(digits, PREACT)).classifier, network, PREACT)


class Opens:
    def __reduce__(self):
        return open, ("ran", "w")


def pickled(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


FAULTS = {
    "a web page": lambda state: b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>",
    "truncated": lambda state: pickled({"last": state})[:-1000],
    "holds code": lambda state: pickled({"last": state, "hook": Opens()}),
    "1 are missing": lambda state: pickled(
        {"last": {k: v for k, v in state.items() if k not in ("mu", "conv1.weight")}}
    ),
    "102 tensors 86 are missing": lambda state: pickled({"last": {"other": torch.zeros(1)}}),
    "1 have another shape": lambda state: pickled({"last": state | {"linear.weight": torch.zeros(100, 512)}}),
    "KeyError: 'last'": pickled,
    "AttributeError": lambda state: pickled({"last": [1, 2]}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_what_is_not_the_weights_is_refused_in_one_line(said, cache, digits, tmp_path):
    """Also what RobustBench itself lets pass: it loads such a network's files however little of them fits."""
    (path,) = place(cache, PREACT, {})
    path.write_bytes(FAULTS[said](raw(PREACT).state_dict()))
    with pytest.raises(WeightsError, match=re.escape(said)) as caught:
        registry.find(PREACT).load(like(digits, PREACT))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_half_a_file_and_a_web_page_are_no_checkpoint(tmp_path):
    path = tmp_path / "weights.pt"
    state = {"layer": {"weight": torch.ones(3, 3)}}
    for whole in (pickled(state), pickled(state, _use_new_zipfile_serialization=False)):
        for length in range(1, len(whole), 37):
            path.write_bytes(whole[:length])
            with pytest.raises(WeightsError, match=r"(no|not a) PyTorch file"):
                weights.read_checkpoint(path)
    path.write_bytes(b"\n<html>")
    with pytest.raises(WeightsError, match="a web page"):
        weights.read_checkpoint(path)


def test_surplus_tensors_are_told(cache, digits):
    network = raw(PREACT)
    state = {name: value for name, value in network.state_dict().items() if name not in ("mu", "sigma")}
    place(cache, PREACT, {"last": state | {"model_preact_hl1.1.weight": torch.zeros(3)}})
    with pytest.warns(UserWarning, match=r"1 tensors of the file are not in the network, as model_preact_hl1\.1"):
        loaded = registry.find(PREACT).load(like(digits, PREACT))
    assert_same(loaded.classifier, network, PREACT)


def test_a_missing_file_says_where_it_belongs(cache, digits):
    with pytest.raises(WeightsError) as caught:
        registry.find(PREACT).load(like(digits, PREACT))
    assert str(cache / "robustbench" / "cifar10" / "Linf" / "Andriushchenko2020Understanding.pt") in str(caught.value)


def test_networks_of_another_shape_are_refused_before_anything_is_read(digits):
    with pytest.raises(ContractError, match="takes images of shape"):
        registry.find(PREACT).load(digits)


def test_swish_becomes_mappable_and_stays_the_same():
    network = zoo.untrained(registry.find(DEEPMIND).card)
    own = raw(DEEPMIND)
    own.load_state_dict(network.state_dict())
    x = images(DEEPMIND).requires_grad_(True)
    (expected,) = torch.autograd.grad(own(x).logsumexp(1).sum(), x)
    gradient = torch.func.vmap(torch.func.grad(lambda image: network(image[None]).logsumexp(1).sum()))(x.detach())
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_constants_of_normalisation_go_where_the_network_goes():
    zoo.robustbench()
    from robustbench.model_zoo.architectures.dm_rn import WideResNet

    own = WideResNet(depth=10, width=1).eval()
    network = zoo._mended(WideResNet(depth=10, width=1).eval())
    network.load_state_dict(own.state_dict())  # the same names: the constants are no part of the file
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(network(x)[0], own(x)[0])
    assert network.to("meta")(x.to("meta"))[0].shape == (2, 10)
    with pytest.raises(RuntimeError, match="meta"):
        own.to("meta")(x.to("meta"))


def test_a_layer_that_is_normalised_at_every_call_no_longer_drifts():
    zoo.robustbench()
    from robustbench.model_zoo.architectures.boosting_wide_resnet import BoostingWideResNet

    own = BoostingWideResNet(depth=10, widen_factor=1).eval()
    network = zoo._mended(BoostingWideResNet(depth=10, widen_factor=1).eval())
    network.load_state_dict(own.state_dict())
    network = zoo._mended(network)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(network(x), own(x))
    before = network.fc.weight.clone()
    network(x)
    assert torch.equal(network.fc.weight, before)


def test_checkpoints_with_numbers_and_options_are_read_without_running_code(tmp_path):
    value = {
        "acc": np.float64(0.5), "epoch": np.int64(3), "curve": np.arange(3.0), "args": argparse.Namespace(lr=0.1),
        "nested": {"state": torch.ones(2)},
    }  # fmt: skip
    for number, options in enumerate(({}, {"_use_new_zipfile_serialization": False})):
        path = tmp_path / f"{number}.pt"
        torch.save(value, path, **options)
        found = weights.read_checkpoint(path)
        kinds = {name: found[name].kind.rpartition(".")[2] for name in ("acc", "epoch", "curve", "args")}
        assert kinds == {"acc": "scalar", "epoch": "scalar", "curve": "_reconstruct", "args": "Namespace"}
        assert torch.equal(found["nested"]["state"], torch.ones(2))


def listed(*options):
    done = CliRunner().invoke(app, ["list", "models", *options], env={"COLUMNS": "1000"})
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if not line.startswith("model ")]


def test_the_zoo_is_listed_and_filtered():
    everything = listed("--source", "robustbench")
    assert len(everything) == 206
    parts = [
        listed("--source", "robustbench", "--dataset", dataset, "--threat", threat)
        for dataset, threat in {tuple(name.split("/")[1:3]) for name in robustbench.names()}
    ]
    assert sorted(line.split()[0] for part in parts for line in part) == sorted(robustbench.names())
    (found,) = listed("--source", "robustbench", "--search", "engstrom2019", "--threat", "L2")
    assert all(part in found for part in ("ResNet-50", "90.83%"))
    assert "Crop288" in listed("--source", "robustbench", "--search", "imagenet/Linf/Wong")[0]
    assert len(listed("--search", "no such thing")) == 1
    assert len(listed("--dataset", "digits")) < len(listed())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("models", "--source", "robustbanch"), "closest: robustbench"),
        (
            ("models", "--source", "robustbench", "--dataset", "cifar-10"),
            "unknown dataset of what is listed 'cifar-10'",
        ),
        (("models", "--source", "robustbench", "--threat", "l2"), "closest: L2"),
        (("measures", "--search", "x"), "for models"),
    ],
)
def test_listings_that_cannot_be_say_why(options, said):
    done = CliRunner().invoke(app, ["list", *options])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr


def test_forward_calls_of_its_networks_warn_of_nothing(digits):
    with warnings.catch_warnings(record=True) as caught:
        zoo.robustbench()
        warnings.warn_explicit(
            "old", FutureWarning, "comp_model.py", 1, "robustbench.model_zoo.architectures.comp_model"
        )
    assert not caught
