"""Builds RobustBench's networks by its own `load_model`, which here reads the files that it is given.

Release 1.1.1 is imported on a current stack, which leaves every other import as it was: it imports `pkg_resources`,
which setuptools 82 dropped, and `autoattack`, where the package that it depends on calls the module `pyautoattack`.
"""

import importlib
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pagbench.cards import ModelCard
from pagbench.errors import CardError, PagbenchError, WeightsError, first_line, install_command
from pagbench.storage import weights

_CONSTANTS = ("mu", "sigma", "mean", "std", "num_batches_tracked")
"""What many files lack: normalisation, which the constructor sets, and a counter that only training reads."""


def robustbench() -> ModuleType:
    """The module `robustbench.utils`, of which `load_model` and the zoo are part.

    Raises:
        CardError: the package is missing, or does not import for a reason of its own.
    """
    try:
        with quiet(), _stand_ins():
            utils = importlib.import_module("robustbench.utils")
    except ImportError as error:
        raise CardError(
            f"robustbench cannot be imported ({first_line(error)}); install it: {install_command('robustbench')}"
        ) from None
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"robustbench\.")  # of its networks' forward calls
    return utils


@contextmanager
def quiet() -> Iterator[None]:
    """Without what its code prints and warns of."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Modules under the two missing names, for as long as the import lasts; real ones are left alone."""
    absent = {name for name in _STAND_INS if name not in sys.modules and find_spec(name) is None}
    sys.modules.update({name: _STAND_INS[name]() for name in absent})
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in absent]:
            del sys.modules[name]


def _pkg_resources() -> ModuleType:
    """The one function that RobustBench's data sets call."""
    module = ModuleType("pkg_resources")
    vars(module)["resource_filename"] = lambda owner, path: str(resources(owner.rpartition(".")[0]) / path)
    return module


_STAND_INS: dict[str, Callable[[], ModuleType]] = {
    "pkg_resources": _pkg_resources,
    "autoattack": lambda: importlib.import_module("pyautoattack"),
}


def build(card: ModelCard, files: Sequence[Path]) -> nn.Module:
    """The network with its weights; see `pagbench.models.sources.robustbench.build`."""
    utils = robustbench()
    _constructor(utils, card)
    dataset, threat, name = card.id.split("/")[1:]
    fitting = _Fitting(utils._safe_load_state_dict)
    with quiet(), _reading(utils, files, fitting), _on_the_cpu(), tempfile.TemporaryDirectory() as folder:
        try:
            network = utils.load_model(name, model_dir=folder, dataset=dataset, threat_model=threat)
        except PagbenchError:
            raise
        except Exception as error:  # its code raises anything over a file that is not the model's
            paths = ", ".join(map(str, files))
            raise WeightsError(
                f"{paths}: not the weights of {card.id} ({_reason(error)}); fetch the file anew"
            ) from error
    for names, what in ((fitting.surplus, "of the file are not in the network"), (fitting.lacking, "keep their value")):
        if names:
            warnings.warn(f"{card.id}: {len(names)} tensors {what}, as {names[0]}", stacklevel=2)
    return _mended(network)


def untrained(card: ModelCard) -> nn.Module:
    """The network with random weights, in eval mode.

    Raises:
        CardError: the installed package cannot be imported, has no such model, or cannot build it.
    """
    utils = robustbench()
    import timm  # both were imported quietly by robustbench
    import torchvision

    make = _constructor(utils, card)
    dataset, threat, name = card.id.split("/")[1:]
    registered = f"{name.lower().replace('-', '_')}_{dataset}_{threat.lower()}"
    if timm.is_model(registered):  # where load_model looks first; the zoo's own entry may be out of date
        make = lambda: timm.create_model(registered, num_classes=card.classes)  # noqa: E731
    random = lambda *_, **__: torchvision.models.resnet50().state_dict()  # noqa: E731
    try:
        with quiet(), _on_the_cpu(), patch.object(torchvision.models.WeightsEnum, "get_state_dict", random):
            network = make()
    except Exception as error:  # a third party's code may raise anything
        raise CardError(f"{card.id}: robustbench cannot build it ({_reason(error)})") from error
    return _mended(network.eval())


def _constructor(utils: ModuleType, card: ModelCard) -> Callable[[], nn.Module]:
    """What makes the empty network, in the installed zoo."""
    dataset, threat, name = card.id.split("/")[1:]
    for data, threats in utils.all_models.items():
        for kind, models in threats.items():
            if (data.value, kind.value) == (dataset, threat) and name in models:
                make: Callable[[], nn.Module] = models[name]["model"]
                return make
    raise CardError(f"{card.id}: not in the zoo of the installed robustbench; pip install --upgrade robustbench")


class _Fitting:
    """Puts a state dict into a network. RobustBench decides what may differ; here no parameter may be missing.

    Attributes:
        file: whose state dict it is.
        surplus: names of the file's tensors that the network has not.
        lacking: names of the network's buffers that the file has not, but for known constants.
    """

    def __init__(self, original: Callable[..., nn.Module]) -> None:
        self.file = Path()
        self.surplus: list[str] = []
        self.lacking: list[str] = []
        self._original = original

    def __call__(self, network: nn.Module, name: str, state: Mapping[str, Any], dataset: Any) -> nn.Module:
        wanted = {key: tensor.shape for key, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}
        lacking = [key for key in wanted if key not in state and key.rpartition(".")[2] not in _CONSTANTS]
        learned = {name for name, _ in network.named_parameters()}
        missing = [key for key in lacking if key in learned or ".running_" in f".{key}"]
        other = [key for key in wanted if key in state and getattr(state[key], "shape", None) != wanted[key]]
        if missing or other:
            raise WeightsError(
                f"{self.file}: weights of another network: of its {len(wanted)} tensors {len(missing)} are missing"
                f" and {len(other)} have another shape, as {(missing + other)[0]}; fetch the file anew"
            )
        self.surplus += [key for key in state if key not in wanted]
        self.lacking += lacking
        return self._original(network, name, state, dataset)


@contextmanager
def _reading(utils: ModuleType, files: Sequence[Path], fitting: _Fitting) -> Iterator[None]:
    """`load_model` reads the files, in their order, wherever it would fetch or unpickle its own."""
    import timm
    import torchvision

    pending = iter(files)

    def read(*_: Any, **__: Any) -> Any:
        fitting.file = next(pending)
        return weights.read_checkpoint(fitting.file)

    def create(name: str, num_classes: int, **_: Any) -> nn.Module:
        state = _state(read())
        return timm.create_model(
            name, num_classes=num_classes, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
        )

    replaced: dict[str, Any] = {
        "torch": SimpleNamespace(**{**vars(torch), "load": read}),
        "timm": SimpleNamespace(is_model=timm.is_model, create_model=create),
        "download_gdrive_new": lambda *_: None,
        "_safe_load_state_dict": fitting,
    }
    with patch.multiple(utils, **replaced), patch.object(torchvision.models.WeightsEnum, "get_state_dict", read):
        yield


def _state(checkpoint: Any) -> dict[str, Any]:
    """The state dict in a checkpoint that timm's trainers wrote; never empty, for timm would then fetch its own."""
    for key in ("state_dict", "model"):
        checkpoint = checkpoint.get(key, checkpoint)
    if not checkpoint:
        raise ValueError("no tensors")
    return {key.removeprefix("module."): value for key, value in checkpoint.items()}


def _on_the_cpu() -> AbstractContextManager[object]:
    """Some constructors call `.cuda()`; networks are built on the CPU, and moved later."""
    return patch.object(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor)


def _reason(error: Exception) -> str:
    """What an exception says in one line; load_state_dict's errors begin with a heading."""
    if isinstance(error, RuntimeError) and str(error).startswith("Error(s) in loading state_dict"):
        return str(error).splitlines()[1].strip()[:200] if "\n" in str(error) else "other tensors"
    return f"{type(error).__name__}: {first_line(error)}"[:200]


def _mended(network: nn.Module) -> nn.Module:
    """The same function, with three faults of its code mended.

    The Swish of the WideResNets is an autograd function that `torch.func` can neither map nor differentiate forward;
    SiLU is the same. Constants of normalisation that are plain tensors, copied once to the default GPU, become buffers
    and so go where the network goes. BoostingWideResNet normalises its last layer at every call, which changes it by
    rounding: it is normalised here, and kept.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "Swish" and type(child).__module__.startswith("robustbench."):
                setattr(module, name, nn.SiLU())
        for name in [name for name, value in vars(module).items() if isinstance(value, Tensor)]:
            module.register_buffer(name, module.__dict__.pop(name), persistent=False)
        for name in ("mean", "std"):
            if f"{name}_cuda" in vars(module):
                del module.__dict__[f"{name}_cuda"]
                module.register_buffer(f"{name}_cuda", getattr(module, name).clone(), persistent=False)
        if type(module).__name__ == "BoostingWideResNet":
            module.fc = _UnitLinear(module.get_parameter("fc.weight"))
    return network


class _UnitLinear(nn.Module):
    """A linear layer with rows of length one; no `nn.Linear`, for those are normalised at every call."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.functional.normalize(weight.detach(), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight)
