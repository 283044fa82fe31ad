"""The process's state that changes numbers: known values while pagbench computes, the caller's before and after."""

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils import _device as default_device
from torch.utils import _python_dispatch as dispatch

Undo = Callable[[], object]

_KEPT = object()
"""Stands for a value that stays as it is, and of which only a change is undone."""


class _Setting(NamedTuple):
    """A value of the process.

    Attributes:
        get: reads it.
        set: writes it.
        known: what it is while pagbench computes.
    """

    get: Callable[[], Any]
    set: Callable[[Any], object]
    known: Any = _KEPT


def _in_torch(getter: str, setter: str, known: Any) -> Iterator[_Setting]:
    """A setting of `torch._C`, where this PyTorch has it in this form; older ones lack some."""
    get, put = getattr(torch._C, getter, None), getattr(torch._C, setter, None)
    if get is None or put is None or type(get()) is not type(known):
        return
    yield _Setting(get, (lambda value: put(*value)) if isinstance(known, tuple) else put, known)


def _autocast(device: str, dtype: torch.dtype) -> tuple[_Setting, _Setting]:
    return (
        _Setting(partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device), known=False),
        _Setting(partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device), dtype),
    )


_filling: Any = torch.utils.deterministic  # their annotations lack what is used here
_numpy: Any = np.random


def _nesting() -> int:
    """How many autocasts are entered: at the end of the outermost one its cache is emptied."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _nest(depth: int) -> None:
    while _nesting() < depth:
        torch.autocast_increment_nesting()
    while _nesting() > depth:
        torch.autocast_decrement_nesting()


_SMALLEST = sys.float_info.min


def _folder() -> str | None:
    with suppress(OSError):  # it may have been removed
        return os.getcwd()  # noqa: PTH109 (a path object takes longer than all other settings)
    return None


def _enter_folder(folder: str | None) -> None:
    with suppress(OSError):
        if folder is not None:
            os.chdir(folder)


def _set_path(path: tuple[list[str], list[str]]) -> None:
    sys.path, sys.path[:] = path[0], path[1]


def _environment() -> dict[Any, Any]:
    """Environment variables as the system has them: `os.environ` decodes each anew, which takes ten times as long."""
    return dict(vars(os.environ)["_data"])


def _set_environment(variables: dict[Any, Any]) -> None:
    os.environ.clear()
    os.environ.update({os.environ.decodekey(name): os.environ.decodevalue(v) for name, v in variables.items()})


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # tells the module that they change
    warnings.filters.extend(filters)  # type: ignore[attr-defined]


_IGNORED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""What a network's own authors should know, and no error because of a notebook's filters."""

_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""NumPy's own default."""

_SETTINGS: tuple[_Setting, ...] = (
    _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    *_autocast("cpu", torch.bfloat16),
    *_autocast("cuda", torch.float16),
    *_autocast("mps", torch.float16),
    _Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, known=True),
    _Setting(_nesting, _nest, 0),
    _Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch._C._set_deterministic_algorithms(value[0], warn_only=value[1]),
        (False, False),
    ),
    _Setting(
        lambda: _filling.fill_uninitialized_memory,
        lambda value: setattr(_filling, "fill_uninitialized_memory", value),
        known=True,
    ),
    _Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
        (False, True),
    ),
    *_in_torch("_get_cudnn_enabled", "_set_cudnn_enabled", known=True),
    *_in_torch("_get_cudnn_benchmark", "_set_cudnn_benchmark", known=False),
    *_in_torch("_cuda_get_cudnn_benchmark_limit", "_cuda_set_cudnn_benchmark_limit", known=10),
    *_in_torch("_get_cudnn_deterministic", "_set_cudnn_deterministic", known=True),
    *_in_torch("_get_cudnn_depthwise_kernel", "_set_cudnn_depthwise_kernel", known="auto"),
    *_in_torch("_get_mkldnn_enabled", "_set_mkldnn_enabled", known=True),
    *_in_torch("_get_mkldnn_deterministic", "_set_mkldnn_deterministic", known=False),
    *_in_torch("_get_nnpack_enabled", "_set_nnpack_enabled", known=True),
    *_in_torch("_get_flash_sdp_enabled", "_set_sdp_use_flash", known=True),
    *_in_torch("_get_fa3_sdp_enabled", "_set_sdp_use_fa3", known=False),
    *_in_torch("_get_mem_efficient_sdp_enabled", "_set_sdp_use_mem_efficient", known=True),
    *_in_torch("_get_math_sdp_enabled", "_set_sdp_use_math", known=True),
    *_in_torch("_get_cudnn_sdp_enabled", "_set_sdp_use_cudnn", known=True),
    *_in_torch("_get_overrideable_sdp_enabled", "_set_sdp_use_overrideable", known=True),
    *_in_torch("_get_math_sdp_allow_fp16_bf16_reduction", "_set_math_sdp_allow_fp16_bf16_reduction", known=False),
    *_in_torch(
        "_get_cpu_allow_fp16_reduced_precision_reduction", "_set_cpu_allow_fp16_reduced_precision_reduction", False
    ),
    *_in_torch("_get_cublas_allow_fp16_accumulation", "_set_cublas_allow_fp16_accumulation", known=False),
    *(
        setting
        for kind in ("fp16", "bf16")
        for known in (True, (True, True))  # a pair since PyTorch 2.10
        for setting in _in_torch(
            f"_get_cublas_allow_{kind}_reduced_precision_reduction",
            f"_set_cublas_allow_{kind}_reduced_precision_reduction",
            known,
        )
    ),
    *_in_torch("_get_linalg_preferred_backend", "_set_linalg_preferred_backend", torch._C._LinalgBackend.Default),
    _Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, known=True),
    _Setting(
        lambda: module_hooks._global_is_full_backward_hook,
        lambda value: setattr(module_hooks, "_global_is_full_backward_hook", value),
        None,
    ),
    # flushing denormals has no getter, but Python's own numbers follow it
    _Setting(lambda: _SMALLEST / 2 == 0.0, torch.set_flush_denormal, known=False),
    _Setting(torch.get_num_threads, torch.set_num_threads),
    _Setting(random.getstate, random.setstate, random.Random(0).getstate()),
    _Setting(np.geterr, lambda value: np.seterr(**value), _ERRORS),
    _Setting(_folder, _enter_folder),
    _Setting(lambda: (sys.path, list(sys.path)), _set_path),
    _Setting(_environment, _set_environment),
    _Setting(lambda: warnings.showwarning, lambda value: setattr(warnings, "showwarning", value)),
    _Setting(
        lambda: list(warnings.filters),
        _set_filters,
        [("ignore", None, category, None, 0) for category in _IGNORED],
    ),
)


def _take_settings() -> Undo:
    before = [setting.get() for setting in _SETTINGS]
    for setting, value in zip(_SETTINGS, before, strict=True):
        if setting.known is not _KEPT and value != setting.known:
            setting.set(setting.known)

    def undo() -> None:
        for setting, value in zip(_SETTINGS, before, strict=True):
            if setting.get() != value:
                setting.set(value)
        torch.clear_autocast_cache()

    torch.clear_autocast_cache()
    return undo


_WHOLE = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
_PARTS = tuple((backend, part) for backend in ("cuda", "mkldnn") for part in ("matmul", "conv", "rnn"))


def _take_precision() -> Undo:
    """Float32 in full: matrix products and convolutions would otherwise be rounded to 10 bits (TF32) or 8 (bfloat16).

    PyTorch has an older and a newer interface to these flags, and refuses to read the older one where they disagree.
    A part without a value of its own has that of the whole: that is taken away before parts are read.
    """
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    if read is None:
        older = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        _set_older(*older, known=True)
        return lambda: _set_older(*older)
    write = torch._C._set_fp32_precision_setter

    def put(values: dict[tuple[str, str], str]) -> None:
        for key, value in values.items():
            if read(*key) != value:
                write(*key, value)

    def take(keys: tuple[tuple[str, str], ...], known: str) -> dict[tuple[str, str], str]:
        found = {}
        for key in keys:
            found[key] = read(*key)
            if found[key] != known:
                write(*key, known)
        return found

    cudnn = _older_cudnn()
    whole, parts = take(_WHOLE, "none"), take(_PARTS, "ieee")
    matmul = torch.get_float32_matmul_precision()
    if cudnn is None:  # it disagrees with the parts: now none of them allows it
        cudnn = _older_cudnn() is None
    _set_older(matmul, cudnn, known=True)

    def undo() -> None:
        take(_WHOLE, "none")
        _set_older(matmul, cudnn)
        put(parts)
        put(whole)

    return undo


def _older_cudnn() -> bool | None:
    try:
        return bool(torch._C._get_cudnn_allow_tf32())
    except RuntimeError:
        return None


def _set_older(matmul: str, cudnn: bool, *, known: bool = False) -> None:
    """The older interface's two flags, or their known values; setting them sets the newer one's, too."""
    matmul, cudnn = ("highest", False) if known else (matmul, cudnn)
    torch.set_float32_matmul_precision(matmul)
    torch._C._set_cudnn_allow_tf32(cudnn)


_NUMPY = np.random.MT19937(0)
"""In place of the caller's, which is read once: that takes longer than all the rest."""


def _take_generators() -> Undo:
    """NumPy's and PyTorch's global generators; Python's is among the settings."""
    undo_numpy, cpu = _take_numpy(), torch.default_generator.get_state()
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` would also seed a CUDA that nobody has used yet
    on_cuda = torch.cuda.is_initialized()
    states = [(generator, generator.get_state()) for generator in torch.cuda.default_generators] if on_cuda else []
    device = torch.cuda.current_device() if on_cuda else None
    for generator, _ in states:
        generator.manual_seed(0)

    def undo() -> None:
        undo_numpy()
        torch.default_generator.set_state(cpu)
        for generator, state in states:
            generator.set_state(state)
        if device is not None and torch.cuda.current_device() != device:
            torch.cuda.set_device(device)

    return undo


def _take_numpy() -> Undo:
    before = _numpy.get_bit_generator()
    state = None if before is _NUMPY else np.random.get_state(legacy=False)
    _numpy.set_bit_generator(_NUMPY)
    np.random.seed(0)

    def undo() -> None:
        _numpy.set_bit_generator(before)
        if state is not None:
            np.random.set_state(state)

    return undo


def _drain_modes() -> tuple[list[Any], list[Any], list[Any]]:
    """Function modes, dispatch modes, and hooks of tensors that autograd keeps: taken off, the innermost first."""
    functions = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]
    dispatched = [dispatch._pop_mode() for _ in range(torch._C._len_torch_dispatch_stack())]
    saving = []
    while (hooks := torch._C._autograd._top_saved_tensors_default_hooks(True)) is not None:
        torch._C._autograd._pop_saved_tensors_default_hooks()
        saving.append(hooks)
    return functions, dispatched, saving


def _take_modes() -> Undo:
    """`torch.set_default_device` is a function mode, too, of which PyTorch keeps two notes."""
    functions, dispatched, saving = _drain_modes()
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    device = default_device.CURRENT_DEVICE
    torch._GLOBAL_DEVICE_CONTEXT.device_context = default_device.CURRENT_DEVICE = None

    def undo() -> None:
        _drain_modes()
        torch._GLOBAL_DEVICE_CONTEXT.device_context, default_device.CURRENT_DEVICE = context, device
        for mode in reversed(functions):
            torch._C._push_on_torch_function_stack(mode)
        for mode in reversed(dispatched):
            dispatch._push_mode(mode)
        for pair in reversed(saving):
            torch._C._autograd._push_saved_tensors_default_hooks(*pair)

    return undo


_HOOKS = [
    value for name, value in vars(module_hooks).items() if name.startswith("_global_") and isinstance(value, dict)
]
"""Hooks of all modules: dictionaries, which PyTorch keeps for good."""


def _take_hooks() -> Undo:
    before = [dict(hooks) for hooks in _HOOKS]
    for hooks in _HOOKS:
        hooks.clear()

    def undo() -> None:
        for hooks, kept in zip(_HOOKS, before, strict=True):
            hooks.clear()
            hooks.update(kept)

    return undo


@contextmanager
def known() -> Iterator[None]:
    """Within, global state that changes numbers has known values; after it, the caller's, whatever was done within.

    That is: autograd's modes, autocast, precision and choice of kernels, default dtype and device, modes and hooks of
    all modules, seeds of global generators, filters of warnings and NumPy's errors. Threads, working folder, import
    path and environment variables stay as they are, and changes of them are undone, too.

    It takes less than a millisecond, may be nested, and decorates functions; of a generator it would only decorate
    the call that makes it.
    """
    with ExitStack() as stack:  # undoes the rest where one step fails
        stack.enter_context(torch.inference_mode(mode=False))  # sets the grad mode, too
        for take in (_take_modes, _take_settings, _take_precision, _take_generators, _take_hooks):
            stack.callback(take())
        yield


def numerics() -> dict[str, Any]:
    """The values of most weight in numbers, as plain JSON; within `known` they say what is used."""
    return {
        "threads": torch.get_num_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "cudnn": {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")},
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def as_ordinary(network: nn.Module) -> None:
    """Replaces tensors of a module that was built under `torch.inference_mode`, which autograd refuses, by copies."""
    copies: dict[int, torch.Tensor] = {}

    def copied(tensor: torch.Tensor) -> Any:
        if id(tensor) not in copies:
            copy = tensor.detach().clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            copies[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
        return copies[id(tensor)]

    with torch.inference_mode(mode=False), torch.no_grad():
        for part in network.modules():
            for held in (part._parameters, part._buffers, vars(part)):
                for name, value in list(held.items()):
                    if isinstance(value, torch.Tensor) and value.is_inference():
                        held[name] = copied(value)
