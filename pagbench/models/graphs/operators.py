"""The operations that a graph may have, and the arguments that each takes: those of PyTorch's own schemas."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch

Kind = Literal["tensor", "int"]
"""Of a value: a tensor, or a whole number that follows from the size of the batch."""

_ALLOWED = """
conv1d.default conv2d.default conv2d.padding conv_transpose2d.input convolution.default linear.default addmm.default
mm.default bmm.default baddbmm.default matmul.default einsum.default scaled_dot_product_attention.default
batch_norm.default layer_norm.default native_layer_norm.default
group_norm.default native_group_norm.default rms_norm.default
relu.default relu6.default leaky_relu.default elu.default celu.default selu.default gelu.default silu.default
mish.default sigmoid.default log_sigmoid.default tanh.default softplus.default hardtanh.default hardswish.default
hardsigmoid.default prelu.default _prelu_kernel.default glu.default threshold.default softshrink.default
hardshrink.default softmax.int log_softmax.int _softmax.default _log_softmax.default logsumexp.default
add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar neg.default
abs.default sqrt.default rsqrt.default reciprocal.default exp.default expm1.default log.default log1p.default
sin.default cos.default atan.default erf.default square.default sign.default floor.default round.default
pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar maximum.default minimum.default clamp.default clamp_min.default
clamp_max.default where.self where.ScalarOther where.ScalarSelf where.Scalar masked_fill.Scalar masked_fill.Tensor
eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar
ge.Tensor logical_not.default logical_and.default logical_or.default
mean.default mean.dim sum.default sum.dim_IntList amax.default amin.default max.dim min.dim var.correction var.dim
std.correction std.dim var_mean.correction linalg_vector_norm.default norm.ScalarOpt_dim cumsum.default
max_pool2d.default max_pool2d_with_indices.default avg_pool2d.default adaptive_avg_pool2d.default
_adaptive_avg_pool2d.default adaptive_max_pool2d.default
view.default _unsafe_view.default reshape.default flatten.using_ints unflatten.int permute.default transpose.int
t.default numpy_T.default mT.default swapaxes.default movedim.int movedim.intlist squeeze.default squeeze.dim
squeeze.dims unsqueeze.default expand.default expand_as.default slice.Tensor select.int narrow.default cat.default
concat.default stack.default chunk.default split.Tensor split.sizes split_with_sizes.default unbind.int
repeat.default tile.default roll.default flip.default tril.default triu.default pad.default constant_pad_nd.default
reflection_pad2d.default replicate_pad2d.default pixel_shuffle.default pixel_unshuffle.default
channel_shuffle.default upsample_nearest2d.vec upsample_nearest2d.default upsample_bilinear2d.vec
upsample_bilinear2d.default upsample_bicubic2d.vec upsample_bicubic2d.default
slice_scatter.default select_scatter.default fill.Scalar fill.Tensor zero.default copy.default
index.Tensor index_select.default embedding.default
clone.default contiguous.default alias.default detach.default lift_fresh_copy.default to.dtype to.dtype_layout
_to_copy.default type_as.default dropout.default feature_dropout.default
zeros.default ones.default full.default arange.default arange.start arange.start_step zeros_like.default
ones_like.default full_like.default new_zeros.default new_ones.default new_full.default
scalar_tensor.default sym_size.int
"""
"""Of `torch.ops.aten`: those without state, randomness, or a size that values decide."""

_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "int.add": lambda a, b: a + b, "int.sub": lambda a, b: a - b, "int.mul": lambda a, b: a * b,
    "int.floordiv": lambda a, b: a // b,
}  # fmt: skip
"""Operations on whole numbers; `a` and `b` are their arguments."""
_FIXED = {"training": False, "train": False, "dropout_p": 0, "pin_memory": False}
_FIXED |= {"padding_idx": -1, "scale_grad_by_freq": False, "sparse": False}
"""Arguments that may have this value alone: with others, an operation is random, writes to its inputs, or has another
gradient than its own."""
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.int64, torch.int32, torch.bool)}
MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format, "preserve": torch.preserve_format, "channels-last": torch.channels_last,
}  # fmt: skip
_WORDS = {word: word for word in ("none", "tanh", "same", "valid", "constant", "reflect", "replicate", "circular")}
_EQUATION = re.compile(r"[A-Za-z. ]{1,20}(,[A-Za-z. ]{1,20}){0,7}(->[A-Za-z. ]{0,20})?")
_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}
_TOO_LARGE = 2**63
LONGEST_LIST = 1024
"""Items of an argument, and results of an operation."""
_PIECES: dict[str, Callable[[Any, Mapping[str, Any]], int]] = {
    "chunk.default": lambda shape, args: args["chunks"],
    "split.Tensor": lambda shape, args: -(-shape[args.get("dim", 0)] // max(1, args["split_size"])),
    "unbind.int": lambda shape, args: shape[args.get("dim", 0)],
}
"""How many tensors an operation makes of one, at most, by its shape; others make as many as their lists have items."""
_INDICES = {"index.Tensor": "indices", "index_select.default": "index", "embedding.default": "indices"}
"""Arguments that name places of another tensor, and where a GPU only notices afterwards that there is no such place."""
_INDEXED = {"embedding.default": "weight"}
"""That tensor, where it is not `self`."""
_WINDOW = ("kernel_size", "stride", "padding", "dilation", "output_padding")
"""Arguments of convolutions and pools that say where their windows lie."""
_LARGEST_WINDOW = 4096
"""Of a side, a stride, a padding or a dilation; at some millions PyTorch's kernels lose count."""


class OperatorError(Exception):
    """Why an operation is not taken, in a few words."""


class Reference(NamedTuple):
    """An argument that is an earlier value."""

    name: str


class Call(NamedTuple):
    """One operation with its arguments, checked against its schema.

    Attributes:
        op: its name, as in `conv2d.default`.
        function: computes it.
        args: by name; a `Reference` stands for a value, in lists too.
        kinds: of what it returns; None where that is a list of tensors.
        makes: whether it makes tensors of nothing, on a device that must be given.
    """

    op: str
    function: Callable[..., Any]
    args: Mapping[str, Any]
    kinds: tuple[Kind, ...] | None
    makes: bool = False

    def __call__(self, values: Mapping[str, Any], device: torch.device) -> tuple[Any, ...]:
        """Computes it from earlier values.

        Raises:
            OperatorError: it would make too many tensors, or its sizes are none that PyTorch's kernels can be given.
        """
        args = {name: _filled(value, values) for name, value in self.args.items()}
        if self.op in _PIECES and _PIECES[self.op](args["self"].shape, args) > LONGEST_LIST:
            raise OperatorError(f"makes more than {LONGEST_LIST} tensors")
        if self.op in _INDICES:
            _check_indices(self.op, args)
        _check_norm(self.op, args)
        _check_window(self.op, args)
        out = self.function(**args, device=device) if self.makes else self.function(**args)
        if type(out) is int and abs(out) >= _TOO_LARGE:
            raise OperatorError("makes a whole number of more than 64 bits")
        return tuple(out) if isinstance(out, tuple | list) else (out,)


def names(value: Any) -> list[str]:
    """The values that arguments name."""
    if isinstance(value, Reference):
        return [value.name]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [name for item in items for name in names(item)]


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Reference):
        return values[value.name]
    return [_filled(item, values) for item in value] if isinstance(value, list) else value


def _check_indices(op: str, args: Mapping[str, Any]) -> None:
    indexed, given = args[_INDEXED.get(op, "self")], args[_INDICES[op]]
    pairs: Iterable[tuple[int, Any]] = enumerate(given) if isinstance(given, list) else [(args.get("dim", 0), given)]
    for dim, index in pairs:
        if index is None or index.is_meta or index.numel() == 0:
            continue
        if index.dtype not in (torch.int64, torch.int32):
            raise OperatorError(f"takes places by {index.dtype}, expected whole numbers")
        lowest = -indexed.shape[dim] if op == "index.Tensor" else 0
        if not lowest <= int(index.min()) <= int(index.max()) < indexed.shape[dim]:
            raise OperatorError(f"names places from {int(index.min())} to {int(index.max())} of {indexed.shape[dim]}")


def _check_norm(op: str, args: Mapping[str, Any]) -> None:
    """Whether a norm's statistics are as long as its kernel takes them to be, which does not look."""
    if op == "batch_norm.default":
        channels = tuple(args["input"].shape[1:2])
        for name in ("running_mean", "running_var", "weight", "bias"):
            value = args[name]
            if value is None and name in ("weight", "bias"):
                continue
            if value is None or tuple(value.shape) != channels:
                got = "none" if value is None else f"of shape {tuple(value.shape)}"
                raise OperatorError(f"{name} is {got}, expected {channels}")
    if op == "native_group_norm.default":
        batch, channels, *sides = args["input"].shape
        if (args["N"], args["C"], args["HxW"]) != (batch, channels, math.prod(sides)):
            raise OperatorError(f"N, C and HxW are not those of its input of shape {tuple(args['input'].shape)}")


def _check_window(op: str, args: Mapping[str, Any]) -> None:
    if not op.startswith(("conv", "max_pool", "avg_pool")):
        return
    given = {name: args[name] for name in _WINDOW if isinstance(args.get(name), list | int)}
    window = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    sides = window.get("kernel_size") or list(args["weight"].shape[2:])
    for name, numbers in {**window, "kernel_size": sides}.items():
        if not all(0 <= number <= _LARGEST_WINDOW for number in numbers):
            raise OperatorError(f"{name} is {numbers}, expected at most {_LARGEST_WINDOW}")
    largest = max(sides, default=1) * max(window.get("dilation") or [1])
    if max(window.get("padding") or [0]) > largest:
        raise OperatorError(f"padding is {window['padding']}, expected at most {largest}, the reach of its window")


def schema(op: str) -> Any:
    """The schema of an operation of `torch.ops.aten`; None where PyTorch has none of that name."""
    packet, _, overload = op.partition(".")
    try:
        return getattr(getattr(torch.ops.aten, packet), overload)._schema
    except (AttributeError, RuntimeError):
        return None


def bind(op: str, args: Mapping[str, Any], known: Mapping[str, Kind]) -> Call:
    """An operation with these arguments.

    Args:
        op: its name.
        args: arguments by name: numbers, texts, lists; texts in the place of tensors and whole numbers name values.
        known: the values so far.

    Raises:
        OperatorError: it is not one of those that are taken, or an argument is wrong.
    """
    if op in _INTEGERS:
        if args.keys() != {"a", "b"}:
            raise OperatorError("expected the arguments a and b")
        bound = {name: _bound("int", name, value, known) for name, value in args.items()}
        return Call(op, _INTEGERS[op], bound, ("int",))
    declared = schema(op) if op in OPERATORS else None
    if declared is None:
        raise OperatorError("an operation that graphs may not have")
    types = {argument.name: str(argument.real_type) for argument in declared.arguments}
    missing = {argument.name for argument in declared.arguments if not argument.has_default_value()} - args.keys()
    if unknown := args.keys() - types.keys():
        raise OperatorError(f"has no argument {min(unknown)!r}")
    if missing:
        raise OperatorError(f"needs the argument {min(missing)!r}")
    bound = {name: _bound(types[name], name, value, known) for name, value in args.items()}
    kinds: list[Kind] = ["int" if str(result.type) == "int" else "tensor" for result in declared.returns]
    lists = any("List" in str(result.type) for result in declared.returns)
    makes = "device" in types and not any("Tensor" in kind for kind in types.values())
    packet, _, overload = op.partition(".")
    function = getattr(getattr(torch.ops.aten, packet), overload)
    return Call(op, function, bound, None if lists else tuple(kinds), makes)


def _bound(kind: str, name: str, value: Any, known: Mapping[str, Kind]) -> Any:  # noqa: PLR0911
    """An argument of a type of the schema.

    Raises:
        OperatorError: it is not of that type.
    """
    if name in _FIXED and value is not None and value != _FIXED[name]:
        raise OperatorError(f"{name} is {str(value)[:20]!r}, expected {_FIXED[name]}; export it after network.eval()")
    if kind.startswith("Optional["):
        return None if value is None else _bound(kind[9:-1], name, value, known)
    if kind.startswith("List[") and isinstance(value, list) and len(value) <= LONGEST_LIST:
        return [_bound(kind[5:-1], name, item, known) for item in value]
    if kind == "Tensor" and isinstance(value, str) and known.get(value) == "tensor":
        return Reference(value)
    if kind in ("int", "number") and isinstance(value, str) and known.get(value) == "int":
        return Reference(value)
    if kind == "Tensor" and name == "other" and type(value) in (int, float):
        return value  # PyTorch takes a number for a tensor there
    if kind in ("int", "number") and type(value) is int and abs(value) < _TOO_LARGE:
        return value
    if kind in ("float", "number") and type(value) in (int, float):
        return float(value)
    if kind in ("float", "number") and isinstance(value, str) and value in _INFINITE:
        return _INFINITE[value]
    if kind in ("bool", "number") and type(value) is bool:
        return value
    words: dict[str, Any] = {"ScalarType": DTYPES, "MemoryFormat": MEMORY_FORMATS, "str": _WORDS}
    if isinstance(value, str) and value in words.get(kind, ()):
        return words[kind][value]
    if (kind, name) == ("str", "equation") and isinstance(value, str) and _EQUATION.fullmatch(value):
        return value
    raise OperatorError(f"{name} is {str(value)[:60]!r}, expected {_expected(kind)}")


def _expected(kind: str) -> str:
    words = {"Tensor": "the name of an earlier tensor", "ScalarType": " or ".join(DTYPES)}
    return words.get(kind, kind)


OPERATORS = frozenset(op for op in _ALLOWED.split() if schema(op) is not None)
"""Those that the installed PyTorch has."""
