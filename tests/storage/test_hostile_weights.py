"""Checkpoints that attack whoever reads them: one line each, in little memory. Those of others load."""

import argparse
import collections
import datetime
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from commands import assert_one_line, invoke
from separate_reader import Reader
from torch import nn

from pagbench.errors import WeightsError
from pagbench.models import factories, registry
from pagbench.storage import content, pytorch_files, weights

MOST_MIB = 1024


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


def archive(program, records=None, packing=zipfile.ZIP_STORED, times=1):
    """A file of torch.save with a pickle of one's own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as opened:
        opened.writestr("x/data.pkl", program)
        opened.writestr("x/version", "3")
        opened.writestr("x/byteorder", "little")
        for name, values in (records or {}).items():
            opened.writestr(f"x/data/{name}", values)
    return file.getvalue()


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def named(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


def whole(number):
    raw = number.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(count, kind="FloatStorage", key="0"):
    return tuple_of(text("storage"), named("torch", kind), text(key), text("cpu"), whole(count)) + b"Q"


def tensor(count=4, offset=0, shape=(4,), strides=(1,), kind="FloatStorage", key="0"):
    numbers = [tuple_of(*map(whole, side)) for side in (shape, strides)]
    arguments = (
        storage(count, kind, key),
        whole(offset),
        *numbers,
        b"\x89",
        named("collections", "OrderedDict") + b")R",
    )
    return named("torch._utils", "_rebuild_tensor_v2") + tuple_of(*arguments) + b"R"


def state(*entries):
    return b"\x80\x02}(" + b"".join(entries) + b"u."


FOUR = struct.pack("<4f", 1, 2, 3, 4)
NUMPY_BYTES = named("numpy", "dtype") + tuple_of(text("S1"), b"\x89", b"\x88") + b"R"
GROWS = tuple_of(b"K\x03", text("|"), b"NNN", b"J\x00\x00\x00\x40", b"K\x01", b"K\x00") + b"b"
SCALAR = named("numpy._core.multiarray", "scalar") + tuple_of(NUMPY_BYTES + GROWS, text("abc")) + b"R"
ARRAY = (
    named("numpy._core.multiarray", "_reconstruct")
    + tuple_of(named("numpy", "ndarray"), b"K\x01\x85", NUMPY_BYTES + b"q\x07")
    + b"R"
)
READ = named("builtins", "bytearray") + b"h\x08\x85R"
"""The bytes of an array of one byte whose items then have 2^30: PyTorch, allowed numpy, dies of SIGSEGV."""
DOUBLED = b")" + b"q\x00h\x00h\x00\x86" * 60
ENCODED = named("_codecs", "encode") + tuple_of(text("x" * 1000), text("zlib_codec")) + b"R"
ORDERED = named("collections", "OrderedDict")
PAIRS = b"](" + b"".join(text(str(number)) + b"N\x86" for number in range(20_000)) + b"e"
SUBCLASS = named("torch._tensor", "_rebuild_from_type_v2")

HOSTILE = {
    "a byte string of a size of its own": state(text("w"), tensor(), text("n"), SCALAR),
    "an array whose items grow": state(
        text("w"), tensor(), text("a"), ARRAY + b"q\x08", text("b"), b"h\x07" + GROWS, text("c"), READ
    ),
    "a key that doubles": state(DOUBLED, b"N"),
    "an item whose key doubles": b"\x80\x02}" + DOUBLED + b"Ns.",
    "ordered pairs whose key doubles": b"\x80\x02" + named("collections", "OrderedDict") + b"(](" + DOUBLED + b"NeltR.",
    "a key that is a number too long": state(b"\x8a\xff" + b"\x7f" * 255, b"N"),
    "a storage as large as the world": state(text("w"), tensor(count=2**40)),
    "a storage of a negative size": state(text("w"), tensor(count=-4)),
    "a storage that is not there": state(text("w"), tensor(key="1")),
    "a storage outside": state(text("w"), tensor(key="../../etc/passwd")),
    "beyond its storage": state(text("w"), tensor(shape=(5,))),
    "beyond its storage by its strides": state(text("w"), tensor(shape=(2, 2), strides=(1, 3))),
    "beyond its storage by its offset": state(text("w"), tensor(offset=2, shape=(3,))),
    "an empty one beyond its storage": state(text("w"), tensor(offset=2**60, shape=(0,))),
    "strides that go back": state(text("w"), tensor(offset=3, strides=(-1,))),
    "a shape that is negative": state(text("w"), tensor(shape=(-1,))),
    "expanded to 2^60": state(text("w"), tensor(shape=(2**30, 2**30), strides=(0, 0))),
    "expanded to 2^124": state(text("w"), tensor(shape=(2**62, 2**62), strides=(0, 0))),
    "expanded by many names": state(
        *(text(str(number)) + tensor(shape=(2**20,), strides=(0,)) for number in range(100))
    ),
    "ten thousand dimensions": state(text("w"), tensor(shape=(1,) * 10_000, strides=(1,) * 10_000)),
    "more values than the record": state(text("w"), tensor(count=5)),
    "a storage of what is none": state(text("w"), tensor(kind="device")),
    "a kind that is a function": state(text("w"), tensor(kind="load")),
    "an array of bytes as large as the world": state(
        text("w"), named("builtins", "bytearray") + tuple_of(whole(2**40)) + b"R"
    ),
    "a tensor as large as the world": state(text("w"), named("torch", "FloatTensor") + tuple_of(whole(2**40)) + b"R"),
    "what is encoded": state(text("w"), ENCODED),
    "sparse": state(text("w"), named("torch._utils", "_rebuild_sparse_tensor") + tuple_of(b"N", tuple_of(b"N")) + b"R"),
    "without values": state(
        text("w"), named("torch._utils", "_rebuild_meta_tensor_no_storage") + tuple_of(b"N", b"N", b"N", b"\x89") + b"R"
    ),
    "of an array of numpy": state(
        text("w"), named("torch._utils", "_rebuild_device_tensor_from_numpy") + tuple_of(SCALAR, *[b"N"] * 3) + b"R"
    ),
    "a class of its own": state(
        text("w"), named("torch._utils", "_rebuild_wrapper_subclass") + tuple_of(*[b"N"] * 8) + b"R"
    ),
    "calls within calls": b"\x80\x02" + SUBCLASS + b"q\x00)" + b"q\x01(h\x00Nh\x01Nt" * 5000 + b"R.",
    "many dicts of one list": b"\x80\x02" + PAIRS + b"\x85q\x02" + ORDERED + b"q\x01" + b"h\x01h\x02R" * 20_000 + b".",
    "deep": b"\x80\x02" + b")" + b"\x85" * 1_000_000 + b".",
    "deep in lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "deep in dicts": b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 500_000 + b"N" + b"s" * 500_000 + b".",
    "a list within itself": b"\x80\x02]q\x00h\x00a.",
    "a dict within itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "sets without end": b"\x80\x02](" + named("__builtin__", "set") + b"q\x01" + b"h\x01)R" * 1_500_000 + b"e.",
    "ordered dicts without end": b"\x80\x02](" + ORDERED + b"q\x01" + b"h\x01)R" * 1_500_000 + b"e.",
    "dicts without end": b"\x80\x02](" + b"}" * 4_900_000 + b"e.",
    "tensors without end": b"\x80\x02](" + tensor()[:-1] + b"q\x02R" + named("torch._utils", "_rebuild_tensor_v2")
    + b"q\x01" + b"h\x01h\x02R" * 500_000 + b"e.",
    "ten million nothings": b"\x80\x02(" + b"N" * 10_000_000 + b"t.",
    "a memo far away": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\xff" + b"a.",
    "a number longer than the file": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a frame longer than the file": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "half a character": state(b"X\x03\x00\x00\x00\xed\xa0\x80", tensor()),
    "a name that a terminal acts on": state(text("\x1b[2J\u202e\nerror: fine"), b"N"),
    "a name of a megabyte": state(text("w" * 2**20), b"N"),
    "a name of code of a quarter of a megabyte": state(text("w"), named("os", "\x01" * 2**18)),
    "a module of a quarter of a megabyte": state(text("w"), named("\x01" * 2**18, "system")),
    "a harmless name of a quarter of a megabyte": b"\x80\x02" + named("collections", "a" * 2**18) + b".",
    "a harmless name of many marks": b"\x80\x02" + named("collections", "\U00020000" * 200) + b".",
    "a key of a quarter of a megabyte": state(text("\x01" * 2**18), b"K\x01"),
    "a kind without end": b"\x80\x02(" + named("torch", "int9") * 4_900_000 + b"t.",
    "kinds without end": b"\x80\x02(" + b"".join(b"ctorch\nint%d\n" % n for n in range(3_000_000)) + b"t.",
    "a stacked name of a quarter of a megabyte": b"\x80\x04" + text("os") + text("\x01" * 2**18) + b"\x93.",
    "a stacked name that is none": b"\x80\x04N" + text("system") + b"\x93.",
    "stacked names that are not there": b"\x80\x04\x93.",
    "a set with a key that doubles": b"\x80\x04\x8f(" + DOUBLED + b"\x90.",
    "a frozen set with a key that doubles": b"\x80\x04(" + DOUBLED + b"\x91.",
    "a set as a key": state(b"\x8f", b"N"),
    "bytes as a key": state(b"C\x01a", b"N"),
    "texts longer than the file": b"\x80\x04\x8d" + b"\xff" * 8 + b"a.",
    "bytes longer than the file": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fa.",
    "a string longer than the file": b"\x80\x02T\xff\xff\xff\xffa.",
    "a memo of nothing": b"\x80\x04\x94.",
    "a memo without end": b"\x80\x04N" + b"\x94" * 4_900_000 + b".",
    "a persistent thing that is none": b"\x80\x02NQ.",
    "a storage without its size": b"\x80\x02" + tuple_of(text("storage"), b"N", text("0")) + b"Q.",
    "methods of a dict in its way": b"\x80\x02" + ORDERED + b")R}" + text("items") + b"Nsb.",
    "an empty stack": b"\x80\x02.",
    "a mark that was not made": b"\x80\x02t.",
    "nothing": b"",
}  # fmt: skip
"""Pickles by what is wrong with them."""
_LONG = {name for name, program in HOSTILE.items() if len(program) > 2**19}
"""Each takes seconds to be refused."""


@pytest.mark.parametrize(
    "what", [pytest.param(name, marks=pytest.mark.slow) if name in _LONG else name for name in HOSTILE]
)
def test_a_hostile_pickle_is_one_line(what, reader, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(archive(HOSTILE[what], {"0": FOUR}))
    found = reader.read(path)
    assert found["mebibytes"] < MOST_MIB
    if "value" in found:
        assert found["value"] == {"w": ["torch.float32", 4]} or found["value"] == {}, found
        return
    (line,) = found.get("error", [found])
    assert line.startswith(f"{path}: ") and len(line) < 1000 and line.isprintable(), line


def test_a_hostile_pickle_of_before_1_6_is_one_line(reader, tmp_path):
    begin = b"".join(
        pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {}})
    )
    keys = {"none": pickle.dumps([], 2), "one": pickle.dumps(["0"], 2), "twice": pickle.dumps(["0", "0"], 2)}
    values = struct.pack("<q", 4) + FOUR
    good = begin + state(text("w"), tensor()) + keys["one"] + values
    (tmp_path / "old.pt").write_bytes(good)
    assert weights.read(tmp_path / "old.pt")["w"].tolist() == [1, 2, 3, 4]
    contents = [
        begin + state(text("w"), tensor()) + keys["none"] + values,
        begin + state(text("w"), tensor()) + keys["twice"] + values + values,
        begin + state(text("w"), tensor()) + keys["one"] + struct.pack("<q", 5) + FOUR + FOUR,
        begin + state(text("w"), tensor()) + keys["one"] + values[:-1],
        begin + state(text("w"), tensor(count=2**40)) + keys["one"] + values,
        begin + state(text("w"), tensor(count=2**62)) + keys["one"] + values,
        begin + state(text("w"), tensor()) + state(DOUBLED, b"N") + values,
        begin + state(text("w"), tensor()) + b"\x80\x02](" + DOUBLED + DOUBLED + b"e." + values,
        begin.replace(b"\x88", b"\x89") + state(text("w"), tensor()) + keys["one"] + values,
        b"\x80\x02" + storage(4) + b".",
    ]  # fmt: skip
    for number, bad in enumerate(contents):
        (tmp_path / "w.pt").write_bytes(bad)
        found = reader.read(tmp_path / "w.pt")
        assert len(found.get("error", [])) == 1 and found["mebibytes"] < MOST_MIB, (number, found)


def rewritten(whole_file, name, **changes):
    """An archive one of whose entries says something else of itself, in the directory."""
    file = io.BytesIO(whole_file)
    with zipfile.ZipFile(file, "a") as opened:
        for field, value in changes.items():
            setattr(opened.getinfo(name), field, value)
        opened.comment = b"x"  # so that the directory is written anew
    return file.getvalue()


def test_a_hostile_archive_is_one_line(reader, tmp_path):
    good = archive(state(text("w"), tensor()), {"0": FOUR})
    bomb = archive(state(text("w"), tensor(count=2**26)), {"0": bytes(2**28)}, zipfile.ZIP_DEFLATED)
    names = b"".join(
        b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a" for _ in range(300_000)
    )  # fmt: skip
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, len(names), 4, 0)
    many = {str(number): b"" for number in range(1000)}
    contents = {
        "packed": bomb,
        "a directory of 14 MB": b"PK\x03\x04" + names + end,
        "a record beyond the file": rewritten(good, "x/data/0", file_size=2**40, compress_size=2**40),
        "a record that lies": rewritten(good, "x/data/0", file_size=2**20, compress_size=2**20),
        "a record elsewhere": rewritten(good, "x/data/0", header_offset=2**20),
        "locked": rewritten(good, "x/data/0", flag_bits=1),
        "another sum": rewritten(good, "x/data/0", CRC=1),
        "another order": good.replace(b"little", b"zittle"),
        "no pickle": archive(b"", many).replace(b"data.pkl", b"data.pkm"),
    }
    for what, bad in contents.items():
        (tmp_path / "w.pt").write_bytes(bad)
        found = reader.read(tmp_path / "w.pt")
        assert len(found.get("error", [])) == 1 and found["mebibytes"] < 100, (what, found)


def test_records_that_lie_over_one_another_take_no_more_than_the_file(reader, tmp_path):
    """A hundred storages of the same 16 MiB."""
    entries = [text(str(number)) + tensor(count=2**22, key=str(number)) for number in range(100)]
    file = io.BytesIO(archive(state(*entries), {"0": bytes(2**24)} | {str(number): b"" for number in range(1, 100)}))
    with zipfile.ZipFile(file, "a") as opened:
        first = opened.getinfo("x/data/0")
        for number in range(1, 100):
            for field in ("header_offset", "file_size", "compress_size", "CRC", "orig_filename"):
                setattr(opened.getinfo(f"x/data/{number}"), field, getattr(first, field))
        opened.comment = b"x"
    (tmp_path / "w.pt").write_bytes(file.getvalue())
    found = reader.read(tmp_path / "w.pt")
    assert len(found.get("error", [])) == 1 and found["mebibytes"] < 200, found


def safetensors(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.mark.parametrize("size", [95 * 10**6, pytest.param(4 * 2**20 - 100, marks=pytest.mark.slow)])
def test_a_header_of_any_length_takes_little_memory(size, reader, tmp_path):
    """95 MB of header took 2.5 GiB."""
    entry = '"%07x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
    path = tmp_path / "w.safetensors"
    listed = "".join(entry % number for number in range(size // len(entry % 0)))
    path.write_bytes(safetensors(("{" + listed[:-1] + "}").encode()))
    found = reader.read(path)
    assert found["mebibytes"] < 200, found["mebibytes"]
    if size > 4 * 2**20:
        assert "a header of 9499" in found["error"][0] and "at most 4194304 are read" in found["error"][0]
    else:
        assert len(found["value"]) > 70_000


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize("length", [0x3C, 0x13C, 0x3C20, 0x3C0A, 0x3C3C, 0x0A3C])
def test_a_header_whose_length_looks_like_a_tag_is_no_web_page(length, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors(json.dumps({"a": F32}).encode().ljust(length), FOUR[:4]))
    assert weights.read(path)["a"].tolist() == [1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="truncated or no safetensors file"):
        weights.read(path)
    path.write_bytes(b"<html><title>Sign in</title></html>")
    with pytest.raises(WeightsError, match=r"a web page .Sign in. instead of the file"):
        weights.read(path)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b'{"a":' + b"[" * 10_000, b""),
        ({"a": F32 | {"shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}}, b""),
        ({"a": F32 | {"shape": [0] * 100_000, "data_offsets": [0, 0]}}, b""),
        ({"a": F32 | {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"abc"),
        ({"a": F32 | {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"a"),
        ({"a": F32 | {"dtype": "F99"}}, b"abcd"),
        ({"a": F32 | {"shape": [-1]}}, b"abcd"),
        ({"a": F32, "b": F32}, b"abcd"),
        ({"a": F32, "__metadata__": {"kind": 1}}, b"abcd"),
        ({"a": F32, "__metadata__": []}, b"abcd"),
        ({"a\ud800": F32}, b"abcd"),
        (b'{"a":' + json.dumps(F32).encode() + b',"a":' + json.dumps(F32).encode() + b"}", b"abcd"),
        (b"\xff\xfe{}", b""),
        (b"{}" + b" " * 100, b"a"),
        (b"", b""),
    ],
)
def test_a_hostile_header_is_one_line_or_the_value(header, data, reader, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors(header, data))
    found = reader.read(path)
    assert len(found.get("error", ["one"])) == 1 and "raised" not in found and found["mebibytes"] < MOST_MIB, found


@pytest.mark.parametrize("config", ["[" * 100_000, "[1]", "3", "null", '{"a": 1', '"x"', "1" * 5000, '[["a", 1]]'])
def test_a_configuration_that_is_none_is_one_line(config, tmp_path):
    network = nn.Linear(1, 1)
    weights.write(network, tmp_path / "w.safetensors", metadata={"kind": "autoencoder", "config": config})
    with pytest.raises(WeightsError, match=r"its configuration is .*; fit it anew"):
        weights.read_metadata(tmp_path / "w.safetensors", "autoencoder")


# Files of others


class Attributes(dict):
    """As Lightning keeps hyperparameters."""


def checkpoints():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5])
    own = network.state_dict()
    prefixed = {f"module.{name}": value for name, value in own.items()}
    return own, {
        "plain": (own, {}),
        "RobustBench": ({"state_dict": prefixed, "epoch": 3, "best_acc": np.float64(0.5), "mean": np.arange(3.0)}, {
            "state_key": "state_dict", "strip_prefix": "module.",
        }),
        "madrylab": ({
            "model": {f"module.model.{name}": value for name, value in own.items()} | {
                "module.normalizer.new_std": torch.ones(3, 1, 1)
            },
            "optimizer": optimiser.state_dict(), "schedule": schedule.state_dict(), "epoch": 104, "amp": None,
            "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("x"), eps=np.float32(1)),
        }, {"state_key": "model", "strip_prefix": "module.model."}),
        "Lightning": ({
            "epoch": 3, "pytorch-lightning_version": "2.4.0", "loops": {"fit_loop": {"state_dict": {}}},
            "state_dict": {f"net.{name}": value for name, value in own.items()},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": torch.tensor(0.5), "kth": np.int64(1)}},
            "optimizer_states": [optimiser.state_dict()], "lr_schedulers": [schedule.state_dict()],
            "hyper_parameters": {"lr": 0.1, "sizes": [1, 2], "path": pathlib.PurePosixPath("x")},
        }, {"state_key": "state_dict", "strip_prefix": "net."}),
        "timm": ({
            "epoch": 1, "arch": "resnet18", "state_dict": own, "state_dict_ema": own, "metric": 79.1,
            "optimizer": optimiser.state_dict(), "args": argparse.Namespace(model="x"), "amp_scaler": {"scale": 1.0},
        }, {"state_key": "state_dict"}),
        "diffusers": ({name: value.half() for name, value in own.items()}, {}),
        "parameters": (dict(network.named_parameters()) | dict(network.named_buffers()), {}),
        "counters": ({"net": own, "seen": collections.Counter([1, 1, 2]), "order": collections.OrderedDict(a=1)}, {
            "state_key": "net",
        }),
    }  # fmt: skip


OWN, CHECKPOINTS = checkpoints()


@pytest.mark.parametrize("old", [False, True], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_others_load(kind, old, tmp_path):
    value, where = CHECKPOINTS[kind]
    path = tmp_path / "w.bin"
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    found = weights.read(path, **where)
    for name, tensor in OWN.items():
        assert torch.equal(
            found[name].to(tensor.dtype), tensor.half().to(tensor.dtype) if kind == "diffusers" else tensor
        )


def test_every_type_and_layout_of_values_is_read_as_pytorch_reads_it(tmp_path):
    base = torch.arange(24.0)
    values = {
        "view": base[3:7], "turned": base.view(4, 6).t(), "strided": base[::5], "whole": base,
        "number": torch.tensor(7), "empty": torch.zeros(0, 3), "constant": torch.tensor(0.5).expand(3, 4),
        "parameter": nn.Parameter(torch.ones(2)),
        "channels last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "infinite": torch.tensor([float("nan"), float("inf"), -0.0]), "long": torch.tensor([2**63 - 1, -(2**63)]),
        "unsigned": torch.tensor([2**64 - 1], dtype=torch.uint64),
    } | {
        str(dtype): torch.ones(3).to(dtype)
        for dtype in (
            torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
            torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool, torch.complex64,
            torch.complex128,
        )
    }  # fmt: skip
    values["with an attribute"] = torch.ones(3)
    values["with an attribute"].note = "x"
    torch.save(values, tmp_path / "w.pt")
    found, theirs = weights.read(tmp_path / "w.pt"), torch.load(tmp_path / "w.pt", weights_only=True)
    assert list(found) == list(theirs) == list(values)
    for name, tensor in theirs.items():
        assert (found[name].dtype, found[name].shape, found[name].stride()) == (
            tensor.dtype, tensor.shape, tensor.stride(),
        )  # fmt: skip
        raw = [one.detach().contiguous().flatten().view(torch.uint8) for one in (found[name], tensor)]
        assert torch.equal(*raw), name
    assert found["view"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


def test_versions_of_layers_are_kept_and_no_other_attribute(tmp_path):
    state_dict = nn.BatchNorm2d(2).state_dict()
    state_dict._metadata["x"] = {"version": "2"}
    state_dict.get = "not to be called"
    torch.save(state_dict, tmp_path / "w.pt")
    found = weights.read(tmp_path / "w.pt")
    assert found._metadata == {"": {"version": 2}} and "get" not in vars(found)


def test_an_archive_without_sums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(OWN, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert weights.read(tmp_path / "w.pt").keys() == OWN.keys()


@pytest.mark.parametrize("old", [False, True], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_other_protocols_and_harmless_options_are_read(protocol, old, tmp_path):
    options = {
        "when": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC), "took": datetime.timedelta(1), "range": range(3),
        "slice": slice(1, 2), "bytes": b"ab", "none": b"", "set": {1, "a"}, "frozen": frozenset([1]), "long": "x" * 300,
        "space": types.SimpleNamespace(a=1), "number": 2**70, "names": ["w"] * 300,
    }  # fmt: skip
    value = {"net": OWN, "options": options}
    torch.save(value, tmp_path / "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    found = weights.read(tmp_path / "w.pt", state_key="net")
    assert all(torch.equal(found[name], tensor) for name, tensor in OWN.items()) and found.keys() == OWN.keys()
    read = weights.read_checkpoint(tmp_path / "w.pt")["options"]
    assert read.keys() == options.keys() and (read["long"], read["number"]) == ("x" * 300, 2**70)
    assert read["set"] == pytorch_files.Foreign(f"{'builtins' if protocol > 2 else '__builtin__'}.set")


def test_texts_of_python_2_are_read(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(archive(state(b"U\x01w", tensor(), b"T\x02\0\0\0\xe9a", tensor()), {"0": FOUR}))
    assert list(weights.read(path)) == ["w", "\xe9a"]


@pytest.mark.parametrize("key", [1.5, (1, 2), None, True, frozenset([1]), b"a", 2**70, np.int64(1), "k" * 1001])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_key_that_is_no_name_is_no_damage(key, protocol, tmp_path):
    torch.save({"net": OWN, "table": {key: 1}}, tmp_path / "w.pt", pickle_protocol=protocol)
    with pytest.raises(WeightsError, match=r"holds a key .*; save model\.state_dict\(\)$") as refused:
        weights.read(tmp_path / "w.pt")
    assert "truncated" not in str(refused.value) and "anew" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"w": torch.eye(3).to_sparse()}, "dict of w, where w is torch._utils._rebuild_sparse_tensor"),
        ({"w": np.ones(3)}, "dict of w, where w is numpy._core.multiarray._reconstruct"),
        ({"w": torch.ones(2, dtype=torch.complex64).conj()}, "where w is a tensor with marks"),
        ({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, "torch._utils._rebuild_qtensor"),
        ({"w": torch.ones(2, device="meta")}, "torch._utils._rebuild_meta_tensor_no_storage"),
        (np.float64(3), "got numpy._core.multiarray.scalar"),
        (torch.ones(2), "got Tensor"),
        (nn.Linear(1, 1), "holds code (torch.nn.modules.linear.Linear)"),
        ({(1, 2): torch.ones(2)}, "a key that is a tuple, expected names"),
        ({1.5: torch.ones(2)}, "a key that is a float, expected names"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_tensor_is_said(value, said, tmp_path):
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as refused:
        weights.read(tmp_path / "w.pt")
    assert said in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_complex_numbers_lose_no_half_in_a_real_network(tmp_path):
    network = nn.Linear(2, 1)
    state_dict = {"weight": torch.ones(1, 2) * 1j, "bias": torch.ones(1)}
    with pytest.raises(WeightsError, match="complex numbers in weight, the network's are real"):
        weights.load_into(network, state_dict, "w.pt")
    weights.load_into(
        network, {"weight": torch.ones(1, 2, dtype=torch.float8_e4m3fn), "bias": torch.ones(1) > 0}, "w.pt"
    )
    assert network.bias.item() == 1 and network.weight.tolist() == [[1, 1]]


# What is no file


@pytest.fixture
def unreadable(tmp_path):
    """Paths at which a read would wait or never end, by the end of their names."""

    def make(kind, name):
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to({"zero": "/dev/zero", "link to pipe": tmp_path / "other pipe"}[kind])
            if kind == "link to pipe":
                os.mkfifo(tmp_path / "other pipe")
        return path

    return make


KINDS = ["pipe", "zero", "link to pipe", "folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.bin", "w.ckpt"])
def test_weights_that_are_no_file_are_refused_at_once(kind, name, unreadable):
    path = unreadable(kind, name)
    for read in (weights.read, weights.read_checkpoint, weights.header, weights.shapes, weights.file_sha256):
        with pytest.raises(WeightsError, match="expected a file"):
            read(path)
    with pytest.raises(OSError, match="expected a file"):
        content.flaw(path, name)


CARD = """id: digits/mine
title: a network
family: own
dataset: digits
architecture: small-cnn
activation: relu
input_shape: [1, 8, 8]
classes: 10
weights: w.safetensors
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
@pytest.mark.parametrize("kind", KINDS)
def test_commands_refuse_what_is_no_file(kind, unreadable, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = unreadable(kind, "card.yaml")
    for command in (("run", card), ("show", card), ("check", card)):
        assert_one_line(invoke(*command), "card.yaml: cannot read the card")
    (tmp_path / "mine.yaml").write_text(CARD)
    held = tmp_path / "w.safetensors"
    card.rename(held)
    for command in ("run", "check"):
        assert_one_line(invoke(command, tmp_path / "mine.yaml"), "expected a file")
    code = tmp_path / "net.py"
    held.rename(code)
    assert_one_line(invoke("check", f"{code}:make", "--benchmark", "digits"), "net.py:make")
    words = ("--authors", "me", "--license", "MIT", "--activation", "silu", "--trained-on", "train")
    code.rename(tmp_path / "w.pt")
    assert_one_line(invoke("submit", "init", "new", "--yes", "--weights", "w.pt", *words), "expected a file ending in")
    folder = tmp_path / "submitted"
    folder.mkdir()
    (tmp_path / "w.pt").rename(folder / "model.yaml")
    for command in ("check", "run", "add"):
        done = invoke("submit", command, folder)
        assert done.exit_code in (1, 2) and type(done.exception) is SystemExit, done.output


def test_registry_and_factories_name_the_same_pipe(tmp_path):
    os.mkfifo(tmp_path / "net.py")
    factory = factories.find(f"{tmp_path / 'net.py'}:make")
    with pytest.raises(Exception, match="a pipe, device or socket, expected a file"):
        factory.build()
    with pytest.raises(Exception, match="its card depends on the benchmark"):
        registry.find(f"{tmp_path / 'net.py'}:make")
    (tmp_path / "fails.py").write_text("raise ValueError('no')")
    with pytest.raises(Exception, match="no"):
        factories.find(f"{tmp_path / 'fails.py'}:make").build()
    assert not [name for name in sys.modules if str(tmp_path) in name], "half a module is none"


def test_nothing_foreign_is_looked_up(monkeypatch, tmp_path):
    """Not even imported: a module's own code runs then."""
    (tmp_path / "numpy_like.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "w.pt"
    for module, name in (
        ("numpy_like", "x"),
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("a b", ""),
    ):
        path.write_bytes(archive(state(text("w"), tensor(), text("x"), named(module, name) + b")R"), {"0": FOUR}))
        with pytest.raises(WeightsError, match=f"holds code .{module}.{name}"):
            weights.read(path)
    assert isinstance(pytorch_files._KNOWN["torch.float32"], torch.dtype)
