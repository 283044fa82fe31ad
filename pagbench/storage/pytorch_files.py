"""Reads PyTorch's own files: tensors and plain values, bounded by the file's size; nothing that a file names is called.

`torch.load(weights_only=True)` calls what its list allows with any arguments, hashes any key, inflates what is packed
and grows storages to what a tensor declares. Its list cannot be shortened, and differs between releases. A check before
it would have to follow the same instructions, and might follow them otherwise. So they are followed once, here.
"""

import io
import pickle
import re
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from pagbench.errors import excerpt
from pagbench.storage import content

_LONGEST_PICKLE = 64 * 2**20
"""Bytes of the instructions without the tensors' values; a thousand times those of a usual network."""
_MOST_INSTRUCTIONS = 5_000_000
"""About forty make a tensor, and one a number of a list."""
_LONGEST_NAME = 1000
"""Characters of a key, and bytes of each half of a name; real ones have a third of it."""
_OBJECT = 10
"""How many instructions a tensor counts for, a dict that keeps its order, and a new kind, for the memory they take."""
_MOST_ARGUMENTS = 16
"""Of a call; PyTorch's have eight."""
_LARGER = 4
"""How many times the file's size all tensors may have together: some share their values."""
_CONSTANTS = 16 * 2**20
"""Bytes that tensors may have beyond that: constants that are a number, expanded."""
_MOST_DIMENSIONS = 64
"""PyTorch's own limit."""
_PIECE = 1 << 20
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What files before PyTorch 1.6 begin with."""
_HARMLESS = re.compile(
    r"numpy\.(dtype|ndarray|dtypes\.\w+|_?core\.multiarray\.(scalar|_reconstruct))"
    r"|argparse\.Namespace|collections\.\w+|pathlib\.\w+|_codecs\.encode"
    r"|(builtins|__builtin__)\.(set|frozenset|bytes|bytearray|complex|list|dict|range|xrange|slice)"
    r"|datetime\.\w+|types\.SimpleNamespace"
    r"|torch\.(device|\w*Storage|q?u?int\d+\w*|per_\w+|Tensor)|torch\._tensor\.Tensor|torch\.nn\.parameter\.Parameter"
    r"|torch\._utils\._rebuild_\w+|torch\.serialization\._get_layout"
)
"""What training keeps beside the tensors; anything else is taken for code, and refused."""


_DTYPES = re.compile(r"torch\.(b?float\d+\w*|complex\d+|u?int(8|16|32|64)|bool)")
"""Types of values that need no scale; smaller ones and quantised ones do."""


class CodeError(Exception):
    """The file names what is no part of a checkpoint; the message is that name."""


class ContentError(Exception):
    """The file is whole, but holds what is not read; the message is what."""


class DamageError(Exception):
    """What is wrong with a file, in a few words."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """In place of what is neither a tensor nor a plain value, as a number of numpy: the name of its kind, no more."""

    kind: str


class _Storage(NamedTuple):
    """Values of tensors: bytes, and what they stand for."""

    content: Tensor
    dtype: torch.dtype


_Maker = Callable[..., Any]
_Find = Callable[[str, torch.dtype, int], Tensor]
"""The bytes of a storage by its key, of that many values of a type."""


def read(file: BufferedReader, size: int) -> Any:
    """What a file of `torch.save` holds; numbers, texts, lists, tuples and dicts as they are, other objects `Foreign`.

    Args:
        file: opened at its beginning.
        size: of the file, in bytes.

    Raises:
        CodeError: it holds code.
        ContentError: it holds what is neither code nor read.
        Exception: of any kind where it is damaged.
    """
    if file.peek(4).startswith(b"PK\x03\x04"):
        return _read_archive(file, size)
    return _read_old(file, size)


def _read_archive(file: BufferedReader, size: int) -> Any:
    """Of PyTorch since 1.6: the instructions, and a record for each storage."""
    with content.archive(file) as archive:
        programs = [name for name in archive.namelist() if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(programs) != 1:
            raise DamageError("an archive without its data.pkl, or with several")
        home = programs[0].removesuffix("data.pkl")
        order = f"{home}byteorder"
        if order in archive.namelist() and _record(archive, order, 16) != sys.byteorder.encode():
            raise ContentError("numbers in another order of bytes than this machine's (save it on one as this)")
        storages: dict[str, Tensor] = {}
        left = size  # records may lie over one another

        def find(key: str, dtype: torch.dtype, count: int) -> Tensor:
            nonlocal left
            if key not in storages:
                storages[key] = read_record(archive, f"{home}data/{key}", left)
                left -= len(storages[key])
            return storages[key]

        return _Machine(io.BytesIO(_record(archive, programs[0], _LONGEST_PICKLE)), find, size).run()


def _record(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    return read_record(archive, name, largest).numpy().tobytes()


def read_record(archive: zipfile.ZipFile, name: str, largest: int) -> Tensor:
    """The bytes of a record of an archive, which is not packed.

    Raises:
        ContentError: it is packed.
        DamageError: it has more bytes than that, or fewer than it says.
        KeyError: there is none of that name.
    """
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ContentError("packed records; torch.save packs none")
    if info.file_size > largest:
        raise DamageError(f"{info.file_size} bytes in {excerpt(name)}, at most {largest} are left")
    info.CRC = info.CRC or None  # type: ignore[assignment]  # zero where PyTorch was told to compute none
    with archive.open(info) as record:
        return _fill(record, info.file_size)  # type: ignore[arg-type]


def _fill(file: BinaryIO, size: int) -> Tensor:
    """So many bytes of a file, in memory of PyTorch's own; without a copy of them."""
    filled = torch.empty(size, dtype=torch.uint8)
    view, done = memoryview(filled.numpy()), 0  # type: ignore[arg-type]  # as all arrays, it is a buffer
    while done < size:
        count = file.readinto(view[done : done + _PIECE])  # type: ignore[attr-defined]
        if not count:
            raise DamageError("it ends early")
        done += count
    return filled


def _read_old(file: BufferedReader, size: int) -> Any:
    """Of PyTorch before 1.6: magic number, version, machine, instructions, keys of storages, and each one's values."""
    head = io.BytesIO(file.read(_LONGEST_PICKLE))
    storages: dict[str, tuple[Tensor, int]] = {}
    left = size

    def find(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        if key not in storages:
            left -= count * dtype.itemsize
            if left < 0:
                raise DamageError(f"a storage of {count} values, more than the file has")
            storages[key] = torch.empty(count * dtype.itemsize, dtype=torch.uint8), count
        return storages[key][0]

    def refused(key: str, dtype: torch.dtype, count: int) -> Tensor:
        raise DamageError("a storage before its time")

    magic, protocol, machine = (_Machine(head, refused, size).run() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not isinstance(machine, dict):
        raise DamageError("its beginning is not PyTorch's")
    if machine.get("little_endian") != (sys.byteorder == "little"):
        raise ContentError("numbers in another order of bytes than this machine's (save it on one as this)")
    value = _Machine(head, find, size).run()
    keys = _Machine(head, refused, size).run()
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise DamageError("its list of storages is another than theirs")
    file.seek(head.tell())
    for key in keys:
        storage, count = storages[key]
        if int.from_bytes(file.read(8), "little") != count:
            raise DamageError("a storage of another size than declared")
        storage.copy_(_fill(file, len(storage)))
    return value


class _Machine:
    """Follows the instructions of one pickle, those that `torch.save` writes, each of which is bounded.

    They are those of protocol 2, Python 2's texts, and of protocol 4, which some ask for.
    """

    def __init__(self, stream: BinaryIO, find: _Find, size: int) -> None:
        self._stream, self._find = stream, find
        self._bytes_left, self._work_left = _LARGER * size + _CONSTANTS, _MOST_INSTRUCTIONS
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._foreign: dict[str, Foreign] = {}

    def run(self) -> Any:
        """The value that the pickle describes."""
        while (code := self._take(1)) != pickle.STOP:
            if (instruction := _INSTRUCTIONS.get(code)) is None:
                raise DamageError(f"the instruction {code!r}, which torch.save does not write")
            self._spend(1)
            instruction(self)
        return self._stack.pop()

    def _spend(self, work: int) -> None:
        """Counts what instructions take: one alone, called again on what is in the memo, may take as much as all."""
        self._work_left -= work
        if self._work_left < 0:
            raise ContentError(f"more than {_MOST_INSTRUCTIONS} instructions")

    def _take(self, count: int) -> bytes:
        taken = self._stream.read(min(count, _LONGEST_PICKLE + 1))
        if len(taken) != count:
            raise DamageError("it ends early")
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, form: str, coding: str = "utf-8") -> None:
        self._stack.append(self._take(self._number(form)).decode(coding))

    def _raw(self, form: str) -> None:
        self._stack.append(self._take(self._number(form)))

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _remember(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _last(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) != count:
            raise DamageError("an instruction without its values")
        del self._stack[-count:]
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Foreign:
            raise DamageError(f"items of a {type(target).__name__}")

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not Foreign:
            _set_items(target, items[::2], items[1::2])

    def _global(self) -> None:
        """What a file names, of which nothing is looked up."""
        lines = [self._stream.readline(_LONGEST_NAME + 1).decode() for _ in range(2)]
        if not all(line.endswith("\n") for line in lines):
            raise DamageError(f"it ends early, or a name has more than {_LONGEST_NAME} bytes")
        self._name(".".join(line.removesuffix("\n") for line in lines))

    def _stacked_global(self) -> None:
        """As `_global`, of two texts."""
        names = self._last(2)
        if any(type(name) is not str or len(name) > _LONGEST_NAME for name in names):
            raise DamageError("a name that is none")
        self._name(".".join(names))

    def _frozen(self) -> None:
        """A set without change, of whose items nothing is hashed."""
        self._since_mark()
        self._push(self._other("builtins.frozenset"))

    def _name(self, kind: str) -> None:
        if kind in _KNOWN:
            self._stack.append(_KNOWN[kind])
        elif _HARMLESS.fullmatch(kind):
            self._stack.append(self._other(excerpt(kind)))
        else:
            raise CodeError(excerpt(kind))

    def _other(self, kind: str) -> Foreign:
        """One object for all of a kind."""
        if kind not in self._foreign:
            self._spend(_OBJECT)
            self._foreign[kind] = Foreign(kind)
        return self._foreign[kind]

    def _call(self) -> None:
        maker, arguments = self._last(2)
        if type(maker) is Foreign:
            self._stack.append(maker)
        else:
            self._stack.append(self._made(maker, arguments))

    def _made(self, maker: Any, arguments: Any) -> Any:
        if type(maker) is not _Known or type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
            raise DamageError(f"a {type(maker).__name__} that is called")
        self._spend(_OBJECT)
        return maker.make(self, *arguments)

    def _build(self) -> None:
        """The state of an object, of which nothing counts but the versions of layers beside a state dict."""
        target, state = self._last(2)
        metadata = state.get("_metadata") if type(target) is OrderedDict and type(state) is dict else None
        if type(metadata) is OrderedDict:
            self._spend(len(metadata))
            target._metadata = {layer: versions for layer, versions in metadata.items() if _are_versions(versions)}
        self._stack.append(target)

    def _persistent(self) -> None:
        word, kind, key, _, count, *view = self._last(1)[0][:_MOST_ARGUMENTS]
        if word != "storage" or type(key) is not str or view not in ([], [None]):
            raise DamageError("a storage of an unknown form")
        if type(kind) is Foreign:  # as of quantised values
            self._stack.append(kind)
            return
        if type(kind) is not torch.dtype:
            raise DamageError(f"values of a {type(kind).__name__}")
        storage = self._find(key, kind, _checked(count))
        if len(storage) // kind.itemsize != count:
            raise DamageError(f"{len(storage)} bytes where {count} values are declared")
        self._stack.append(_Storage(storage, kind))

    def _tensor(self, storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> Tensor | Foreign:
        """A tensor that lies within its storage. One that has more to it, as a conjugate, is no plain one."""
        if len(rest) > 2 and rest[2]:
            return self._other("a tensor with marks")
        return self._view(storage, storage.dtype, offset, shape, strides)

    def _typed_tensor(
        self, storage: _Storage, offset: int, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
    ) -> Tensor | Foreign:
        """A tensor of a type that is newer than the kinds of storages."""
        if type(dtype) is not torch.dtype or (rest and rest[0]):
            return self._other("a tensor with marks")
        return self._view(storage, dtype, offset, shape, strides)

    def _view(self, storage: _Storage, dtype: torch.dtype, offset: int, shape: Any, strides: Any) -> Tensor:
        shape, strides = (list(map(_checked, numbers[: _MOST_DIMENSIONS + 1])) for numbers in (shape, strides))
        if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
            raise DamageError(f"a tensor of {len(shape)} dimensions and {len(strides)} strides")
        end = _checked(offset) + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) + 1
        if (offset if 0 in shape else end) * dtype.itemsize > len(storage.content):
            raise DamageError("a tensor that reaches beyond its storage")
        self._bytes_left -= prod(shape) * dtype.itemsize
        if self._bytes_left < 0:
            raise DamageError("tensors that are many times as large as the file")
        return torch.empty(0, dtype=dtype).set_(storage.content.untyped_storage(), offset, shape, strides)

    def _ordered(self, items: Any = ()) -> "OrderedDict[Any, Any]":
        """A dict that keeps its order; Python 2 gives its entries at once."""
        made: OrderedDict[Any, Any] = OrderedDict()
        self._spend(_OBJECT * len(items))
        for key, value in items:
            _set_items(made, [key], [value])
        return made

    def _counter(self, counts: Any) -> "Counter[Any]":
        """What a schedule of steps keeps."""
        if type(counts) is not dict:
            raise DamageError("counts that are none")
        self._spend(len(counts))
        return Counter(counts)

    def _size(self, sizes: Any) -> tuple[Any, ...]:
        if type(sizes) is not tuple:
            raise DamageError("a size that is none")
        return sizes

    def _subclass(self, maker: Any, kind: Any, arguments: Any, state: Any) -> Any:
        """A tensor with attributes of its own, which do not count."""
        return self._made(maker, arguments) if type(maker) is _Known else self._other("a tensor of its own kind")


class _Known(NamedTuple):
    """Stands for a function or a type that a file may call."""

    make: _Maker


def _checked(number: Any) -> int:
    """A size, a stride or an offset."""
    if type(number) is not int or not 0 <= number < 2**63:
        raise DamageError("a size that is none")
    return number


def _set_items(target: Any, keys: list[Any], values: list[Any]) -> None:
    """Fills a dict. Keys are names or numbers, which are hashed at once; a tuple's key may take for ever."""
    if type(target) not in (dict, OrderedDict, Counter):
        raise DamageError(f"entries of a {type(target).__name__}")
    for key, value in zip(keys, values, strict=True):
        if type(key) is not str and not (type(key) is int and abs(key) < 2**63):
            kind = key.kind if type(key) is Foreign else type(key).__name__
            raise ContentError(f"a key that is a {kind}, expected names")
        if type(key) is str and len(key) > _LONGEST_NAME:
            raise ContentError(f"a key of {len(key)} characters, at most {_LONGEST_NAME} are read")
        target[key] = value


def _are_versions(value: Any) -> bool:
    """Whether this is a layer's version, which `load_state_dict` asks for."""
    return type(value) is dict and list(value) == ["version"] and type(value["version"]) is int


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": _Known(_Machine._ordered),
    "collections.Counter": _Known(_Machine._counter),
    "torch.Size": _Known(_Machine._size),
    "torch._utils._rebuild_tensor": _Known(_Machine._tensor),
    "torch._utils._rebuild_tensor_v2": _Known(_Machine._tensor),
    "torch._utils._rebuild_tensor_v3": _Known(_Machine._typed_tensor),
    "torch._utils._rebuild_parameter": _Known(lambda machine, value, *_: value),
    "torch._utils._rebuild_parameter_with_state": _Known(lambda machine, value, *_: value),
    "torch._tensor._rebuild_from_type_v2": _Known(_Machine._subclass),
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
} | {
    str(dtype): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and _DTYPES.fullmatch(str(dtype))
}
"""By name, what makes a tensor or a plain value."""

_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda machine: machine._number("<B") and None,
    pickle.MARK: _Machine._mark,
    pickle.NONE: lambda machine: machine._push(None),
    pickle.NEWTRUE: lambda machine: machine._push(True),
    pickle.NEWFALSE: lambda machine: machine._push(False),
    pickle.BININT: lambda machine: machine._push(machine._number("<i")),
    pickle.BININT1: lambda machine: machine._push(machine._number("<B")),
    pickle.BININT2: lambda machine: machine._push(machine._number("<H")),
    pickle.BINFLOAT: lambda machine: machine._push(machine._number(">d")),
    pickle.LONG1: _Machine._long,
    pickle.BINUNICODE: lambda machine: machine._text("<I"),
    pickle.SHORT_BINSTRING: lambda machine: machine._text("<B", "latin-1"),
    pickle.BINSTRING: lambda machine: machine._text("<I", "latin-1"),
    pickle.SHORT_BINUNICODE: lambda machine: machine._text("<B"),
    pickle.BINUNICODE8: lambda machine: machine._text("<Q"),
    pickle.SHORT_BINBYTES: lambda machine: machine._raw("<B"),
    pickle.BINBYTES: lambda machine: machine._raw("<I"),
    pickle.BINBYTES8: lambda machine: machine._raw("<Q"),
    pickle.FRAME: lambda machine: machine._number("<Q") and None,
    pickle.MEMOIZE: _Machine._memoize,
    pickle.STACK_GLOBAL: _Machine._stacked_global,
    pickle.EMPTY_SET: lambda machine: machine._push(machine._other("builtins.set")),
    pickle.ADDITEMS: lambda machine: machine._extend(machine._since_mark()),
    pickle.FROZENSET: _Machine._frozen,
    pickle.EMPTY_TUPLE: lambda machine: machine._push(()),
    pickle.EMPTY_LIST: lambda machine: machine._push([]),
    pickle.EMPTY_DICT: lambda machine: machine._push({}),
    pickle.TUPLE: lambda machine: machine._push(tuple(machine._since_mark())),
    pickle.TUPLE1: lambda machine: machine._push(tuple(machine._last(1))),
    pickle.TUPLE2: lambda machine: machine._push(tuple(machine._last(2))),
    pickle.TUPLE3: lambda machine: machine._push(tuple(machine._last(3))),
    pickle.BINGET: lambda machine: machine._push(machine._memo[machine._number("<B")]),
    pickle.LONG_BINGET: lambda machine: machine._push(machine._memo[machine._number("<I")]),
    pickle.BINPUT: lambda machine: machine._remember("<B"),
    pickle.LONG_BINPUT: lambda machine: machine._remember("<I"),
    pickle.APPEND: lambda machine: machine._extend(machine._last(1)),
    pickle.APPENDS: lambda machine: machine._extend(machine._since_mark()),
    pickle.SETITEM: lambda machine: machine._set(machine._last(2)),
    pickle.SETITEMS: lambda machine: machine._set(machine._since_mark()),
    pickle.GLOBAL: _Machine._global,
    pickle.REDUCE: _Machine._call,
    pickle.NEWOBJ: _Machine._call,
    pickle.BUILD: _Machine._build,
    pickle.BINPERSID: _Machine._persistent,
}
"""By its byte, what each does."""
