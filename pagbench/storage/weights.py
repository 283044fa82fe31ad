"""Reads and writes weights: plain tensors only, hashed, never code."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pagbench.errors import WeightsError, excerpt, first_line
from pagbench.storage import content, pytorch_files
from pagbench.storage.files import open_regular, replacing, sha256_of

_T = TypeVar("_T")
_SHOWN = 5
"""Names of tensors that an error shows of each kind."""


def file_sha256(path: Path) -> str:
    """Sha256 of a file's bytes.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights ({error.strerror or error}); put the file there") from None


def state_sha256(network: nn.Module) -> str:
    """Sha256 of a network's parameters and buffers, in the order of their names."""
    digest = hashlib.sha256()
    tensors = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        dense = tensor.detach().cpu()
        dense = dense.to_dense() if dense.layout != torch.strided else dense
        digest.update(dense.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read(
    path: Path, sha256: str | None = None, *, state_key: str | None = None, strip_prefix: str | None = None
) -> dict[str, Tensor]:
    """Reads a state dict from safetensors or from a PyTorch file of tensors only.

    Args:
        path: the file.
        sha256: of the file; None to skip the comparison.
        state_key: where the state dict lies in the file, as in `state_dict`; None where it is the whole file.
        strip_prefix: removed from the names, as in `module.`; entries whose names lack it are left out. None to keep
            the names.

    Raises:
        WeightsError: missing, altered, truncated, holding code, or not a state dict; no such key or prefix.
    """
    digest = file_sha256(path)
    if sha256 is not None and digest != sha256:
        raise WeightsError(
            f"{path}: sha256 {digest[:12]}…, the card says {sha256[:12]}…; fetch the file anew or correct the card"
        )
    state = _safetensors(path, load_file) if path.suffix == ".safetensors" else read_checkpoint(path)
    if state_key is not None:
        if not isinstance(state, dict) or state_key not in state:
            raise WeightsError(f"{path}: no entry {state_key!r} in {_contents(state)}; correct state_key")
        state = state[state_key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(
            f"{path}: expected a state dict (names to tensors), got {_contents(state)}; "
            "save model.state_dict(), or give its entry as `state_key` in the card, or beside the network in what the "
            "function of --architecture returns"
        )
    if strip_prefix is None:
        return state
    kept = {name.removeprefix(strip_prefix): value for name, value in state.items() if name.startswith(strip_prefix)}
    if not kept:
        raise WeightsError(f"{path}: no name begins with {strip_prefix!r} in {_contents(state)}; correct strip_prefix")
    return kept


def _contents(value: object) -> str:
    """What a file holds, in a few words."""
    if not isinstance(value, dict):
        return value.kind if isinstance(value, pytorch_files.Foreign) else type(value).__name__
    names = ", ".join(excerpt(str(name)) for name in list(value)[:8]) or "nothing"
    odd = next((name for name, inner in value.items() if isinstance(inner, pytorch_files.Foreign)), None)
    more = "" if odd is None else f", where {excerpt(str(odd))} is {value[odd].kind}"
    return f"dict of {names}{', …' if len(value) > 8 else ''}{more}"


def _safetensors(path: Path, read: Callable[[Path], _T]) -> _T:
    """What a safetensors file holds, whose header is of bounded length and describes it to the last byte.

    It is mapped into memory, not copied. Whoever cuts it short meanwhile ends the process; downloads put a new file in
    its place, and leave the mapped one as it is.
    """
    try:
        if (flaw := content.flaw(path, "weights.safetensors")) is None:
            return read(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights ({error.strerror or error}); put the file there") from None
    except Exception as error:  # a type of numbers or a shape that PyTorch has not, as much memory as there is not
        flaw = first_line(error)
    raise WeightsError(f"{path}: not a whole safetensors file ({flaw}); fetch the file anew")


def shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor of a safetensors file, none of which is read.

    Raises:
        WeightsError: the file is missing or not safetensors.
    """

    def read(path: Path) -> dict[str, list[int]]:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)

    return _safetensors(path, read)


def read_checkpoint(path: Path) -> Any:
    """Reads a PyTorch file as it is: tensors, numbers and texts, however nested; see `pagbench.storage.pytorch_files`.

    Raises:
        WeightsError: missing, truncated, a web page, or holding code.
    """
    try:
        if (other := content.other_format(path)) is not None:
            raise WeightsError(f"{path}: {other}")
        if (flaw := content.flaw(path, path.name)) is None:
            with open_regular(path) as file:
                return pytorch_files.read(file, os.fstat(file.fileno()).st_size)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights ({error.strerror or error}); put the file there") from None
    except pytorch_files.CodeError as error:
        raise WeightsError(
            f"{path}: holds code ({error}), of which none is run; only tensors are loaded: save model.state_dict()"
        ) from None
    except pytorch_files.ContentError as error:
        raise WeightsError(f"{path}: holds {error}; save model.state_dict()") from None
    except Exception as error:  # half a pickle may fail in any way
        flaw = first_line(error)
    raise WeightsError(f"{path}: truncated or not a PyTorch file ({flaw}); delete it and fetch the file anew")


def load_into(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Loads a state dict, every tensor of it and of the network.

    Raises:
        WeightsError: names or shapes differ.
    """
    expected = network.state_dict()
    lost = [
        name
        for name, value in expected.items()
        if isinstance(value, Tensor) and name in state and state[name].is_complex() and not value.is_complex()
    ]
    if lost:
        raise WeightsError(f"{source}: complex numbers in {_some(lost)}, the network's are real; save real ones")
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        prefix = _common_prefix(network, state)
        remedy = "check the architecture" if prefix is None else f"set strip_prefix: {prefix}"
        reason = _misfit(expected, state) or first_line(error)
        raise WeightsError(f"{source}: weights of another network ({reason}); {remedy}") from None


def _misfit(expected: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Which names are missing, unexpected, or of another shape; empty where it is none of these."""
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and isinstance(value, Tensor) and value.shape != state[name].shape
    ]
    groups = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": shapes,
    }
    return "; ".join(f"{title}: {_some(names)}" for title, names in groups.items() if names)


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more


def _common_prefix(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """What stands before every name of the network in the state dict; None where nothing does."""
    names = list(network.state_dict())
    prefixes = [name.removesuffix(names[0]) for name in state if names and name.endswith(f".{names[0]}")]
    return next((prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in names)), None)


def make_folder(path: Path, advice: str = "give another --output") -> None:
    """Makes a folder, before the work whose results it shall hold begins.

    Args:
        path: the folder.
        advice: what to do where it cannot be made.

    Raises:
        WeightsError: it is a file, or not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot write there ({error.strerror or error}); {advice}") from None


def write(network: nn.Module, path: Path, *, half: bool = False, metadata: Mapping[str, str] | None = None) -> str:
    """Writes a network's weights as safetensors, by way of a temporary file, and returns their sha256.

    Args:
        network: whose state dict is written.
        path: the file.
        half: round floating-point tensors to 16 bits.
        metadata: kept in the file's header.

    Raises:
        WeightsError: the disk refuses.
    """
    return write_tensors(_state(network, path, half), path, metadata)


def encoded(network: nn.Module, path: Path, *, half: bool = False) -> bytes:
    """What `write` would write to a file, without metadata.

    Raises:
        WeightsError: a weight is beyond half precision.
    """
    return _encoded(_state(network, path, half), None)


def _state(network: nn.Module, path: Path, half: bool) -> dict[str, Tensor]:
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    return {name: _halved(value, name, path) for name, value in state.items()} if half else state


def write_tensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> str:
    """Writes tensors as safetensors, by way of a temporary file, and returns the file's sha256.

    Args:
        state: tensors by name, on the CPU.
        path: the file.
        metadata: kept in its header.

    Raises:
        WeightsError: the disk refuses.
    """
    with replacing(path, WeightsError) as temporary:
        temporary.write_bytes(_encoded(state, metadata))
    return file_sha256(path)


def _encoded(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> bytes:
    contiguous = {name: value.contiguous() for name, value in state.items()}
    return _ordered(save(contiguous, metadata=dict(metadata) if metadata else None))


def _ordered(content: bytes) -> bytes:
    """A safetensors file with the metadata in the order of their names; the library's order differs from run to run."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if "__metadata__" not in header:
        return content
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _halved(value: Tensor, name: str, path: Path) -> Tensor:
    if not value.is_floating_point():
        return value
    rounded = value.half()
    if not torch.equal(rounded.isfinite(), value.isfinite()):
        raise WeightsError(f"{path}: {name} has values up to {value.abs().max():.3g}, beyond half precision's 65504")
    return rounded


def header(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file.

    Raises:
        WeightsError: the file is missing or not safetensors.
    """

    def read(path: Path) -> dict[str, str]:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})

    return _safetensors(path, read)


def read_metadata(path: Path, kind: str) -> dict[str, Any]:
    """The configuration in the header of a safetensors file of that kind.

    Raises:
        WeightsError: the file is missing, not safetensors, or of another kind.
    """
    metadata = header(path)
    if metadata.get("kind") != kind:
        raise WeightsError(f"{path}: holds {metadata.get('kind')!r}, expected {kind!r}; write it with `pagbench fit`")
    try:
        config = json.loads(metadata.get("config", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its configuration is not JSON ({first_line(error)}); fit it anew") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: its configuration is a {type(config).__name__}, expected fields; fit it anew")
    return config
