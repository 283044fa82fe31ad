"""From PyTorch's exported programs to graphs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pagbench.errors import GraphError, excerpt
from pagbench.models.graphs import operators
from pagbench.models.graphs.graph import MOST_NODES, Graph, Node
from pagbench.storage import exported_programs

_ATEN = "torch.ops.aten."
_ENUMERATIONS = {
    "as_scalar_type": {4: "int32", 5: "int64", 7: "float32", 12: "bool"},
    "as_memory_format": {1: "contiguous", 2: "channels-last", 4: "preserve"},
}
"""What PyTorch's numbers stand for."""
_DROPOUTS = {"dropout.default", "dropout_.default", "feature_dropout.default", "feature_dropout_.default"}
"""Operations that return their input where the network does not train."""
_EVALUATED = "_native_batch_norm_legit_no_training.default"
"""What decomposed programs have for batch norm; its kernel trusts the lengths of its statistics."""


class Converted(NamedTuple):
    """A graph and its weights by name."""

    graph: Graph
    state: dict[str, Tensor]


def read(path: Path) -> Converted:
    """The graph of a file of `torch.export.save`. Nothing of it is run, and no pickle in it is opened.

    Raises:
        GraphError: it cannot be read, has not one input and one output, or writes into its own values.
    """
    program = exported_programs.read(path)
    try:
        return _Conversion(str(path), program.tensors).convert(program.module)
    except GraphError:
        raise
    except Exception as error:  # fields that are missing or of another form
        raise GraphError(
            f"{path}: its graph is not as PyTorch writes it ({type(error).__name__}: {excerpt(str(error), 100)}); "
            "save the program anew"
        ) from None


class _Conversion:
    def __init__(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self._name, self._tensors = name, tensors
        self._names: dict[str, str] = {}
        """What a name of the program stands for: a weight, or what an operation in place has left there."""
        self._state: dict[str, Tensor] = {}
        self._shared: set[str] = set()
        """Values that may share their memory with others."""

    def convert(self, module: Mapping[str, Any]) -> Converted:
        (images,) = [self._input(spec) for spec in module["signature"]["input_specs"] if not self._is_weight(spec)]
        specs = module["signature"]["output_specs"]
        if len(specs) != 1 or "user_output" not in specs[0]:
            raise GraphError(
                f"{self._name}: it returns or changes {len(specs)} values, expected one; export it after "
                "network.eval(), and let it return the logits alone"
            )
        if len(module["graph"]["nodes"]) > 2 * MOST_NODES:  # some of them only check sizes
            raise GraphError(f"{self._name}: more than {2 * MOST_NODES} operations")
        nodes = [node for entry in module["graph"]["nodes"] for node in self._nodes(entry)]
        output = self._renamed(specs[0]["user_output"]["arg"]["as_tensor"]["name"])
        kept = _needed(nodes, output)
        used = {name for node in kept for name in _texts(node.args)}
        return Converted(Graph(images, kept, output), {key: self._state[key] for key in self._state if key in used})

    def _is_weight(self, spec: Mapping[str, Any]) -> bool:
        """Whether an input is a tensor of the file, which is then named."""
        for kind in ("parameter", "buffer", "tensor_constant"):
            if kind in spec:
                name, place = spec[kind][f"{kind}_name"], spec[kind]["arg"]["name"]
                chosen = name if "." in name else place  # no operation's name has a dot
                self._names[place], self._state[chosen] = chosen, self._tensors[name]
                self._shared.add(chosen)
                return True
        return False

    def _input(self, spec: Mapping[str, Any]) -> str:
        name = str(spec["user_input"]["arg"]["as_tensor"]["name"])
        self._shared.add(name)
        return name

    def _renamed(self, name: str) -> str:
        return self._names.get(name, name)

    def _nodes(self, node: Mapping[str, Any]) -> Iterator[Node]:
        """The operation of a node of the program, or none where it does nothing."""
        target = node["target"]
        op = target.replace("_operator.", "int.") if target.startswith("_operator.") else target.removeprefix(_ATEN)
        given = {item["name"]: item["arg"] for item in node["inputs"]}
        args = {name: self._argument(arg) for name, arg in given.items() if not _is_elsewhere(arg)}
        outs = [name for out in node["outputs"] for name in _results(out)]
        if op == _EVALUATED:
            op, args, outs = "batch_norm.default", args | {"training": False, "cudnn_enabled": False}, outs[:1]
        declared = operators.schema(op)
        if op in _DROPOUTS and args["train"] is False:
            self._names[outs[0]] = next(iter(args.values()))
            return
        if declared is not None and declared.is_mutable:
            op, args = self._out_of_place(op, args, outs[0])
        elif declared is None or any(value.alias_info for value in declared.returns):
            self._shared |= {*outs, *_texts(args)}
        yield Node(op, args, tuple(outs))

    def _out_of_place(self, op: str, args: dict[str, Any], out: str) -> tuple[str, dict[str, Any]]:
        """The operation that returns what another writes into its first argument, which is then called `out`."""
        packet, _, overload = op.partition(".")
        plain = f"{packet.removesuffix('_')}.{overload}"
        declared, changed = operators.schema(plain), next(iter(args.values()))
        if changed in self._shared or declared is None or plain == op:
            raise GraphError(
                f"{self._name}: {op} writes into {str(changed)[:60]!r}, which shares its memory; save "
                "program.run_decompositions({}), which does not"
            )
        behind = [name for name, now in self._names.items() if now == changed]
        self._names |= dict.fromkeys([*behind, changed], out)
        names = dict(zip((one.name for one in operators.schema(op).arguments), declared.arguments, strict=False))
        return plain, {names[name].name: value for name, value in args.items()}

    def _argument(self, arg: Mapping[str, Any]) -> Any:
        """An argument as graphs have it."""
        ((kind, value),) = arg.items()
        if kind == "as_none":
            return None
        if kind in _ENUMERATIONS:
            return _ENUMERATIONS[kind].get(value)
        if kind == "as_float":
            return float(value) if abs(float(value)) != float("inf") else str(float(value))
        if kind in ("as_int", "as_bool", "as_string", "as_ints", "as_floats"):
            return value
        if kind in ("as_tensor", "as_sym_int"):
            return self._value(value)
        if kind in ("as_tensors", "as_sym_ints", "as_optional_tensors"):
            return [self._value(item) for item in value]
        raise GraphError(f"{self._name}: an argument of the kind {excerpt(kind)!r}, which graphs have not")

    def _value(self, value: Mapping[str, Any]) -> Any:
        if "as_none" in value:
            return None
        if "as_int" in value:
            return value["as_int"]
        named = value.get("as_tensor", value)
        return self._renamed(named["as_name"] if "as_name" in named else named["name"])


def _is_elsewhere(arg: Mapping[str, Any]) -> bool:
    """Whether an argument says where a tensor lies, which the images decide here."""
    return "as_device" in arg or "as_layout" in arg


def _results(out: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in out.items():
        if kind == "as_tensors":
            yield from (item["name"] for item in value)
        elif kind == "as_tensor":
            yield value["name"]
        elif kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
            yield value["as_name"]


def _needed(nodes: list[Node], output: str) -> list[Node]:
    """The operations that the output depends on; others only check sizes."""
    wanted, kept = {output}, list[Node]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.out):
            kept.append(node)
            wanted |= _texts(node.args)
    return kept[::-1]


def _texts(value: Any) -> set[str]:
    """All texts in arguments; those that name no value do no harm."""
    if isinstance(value, str):
        return {value}
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return {name for item in items for name in _texts(item)}
