"""Real files, changed at random: what comes of one is a line, or the value that PyTorch reads, too."""

import io
import re
import struct
import zipfile

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save
from separate_reader import Reader
from torch import nn

MOST_MIB = 1024
EXTREMES = [
    (number % 2 ** (8 * size)).to_bytes(size, "little")
    for size in (1, 2, 4, 8)
    for number in (0, 1, -1, 2 ** (8 * size - 1) - 1, -(2 ** (8 * size - 1)), 2 ** (8 * size - 2))
]
WORDS = [
    b"-1", b"0", b"99999999999999999999", b"1e999", b"NaN", b"1.5", b"null", b"[]", b"{}", b'"', b"\\ud800",
    b"\\UFFFFFFFF", b"0x", b".inf", b"!!python/name:os.system", b"&a", b"*a", b"<<", b"\n", b"\n  ", b": ", b"- ",
    b"---", b"#", b"\x00",
    b"\xed\xa0\x80", b"\x1b[2J", b"F64", b"BOOL", b"F8_E4M3", b"cnumpy\ndtype\n", b"cos\nsystem\n", b"ctorch\nload\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ccollections\nOrderedDict\n", b"R", b"b", b"\x81", b"(", b"t", b"u", b"s",
    b"e", b"a", b"Q", b"\x85", b"\x86", b"h\x00", b"h\x01", b"q\x00", b"}", b"]", b")", b".", b"N", b"\x8a\x08", b"X",
]  # fmt: skip
"""What numbers, and what instructions, files may be made to say."""
CARD = b"""id: digits/mine
title: a network, "quoted" \xc3\xa9
family: noise
strength: 0.6
dataset: digits
architecture: small-cnn
activation: relu
input_shape: [1, 8, 8]
classes: 10
output: logits
mean: [0.5]
std: [0.25]
smoothing: {sigma: 0.25, samples: 10, seed: 3}
download:
  - path: mine/w.safetensors
    mirrors: ["https://example.org/w", 'hf:a/b@v1/w']
    sha256: aa00000000000000000000000000000000000000000000000000000000000000
    size: 1000
training: {epochs: 3, lr: 1.0e-3, note: "\\u00e9"}
date: 2026-11-23
trained_on: train
"""


def bases():
    """Small files of each kind, by the end of their names, and the part of each that is changed."""
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = network.state_dict()
    state["0.weight"] = state["0.weight"].t()
    state["half"], state["constant"] = torch.ones(2).half(), torch.tensor(0.5).expand(2, 2)
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    flat = save({name: value.contiguous() for name, value in state.items()}, {"kind": "x"})
    with zipfile.ZipFile(new) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (program,) = [name for name in records if name.endswith("/data.pkl")]
    length = 8 + int.from_bytes(flat[:8], "little")

    def archived(changed):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in records.items():
                archive.writestr(name, changed if name == program else content)
        return file.getvalue()

    def headed(changed):
        return struct.pack("<Q", len(changed)) + changed + flat[length:]

    return {
        "archive.pt": (new.getvalue(), bytes),
        "program.pt": (records[program], archived),
        "old.pt": (old.getvalue(), bytes),
        "whole.safetensors": (flat, bytes),
        "header.safetensors": (flat[8:length], headed),
        "card.yaml": (CARD, bytes),
    }


BASES = bases()
ANYWHERE = st.floats(0, 1)
CHANGE = st.one_of(
    st.tuples(st.just("flip"), ANYWHERE, st.integers(0, 7)),
    st.tuples(st.just("set"), ANYWHERE, st.integers(0, 255)),
    st.tuples(st.just("cut"), ANYWHERE, st.integers(1, 64)),
    st.tuples(st.just("end"), ANYWHERE, st.none()),
    st.tuples(st.just("insert"), ANYWHERE, st.sampled_from(WORDS + EXTREMES) | st.binary(max_size=8)),
    st.tuples(st.just("over"), ANYWHERE, st.sampled_from(WORDS + EXTREMES)),
    st.tuples(st.just("number"), ANYWHERE, st.sampled_from(WORDS)),
    st.tuples(st.just("copy"), ANYWHERE, st.tuples(ANYWHERE, st.integers(1, 200), st.integers(1, 3))),
    st.tuples(st.just("splice"), ANYWHERE, st.tuples(st.sampled_from(sorted(BASES)), ANYWHERE, st.integers(1, 200))),
)
CHANGES = st.lists(CHANGE, min_size=1, max_size=5)


def changed(content, change):
    """The bytes after one change."""
    kind, where, what = change
    at = min(int(where * len(content)), max(len(content) - 1, 0))
    end = {"insert": at, "copy": at, "splice": at, "end": len(content), "cut": at + (what if kind == "cut" else 0)}
    new = b""
    if kind in ("flip", "set"):
        new = bytes([content[at] ^ (1 << what) if kind == "flip" else what]) if content else b""
    elif kind in ("insert", "over"):
        new = what
    elif kind == "number" and (numbers := list(re.finditer(rb"\d+(\.\d+)?", content))):
        number = numbers[int(where * (len(numbers) - 1))]
        at, new, end["number"] = number.start(), what, number.end()
    elif kind in ("copy", "splice"):
        other, start, length = what if kind == "splice" else (None, *what[:2])
        source = content if other is None else BASES[other][0]
        begin = int(start * len(source))
        new = source[begin : begin + length] * (what[2] if kind == "copy" else 1)
    return content[:at] + new + content[end.get(kind, at + len(new)) :]


@pytest.fixture(scope="module", params=["C", "Python"])
def reader(request):
    """Two processes: cards are read by either of PyYAML's parsers."""
    reader = Reader("compare", *(["python-yaml"] if request.param == "Python" else []))
    reader.kinds = [name for name in sorted(BASES) if request.param == "C" or name.endswith(".yaml")]
    yield reader
    reader.close()


def look(reader, folder, name, changes):
    """Reads the changed file, and says what is wrong with what came of it."""
    content, finish = BASES[name]
    for change in changes:
        content = changed(content, change)
    path = folder / name
    path.write_bytes(finish(content))
    found = reader.read(path)
    assert "raised" not in found, found["raised"]
    assert found["mebibytes"] < MOST_MIB
    assert found.get("agrees", True), "PyTorch reads something else"
    for line in found.get("error", []):
        assert line.startswith(str(path)) and len(line) < 2000, line
    assert path.suffix == ".yaml" or len(found.get("error", ["one"])) == 1, found


def test_files_as_they_are_give_their_values(reader, tmp_path):
    for name, (content, finish) in BASES.items():
        (tmp_path / name).write_bytes(finish(content))
        found = reader.read(tmp_path / name)
        assert found.get("value") and found.get("agrees", True), found


def fuzz(reader, folder, **options):
    @settings(database=None, **options)
    @given(st.sampled_from(reader.kinds), CHANGES)
    def one(name, changes):
        look(reader, folder, name, changes)

    return one


def test_changed_files_are_one_line_or_the_value(reader, tmp_path):
    fuzz(reader, tmp_path, max_examples=40 * len(reader.kinds), derandomize=True)()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(4))
def test_many_changed_files_are_one_line_or_the_value(reader, start, tmp_path):
    seed(start)(fuzz(reader, tmp_path, max_examples=4000))()
