"""Graphs and programs that attack whoever reads them: one line each, before anything of them is computed."""

import copy
import io
import json
import pickle
import random
import zipfile

import pytest
import torch
from graphs import CLASSES, SHAPE, network, silu_cnn, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagbench.errors import GraphError, PagbenchError
from pagbench.models.graphs import exported, graph, probes
from pagbench.models.graphs.network import build


def read_and_build(path, state):
    return build(graph.read(path), state, SHAPE, CLASSES, path.name)


def node(op, args, *out):
    return {"op": op, "args": args, "out": list(out)}


def added(*nodes, output="z"):
    """The small graph with more behind it, whose last value is `z`."""
    value, _ = small()
    value["nodes"] += nodes
    value["output"] = output
    return json.dumps(value)


def changed(number, **args):
    """The small graph with other arguments of one operation."""
    value, _ = small()
    value["nodes"][number]["args"] |= args
    return json.dumps(value)


def text(**fields):
    return json.dumps(small()[0] | fields)


SQUARES = [node("int.mul", {"a": f"b{i}" if i else "b", "b": f"b{i}" if i else "b"}, f"b{i + 1}") for i in range(80)]
SQUARES = [node("int.add", {"a": "b", "b": 7}, "b0"), *SQUARES]
SQUARES[1]["args"] = {"a": "b0", "b": "b0"}
DOUBLES = [node("cat.default", {"tensors": [f"d{i}"] * 8, "dim": 0}, f"d{i + 1}") for i in range(40)]

NORM = {"input": "c", "weight": None, "bias": None, "running_mean": "one", "running_var": "one", "training": False}
NORM |= {"momentum": 0.1, "eps": 1e-5, "cudnn_enabled": False}

HOSTILE = {
    "no JSON": ("{", "no plain JSON"),
    "not UTF-8": (b"\xff\xfe{}", "no plain JSON"),
    "nested without end": ("[" * 100_000, "nested too deep"),
    "an argument nested deep": (added(node("neg.default", {"self": json.loads("[" * 30 + "]" * 30)}, "z")), "too deep"),
    "a key twice": (text().replace('"input"', '"output": "y", "input"', 1), "second time"),
    "NaN": (changed(1, stride=[2, 2]).replace("[2, 2]", "[NaN, 2]"), "NaN"),
    "an infinite number": (changed(1).replace("[2, 2]", "[1e999, 2]"), "finite"),
    "a number of a thousand digits": (changed(1).replace("[2, 2]", f"[{'9' * 1000}, 2]"), "64 bits"),
    "another format": (text(format="onnx"), "format 'onnx'"),
    "a field more": (text(code="import os"), "expected the fields"),
    "a list": ("[]", "expected the fields"),
    "nodes of another kind": (text(nodes={"a": 1}), "list of at most"),
    "a hundred thousand nodes": (text(nodes=[0] * 100_000), "list of at most"),
    "a node that is none": (text(nodes=[7]), "node 0: expected the fields"),
    "a name that is a path": (text(input="../../etc"), "is no name"),
    "a name that is marked": (text(input="x\u202e"), "invisible"),
    "an operation that calls": (added(node("os.system", {"a": "id"}, "z")), "graphs may not have"),
    "an operation by its full name": (added(node("torch.ops.aten.neg.default", {"self": "y"}, "z")), "may not have"),
    "an attribute of Python": (added(node("__class__.__init__", {"self": "y"}, "z")), "graphs may not have"),
    "an operation that writes": (added(node("relu_.default", {"self": "y"}, "z")), "graphs may not have"),
    "an operation that draws": (added(node("rand_like.default", {"self": "y"}, "z")), "graphs may not have"),
    "an operation that reads a file": (added(node("from_file.default", {"filename": "/etc/passwd"}, "z")), "not have"),
    "memory by strides": (
        added(node("as_strided.default", {"self": "y", "size": [9], "stride": [99]}, "z")), "not have"
    ),
    "control flow": (added(node("cond", {"self": "y"}, "z")), "graphs may not have"),
    "sizes that values decide": (added(node("nonzero.default", {"self": "y"}, "z")), "graphs may not have"),
    "a dropout that draws": (added(node("dropout.default", {"input": "y", "p": 0.5, "train": True}, "z")), "train is"),
    "an argument that is none": (changed(1, code="x"), "has no argument 'code'"),
    "an argument that is missing": (added(node("neg.default", {}, "z")), "needs the argument 'self'"),
    "a number for a tensor": (changed(2, self=3), "expected the name of an earlier tensor"),
    "a tensor for a number": (changed(1, groups="x"), "groups is 'x', expected int"),
    "a truth for a number": (changed(1, groups=True), "groups is 'True'"),
    "a fraction for a number": (changed(1, groups=1.5), "groups is '1.5'"),
    "a dict for a list": (changed(1, stride={"a": 1}), "stride is"),
    "a text for a word": (
        added(node("gelu.default", {"self": "y", "approximate": "__import__"}, "z")), "approximate is"
    ),
    "a type that is none": (added(node("to.dtype", {"self": "y", "dtype": "float16"}, "z")), "dtype is 'float16'"),
    "an equation without end": (
        added(node("einsum.default", {"equation": "a," * 900, "tensors": ["y"]}, "z")), "equation"
    ),
    "a name from the future": (changed(1, input="y"), "input is 'y', expected the name of an earlier tensor"),
    "a cycle": (changed(1, input="c"), "input is 'c', expected the name of an earlier tensor"),
    "a name of nothing": (changed(4, weight="w"), "weight is 'w'"),
    "a name twice": (added(node("neg.default", {"self": "y"}, "c")), "'c' is there already"),
    "a weight's name again": (added(node("neg.default", {"self": "y"}, "l.weight")), "is there already"),
    "the input's name of a weight": (text(input="l.weight"), "is the input and a weight"),
    "an output that is none": (text(output="w"), "the output 'w' is no tensor"),
    "an output that is a size": (text(output="b"), "the output 'b' is no tensor"),
    "fewer results than names": (added(node("neg.default", {"self": "y"}, "z", "z2")), "2 names in out for 1"),
    "no results": (added(node("chunk.default", {"self": "y", "chunks": 2}), output="y"), "0 names in out"),
    "more pieces than names": (
        added(node("chunk.default", {"self": "y", "chunks": 2, "dim": 1}, "z")), "returns 2 values"
    ),
    "a million pieces": (added(node("expand.default", {"self": "b1", "size": [1_000_000]}, "e")), "self is 'b1'"),
    "pieces without end": (
        added(node("full.default", {"size": [10**6], "fill_value": 1}, "e"), node("unbind.int", {"self": "e"}, "z")),
        "makes more than 1024 tensors",
    ),
    "a tensor as large as the world": (
        added(node("full.default", {"size": [2**62], "fill_value": 1}, "z")), "fails on"
    ),
    "a tensor larger than memory": (
        added(node("full.default", {"size": [2**20, 2**20], "fill_value": 1}, "z")), "numbers in one tensor"
    ),
    "negative sizes": (added(node("full.default", {"size": [-(2**62)], "fill_value": 1}, "z")), "fails on"),
    "a product as large as the world": (
        added(
            node("full.default", {"size": [2**24, 1], "fill_value": 1}, "e"),
            node("mm.default", {"self": "e", "mat2": "t"}, "z"),
        ).replace('"mat2": "t"', '"mat2": "t"'),
        "mat2 is 't'",
    ),
    "an outer product": (
        added(
            node("full.default", {"size": [2**22, 1], "fill_value": 1}, "e"),
            node("transpose.int", {"self": "e", "dim0": 0, "dim1": 1}, "t"),
            node("mm.default", {"self": "e", "mat2": "t"}, "z"),
        ),
        "numbers in one tensor",
    ),
    "a product that takes for ever": (
        added(
            node("full.default", {"size": [2**12, 2**12], "fill_value": 1}, "m0"),
            *[node("mm.default", {"self": f"m{i}", "mat2": f"m{i}"}, f"m{i + 1}") for i in range(20)],
            node("linear.default", {"input": "m20", "weight": "m0"}, "z"),
        ),
        "multiplications and additions",
    ),
    "values that double": (
        added(node("view.default", {"self": "y", "size": [-1]}, "d0"), *DOUBLES, output="d40"), "numbers in"
    ),
    "padding as large as the world": (changed(1, padding=[2**40, 2**40]), "padding is"),
    "padding that a kernel miscounts": (changed(1, padding=[2**20] * 2, stride=[2**20] * 2), "at most 4096"),
    "padding beyond the window": (changed(1, padding=[4, 4]), "expected at most 3, the reach of its window"),
    "a stride that a kernel miscounts": (changed(1, stride=[2**21, 2**21]), "stride is"),
    "a pool that a kernel miscounts": (
        added(node("avg_pool2d.default", {"self": "x", "kernel_size": [2, 2], "stride": [2**20]}, "z")), "stride is"
    ),
    "windows spread far": (changed(1, padding=[4096, 4096], dilation=[4000, 4000]), "in one padded tensor"),
    "a view that is summed": (
        added(
            node("reshape.default", {"self": "y", "shape": ["b", 10, 1]}, "r"),
            node("expand.default", {"self": "r", "size": ["b", 10, 2 * 10**9]}, "e"),
            node("sum.dim_IntList", {"self": "e", "dim": [2]}, "z"),
        ),
        "numbers that operations take",
    ),
    "views that are summed again and again": (
        added(
            node("reshape.default", {"self": "y", "shape": ["b", 10, 1]}, "r"),
            node("expand.default", {"self": "r", "size": ["b", 10, 2**21]}, "e"),
            *[node("sum.dim_IntList", {"self": "e", "dim": [2]}, f"s{i}") for i in range(300)],
            output="s0",
        ),
        "numbers that operations take",
    ),
    "a norm that trusts its statistics": (
        added(node("_native_batch_norm_legit_no_training.default", {"input": "c"}, "z")), "graphs may not have"
    ),
    "statistics of fewer channels": (
        added(node("ones.default", {"size": [1]}, "one"), node("batch_norm.default", NORM, "z")),
        "running_mean is of shape (1,), expected (2,)",
    ),
    "statistics of none": (
        added(
            node("ones.default", {"size": [2]}, "one"), node("batch_norm.default", NORM | {"running_mean": None}, "z")
        ), "running_mean is none"
    ),
    "a norm of more than there is": (
        added(
            node(
                "native_group_norm.default",
                {
                    "input": "c", "weight": None, "bias": None, "N": 1000, "C": 2, "HxW": 9, "group": 1, "eps": 1e-5,
                },
                "z", "z1", "z2",
            )
        ),
        "N, C and HxW are not those",
    ),
    "an embedding with a gradient of its own": (
        added(node("embedding.default", {"weight": "l.weight", "indices": "y", "padding_idx": 3}, "z")),
        "padding_idx is",
    ),
    "a stride of nothing": (changed(1, stride=[0, 0]), "fails on"),
    "a number that squares itself": (
        added(*SQUARES, node("full.default", {"size": ["b80"], "fill_value": 1}, "z")), "64 bits"
    ),
    "a division by nothing": (added(node("int.floordiv", {"a": "b", "b": 0}, "z0"), output="y"), "fails on"),
    "a fixed batch": (changed(3, shape=[1, 18]), "export it with a batch of any size"),
    "images that are one": (
        added(node("mean.dim", {"self": "y", "dim": [0], "keepdim": True}, "z")), "expected (3, 10)"
    ),
}  # fmt: skip


def beyond(batch, *nodes):
    """The small graph with `k`, which is 0 for a smaller batch."""
    return added(node("int.floordiv", {"a": "b", "b": batch}, "k"), *nodes)


def mixed(node_of_y, output="m"):
    """The small graph with something added that another operation makes of its outputs."""
    return added(*node_of_y, node("add.Tensor", {"self": "y", "other": output}, "z"))


HOSTILE |= {
    "memory of a larger batch": (
        beyond(
            17,
            node("int.mul", {"a": "k", "b": 2**36}, "n"),
            node("ones.default", {"size": ["n"]}, "o"),
            node("sum.default", {"self": "o"}, "q"),
            node("add.Tensor", {"self": "y", "other": "q"}, "z"),
        ),
        "numbers in one tensor for one image",
    ),
    "images that meet in a larger batch": (
        beyond(
            17,
            node("mean.dim", {"self": "y", "dim": [0], "keepdim": True}, "m"),
            node("mul.Scalar", {"self": "m", "other": "k"}, "mix"),
            node("add.Tensor", {"self": "y", "other": "mix"}, "z"),
        ),
        "int.floordiv that makes k makes [0, 0, 59] of (1, 3, 1009) images",
    ),
    "a gradient of its own in a larger batch": (
        beyond(
            17,
            node("slice.Tensor", {"self": "f", "dim": 1, "start": 0, "end": 10}, "g"),
            node("mul.Scalar", {"self": "g", "other": "k"}, "gk"),
            node("add.Tensor", {"self": "y", "other": "gk"}, "z"),
        ),
        "int.floordiv that makes k makes",
    ),
    "another function's gradient": (
        mixed([node("detach.default", {"self": "y"}, "m")]), "takes values of the image out of the gradient"
    ),
    "the batch as a value": (
        mixed([node("mul.Scalar", {"self": "y", "other": "b"}, "m")]), "other follows the size of the batch"
    ),
    "the batch as a sum": (
        mixed([
            node("ones.default", {"size": ["b", 1]}, "o"),
            node("sum.dim_IntList", {"self": "o", "dim": [0], "keepdim": True}, "m"),
        ]),
        "makes of all images one value",
    ),
    "the batch as a running sum": (mixed([node("cumsum.default", {"self": "y", "dim": 0}, "m")]), "may not meet"),
    "images turned around": (mixed([node("roll.default", {"self": "y", "shifts": [1]}, "m")]), "may not meet"),
    "images side by side": (
        mixed([
            node("concat.default", {"tensors": ["y", "y"]}, "d"),
            node("reshape.default", {"self": "d", "shape": ["b", 20]}, "r"),
            node("slice.Tensor", {"self": "r", "dim": 1, "end": 10}, "m"),
        ]),
        "may not meet",
    ),
    "the batch as a row": (mixed([node("triu.default", {"self": "y", "diagonal": -16}, "m")]), "images may not meet"),
    "images from the seventeenth on": (
        mixed([
            node("slice.Tensor", {"self": "y", "dim": 0, "start": 16}, "s16"),
            node("sum.dim_IntList", {"self": "s16", "dim": [0], "keepdim": True}, "m"),
        ]),
        "expected sizes in proportion",
    ),
    "images that change places": (
        mixed([
            node("unsqueeze.default", {"self": "y", "dim": 1}, "u"),
            node("expand.default", {"self": "u", "size": ["b", 17, 10]}, "e"),
            node("reshape.default", {"self": "e", "shape": [17, "b", 10]}, "r"),
            node("select.int", {"self": "r", "dim": 0, "index": 0}, "m"),
        ]),
        "mixes images",
    ),
    "images that meet in an equation": (
        mixed([
            node("ones.default", {"size": ["b", 1]}, "o"),
            node("einsum.default", {"equation": "bi,cj->cj", "tensors": ["o", "y"]}, "m"),
        ]),
        "images may not meet",
    ),
    "images that meet in a window": (
        mixed([
            node("transpose.int", {"self": "y", "dim0": 0, "dim1": 1}, "t"),
            node("unsqueeze.default", {"self": "t", "dim": 1}, "u"),
            node("ones.default", {"size": [1, 1, 3]}, "w"),
            node("conv1d.default", {"input": "u", "weight": "w", "padding": [1]}, "v"),
            node("squeeze.dim", {"self": "v", "dim": 1}, "q"),
            node("transpose.int", {"self": "q", "dim0": 0, "dim1": 1}, "m"),
        ]),
        "images may not meet",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_graph_is_one_line_and_nothing_is_computed(kind, tmp_path, monkeypatch):
    content, said = HOSTILE[kind]
    path = tmp_path / "n.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    _, state = small()
    state = {name: _Untouched(value) for name, value in state.items()}
    with pytest.raises(GraphError) as refused:
        read_and_build(path, state)
    line = str(refused.value)
    assert said in line and "n.json" in line and len(line.splitlines()) == 1 and len(line) < 800, line


class _Untouched(torch.Tensor):
    """A weight whose values nothing may compute with, unless without them."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            out = func(*args, **(kwargs or {}))
        computed = isinstance(out, torch.Tensor) and out.device.type != "meta" and func.__name__ not in _HARMLESS
        assert not computed, func
        return out


_HARMLESS = {"detach", "float", "__get__", "requires_grad_", "_make_subclass"}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "weight is 'c.weight'"),
        ({"c.weight": torch.randn(2, 1, 3, 3)}, "weight is 'l.weight'"),
        (small()[1] | {"more": torch.ones(1)}, "1 weights that it does not use, as more"),
        (small()[1] | {"c.weight": torch.randn(2, 2, 3, 3)}, "fails on 1 images"),
        (small()[1] | {"c.weight": torch.ones(2, 1, 3, 3, dtype=torch.complex64)}, "expected plain numbers"),
        (small()[1] | {"l.weight": torch.ones(9, 18)}, "returns (1, 9) of 1 images, expected (1, 10)"),
    ],
)
def test_weights_of_another_graph_are_refused(state, said, tmp_path):
    (tmp_path / "n.json").write_text(text())
    with pytest.raises(GraphError) as refused:
        read_and_build(tmp_path / "n.json", state)
    assert said in str(refused.value)


def test_places_that_a_table_has_not_are_no_fault_of_the_device(tmp_path):
    """A GPU would end the process some operations later."""
    (tmp_path / "n.json").write_text(added(node("index.Tensor", {"self": "y", "indices": [None, "p"]}, "z")))
    for places, said in ((range(10), None), (range(1, 11), "names places from 1 to 10 of 10")):
        built = read_and_build(tmp_path / "n.json", small()[1] | {"p": torch.tensor(places)})
        if said is None:
            assert built(torch.rand(2, *SHAPE)).shape == (2, 10)
        else:
            with pytest.raises(Exception, match=said):
                built(torch.rand(2, *SHAPE))


def test_places_from_the_end_are_for_index_alone(tmp_path):
    value = node("index_select.default", {"self": "y", "dim": 1, "index": "p"}, "z")
    (tmp_path / "n.json").write_text(added(value))
    built = read_and_build(tmp_path / "n.json", small()[1] | {"p": torch.arange(-1, 9)})
    with pytest.raises(Exception, match="names places from -1 to 8 of 10"):
        built(torch.rand(2, *SHAPE))


def test_a_batch_of_another_size_makes_what_the_others_have_shown(tmp_path):
    """Of 1, 3 and 1009 images it makes as many rows; of 2000, others."""
    cut = node("slice.Tensor", {"self": "y", "dim": 0, "start": -1500}, "z")
    (tmp_path / "n.json").write_text(added(cut))
    built = read_and_build(tmp_path / "n.json", small()[1])
    assert built(torch.rand(1500, *SHAPE)).shape == (1500, CLASSES)
    with pytest.raises(Exception, match=r"makes \(1500, 10\) of 1501 images, expected \(1501, 10\)"):
        built(torch.rand(1501, *SHAPE))


TOP = node("amax.default", {"self": "y", "dim": [1], "keepdim": True}, "t")


@pytest.mark.parametrize(
    ("nodes", "lost"),
    [
        ([node("relu.default", {"self": "y"}, "z")], ()),
        (
            [node("softmax.int", {"self": "y", "dim": 1}, "s1"), node("clamp.default", {"self": "s1", "min": 0}, "z")],
            (),
        ),
        ([node("round.default", {"self": "y"}, "r"), node("sign.default", {"self": "r"}, "z")], ("round", "sign")),
        (
            [
                TOP,
                node("ge.Tensor", {"self": "y", "other": "t"}, "g"),
                node("to.dtype", {"self": "g", "dtype": "float32"}, "z"),
            ],
            ("ge",),
        ),
        (
            [
                node("to.dtype", {"self": "y", "dtype": "int64"}, "i"),
                node("to.dtype", {"self": "i", "dtype": "float32"}, "z"),
            ],
            ("to",),
        ),
        (
            [
                node("max.dim", {"self": "y", "dim": 1, "keepdim": True}, "t", "places"),
                node("add.Tensor", {"self": "y", "other": "t"}, "z"),
            ],
            (),
        ),
        (
            [
                node("max.dim", {"self": "y", "dim": 1, "keepdim": True}, "t", "places"),
                node("add.Tensor", {"self": "y", "other": "places"}, "z"),
            ],
            ("max",),
        ),
    ],
)
def test_operations_that_the_gradient_does_not_follow_are_named(nodes, lost, tmp_path):
    (tmp_path / "n.json").write_text(added(*nodes))
    assert read_and_build(tmp_path / "n.json", small()[1]).lost == lost


def test_files_that_are_no_graph(tmp_path):
    (tmp_path / "large.json").write_bytes(b" " * (graph.LARGEST + 1))
    (tmp_path / "link.json").symlink_to("/dev/zero")
    for name, said in (("large.json", "more than"), ("link.json", "expected a file"), ("absent.json", "No such file")):
        with pytest.raises(GraphError, match=f"{name}: cannot read the graph .*{said}"):
            graph.read(tmp_path / name)


# Exported programs


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The entries of a file that PyTorch has written."""
    path = tmp_path_factory.mktemp("programs") / "n.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network(silu_cnn), (torch.rand(3, *SHAPE),), dynamic_shapes=dynamic), path)
    with zipfile.ZipFile(path) as opened:
        return Entries({name.partition("/")[2]: opened.read(name) for name in opened.namelist()})


class Entries(dict):
    def __repr__(self):
        return "the entries"


MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


class Runs:
    """A pickle that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def archive(entries, packing=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as opened:
        for name, content in entries.items():
            opened.writestr(f"n/{name}", content)
    return file.getvalue()


def edited(entries, name, edit):
    """With a change of one entry's JSON."""
    value = json.loads(entries[name])
    edit(value)
    return entries | {name: json.dumps(value).encode()}


def weight(**fields):
    """A change of what is said of the first weight."""

    def edit(value):
        described = next(iter(value["config"].values()))
        for name, field in fields.items():
            (described if name in described else described["tensor_meta"])[name] = field

    return lambda entries: edited(entries, WEIGHTS, edit)


def model(edit):
    return lambda entries: edited(entries, MODEL, lambda value: edit(value["graph_module"]))


def whole(*numbers):
    return [{"as_int": number} for number in numbers]


def _first(module, **fields):
    module["graph"]["nodes"][0] |= fields


PROGRAMS = {
    "no model": (lambda entries: {name: entries[name] for name in entries if name != MODEL}, "no models/model.json"),
    "weights of an older PyTorch": (
        lambda entries: {name: entries[name] for name in entries if name != WEIGHTS}, "its weights as a pickle"
    ),
    "two models": (lambda entries: entries | {f"other/{MODEL}": entries[MODEL]}, "or several"),
    "a model that is no JSON": (lambda entries: entries | {MODEL: b"{"}, "not a file of torch.export.save"),
    "a model nested without end": (
        lambda entries: entries | {MODEL: b"[" * 200_000}, "not a file of torch.export.save"
    ),
    "a model of other fields": (lambda entries: entries | {MODEL: b'{"graph_module": {}}'}, "not as PyTorch writes it"),
    "weights that are a pickle": (weight(use_pickle=True), "no tensor of raw values"),
    "weights outside": (weight(path_name="../../../../etc/passwd"), "no tensor of raw values"),
    "weights that are not there": (weight(path_name="weight_99"), "not a file of torch.export.save"),
    "weights as large as the world": (weight(sizes=whole(2**31, 2**31)), "larger than its record"),
    "weights beyond their record": (weight(storage_offset={"as_int": 2**40}), "beyond its record"),
    "strides beyond their record": (weight(strides=whole(2**40, 1, 1, 1)), "beyond its record"),
    "strides that go back": (weight(strides=whole(-9, 9, 3, 1)), "a size that is none"),
    "a size that is a name": (weight(sizes=[{"as_name": "s0"}] * 4), "not a file of torch.export.save"),
    "a type that is none": (weight(dtype=11), "none of a plain network's"),
    "a type of twice the width": (weight(dtype=8), "larger than its record"),
    "operations of others": (model(lambda it: _first(it, target="torch.ops.mine.evil.default")), "may not have"),
    "a function of Python": (model(lambda it: _first(it, target="os.system")), "may not have"),
    "an argument that is a program": (
        model(lambda it: _first(it, inputs=[{"name": "self", "arg": {"as_graph": {}}, "kind": 1}])), "kind 'as_graph'"
    ),
    "a name that is a list": (
        model(lambda it: _first(it, inputs=[{"name": "self", "arg": {"as_tensor": {"name": [1]}}, "kind": 1}])),
        "not as PyTorch writes it",
    ),
    "a million operations": (
        model(lambda it: it["graph"].update(nodes=[{}] * 1_000_000)), "more than 20000 operations"
    ),
    "two images": (
        model(lambda it: it["signature"]["input_specs"].append(it["signature"]["input_specs"][-1])), "PyTorch"
    ),
    "a buffer that is written": (
        model(lambda it: it["signature"]["output_specs"].insert(0, {"buffer_mutation": {}})), "network.eval()"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_hostile_program_is_one_line(kind, honest, tmp_path):
    change, said = PROGRAMS[kind]
    path = tmp_path / "n.pt2"
    path.write_bytes(archive(change(honest)))
    with pytest.raises(GraphError) as refused:
        converted = exported.read(path)
        build(converted.graph, converted.state, SHAPE, CLASSES, "n.pt2")
    line = str(refused.value)
    assert said in line and len(line.splitlines()) == 1 and len(line) < 800, line


def test_pickles_and_what_else_lies_in_a_program_are_not_opened(honest, tmp_path):
    ran = tmp_path / "ran"
    evil = pickle.dumps(Runs(str(ran)))
    odd = {"data/sample_inputs/model.pt": evil, "extra/evil.py": b"raise", "../../outside": b"x", "data.pkl": evil}
    path = tmp_path / "n.pt2"
    path.write_bytes(archive(honest | odd))
    converted = exported.read(path)
    built = build(converted.graph, converted.state, SHAPE, CLASSES, "n.pt2")
    assert built(torch.rand(2, *SHAPE)).shape == (2, CLASSES)
    assert not ran.exists() and not (tmp_path.parent.parent / "outside").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"n.pt2"}


def test_a_program_that_is_a_bomb_or_half_a_file(honest, tmp_path):
    path = tmp_path / "n.pt2"
    path.write_bytes(archive(honest | {"data/weights/weight_0": bytes(2**22)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(GraphError, match="packed records"):
        exported.read(path)
    whole_file = archive(honest)
    for content in (whole_file[: len(whole_file) // 2], b"", b"PK\x03\x04", pickle.dumps(Runs("x"))):
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"n\.pt2: not a file of torch\.export\.save"):
            exported.read(path)


def test_a_record_that_many_tensors_share_is_not_copied_for_each(honest, tmp_path):
    """A thousand tensors of one MiB would take a GiB."""
    value = json.loads(honest[WEIGHTS])
    described = next(iter(value["config"].values()))
    described["tensor_meta"] |= {"sizes": whole(2**18), "strides": whole(1), "storage_offset": {"as_int": 0}}
    value["config"] |= {f"w{number}": described for number in range(1000)}
    large = {WEIGHTS: json.dumps(value).encode(), f"data/weights/{described['path_name']}": bytes(2**20)}
    (tmp_path / "n.pt2").write_bytes(archive(honest | large))
    with pytest.raises(GraphError, match=r"n\.pt2: holds tensors of more than \d+ bytes"):
        exported.read(tmp_path / "n.pt2")


# Changed at random


def _mutated(value, draw):
    """A value with one change somewhere within."""
    choices = ["x", "y", "c.weight", "", -1, 0, 2**62, -(2**62), 1.5, True, None, [], {}, [1, 2], "b", "inf"]
    places = []

    def walk(inner):
        for key in range(len(inner)) if isinstance(inner, list) else list(inner):
            places.append((inner, key))
            if isinstance(inner[key], list | dict):
                walk(inner[key])

    walk(value)
    inner, key = places[draw.randrange(len(places))]
    kind = draw.randrange(3)
    if kind == 0:
        inner[key] = copy.deepcopy(choices[draw.randrange(len(choices))])
    elif kind == 1 and isinstance(inner, list):
        inner.insert(key, copy.deepcopy(inner[draw.randrange(len(inner))]))
    else:
        del inner[key]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 3))
def test_a_graph_changed_at_random_is_refused_or_runs(seed, changes, tmp_path):
    """What is not refused computes what it did."""
    draw = random.Random(seed)
    value, state = small()
    expected = probes.take(build(graph._graph(value), state, SHAPE, CLASSES, "n.json"), probes.noise(SHAPE))
    for _ in range(changes):
        if value:
            _mutated(value, draw)
    path = tmp_path / "n.json"
    path.write_text(json.dumps(value))
    try:
        assert probes.check(read_and_build(path, state), expected)
    except PagbenchError as error:
        assert len(str(error).splitlines()) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_program_changed_at_random_is_refused_or_runs(seed, honest, tmp_path):
    expected = probes.take(network(silu_cnn), probes.noise(SHAPE))
    draw = random.Random(seed)
    name = draw.choice([MODEL, WEIGHTS])
    value = json.loads(honest[name])
    inner = value["graph_module"] if name == MODEL else value["config"]
    inner.pop("module_call_graph", None)
    _mutated(inner, draw)
    (tmp_path / "n.pt2").write_bytes(archive(honest | {name: json.dumps(value).encode()}))
    try:
        converted = exported.read(tmp_path / "n.pt2")
        (tmp_path / "n.json").write_bytes(converted.graph.encoded())
        assert probes.check(read_and_build(tmp_path / "n.json", converted.state), expected)
    except PagbenchError as error:
        assert len(str(error).splitlines()) == 1
