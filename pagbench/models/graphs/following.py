"""Where the gradient of a graph does not follow the values of its images."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pagbench.models.graphs.batches import VALUELESS
from pagbench.models.graphs.graph import Graph
from pagbench.models.graphs.operators import Call, OperatorError, names

_STEPS = {"sign", "floor", "round", "hardshrink", "threshold"}
"""Operations that may jump, of which a gradient knows nothing."""
_NORMS = {"linalg_vector_norm.default": "ord", "norm.ScalarOpt_dim": "p"}
"""Norms, and the argument by which they count values rather than measure them."""
_DETACHED = {"detach.default", "lift_fresh_copy.default"}


def lost(graph: Graph, calls: Sequence[Call], results: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """The operations that take values of the image and whose gradient does not follow them, each once.

    Those are steps, comparisons, and whatever else makes whole numbers or truths of them. A clamp, or a steep slope,
    may do the same and is not among them.

    Args:
        graph: the operations.
        calls: the same, with their arguments checked.
        results: what each returns, values of no matter.

    Raises:
        OperatorError: values of the image are taken out of the gradient. A note says where.
    """
    followed, found = {graph.input}, dict[str, None]()
    used = {name for call in calls for name in names(call.args)}
    for node, call, values in zip(graph.nodes, calls, results, strict=True):
        if followed.isdisjoint(names(call.args)) or call.op.startswith(VALUELESS):
            continue
        if call.op in _DETACHED:
            error = OperatorError("takes values of the image out of the gradient; take detach() out of the network")
            error.add_note(f"{node.op} that makes {node.out[0]}")
            raise error
        floating = dict(zip(node.out, (_is_floating(value) for value in values), strict=True))
        name = call.op.partition(".")[0]
        if name in _STEPS or _counts(call.op, call.args) or any(not floating[out] for out in used & floating.keys()):
            found[name] = None
        followed |= {out for out in node.out if floating[out]}
    return tuple(found)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _counts(op: str, args: Mapping[str, Any]) -> bool:
    return op in _NORMS and args.get(_NORMS[op], 2) == 0
