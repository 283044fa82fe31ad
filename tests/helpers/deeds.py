"""What a model's file, its construction or its forward pass may do to the process, and what a notebook may do before.

Each deed is a function without arguments. `seen` reads all that they change.
"""

import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules import module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

C = torch._C
_OLDER = (torch.get_float32_matmul_precision, C._get_cublas_allow_tf32, C._get_cudnn_allow_tf32)
_PARTS = [(where, what) for where in ("cuda", "mkldnn") for what in ("all", "matmul", "conv", "rnn")]
_NEWER = [("generic", "all"), *_PARTS] if hasattr(C, "_get_fp32_precision_getter") else []
_FLAGS = (
    "cudnn_enabled", "cudnn_benchmark", "cudnn_deterministic", "mkldnn_enabled", "mkldnn_deterministic",
    "nnpack_enabled", "flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "cudnn_sdp_enabled",
)  # fmt: skip


class Doubling(TorchFunctionMode):
    """Doubles what linear layers return."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return 2 * result if func is torch.nn.functional.linear else result


class Halving(TorchDispatchMode):
    """Halves every product of matrices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result / 2 if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default) else result


def _hook(kind):
    return lambda: getattr(module, kind)(lambda *arguments: None)


def _scale(part, inputs, output):
    return 1.5 * output if isinstance(output, torch.Tensor) and output.is_floating_point() else output


def _move():
    os.chdir(Path.cwd().parent)


def _autocast_for_good():
    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()


def _newer(backend, part, value):
    return lambda: (
        C._set_fp32_precision_setter(backend, part, value) if hasattr(C, "_set_fp32_precision_setter") else None
    )


def _rebind_path():
    sys.path = ["/nowhere", *sys.path]


DEEDS = {
    "grad mode": lambda: torch.set_grad_enabled(False),
    "autocast": _autocast_for_good,
    "autocast by flag": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast dtype": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "autocast cache": lambda: torch.set_autocast_cache_enabled(False),
    "autocast on cuda": lambda: torch.set_autocast_enabled("cuda", True),
    "medium matmul": lambda: torch.set_float32_matmul_precision("medium"),
    "high matmul": lambda: torch.set_float32_matmul_precision("high"),
    "tf32 of cuBLAS": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "tf32 of cuDNN": lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
    "newer precision": _newer("generic", "all", "tf32"),
    "newer precision of cuDNN": _newer("cuda", "conv", "ieee"),
    "newer precision of oneDNN": _newer("mkldnn", "matmul", "bf16"),
    "newer precision of convolutions": _newer("mkldnn", "conv", "bf16"),
    "cuDNN": lambda: C._set_cudnn_enabled(False),
    "cuDNN benchmark": lambda: C._set_cudnn_benchmark(True),
    "cuDNN not deterministic": lambda: C._set_cudnn_deterministic(False),
    "oneDNN": lambda: C._set_mkldnn_enabled(False),
    "oneDNN deterministic": lambda: C._set_mkldnn_deterministic(True),
    "NNPACK": lambda: C._set_nnpack_enabled(False),
    "deterministic": lambda: C._set_deterministic_algorithms(True),
    "deterministic, warned": lambda: C._set_deterministic_algorithms(True, warn_only=True),
    "uninitialized memory": lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", False),
    "double": lambda: torch.set_default_dtype(torch.float64),
    "half": lambda: torch.set_default_dtype(torch.float16),
    "meta": lambda: torch.set_default_device("meta"),
    "meta by context": lambda: torch.device("meta").__enter__(),
    "function mode": lambda: Doubling().__enter__(),
    "dispatch mode": lambda: Halving().__enter__(),
    "saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: 0 * x, lambda x: x).__enter__(),
    "python's seed": lambda: random.seed(7),
    "numpy's seed": lambda: np.random.seed(7),
    "numpy's generator": lambda: np.random.set_bit_generator(np.random.PCG64(7)),
    "torch's seed": lambda: torch.manual_seed(7),
    "draws": lambda: (random.random(), np.random.randn(), torch.rand(3)),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "warnings are errors": lambda: warnings.simplefilter("error"),
    "no warnings": lambda: warnings.simplefilter("ignore"),
    "shown warnings": lambda: setattr(warnings, "showwarning", print),
    "folder": _move,
    "import path": lambda: sys.path.insert(0, "/nowhere"),
    "another import path": _rebind_path,
    "environment": lambda: os.environ.__setitem__("PAGBENCH_CACHE", "/nowhere"),
    "numpy's errors": lambda: np.seterr(all="raise"),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "flash": lambda: C._set_sdp_use_flash(False),
    "math": lambda: C._set_sdp_use_math(False),
    "fast path": lambda: torch.backends.mha.set_fastpath_enabled(False),
    "denormals": lambda: torch.set_flush_denormal(True),
    "forward hook": lambda: module.register_module_forward_hook(_scale),
    "forward hook of every call": lambda: module.register_module_forward_hook(_scale, always_call=True),
    "forward pre-hook": _hook("register_module_forward_pre_hook"),
    "backward hook": _hook("register_module_full_backward_hook"),
    "backward pre-hook": _hook("register_module_full_backward_pre_hook"),
    "registration hook": _hook("register_module_parameter_registration_hook"),
}  # fmt: skip


def seen():
    """All that the deeds change, to be compared; calling it changes nothing."""
    hooks = vars(module)
    top = C._autograd._top_saved_tensors_default_hooks(True)
    return {
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda", "mps")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "autocasts": (torch.autocast_increment_nesting(), torch.autocast_decrement_nesting()),
        "older precision": [_tried(read) for read in _OLDER],
        "newer precision": [C._get_fp32_precision_getter(*key) for key in _NEWER],
        "flags": [getattr(C, f"_get_{name}")() for name in _FLAGS],
        "deterministic": torch.get_deterministic_debug_mode(),
        "uninitialized memory": torch.utils.deterministic.fill_uninitialized_memory,
        "dtype and device": (torch.get_default_dtype(), torch.get_default_device()),
        "function modes": [C._get_function_stack_at(index) for index in range(C._len_torch_function_stack())],
        "dispatch modes": [C._get_dispatch_stack_at(index) for index in range(C._len_torch_dispatch_stack())],
        "saved tensors": top and tuple(map(id, top)),
        "threads": torch.get_num_threads(),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "folder": Path.cwd(),
        "import path": (id(sys.path), list(sys.path)),
        "environment": dict(os.environ),
        "numpy": np.geterr(),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "denormals": sum([sys.float_info.min]) / 2 == 0,
        "hooks": {name: str(value) for name, value in hooks.items() if name.startswith("_global_")},
        "draws": [hash(str(value)) for value in _generators()],
    }


def _generators():
    numpy = np.random.get_state(legacy=False)
    return random.getstate(), np.random.get_bit_generator().state, numpy, torch.get_rng_state().tolist()


def _tried(read):
    try:
        return read()
    except RuntimeError:  # where the two interfaces disagree
        return "mixed"
