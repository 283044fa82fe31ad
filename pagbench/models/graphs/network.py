"""A graph with its weights as a module. Its shapes are computed first, without values, and bounded."""

import math
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pagbench.errors import GraphError, excerpt, first_line
from pagbench.models.graphs import following, operators
from pagbench.models.graphs.batches import BATCHES, Batches, size_of
from pagbench.models.graphs.graph import Graph
from pagbench.models.graphs.operators import Call, Kind, OperatorError, names

_TENSOR: Kind = "tensor"
LARGEST_VALUE = 2**25
"""Numbers of one tensor, for one image: an eighth of a GiB."""
LARGEST_ALL = 2**30
"""Numbers of all tensors that one image passes through."""
MOST_TAKEN = 2**32
"""Numbers that all operations but products and pools take together, for one image; those that a view repeats count each
time."""
MOST_WORK = 2**40
"""Multiplications and additions for one image; a ResNet-50 takes 2^33 of photographs of 224 pixels."""
_EXPORT = "export it with a batch of any size: dynamic_shapes=({0: torch.export.Dim('batch')},)"


class GraphNetwork(nn.Module):
    """Runs a graph: images, shape (b, c, h, w) → what the graph returns.

    Args:
        graph: the operations.
        state: its weights by name, every one of which it must use. Floating-point numbers become float32.
        name: of the graph, for errors.

    Attributes:
        lost: operations whose gradient does not follow the values of the image; known once it is built by `build`.

    Raises:
        GraphError: an operation or an argument is not allowed, or a name stands for nothing.
    """

    def __init__(self, graph: Graph, state: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.name, self.graph = name, graph
        self._places: dict[str, str] = {}
        for number, (key, tensor) in enumerate(state.items()):
            self._places[key] = f"tensor{number}"
            value = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
            if value.dtype not in operators.DTYPES.values():
                raise GraphError(f"{name}: the weight {excerpt(key)!r} is {tensor.dtype}, expected plain numbers")
            if value.is_floating_point():
                self.register_parameter(self._places[key], nn.Parameter(value, requires_grad=False))
            else:
                self.register_buffer(self._places[key], value)
        self._calls = _bind(graph, state.keys(), name)
        self._dead = _last_uses(self._calls, graph)
        self._batches: Batches | None = None
        self.lost: tuple[str, ...] = ()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Any:
        """What the graph returns; a value is let go after its last use."""
        return self._run(x)

    def _run(self, x: Tensor, seen: list[tuple[Any, ...]] | None = None) -> Any:
        """What the graph returns; `seen` gets what each operation does."""
        values: dict[str, Any] = {key: getattr(self, place) for key, place in self._places.items()}
        values[self.graph.input] = x
        for number, (node, call, dead) in enumerate(zip(self.graph.nodes, self._calls, self._dead, strict=True)):
            try:
                results = call(values, x.device)
                if len(results) != len(node.out):
                    raise OperatorError(f"returns {len(results)} values for {len(node.out)} names in out")
                if self._batches is not None:
                    self._batches.check(number, results, len(x))
            except Exception as error:
                error.add_note(f"{node.op} that makes {node.out[0]}")
                raise
            if seen is not None:
                seen.append(results)
            values |= zip(node.out, results, strict=True)
            for key in dead:
                del values[key]
        return values[self.graph.output]


def build(graph: Graph, state: Mapping[str, Tensor], shape: tuple[int, int, int], classes: int, name: str) -> nn.Module:
    """The module of a graph, once its shapes are known to be within bounds; nothing is computed for it.

    Args:
        graph: the operations.
        state: weights by name.
        shape: of one image.
        classes: how many outputs it must have.
        name: of the graph, for errors.

    Raises:
        GraphError: it is not allowed, or needs more than the bounds, its outputs are of another shape, or images meet.
    """
    network = GraphNetwork(graph, state, name)
    hollow = GraphNetwork(graph, {key: value.to("meta") for key, value in state.items()}, name)
    seen: list[list[tuple[Any, ...]]] = []
    for batch in BATCHES:
        seen.append([])
        try:
            with torch.no_grad(), _Meter(batch):
                out = hollow._run(torch.empty(batch, *shape, device="meta"), seen[-1])
        except Exception as error:  # PyTorch's own errors are of many kinds
            reason, place = excerpt(first_line(error), 300), "".join(getattr(error, "__notes__", ())[:1])
            advice = "" if isinstance(error, OperatorError) else f"; {_EXPORT}"
            where = f"{batch} images of shape {shape}"
            raise GraphError(f"{name}: {place} fails on {where} ({reason}){advice}") from None
        if not isinstance(out, Tensor) or tuple(out.shape) != (batch, classes):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise GraphError(f"{name}: returns {got} of {batch} images, expected {(batch, classes)}; {_EXPORT}")
    weights = {key: tuple(value.shape) for key, value in state.items()}
    try:
        sizes = [[[size_of(value) for value in results] for results in one] for one in seen]
        network._batches = Batches(graph, network._calls, weights, shape, sizes)
        network.lost = following.lost(graph, network._calls, seen[0])
    except OperatorError as error:
        raise GraphError(f"{name}: {error.__notes__[0]} {error}") from None
    return network


class _Meter(TorchDispatchMode):
    """Counts what operations make and compute, those within others too, and ends at the bounds."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batch, self._numbers, self._taken, self._work = batch, 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and not func.is_view:
                count = math.prod(tensor.shape)
                self._numbers += count
                self._bound(count, LARGEST_VALUE, "numbers in one tensor")
        packet = func._overloadpacket
        if packet is torch.ops.aten.convolution:
            self._bound(_padded(args[0], args[1], args[4]), LARGEST_VALUE, "numbers in one padded tensor")
        if packet in flop_registry:
            self._work += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif "pool" in str(packet):  # of a window for each output
            window = next((math.prod(arg) for arg in args[1:2] if isinstance(arg, list | tuple)), 1)
            self._work += math.prod(tree_leaves(out)[0].shape) * window
        elif not func.is_view:
            self._taken += sum(math.prod(one.shape) for one in tree_leaves(args) if isinstance(one, Tensor))
        self._bound(self._numbers, LARGEST_ALL, "numbers in all tensors")
        self._bound(self._taken, MOST_TAKEN, "numbers that operations take")
        self._bound(self._work, MOST_WORK, "multiplications and additions")
        return out

    def _bound(self, count: int, most: int, what: str) -> None:
        if count > most * self._batch:
            raise OperatorError(f"{count // self._batch} {what} for one image, at most {most} are taken")


def _padded(images: Tensor, weight: Tensor, padding: list[int]) -> int:
    """Numbers of what a convolution takes, with its padding."""
    sides = weight.ndim - 2
    given = padding * sides if len(padding) == 1 else padding
    around = [side + 2 * more for side, more in zip(images.shape[-sides:], given, strict=True)]
    return math.prod([*images.shape[:-sides], *around])


def _bind(graph: Graph, weights: Set[str], name: str) -> list[Call]:
    """The operations with their arguments, each of which names only what is there before it."""
    known: dict[str, Kind] = dict.fromkeys(weights, "tensor")
    if graph.input in known:
        raise GraphError(f"{name}: {graph.input!r} is the input and a weight; rename one")
    known[graph.input] = "tensor"
    calls = []
    for number, node in enumerate(graph.nodes):
        where = f"{name}: node {number}, {node.op}"
        try:
            call = operators.bind(node.op, node.args, known)
        except OperatorError as error:
            raise GraphError(f"{where}: {error}") from None
        kinds = call.kinds or (_TENSOR,) * len(node.out)
        if len(kinds) != len(node.out) or not 0 < len(kinds) <= operators.LONGEST_LIST:
            raise GraphError(f"{where}: {len(node.out)} names in out for {len(kinds)} results")
        for key, kind in zip(node.out, kinds, strict=True):
            if key in known:
                raise GraphError(f"{where}: {key!r} is there already; give each value a name of its own")
            known[key] = kind
        calls.append(call)
    if known.get(graph.output) != "tensor":
        raise GraphError(f"{name}: the output {graph.output!r} is no tensor of the graph")
    if unused := weights - {key for call in calls for key in names(call.args)} - {graph.output}:
        raise GraphError(f"{name}: {len(unused)} weights that it does not use, as {min(unused)}; leave them out")
    return calls


def _last_uses(calls: list[Call], graph: Graph) -> list[list[str]]:
    """After each operation, the values that no later one uses."""
    left = Counter(key for call in calls for key in names(call.args))
    dead = []
    for node, call in zip(graph.nodes, calls, strict=True):
        used = set(names(call.args))
        left.subtract(names(call.args))
        dead.append([key for key in {*used, *node.out} if left[key] == 0 and key != graph.output])
    return dead
