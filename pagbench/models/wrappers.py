"""Networks as PyTorch's users have them: compiled, parallel, scripted, or holding what cannot be copied."""

import contextlib
import copy
import sys
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from pagbench.errors import ContractError, first_line
from pagbench.storage import global_state


def copied(network: nn.Module, name: str) -> nn.Module:
    """A copy that can be changed, without compilation and on one device; the network stays as it is.

    What cannot be copied is shared (locks, generators), and cached activations lose their graph.

    Args:
        network: any module.
        name: of the model, for errors.

    Raises:
        ContractError: it cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        with torch.no_grad():  # a scripted network's copied weights would be results of an operation
            _remember(network, memo)
            return plain(copy.deepcopy(network, memo))
    except Exception as error:  # a third party's module may refuse in any way
        raise ContractError(
            f"{name}: the module cannot be copied ({first_line(error)}); give a function that builds it, as "
            "path.py:function"
        ) from error


def _remember(network: nn.Module, memo: dict[int, Any]) -> None:
    """Puts into a memo of `deepcopy` what stands for the parts that it cannot copy, innermost modules first."""
    for module in reversed(list(network.modules())):
        for value in list(vars(module).values()):
            _remember_value(value, memo)
        inner = _inner(module)
        if inner is not None:
            memo[id(module)] = _alone(module, copy.deepcopy(inner, memo))


def _remember_value(value: Any, memo: dict[int, Any]) -> None:
    if isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
        elif value.layout != torch.strided:
            cloned = value.detach().clone()
            memo[id(value)] = nn.Parameter(cloned) if isinstance(value, nn.Parameter) else cloned
    elif isinstance(value, dict | list | tuple) and not isinstance(value, torch.Size):
        for item in value.values() if isinstance(value, dict) else value:
            _remember_value(item, memo)
    elif not isinstance(value, nn.Module):
        try:
            copy.deepcopy(value, dict(memo))
        except Exception:  # whatever refuses is shared
            memo[id(value)] = value


def plain(network: nn.Module) -> nn.Module:
    """The network without compilation and on one device, changed in place; names in its state dict stay.

    Compiled modules become what was compiled, and data-parallel ones run the module that they hold alone.
    """
    global_state.as_ordinary(network)
    for module in list(network.modules()):
        if isinstance(module, torch.jit.ScriptModule):
            continue  # its parts are fixed
        module._compiled_call_impl = None  # `Module.compile`
        if (original := getattr(vars(module).get("forward"), "_torchdynamo_orig_callable", None)) is not None:
            function = getattr(original, "__func__", None)  # of a copy it is still bound to the other module
            module.forward = original if function is None else MethodType(function, module)
        for name, child in module.named_children():
            if (inner := _inner(child)) is not None:
                module._modules[name] = _alone(child, inner)
    inner = _inner(network)
    return network if inner is None else plain(_alone(network, inner))


def _inner(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps; None where the module is no wrapper, or one that runs alone already."""
    inner: object = None
    if _is_compiled(module):
        inner = module._orig_mod
    elif isinstance(module, DistributedDataParallel) or (isinstance(module, DataParallel) and module.device_ids):
        inner = module.module
    return inner if isinstance(inner, nn.Module) else None


def _is_compiled(module: nn.Module) -> bool:
    """Whether it is `torch.compile`'s wrapper, without importing the compiler, which takes seconds."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)


def _alone(wrapper: nn.Module, inner: nn.Module) -> nn.Module:
    """What takes a wrapper's place; device ids mean nothing without CUDA, and stay empty with it."""
    if _is_compiled(wrapper):
        return inner
    parallel: DataParallel[nn.Module] = DataParallel(nn.Identity(), device_ids=[])
    parallel.module, parallel.device_ids = inner, []
    return parallel.train(wrapper.training)


def is_uninitialised(network: nn.Module) -> bool:
    """Whether it has lazy layers, which take their size from the first images that they are shown."""
    return any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters())


def freeze(network: nn.Module) -> None:
    """Puts a network in eval mode and its parameters out of autograd's reach, as far as each of them allows it."""
    with contextlib.suppress(NotImplementedError):  # a program of torch.export is what it was when it was exported
        network.eval()
    for parameter in network.parameters():
        if parameter.is_leaf:
            parameter.requires_grad_(False)
