"""Networks as PyTorch's users have them give the rows of the plain network, by a function and from Python."""

import copy
import threading
from types import MethodType, SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import pagbench
from pagbench.errors import ContractError
from pagbench.models import checks, factories, registry
from pagbench.storage import weights

pytestmark = pytest.mark.usefixtures("few_resamples")

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 10)
    return nn.Sequential(*layers).eval()


class Returns(nn.Module):
    """A network that returns more than logits."""

    def __init__(self, pack):
        super().__init__()
        self.net, self.pack = network(), pack

    def forward(self, x):
        return self.pack(self.net(x))


class Keeps(nn.Module):
    """Keeps what it has computed, with its graph."""

    def __init__(self):
        super().__init__()
        self.net, self.kept = network(), []

    def forward(self, x):
        self.last = self.net(x)
        self.kept.append({"x": self.last})
        return self.last


class Dictionary(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


def used(module: nn.Module) -> nn.Module:
    module(torch.rand(2, 1, 8, 8))
    return module


def changed(change):
    module = network()
    change(module)
    return used(module)


def with_attributes(**values):
    return changed(lambda module: vars(module[0]).update(values))


def foreign_devices():
    parallel = nn.DataParallel(network())
    parallel.device_ids, parallel.output_device = [3, 5], 3
    return parallel


def distributed():
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(network())
    finally:
        torch.distributed.destroy_process_group()


def under_inference_mode():
    with torch.inference_mode():
        return network()


def in_order(module, x):
    for layer in module:
        x = layer(x)
    return x


def sparse(layout):
    class Sparse(nn.Module):
        def __init__(self, dense):
            super().__init__()
            self.weight, self.bias = nn.Parameter(dense.weight.detach().to_sparse(layout=layout)), dense.bias

        def forward(self, x):
            return torch.sparse.mm(self.weight, x.T).T + self.bias

    return changed(lambda module: module.__setitem__(3, Sparse(module[3])))


# TorchScript knows PyTorch's functions by their id(), and keeps the ids of functions that are gone: a list of a network
# may get the id of one that an earlier test let go. So it compiles here, before any test.
SCRIPT = torch.jit.script(network())
WRAPPED = {
    "compiled": lambda: torch.compile(network(), backend="eager"),
    "compiled and used": lambda: used(torch.compile(network(), backend="aot_eager")),
    "compiled in place": lambda: changed(lambda module: module.compile(backend="eager")),
    "compiled forward": lambda: changed(
        lambda module: setattr(module, "forward", torch.compile(module.forward, backend="eager"))
    ),
    "scripted": lambda: copy.deepcopy(SCRIPT),
    "traced": lambda: torch.jit.trace(network(), torch.rand(4, 1, 8, 8)),
    "frozen": lambda: torch.jit.freeze(copy.deepcopy(SCRIPT)),
    "scripted inside": lambda: nn.Sequential(nn.Identity(), copy.deepcopy(SCRIPT)),
    "parallel": lambda: nn.DataParallel(network()),
    "parallel on other devices": foreign_devices,
    "parallel inside, compiled": lambda: nn.Sequential(nn.Identity(), nn.DataParallel(torch.compile(network()))),
    "distributed": distributed,
    "old weight norm": lambda: changed(lambda module: nn.utils.weight_norm(module[3])),
    "weight norm": lambda: changed(lambda module: parametrizations.weight_norm(module[3])),
    "lock": lambda: with_attributes(lock=threading.Lock(), log=(number for number in range(3))),
    "keeps activations": lambda: used(Keeps()),
    "keeps them in an object": lambda: with_attributes(cache=SimpleNamespace(x=used(Keeps()).last)),
    "hook": lambda: changed(lambda module: module[0].register_forward_hook(lambda *_: None)),
    "built under inference mode": under_inference_mode,
    "patched forward": lambda: changed(
        lambda module: setattr(
            module, "forward", MethodType(lambda self, x: self[3](self[2](self[1](self[0](x)))), module)
        )
    ),
    "sparse": lambda: sparse(torch.sparse_coo),
    "sparse rows": lambda: sparse(torch.sparse_csr),
    "tuple": lambda: Returns(lambda z: (z, z[:, :3])),
    "dict": lambda: Returns(lambda z: {"features": z[:, :3], "logits": z, "other": z + 1}),
    "named tuple": lambda: Returns(lambda z: Dictionary(z, z[:, :3])),
    "object": lambda: Returns(lambda z: SimpleNamespace(hidden=z[:, :3], out=z)),
}


@pytest.fixture(scope="module")
def plain(digits):
    return registry.resolve({"net": network()}, digits)[0].load(digits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by", ["function", "module"])
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_networks_are_the_plain_one(digits, plain, monkeypatch, name, by):
    module = WRAPPED[name]()
    state = copy.copy(vars(module))
    if by == "function":
        monkeypatch.setattr(factories.Factory, "build", lambda _: (module, {}))
    (request,) = registry.resolve("net.py:make" if by == "function" else {"net": module}, digits)
    loaded = request.load(digits)
    x = checks.probe(digits).images[:8]
    assert torch.equal(loaded.classifier(x), plain.classifier(x)) or "norm" in name or "sparse" in name
    torch.testing.assert_close(loaded.classifier(x), plain.classifier(x), rtol=1e-5, atol=1e-6)
    preflight = checks.preflight(loaded, digits, device=CPU, batch_size=64, images=32)
    assert {check.name for check in preflight.flags} <= {"accuracy"}, preflight.summary()  # it is not trained
    if by == "module":
        assert vars(module).keys() == state.keys(), "the user's module stays as it is"


@pytest.mark.filterwarnings("ignore")
def test_rows_of_wrapped_networks_are_those_of_the_plain_one():
    options = {"limit": 4, "anchors": False}
    plain = pagbench.run({"net": network()}, **options)
    for name in ("scripted", "compiled", "parallel on other devices"):
        wrapped = WRAPPED[name]()
        rows = pagbench.run({"net": wrapped}, **options)
        for column in plain.select_dtypes("float"):
            both = torch.tensor(rows[column]), torch.tensor(plain[column])
            torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (lambda z: (z, z + 1), r"net: returns a tuple of item 0 \(4, 10\), item 1 \(4, 10\), expected one tensor"),
        (lambda z: {"embedding": z[:, :5]}, r"returns a dict of embedding \(4, 5\), expected"),
        (lambda z: None, r"returns a NoneType, expected one tensor of shape \(4, 10\)"),
        (lambda z: [z[:, :1], "text"], r"returns a list of item 0 \(4, 1\), item 1 str"),
    ],
)
def test_outputs_among_which_no_logits_are_obvious_are_refused_in_one_line(digits, pack, words):
    (request,) = registry.resolve({"net": Returns(pack)}, digits)
    with pytest.raises(ContractError, match=words) as caught:
        request.load(digits)
    assert "return the logits alone, or call them logits" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_which_outputs_were_taken_is_said(digits):
    loaded = registry.resolve({"net": Returns(lambda z: {"logits": z, "aux": z})}, digits)[0].load(digits)
    assert loaded.checks[0].found.endswith("outputs are logits of dict")


def test_what_cannot_be_copied_at_all_is_one_line(digits):
    class Refuses(nn.Module):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    with pytest.raises(ContractError, match=r"net: the module cannot be copied \(no copies\); give a function"):
        registry.resolve({"net": nn.Sequential(Refuses())}, digits)[0].load(digits)


def test_the_contract_is_tried_on_the_runs_device(digits, monkeypatch):
    seen = []

    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            seen.append(x.device.type)
            return self.net(x)

        def to(self, device):
            seen.append(f"to {device}")
            return self

    registry.resolve({"net": Remembers()}, digits)[0].load(digits, CPU)
    assert "to cpu" in seen and set(seen) <= {"cpu", "to cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_that_moves_to_cuda_by_itself_works_there(digits):
    class Moves(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net.cuda()(x.cuda())

    rows = pagbench.run({"net": Moves(), "dp": nn.DataParallel(network())}, limit=4, device="cuda", anchors=False)
    assert set(rows["entrant"]) == {"net", "dp"}


def test_weights_that_do_not_fit_are_told_by_name(tmp_path):
    state = network().state_dict()
    state["head.weight"] = state.pop("3.weight")
    state["0.weight"] = torch.zeros(4, 1, 5, 5)
    with pytest.raises(weights.WeightsError) as caught:
        weights.load_into(network(), state, "w.pt")
    line = str(caught.value)
    assert "missing: 3.weight; unexpected: head.weight" in line
    assert "of another shape: 0.weight (4, 1, 5, 5) instead of (4, 1, 3, 3)" in line


def test_a_function_whose_weights_do_not_fit_shows_the_names(digits, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n\n\ndef make():\n    net = torch.nn.Linear(2, 3)\n"
        "    net.load_state_dict({'kernel': torch.zeros(3, 2)})\n    return net\n"
    )
    with pytest.raises(ContractError) as caught:
        registry.resolve(f"{tmp_path / 'net.py'}:make", digits)
    assert 'Missing key(s) in state_dict: "weight", "bias"' in str(caught.value)
    assert 'Unexpected key(s) in state_dict: "kernel"' in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore")
def test_files_that_hold_programs_are_not_called_truncated(tmp_path):
    SCRIPT.save(str(tmp_path / "script.pt"))
    torch.export.save(torch.export.export(network(), (torch.rand(2, 1, 8, 8),)), tmp_path / "exported.pt2")
    (tmp_path / "keras.pt").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    from safetensors.torch import save_file

    save_file(network().state_dict(), tmp_path / "safe.pt")
    for name, words in (
        ("script.pt", "a TorchScript archive, which is a program; measure what a function returns"),
        ("exported.pt2", "a program of torch.export, of which `pagbench export` writes the graph; or measure what"),
        ("keras.pt", "an HDF5 file"),
        ("safe.pt", "let its name end in .safetensors"),
    ):
        with pytest.raises(weights.WeightsError, match=words) as caught:
            weights.read(tmp_path / name)
        assert "truncated" not in str(caught.value)
