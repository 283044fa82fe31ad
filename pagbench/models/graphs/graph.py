"""A graph as plain JSON: a list of operations, each with its arguments by name, in the order in which they run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pagbench.errors import GraphError
from pagbench.results.plain import PlainJsonError, parse
from pagbench.storage.files import read_regular

FORMAT = "pagbench graph 1"
LARGEST = 4 * 2**20
"""Bytes of a graph's JSON."""
MOST_NODES = 10_000
_NAME = re.compile(r"[\w.-]{1,200}")


class Node(NamedTuple):
    """One operation.

    Attributes:
        op: its name in `torch.ops.aten`, or one on whole numbers; see `pagbench.models.graphs.operators`.
        args: by the names of the operation's schema. In the place of a tensor or a whole number, a text names a value:
            the input, a weight, or what an earlier operation has returned.
        out: the names of what it returns.
    """

    op: str
    args: Mapping[str, Any]
    out: tuple[str, ...]


class Graph(NamedTuple):
    """A network without its weights.

    Attributes:
        input: the name of the batch of images, shape (b, c, h, w).
        nodes: in the order in which they run.
        output: the name of what the network returns, shape (b, k).
    """

    input: str
    nodes: Sequence[Node]
    output: str

    def encoded(self) -> bytes:
        """Its JSON, a line for each operation."""
        nodes = ",\n".join(json.dumps(node._asdict()) for node in self.nodes)
        head = json.dumps({"format": FORMAT, "input": self.input, "output": self.output}).removesuffix("}")
        return f'{head}, "nodes": [\n{nodes}\n]}}\n'.encode()


def read(path: Path, sha256: str | None = None) -> Graph:
    """Reads a graph.

    Args:
        path: the file.
        sha256: of the file; None to skip the comparison.

    Raises:
        GraphError: missing, too large, altered, no plain JSON, or of other fields.
    """
    try:
        content = read_regular(path, LARGEST)
        if sha256 is not None and (digest := hashlib.sha256(content).hexdigest()) != sha256:
            raise GraphError(
                f"{path}: sha256 {digest[:12]}…, the card says {sha256[:12]}…; correct the card or the file"
            )
        return _graph(parse(content))
    except OSError as error:
        raise GraphError(f"{path}: cannot read the graph ({error.strerror or error}); put the file there") from None
    except (PlainJsonError, _FormError) as error:
        raise GraphError(f"{path}: no graph ({error}); write it with `pagbench export`") from None


class _FormError(Exception):
    """What is not as it should be, in a few words."""


def _graph(value: Any) -> Graph:
    if not isinstance(value, dict) or value.keys() != {"format", "input", "output", "nodes"}:
        raise _FormError("expected the fields format, input, output and nodes")
    if value["format"] != FORMAT:
        raise _FormError(f"format {str(value['format'])[:60]!r}, expected {FORMAT!r}")
    if not isinstance(value["nodes"], list) or len(value["nodes"]) > MOST_NODES:
        raise _FormError(f"expected a list of at most {MOST_NODES} nodes")
    nodes = [_node(node, number) for number, node in enumerate(value["nodes"])]
    return Graph(_name(value["input"], "input"), nodes, _name(value["output"], "output"))


def _node(value: Any, number: int) -> Node:
    where = f"node {number}"
    if not isinstance(value, dict) or value.keys() != {"op", "args", "out"}:
        raise _FormError(f"{where}: expected the fields op, args and out")
    if not isinstance(value["args"], dict) or not isinstance(value["out"], list):
        raise _FormError(f"{where}: expected args by name and a list of names in out")
    return Node(_name(value["op"], where), value["args"], tuple(_name(name, where) for name in value["out"]))


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _FormError(f"{where}: {str(value)[:60]!r} is no name")
    return value
