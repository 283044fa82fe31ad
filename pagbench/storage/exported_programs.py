"""Reads a file of `torch.export.save`: the JSON of a program and its raw tensors. No pickle in it is opened."""

import json
import os
import re
import zipfile
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pagbench.errors import GraphError, excerpt, first_line
from pagbench.storage import content, pytorch_files
from pagbench.storage.files import open_regular
from pagbench.storage.pytorch_files import ContentError, DamageError

_LONGEST_JSON = 32 * 2**20
"""Bytes: most of it says for each operation which line of code it is from."""
_SHARED = 16 * 2**20
"""Bytes that all tensors may have together beyond those of the file: some share their values."""
_DTYPES = {4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool}
_DTYPES |= {13: torch.bfloat16}
"""By the numbers that PyTorch writes for them (`ScalarType` of its schema)."""
_TENSORS = {"weights": "model_weights_config.json", "constants": "model_constants_config.json"}
"""Folders of tensors, and the file in each that describes them."""


class Program(NamedTuple):
    """What a file holds.

    Attributes:
        module: the graph and its signature, as PyTorch's JSON has them; nothing of it is checked.
        tensors: parameters, buffers and constants by name.
    """

    module: dict[str, Any]
    tensors: dict[str, Tensor]


def read(path: Path) -> Program:
    """Reads an exported program.

    Raises:
        GraphError: missing, damaged, of an older PyTorch, or holding tensors that are no raw values.
    """
    try:
        with open_regular(path) as file, content.archive(file) as archive:
            return _read(archive, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise GraphError(f"{path}: cannot be read ({error.strerror or error}); give an exported program") from None
    except ContentError as error:
        raise GraphError(f"{path}: holds {error}") from None
    except Exception as error:  # half an archive may fail in any way
        reason = excerpt(first_line(error), 200)
        raise GraphError(f"{path}: not a file of torch.export.save ({reason}); save the program anew") from None


def _read(archive: zipfile.ZipFile, size: int) -> Program:
    homes = [
        name.removesuffix("models/model.json") for name in archive.namelist() if name.endswith("models/model.json")
    ]
    if len(homes) != 1:
        raise DamageError("no models/model.json, or several; an older PyTorch writes none, use a newer one")
    left = size  # records may lie over one another
    room = size + _SHARED

    def record(name: str, largest: int) -> Tensor:
        nonlocal left
        values = pytorch_files.read_record(archive, homes[0] + name, min(largest, left))
        left -= len(values)
        return values

    def parsed(name: str) -> Any:
        return json.loads(record(name, _LONGEST_JSON).numpy().tobytes())

    if f"{homes[0]}data/weights/{_TENSORS['weights']}" not in archive.namelist():
        raise ContentError("its weights as a pickle, which is not opened; use a newer PyTorch, which writes raw values")
    tensors = {}
    for folder, index in _TENSORS.items():
        if f"{homes[0]}data/{folder}/{index}" not in archive.namelist():
            continue
        records: dict[str, Tensor] = {}
        for name, described in parsed(f"data/{folder}/{index}")["config"].items():
            place = described["path_name"]
            if described["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", place):
                raise ContentError(f"{excerpt(name)}, which is no tensor of raw values")
            if place not in records:
                records[place] = record(f"data/{folder}/{place}", size)
            tensors[name] = _tensor(records[place], described["tensor_meta"], name)
            room -= tensors[name].nbytes
            if room < 0:
                raise ContentError(f"tensors of more than {size + _SHARED} bytes; save none several times")
    return Program(parsed("models/model.json")["graph_module"], tensors)


def _tensor(values: Tensor, meta: dict[str, Any], name: str) -> Tensor:
    """A copy of a tensor that lies within its record."""
    if meta["dtype"] not in _DTYPES:
        raise ContentError(f"{excerpt(name)}, whose type of numbers is none of a plain network's")
    dtype = _DTYPES[meta["dtype"]]
    shape, strides = ([_whole(side) for side in meta[key]] for key in ("sizes", "strides"))
    if prod(shape) * dtype.itemsize > len(values):
        raise DamageError(f"{excerpt(name)} is larger than its record")
    offset = _whole(meta["storage_offset"])
    end = offset + 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if (offset if 0 in shape else end) * dtype.itemsize > len(values):
        raise DamageError(f"{excerpt(name)} reaches beyond its record")
    return torch.empty(0, dtype=dtype).set_(values.untyped_storage(), offset, shape, strides).clone()


def _whole(number: dict[str, Any]) -> int:
    value = number["as_int"]
    if type(value) is not int or not 0 <= value < 2**63:
        raise DamageError("a size that is none")
    return value
