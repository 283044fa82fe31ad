"""Classifiers that others publish: every format is written to disk as its publisher writes it, and loaded by its id."""

import hashlib
import json
import re
import sys
import tarfile

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import save_file
from timm.models._hub import save_for_hf
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, batch_norm, conv2d, linear
from torchvision.transforms.functional import normalize, resize
from typer.testing import CliRunner

import pagbench
from pagbench.cli import app
from pagbench.errors import CardError, ContractError, MissingPackageError, PagbenchError, UnknownNameError, WeightsError
from pagbench.models import architectures, factories, registry, sources
from pagbench.models.classifier import Classifier
from pagbench.storage import downloads, weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAGBENCH_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))  # where torchvision has its own cache
    return tmp_path / "cache"


@pytest.fixture
def shaped(digits):
    """A benchmark of that shape; loading looks at nothing else of it."""
    return lambda side, classes, channels=3: digits.model_copy(
        update={"input_shape": (channels, side, side), "classes": classes}
    )


def load(model, benchmark):
    (request,) = registry.resolve(model, benchmark)
    return request.load(benchmark)


def put(path, content):
    """Writes a file as its suffix says, and returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scrambled(network):
    """Random everywhere: a fresh network's batch norms would hide theirs."""
    generator = torch.Generator().manual_seed(0)
    state = network.eval().state_dict()
    for name, value in state.items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if "bias" not in name else -0.5))
    return network


def pixels(side, count=2, channels=3):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def agree(model, network, images):
    with torch.no_grad():
        torch.testing.assert_close(model.classifier(images[1]), network(images[0]), rtol=1e-4, atol=1e-4)


def publish(monkeypatch, cache, name, state):
    """Has torchvision publish this state dict as the best weights of a network."""
    best = torchvision.models.get_model_weights(name).DEFAULT
    digest = put(cache / "new.pth", state)
    path = cache / "torchvision" / f"{name}-{digest[:8]}.pth"
    path.parent.mkdir()
    (cache / "new.pth").rename(path)
    value = type(best.value)(f"https://download.pytorch.org/models/{path.name}", best.transforms, best.meta)
    monkeypatch.setattr(best, "_value_", value)
    monkeypatch.setattr(type(best), "get_state_dict", lambda *_, **__: torch.load(path, weights_only=True))
    return path, best


def test_torchvision_loads_what_torchvision_loads(cache, monkeypatch, shaped):
    path, best = publish(
        monkeypatch, cache, "squeezenet1_1", scrambled(torchvision.models.squeezenet1_1()).state_dict()
    )
    model = load("torchvision/squeezenet1_1", shaped(48, 1000))
    assert model.card.id == f"torchvision/squeezenet1_1/{best.name}"
    assert model.card.published_accuracy == pytest.approx(best.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100)
    assert model.weights_sha256 == weights.file_sha256(path)
    x = pixels(48)
    theirs = torchvision.models.squeezenet1_1(weights=best).eval()
    agree(model, theirs, (normalize(resize(x, [224, 224], antialias=True), MEAN, STD), x))
    with path.open("ab") as file:
        file.write(b"more")
    (cache / "fetched.json").unlink()  # as if it had come so
    with pytest.raises(WeightsError, match=f"does not begin with {path.stem[-8:]}, as its name says"):
        load("torchvision/squeezenet1_1", shaped(48, 1000))


@pytest.mark.parametrize("name", ["googlenet", "densenet121"])
def test_torchvision_builds_as_torchvision_does(cache, monkeypatch, name):
    """GoogLeNet undoes the normalisation, DenseNet's files have old names."""
    quick = {"init_weights": False} if name == "googlenet" else {}
    state = torchvision.models.get_model(name, weights=None, **quick).state_dict()
    names = {key: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key) for key in state}
    old = {names[key]: value for key, value in state.items() if "num_batches" not in key}
    path, best = publish(monkeypatch, cache, name, old)
    source = sources.find(f"torchvision/{name}")
    ours = source.build(source.card(f"torchvision/{name}"), [path]).eval()
    theirs = torchvision.models.get_model(name, weights=best).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels(64)), theirs(pixels(64)))


@pytest.mark.parametrize("name", ["test_efficientnet.r160_in1k", "test_vit"])
def test_timm_loads_what_timm_published(cache, shaped, name):
    theirs = scrambled(timm.create_model(name))
    card = registry.find(f"timm/{name}").card
    put(cache / card.download[0].path, theirs.state_dict())
    model = load(f"timm/{name}", shaped(64, 1000))
    assert model.card.id == f"timm/{name.partition('.')[0]}.r160_in1k"
    x, cfg = pixels(64), theirs.pretrained_cfg
    agree(model, theirs, (normalize(resize(x, [160, 160], antialias=True), cfg["mean"], cfg["std"]), x))
    assert not any(isinstance(value, dict) for value in model.classifier.network.pretrained_cfg.values())


def test_a_hub_repository_as_timm_writes_it(cache, shaped, monkeypatch):
    monkeypatch.setattr("timm.models._hub._has_hf_hub", True)  # timm 1.0.9 takes new versions of the hub's for none
    theirs = scrambled(timm.create_model("resnet10t", num_classes=7, stem_width=8))
    theirs.pretrained_cfg.update(input_size=(3, 40, 40), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), license="mit")
    folder = cache / "hf" / "someone" / "flowers@v2"
    save_for_hf(theirs, folder, model_args={"stem_width": 8}, safe_serialization=True)
    model = load("hf/someone/flowers@v2", shaped(32, 7))
    assert (model.card.license, model.card.architecture) == ("mit", "timm/resnet10t")
    assert model.card.download[1].mirrors == ("hf:someone/flowers@v2/model.safetensors",)
    x = pixels(32)
    moved = normalize(resize(x, [40, 40], antialias=True), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    agree(model, theirs, (moved, x))
    config = json.loads((folder / "config.json").read_text())
    flat = {"architecture": "resnet10t", **config["pretrained_cfg"], "num_classes": 7, "model_args": {"stem_width": 8}}
    put(folder / "config.json", flat)  # as timm wrote it before 2023
    (cache / "fetched.json").unlink()
    agree(load("hf/someone/flowers@v2", shaped(32, 7)), theirs, (moved, x))


def test_a_hub_repository_with_fields_of_a_card(cache, shaped):
    theirs = scrambled(architectures.build("small-resnet", (3, 16, 16), 5, "gelu"))
    fields = {
        "architecture": "small-resnet",
        "activation": "gelu",
        "input_shape": [3, 16, 16],
        "classes": 5,
        "state_key": "ema",
    }
    put(cache / "hf/me/mine/config.json", fields)
    put(cache / "hf/me/mine/pytorch_model.bin", {"ema": theirs.state_dict(), "epoch": 3})
    x = pixels(16)
    agree(load("hf/me/mine", shaped(16, 5)), theirs, (x, x))


def test_robust_imagenet_models(cache, shaped):
    """robustness' AttackerModel in DataParallel: the network twice, the second time within the attacker."""
    theirs = scrambled(torchvision.models.resnet18())
    state = {f"module.{part}": torch.zeros(3, 1, 1) for part in ("normalizer.new_mean", "normalizer.new_std")}
    state |= {f"module.model.{name}": value for name, value in theirs.state_dict().items()}
    state |= {f"module.attacker.model.{name}": value for name, value in theirs.state_dict().items()}
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9).state_dict()
    checkpoint = {"model": state, "optimizer": optimizer, "schedule": None, "epoch": 90, "amp": None}
    put(cache / "madrylab/resnet18_l2_eps0.25.ckpt", checkpoint)
    model = load("madrylab/resnet18-l2-eps0.25", shaped(64, 1000))
    assert (model.card.family, model.card.strength) == ("adversarial", 0.25)
    x = pixels(64)
    agree(model, theirs, (normalize(resize(x, [224, 224], antialias=True), MEAN, STD), x))


def cifar_resnet110(x, state):
    """He et al. 2015, section 4.2, from a state dict in locuslab's names."""

    def normed(x, name):
        moments = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(x, *moments)

    x = normed(conv2d(x, state["conv1.weight"], padding=1), "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(18):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = normed(conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").relu()
            inner = normed(conv2d(inner, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = normed(conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = (x + inner).relu()
    return linear(adaptive_avg_pool2d(x, 1).flatten(1), state["fc.weight"], state["fc.bias"])


def put_locuslab(cache, folder, network, prefix):
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1).state_dict()
    checkpoint = {"epoch": 90, "arch": folder.split("/")[1], "state_dict": state, "optimizer": optimizer}
    path = cache / "smoothing" / "models" / folder / "checkpoint.pth.tar"
    put(path, checkpoint)
    return path


def test_the_networks_of_cohen_and_their_smoothed_classifiers(cache, shaped, monkeypatch):
    network = architectures.build("locuslab/cifar_resnet110", (3, 32, 32), 10).eval()
    assert sum(value.numel() for value in network.parameters()) == 1_730_714
    state = network.state_dict()
    for name, value in state.items():
        if ".bn2.weight" in name:  # 54 blocks deep, anything stronger explodes
            value.fill_(0.3)
    put_locuslab(cache, "cifar10/resnet110/noise_0.25", network, "1.")
    x = pixels(32, count=1)

    def theirs(x):
        return cifar_resnet110(normalize(x, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]), state)

    base = load("smoothing/cifar10/resnet110/noise_0.25/base", shaped(32, 10))
    agree(base, theirs, (x, x))
    assert (base.card.family, base.card.smoothing) == ("noise", None)
    monkeypatch.setattr("pagbench.models.sources.cohen._SAMPLES", 2)
    smoothed = load("smoothing/cifar10/resnet110/noise_0.25", shaped(32, 10))
    assert (smoothed.card.family, smoothed.card.strength, smoothed.card.smoothing.sigma) == ("smoothing", 0.25, 0.25)
    noise = 0.25 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    agree(smoothed, lambda x: ((theirs(x + noise).softmax(1) + theirs(x - noise).softmax(1)) / 2).log(), (x, x))


def test_the_imagenet_networks_of_cohen_from_their_archive(cache):
    network = scrambled(torchvision.models.resnet50())
    path = put_locuslab(cache, "imagenet/resnet50/noise_0.50", network, "1.module.")
    source = sources.find("smoothing/imagenet/resnet50/noise_0.50")
    card = source.card("smoothing/imagenet/resnet50/noise_0.50")
    content = path.read_bytes()
    with tarfile.open(cache / "smoothing/models.tar", "w:gz", compresslevel=0) as tar:
        tar.add(path, "models/imagenet/resnet50/noise_0.50/checkpoint.pth.tar")
    path.unlink()
    assert downloads.get(card.download[0]) == path
    assert path.read_bytes() == content
    other = source.card("smoothing/imagenet/resnet50/noise_1.00").download[0]
    with pytest.raises(WeightsError, match=r"models\.tar: has no noise_1\.00/checkpoint\.pth\.tar; put the file at"):
        downloads.get(other)
    with torch.no_grad():
        torch.testing.assert_close(source.build(card, [path]).eval()(pixels(32)), network(pixels(32)))


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("torchvision/resnet81", ["unknown torchvision network 'resnet81'", "resnet18"]),
        ("torchvision/resnet18/V9", ["unknown weights of torchvision/resnet18 'V9'", "IMAGENET1K_V1"]),
        ("torchvision/resnet18", ["torchvision/resnet18-f37072fd.pth", "put the file"]),
        ("timm/resnet18.b1", ["unknown timm network 'resnet18.b1'", "resnet18.a3_in1k"]),
        ("torchvison/resnet18", ["unknown model 'torchvison/resnet18'; closest: torchvision/resnet18"]),
        ("robustbnech/cifar10/Linf/Standard", ["closest: robustbench/cifar10/Linf/Standard"]),
        ("hf/alone", ["expected hf/<owner>/<name>"]),
        ("hf/me/net@", ["expected hf/<owner>/<name>"]),
        ("hf/me/my net", ["expected hf/<owner>/<name>"]),
        ("hf/me/..", ["hf/me/..: field 'path'"]),
        ("hf/me/_net", ["hf/me/_net: field 'path'"]),
        ("hf/me/absent", ["hf/me/absent/config.json", "put the file"]),
        ("smoothing/cifar10/resnet110/noise_0.3", ["unknown smoothed network", "noise_0.25"]),
        ("smoothing/cifar10/resnet110/noise_0.25", ["smoothing/models.tar", "1h_TpbXm5haY5f", "put the file"]),
        ("madrylab/resnet18-l2-eps7", ["unknown model", "madrylab/resnet18-l2-eps5"]),
    ],
)
def test_what_is_not_there_gets_one_clear_line(cache, shaped, model, parts):
    shape = shaped(32, 10) if "cifar10" in model else shaped(64, 1000)
    with pytest.raises(PagbenchError) as caught:
        load(model, shape)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("model", ["robustbench/cifar10/L2/Standard", "smoothed:0.25:robustbench/cifar10/L2/Standard"])
def test_nothing_is_fetched_for_a_package_that_is_not_installed(cache, shaped, monkeypatch, model):
    fetched = []
    monkeypatch.setattr(downloads, "get", fetched.append)
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(MissingPackageError, match=r"^robustbench is not installed; .*'pagbench\[robustbench\]'$"):
        load(model, shaped(32, 10))
    assert not fetched


TIMMS = {
    "architecture": "test_efficientnet",
    "pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": 1000, "mean": MEAN, "std": STD},
}


@pytest.mark.parametrize(
    ("config", "error", "parts"),
    [
        ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, CardError, ["ViTForImage", "path.py:"]),
        ({"architecture": "hf-hub:a/b", "pretrained_cfg": {}}, UnknownNameError, ["unknown timm architecture"]),
        (
            {"architecture": "resnet10t", "pretrained_cfg": {"input_size": [3, 9, 9]}},
            CardError,
            ["its timm configuration: field 'num_classes' is missing"],
        ),
        ({**TIMMS, "pretrained_cfg": "none"}, CardError, ["field 'pretrained_cfg'", "dictionary"]),
        ({**TIMMS, "pretrained_cfg": {**TIMMS["pretrained_cfg"], "input_size": 64}}, CardError, ["field 'input_size'"]),
        ({**TIMMS, "pretrained_cfg": {**TIMMS["pretrained_cfg"], "crop_pct": 0}}, CardError, ["field 'crop_pct'"]),
        ({**TIMMS, "architecture": None}, CardError, ["field 'architecture'"]),
        ({**TIMMS, "model_args": [1]}, CardError, ["field 'model_args'"]),
        ({**TIMMS, "model_args": {"pretrained_strict": False}}, CardError, ["'pretrained_strict' is not for a repos"]),
        ({"input_shape": [3, 8, 8], "weights": "../../other.pt"}, CardError, ["field 'path'", "other.pt"]),
        ({"input_shape": [3, 8, 8], "weights": "/etc/passwd"}, CardError, ["field 'path'", "/etc/passwd"]),
        ({"input_shape": [3, 8, 8], "id": "digits/standard"}, CardError, ["field 'id' is not for a repository"]),
        ({"input_shape": [3, 8, 8], "clases": 3}, CardError, ["field 'clases'", "did you mean 'classes'?"]),
        ([1], CardError, ["expected a JSON object, got list"]),
        ({**TIMMS, "architecture": "x" * 10**6}, UnknownNameError, ["unknown timm architecture 'xxx"]),
        ({"input_shape": [3, 8, 8], "mean": ["x"] * 10**4, "std": [1]}, CardError, ["and 9980 more like these"]),
        ({"architectures": ["\x1b[2J" * 10**4]}, CardError, ["\\x1b[2J"]),
    ],
)
def test_a_strange_config_gets_one_clear_line(cache, shaped, config, error, parts):
    put(cache / "hf/me/odd/config.json", config)
    with pytest.raises(error) as caught:
        load("hf/me/odd", shaped(8, 3))
    assert len(str(caught.value)) < 3_000
    for part in parts:
        assert part in str(caught.value)


def test_a_repository_gives_whichever_weights_it_has(cache, shaped, monkeypatch):
    """The hub tells what there is; what is in the cache already comes first."""
    from mirror import Mirror

    network = scrambled(architectures.build("small-resnet", (3, 16, 16), 4))
    config = {"architecture": "small-resnet", "activation": "silu", "input_shape": [3, 16, 16], "classes": 4}
    put(cache / "pytorch_model.bin", network.state_dict())
    hub = Mirror()
    try:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("no_proxy", "*")
        hub.serve("/me/old/resolve/main/config.json", json.dumps(config).encode())
        hub.serve("/me/old/resolve/main/pytorch_model.bin", (cache / "pytorch_model.bin").read_bytes())
        files = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in ("config.json", "pytorch_model.bin")]
        hub.serve("/api/models/me/old/tree/main", json.dumps(files).encode())
        monkeypatch.delenv("PAGBENCH_OFFLINE")
        x = pixels(16)
        agree(load("hf/me/old", shaped(16, 4)), network, (x, x))
        assert (cache / "hf/me/old/pytorch_model.bin").is_file()
    finally:
        hub.shutdown()
        hub.server_close()


def test_weights_of_another_network_get_one_clear_line(cache, shaped):
    other = timm.create_model("test_vit").state_dict()
    put(cache / "timm/test_efficientnet.r160_in1k/model.safetensors", other)
    with pytest.raises(WeightsError, match=r"not the weights of timm's test_efficientnet\.r160_in1k"):
        load("timm/test_efficientnet.r160_in1k", shaped(64, 1000))


def own_card(tmp_path, checkpoint, **fields):
    torch.save(checkpoint, tmp_path / "mine.pt")
    content = {
        "id": "mine/resnet",
        "title": "mine",
        "family": "own",
        "architecture": "small-resnet",
        "activation": "silu",
        "input_shape": [3, 16, 16],
        "classes": 4,
        "weights": "mine.pt",
        **fields,
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_local_checkpoint_with_state_key_and_prefix(tmp_path, shaped):
    network = scrambled(architectures.build("small-resnet", (3, 16, 16), 4))
    state = {f"module.net.{name}": value for name, value in network.state_dict().items()}
    path = own_card(tmp_path, {"ema": state, "step": 7}, state_key="ema", strip_prefix="module.net.")
    x = pixels(16)
    agree(load(path, shaped(16, 4)), network, (x, x))
    for fields, message in [
        ({}, "got dict of ema, step; save model.state_dict.., or give its entry as `state_key` in the card"),
        ({"state_key": "model"}, "no entry 'model' in dict of ema, step; correct state_key"),
        ({"state_key": "ema"}, "set strip_prefix: module.net."),
        ({"state_key": "ema", "strip_prefix": "model."}, "no name begins with 'model.' in dict of module.net.0.weight"),
        ({"state_key": "ema", "strip_prefix": "module."}, "set strip_prefix: net.|check the architecture"),
    ]:
        with pytest.raises(WeightsError, match=message):
            load(own_card(tmp_path, {"ema": state, "step": 7}, **fields), shaped(16, 4))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("torchvision/squeezenet1_1", lambda: torchvision.models.squeezenet1_1(num_classes=4)),
        ("timm/test_vit", lambda: timm.create_model("test_vit", num_classes=4, img_size=(48, 48))),
    ],
)
def test_a_card_names_architectures_of_torchvision_and_timm(tmp_path, shaped, name, theirs):
    network = theirs().eval()
    card = own_card(tmp_path, network.state_dict(), architecture=name, activation=None, input_shape=[3, 48, 48])
    x = pixels(48)
    agree(load(card, shaped(48, 4)), network, (x, x))
    with pytest.raises(UnknownNameError, match=f"closest: .*{name}"):
        load(own_card(tmp_path, {}, architecture=f"{name}x", activation=None, input_shape=[3, 48, 48]), shaped(48, 4))


def test_resizing_is_torchvisions_and_differentiable_and_asked_for(tmp_path, shaped):
    classifier = Classifier(nn.Flatten(), size=(5, 7), resize="bicubic")
    x = pixels(11).requires_grad_()
    expected = resize(x, [5, 7], interpolation=torchvision.transforms.InterpolationMode.BICUBIC, antialias=True)
    torch.testing.assert_close(classifier(x), expected.flatten(1))
    assert torch.autograd.grad(classifier(x).sum(), x)[0].abs().min() > 0
    same = torch.rand(2, 3, 5, 7)
    assert torch.equal(classifier(same), same.flatten(1))
    state = architectures.build("small-resnet", (3, 16, 16), 4).state_dict()
    with pytest.raises(ContractError, match=r"takes images of shape \(3, 16, 16\), .* has \(3, 20, 20\)"):
        load(own_card(tmp_path, state), shaped(20, 4))
    resized = own_card(tmp_path, state, resize="bilinear")
    assert load(resized, shaped(20, 4)).classifier(pixels(20)).shape == (2, 4)
    with pytest.raises(ContractError, match=r"\(1, 20, 20\)"):
        load(resized, shaped(20, 4, channels=1))


NETS = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from neighbour import classes

@dataclass
class Options:
    width: int = 3

def plain():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, classes))

def described():
    return torch.nn.Sequential(plain(), torch.nn.Softmax(dim=1)), {"output": "probabilities", "license": "MIT"}

def inside():
    from neighbour import classes
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, classes))

def exits(): raise SystemExit(1)
def three(): return 3
def fails(): raise RuntimeError("no weather")
def renamed(): return plain(), {"weights": "other.pt"}
def misspelt(): return plain(), {"licence": "MIT"}
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "neighbour.py").write_text("classes = 4\n")
    yield tmp_path / "nets.py"
    sys.modules.pop("neighbour", None)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def test_a_function_in_a_file(nets, shaped):
    x = pixels(8)
    model = load(f"{nets}:plain", shaped(8, 4))
    assert model.card.id == "local/nets.plain"
    agree(model, plain(), (x, x))
    described = load(f"{nets}:described", shaped(8, 4))
    assert (described.card.output, described.card.license) == ("probabilities", "MIT")
    agree(described, lambda x: plain()(x).log_softmax(1), (x, x))
    assert str(nets.parent.resolve()) not in sys.path


def test_files_of_two_folders_have_neighbours_of_their_own(nets, tmp_path, shaped):
    """Both are called the same; what a function imports when it is called counts, too."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "nets.py").write_text(NETS)
    (other / "neighbour.py").write_text("classes = 7\n")
    for function in ("plain", "inside"):
        for file, classes in ((nets, 4), (other / "nets.py", 7)):
            assert load(f"{file}:{function}", shaped(8, classes)).classifier(pixels(8)).shape == (2, classes)
    assert "neighbour" not in sys.modules
    assert pagbench is sys.modules["pagbench"]


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("exits", ["it ends the program"]),
        ("three", ["returned int", "expected a torch.nn.Module"]),
        ("fails", ["nets.py:fails", "no weather"]),
        ("absent", ["unknown function of nets.py 'absent'", "inside, misspelt, plain"]),
        ("plainn", ["closest: plain"]),
        ("renamed", ["field 'weights' is not for a function"]),
        ("misspelt", ["field 'licence'", "did you mean 'license'?"]),
    ],
)
def test_a_function_that_fails_gets_one_clear_line(nets, shaped, function, parts):
    with pytest.raises(PagbenchError) as caught:
        load(f"{nets}:{function}", shaped(8, 4))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_the_command_line_warns_before_it_runs_a_file(nets):
    done = CliRunner().invoke(app, ["run", f"{nets}:fails"])
    assert f"warning: {nets}:fails runs the code of that file" in done.stderr
    assert done.exit_code == 2
    assert "no weather" in done.stderr
    assert CliRunner().invoke(app, ["run", "gone.py:net"]).stderr == "error: gone.py: no such file\n"
    module = f"{nets.with_suffix('')}:plain"
    assert CliRunner().invoke(app, ["run", module]).stderr.endswith(f"did you mean {nets}:plain?\n")


@pytest.fixture
def package(nets, monkeypatch):
    """An installed package with entry points, one of them broken."""
    info = nets.parent / "acme-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[pagbench.models]\nacme/net = nets:plain\nacme/broken = absent_module:net\ndigits/standard = nets:plain\n"
        "timm/mine = nets:plain\n"
    )
    monkeypatch.syspath_prepend(str(nets.parent))
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    yield info
    sys.modules.pop("nets", None)


def test_an_id_of_a_source_stands_for_its_network(tmp_path, shaped):
    """Whatever else has such an id would be listed as the publisher's."""
    state = architectures.build("small-resnet", (3, 16, 16), 4).state_dict()
    name = "torchvision/resnet18/IMAGENET1K_V1"
    card = own_card(tmp_path, state, id=name)
    claims = [
        card,
        f"smoothed:0.25:{card}",
        {name: plain()},
        own_card(tmp_path / "..", state, id=name, loader="source", weights=None),
    ]
    for claim in claims:
        with pytest.raises(ContractError, match=r"is an id of the source 'torchvision'.*give yours its own id"):
            registry.resolve(claim, shaped(16, 4))


def test_half_a_pickle_and_what_is_no_state_dict_get_one_clear_line(tmp_path):
    """Of a file of PyTorch before 1.6, cut anywhere."""
    torch.save(plain().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    for length in [*range(0, 600, 7), len(whole) - 1]:
        (tmp_path / "half.pt").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            weights.read(tmp_path / "half.pt")
    for content in (b"\x80\x02}", b"\x80\x02h\x07.", b"\x80\x02]e.", b"\x80"):
        (tmp_path / "half.pt").write_bytes(content)
        with pytest.raises(WeightsError, match="truncated or not a PyTorch file"):
            weights.read(tmp_path / "half.pt")
    torch.save({0: torch.zeros(1)}, tmp_path / "numbers.pt")
    for prefix in (None, "module."):
        with pytest.raises(WeightsError, match="expected a state dict"):
            weights.read(tmp_path / "numbers.pt", strip_prefix=prefix)


def test_a_checkpoint_is_one_file(tmp_path, shaped):
    files = [{"path": "mine/a.pt"}, {"path": "mine/b.pt"}]
    for download in ([], files):
        with pytest.raises(CardError, match=f"needs one file in download, got {len(download)}"):
            load(own_card(tmp_path, {}, weights=None, download=download), shaped(16, 4))


def test_entry_points_of_packages(package, shaped):
    listed = CliRunner().invoke(app, ["list", "models"]).output
    assert re.search(r"acme/net +own +nets:plain of acme 1\.2", listed)
    assert "acme/broken" in listed
    assert "nets" not in sys.modules  # listing runs no code
    x = pixels(8)
    agree(load("acme/net", shaped(8, 4)), plain(), (x, x))
    with pytest.raises(ContractError, match=r"absent_module:net of acme 1\.2: No module named 'absent_module'"):
        load("acme/broken", shaped(8, 4))
    with pytest.raises(CardError, match="its card depends on the benchmark"):
        pagbench.load_model("acme/net")
    with pytest.raises(UnknownNameError, match="closest: acme/net"):
        load("acme/nett", shaped(8, 4))


def test_an_id_that_two_claim_is_refused_with_both(package, shaped):
    for model, owner in [("digits/standard", r"digits.standard\.yaml"), ("timm/mine", "the source 'timm'")]:
        with pytest.raises(ContractError, match=rf"id of .*{owner} and of nets:plain of acme 1\.2; rename"):
            load(model, shaped(8, 4))
    other = package.with_name("better-0.1.dist-info")
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: better\nVersion: 0.1\n")
    (other / "entry_points.txt").write_text("[pagbench.models]\nacme/net = nets:three\n")
    with pytest.raises(ContractError, match=r"nets:.* of acme 1\.2.*nets:.* of better 0\.1|better 0\.1.*acme 1\.2"):
        load("acme/net", shaped(8, 4))
    assert len(factories.installed()) == 5


def test_every_source_makes_valid_cards_of_all_that_it_lists():
    """Each card parses, keeps its id, and says where its weights come from and go to."""
    places = {}
    for prefix in ("torchvision", "smoothing", "hf"):
        source = sources.find(f"{prefix}/")
        assert isinstance(source, sources.Source)
        for name in source.names():
            card = source.card(name)
            assert (card.id, card.loader) == (name, "source")
            places.setdefault(card.download[0].path, set()).add(card.architecture)
            assert card.download[0].path.startswith(f"{prefix}/")
    assert all(len(names) == 1 for names in places.values())
    assert len(places) > 100
    listed = list(sources.find("timm/").names())
    assert len(listed) > 1000
    for name in listed[:: len(listed) // 40]:
        assert sources.find("timm/").card(name).id == name


def test_the_ready_cards_of_robust_imagenet_models_follow_their_epsilon():
    ready = [registry.find(name).card for name in registry.names() if name.startswith("madrylab/")]
    strengths = [card.strength or 0 for card in ready]
    assert sorted(strengths) == [0, 0.01, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 3, 5]
    for card in ready:
        assert card.download[0].path == f"madrylab/resnet18_l2_eps{card.strength or 0:g}.ckpt"
        assert card.download[0].mirrors[0].endswith(f"/resnet18_l2_eps{card.strength or 0:g}.ckpt")
        assert card.published_accuracy > 0.45
